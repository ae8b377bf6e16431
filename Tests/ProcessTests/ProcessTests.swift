// Real processes that are killed, stopped and starved.

import CLinux
import RayCore
import RayFabric
import Testing

/// All of these tests, one after the other: they measure what processes leave behind.
@Suite(.serialized) struct ProcessTests {}

/// What a host holds, as its probe reports it.
struct HostReport {
    let values: [String: Int]

    init(of host: ProbeProcess) throws {
        let fields = try host.ask("report").split(separator: " ").map { $0.split(separator: "=") }
        values = Dictionary(uniqueKeysWithValues: fields.map { (String($0[0]), Int($0[1]) ?? -1) })
    }

    subscript(name: String) -> Int { values[name] ?? -1 }

    /// What clients cost the host while they live.
    var held: [Int] { ["pins", "deleted", "descriptors", "rings"].map { self[$0] } }
}

/// A host with a witness of what it holds while no client lives.
struct KillStage {
    static let mebibytes = 64
    let path = StorePath()
    let host: ProbeProcess
    let before: HostReport

    init() throws {
        host = try .host("\(path)", mebibytes: Self.mebibytes)
        before = try HostReport(of: host)
    }

    func client() throws -> ProbeProcess { try .client("\(path)") }

    /// Checks that the dead process has left nothing but its sealed objects, and soon.
    /// - Returns: how long it took from its death on.
    @discardableResult
    func expectNothingLeft(since death: Timestamp, objects: Int = 0) throws -> Duration {
        let time = try waitUntil("the host forgets the client", since: death, within: .seconds(2)) {
            try HostReport(of: host).held == before.held
        }
        #expect(try HostReport(of: host)["objects"] == objects)
        #expect(try host.ask("verifyAll") == "0 wrong")
        _ = try host.ask("deleteAll")
        #expect(try HostReport(of: host)["primary"] == 0)
        // All of the capacity in one object: nothing is held for anybody.
        _ = try host.ask("reserve \(Self.mebibytes << 20)")
        return time
    }
}
