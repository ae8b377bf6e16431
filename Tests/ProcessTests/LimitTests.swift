// Users that may not attach, and processes without descriptors.

import CLinux
import Glibc
import RayCore
import RayFabric
import Testing

private let isRoot = geteuid() == 0
private let nobody: UInt32 = 65534

extension ProcessTests {
    @Suite(.serialized) struct OtherUsers {
        let path = StorePath()

        private func stranger(group: UInt32) throws -> ProbeProcess {
            let probe = try ProbeProcess()
            _ = try probe.ask("becomeUser \(nobody) \(group)")
            return probe
        }

        @Test(.enabled(if: isRoot, "only root can become another user")) func areRefused() throws {
            let host = try ProbeProcess.host("\(path)")
            let before = try HostReport(of: host)
            #expect(try stranger(group: nobody).failure(of: "attach \(path)") == "attachRefused")
            // The host looks itself: the mode of a socket is easily changed.
            try #require(unsafe chmod("\(path)", 0o666) == 0)
            #expect(try stranger(group: nobody).failure(of: "attach \(path)") == "attachRefused")
            try waitUntil("nothing is left") { try HostReport(of: host).held == before.held }
        }

        @Test(.enabled(if: isRoot, "only root can become another user")) func ofTheGroupMayAttach() throws {
            let host = try ProbeProcess.host("\(path)", "group=\(nobody)")
            let member = try stranger(group: nobody)
            _ = try member.ask("attach \(path)")
            let id = try member.ask("put 3000000")
            #expect(try host.ask("get \(id) 2000") == "3000000 bytes, whole")
            #expect(try member.ask("get \(host.ask("put 1000")) 2000") == "1000 bytes, whole")
            #expect(try stranger(group: nobody - 1).failure(of: "attach \(path)") == "attachRefused")
        }
    }

    /// Each number of descriptors that are left is tried, up to the first that is enough: what fails
    /// says why, and leaves nothing behind.
    @Suite(.serialized) struct DescriptorLimit {
        let path = StorePath()
        let otherPath = StorePath()

        private func tryUntilEnough(_ probe: ProbeProcess, _ attempt: (Int) throws -> String?) throws {
            for count in 0..<64 {
                _ = try probe.ask("leaveDescriptors \(count)")
                guard let failure = try attempt(count) else {
                    #expect(count > 0)
                    _ = try probe.ask("restoreDescriptors")
                    return
                }
                #expect(failure == "descriptorLimit", "with \(count) left")
            }
            Issue.record("never enough")
        }

        /// - Returns: the code of the failure, nil when there was none.
        private func failure(_ probe: ProbeProcess, _ command: String) throws -> String? {
            do { return try probe.failure(of: command) } catch let error as ProbeFailure {
                guard error.description.contains("did not fail") else { throw error }
                return nil
            }
        }

        @Test func ofAClientThatAttaches() throws {
            let host = try ProbeProcess.host("\(path)")
            let before = try HostReport(of: host)
            let client = try ProbeProcess()
            try tryUntilEnough(client) { _ in
                let failure = try failure(client, "attach \(path)")
                if failure != nil {
                    try waitUntil("the host forgets it", within: .seconds(2)) {
                        try HostReport(of: host).held == before.held
                    }
                }
                return failure
            }
            let id = try client.ask("put 1000")
            #expect(try host.ask("get \(id) 2000") == "1000 bytes, whole")
        }

        @Test func ofAClientThatUsesTheStore() throws {
            let host = try ProbeProcess.host("\(path)")
            let client = try ProbeProcess.client("\(path)")
            let id = try host.ask("put 3000000")
            _ = try client.ask("leaveDescriptors 0")
            #expect(try client.failure(of: "get \(id) 2000") == "descriptorLimit")
            #expect(try client.failure(of: "put 3000000") == "descriptorLimit")
            #expect(try HostReport(of: host)["pins"] == 0)
            _ = try client.ask("restoreDescriptors")
            #expect(try client.ask("get \(id) 2000") == "3000000 bytes, whole")
            let own = try client.ask("put 3000000")
            #expect(try host.ask("get \(own) 2000") == "3000000 bytes, whole")
        }

        @Test func ofAHost() throws {
            let host = try ProbeProcess.host("\(path)", mebibytes: 16)
            let client = try ProbeProcess.client("\(path)")
            let (mapped, unmapped) = (try host.ask("put 1000"), try host.ask("put 3000000"))
            #expect(try client.ask("get \(mapped) 2000") == "1000 bytes, whole")
            try waitUntil("all segments are there") { try HostReport(of: host)["segments"] == 64 }
            try tryUntilEnough(host) { count in
                #expect(try client.ask("get \(mapped) 2000") == "1000 bytes, whole")
                if count == 0 { #expect(try client.failure(of: "get \(unmapped) 2000") == "descriptorLimit") }
                return try failure(ProbeProcess(), "attach \(path)")
            }
            #expect(try client.ask("get \(unmapped) 2000") == "3000000 bytes, whole")
        }

        /// A host that can not begin leaves no descriptor, no thread and no socket.
        @Test(arguments: ["", "listen=127.0.0.1:0"])
        func ofAHostThatBegins(options: String) throws {
            let probe = try ProbeProcess.host("\(otherPath)")
            let before = try HostReport(of: probe)
            try tryUntilEnough(probe) { _ in try failure(probe, "hostAnother \(path) 16 \(options)") }
            try waitUntil("nothing is left") { try HostReport(of: probe).held == before.held }
            let isGone = unsafe access("\(path)", F_OK) != 0
            #expect(isGone)
        }
    }
}
