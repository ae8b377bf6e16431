// Two nodes, of which one dies, stops, or is none of ours.

import CLinux
import RayCore
import RayFabric
import Testing

private let key = "the-key-of-these-tests"

/// A node of its own process, which listens on loopback.
private func node(_ path: StorePath, mebibytes: Int = 512, _ options: String = "") throws -> ProbeProcess {
    try .host("\(path)", mebibytes: mebibytes, "listen=127.0.0.1:0 \(options.isEmpty ? "key=\(key)" : options)")
}

extension ProcessTests {
    @Suite(.serialized) struct Pull {
        let path = StorePath()
        let sourcePath = StorePath()
        /// Long enough to be under way for a while.
        static let size = 256 << 20

        /// Begins a pull and calls `event` in its middle, while the puller stands still.
        private func pull(
            _ id: String, by puller: ProbeProcess, milliseconds: Int, event: () -> Void
        ) throws -> String {
            let get = try puller.begin("get \(id) \(milliseconds)")
            let middle = try puller.send("stopWhenPulled \(16 << 20)", inBackground: false)
            try puller.awaitStop()
            event()
            puller.resume()
            _ = try puller.reply(to: middle, within: .seconds(5))
            return get
        }

        /// No half object, and no memory that is held for one.
        private func expectNothingLeft(_ puller: ProbeProcess) throws {
            try waitUntil("the pull is forgotten") {
                let report = try HostReport(of: puller)
                return report["objects"] == 0 && report["secondary"] == 0 && report["pins"] == 0
            }
            // The draft goes back a moment after the get has failed.
            try waitUntil("its memory is free") { (try? puller.ask("reserve \(512 << 20)")) != nil }
        }

        @Test func theSourceIsKilled() throws {
            let (puller, source) = (try node(path), try node(sourcePath))
            let before = try HostReport(of: puller)
            _ = try puller.ask("connect \(source.ask("address")) 5000")
            let id = try source.ask("put \(Self.size)")
            let get = try pull(id, by: puller, milliseconds: 20_000) { source.kill() }
            // Before the system has taken down the dead node's ring, a connection may begin and be lost.
            let code = try puller.failure(of: get, within: .seconds(21))
            #expect(["connectionRefused", "connectionLost"].contains(code), "\(code)")
            try expectNothingLeft(puller)
            try waitUntil("descriptors are back") { try HostReport(of: puller).held == before.held }
        }

        @Test func theSourceStopsAndGoesOn() throws {
            let (puller, source) = (try node(path), try node(sourcePath))
            _ = try puller.ask("connect \(source.ask("address")) 5000")
            let id = try source.ask("put \(Self.size)")
            let late = try pull(id, by: puller, milliseconds: 1000) { source.stop() }
            #expect(try puller.failure(of: late, within: .seconds(5)) == "deadlineExceeded")
            let get = try puller.begin("get \(id) 20000")
            source.resume()
            #expect(try puller.reply(to: get, within: .seconds(21)) == "\(Self.size) bytes, whole")
        }

        /// The owner is gone, two others have copies; the one that is asked dies in the middle.
        @Test func anotherSourceTakesOver() throws {
            let (puller, owner) = (try node(path), try node(sourcePath, "key=\(key) node=9"))
            let paths = [StorePath(), StorePath()]
            let copies = [try node(paths[0], "key=\(key) node=1"), try node(paths[1], "key=\(key) node=2")]
            let id = try owner.ask("put \(Self.size)")
            for copy in copies {
                _ = try copy.ask("connect \(owner.ask("address")) 5000")
                #expect(try copy.ask("get \(id) 20000") == "\(Self.size) bytes, whole")
                _ = try puller.ask("connect \(copy.ask("address")) 5000")
            }
            owner.kill()
            let get = try pull(id, by: puller, milliseconds: 20_000) { copies[0].kill() }
            #expect(try puller.reply(to: get, within: .seconds(21)) == "\(Self.size) bytes, whole")
            #expect(try HostReport(of: puller)["objects"] == 1)
        }
    }

    @Suite(.serialized) struct Strangers {
        let path = StorePath()
        let otherPath = StorePath()

        /// What the node does for its peers must not suffer: connects one, and pulls.
        private func expectService(_ node: ProbeProcess) throws {
            let id = try node.ask("put 2000000")
            let peer = try ProcessTests.peer(otherPath)
            _ = try peer.ask("connect \(node.ask("address")) 5000")
            #expect(try peer.ask("get \(id) 5000") == "2000000 bytes, whole")
        }

        @Test func whoDoNotSpeakTheProtocol() throws {
            let node = try node(path, mebibytes: 64)
            let address = try Address(parsing: node.ask("address"))
            let before = try HostReport(of: node)
            var random = SeededRandom(seed: 5)
            let noise = (0..<20).map { _ in
                (0..<Int.random(in: 1...3000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            for bytes in [Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)] + noise {
                let stranger = try TCPStranger(to: address)
                stranger.send(bytes)
                #expect(stranger.isClosed(within: .seconds(8)))
            }
            try waitUntil("the node forgets them") { try HostReport(of: node).held == before.held }
            try expectService(node)
        }

        /// Silence takes a place of those who have not proven themselves, and not for long.
        @Test func whoSayNothing() throws {
            let node = try node(path, mebibytes: 64, "key=\(key) halfOpen=4")
            let address = try Address(parsing: node.ask("address"))
            let before = try HostReport(of: node)
            let silent = try (0..<12).map { _ in try TCPStranger(to: address) }
            try waitUntil("those over the limit are closed") { silent.count { $0.isClosed(within: .zero) } >= 8 }
            try waitUntil("all are closed") { silent.allSatisfy { $0.isClosed(within: .zero) } }
            try waitUntil("the node forgets them") { try HostReport(of: node).held == before.held }
            try expectService(node)
        }

        @Test func whoHaveAnotherKey() throws {
            let node = try node(path, mebibytes: 64)
            let stranger = try ProbeProcess.host("\(otherPath)", "listen=127.0.0.1:0 key=another-key-of-16-bytes")
            #expect(try stranger.failure(of: "connect \(node.ask("address")) 5000") == "authenticationFailed")
            stranger.kill()
            try expectService(node)
        }
    }

    @Suite(.serialized) struct Addresses {
        let path = StorePath()
        let otherPath = StorePath()

        @Test func thatDoNotLeadAnywhere() throws {
            let probe = try node(path, mebibytes: 16)
            let address = try probe.ask("address")
            let other = try ProbeProcess()
            #expect(try other.failure(of: "host \(otherPath) 16 listen=\(address)") == "addressInUse")
            #expect(try other.failure(of: "host \(otherPath) 16 listen=192.0.2.1:0 key=\(key)") == "addressInvalid")
            #expect(try other.failure(of: "host \(otherPath) 16 listen=0.0.0.0:0") == "keyRequired")
            _ = try other.ask("host \(otherPath) 16 listen=127.0.0.1:0 key=\(key)")
            let gone = try other.ask("address")
            other.kill()
            // Until the system has taken down the dead node's ring, a connection may begin and be lost.
            try waitUntil("nobody listens") {
                let code = try probe.failure(of: "connect \(gone) 5000")
                #expect(["connectionRefused", "connectionLost"].contains(code), "\(code)")
                return code == "connectionRefused"
            }
            #expect(try probe.failure(of: "connect no-such-host.invalid:1 20000") == "hostNotFound")
            #expect(try probe.failure(of: "connect nonsense 1000") == "addressInvalid")
        }
    }

    fileprivate static func peer(_ path: StorePath) throws -> ProbeProcess { try node(path, mebibytes: 64) }
}

/// A TCP connection that follows no protocol.
private final class TCPStranger {
    private let socket: FileDescriptor

    init(to address: Address) throws {
        guard case .tcp(_, let port) = address else { throw ProbeFailure(description: "\(address) is not TCP") }
        socket = FileDescriptor(owning: CLinux.socket(AF_INET, RF_SOCK_STREAM | RF_SOCK_CLOEXEC, 0))
        var storage = sockaddr_storage()
        unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            unsafe bytes.storeBytes(of: name, as: sockaddr_in.self)
        }
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        guard unsafe rf_connect(socket.number, &storage, length) == 0 else {
            throw ProbeFailure(description: "connect to \(address): errno \(rf_errno())")
        }
    }

    /// Does not mind if the other end is gone.
    func send(_ bytes: [UInt8]) { unsafe _ = rf_send(socket.number, bytes, bytes.count) }

    /// Whether the other end has closed the connection; skips what it sent.
    func isClosed(within limit: Duration) -> Bool {
        let deadline = Timestamp.now + limit
        while true {
            guard rf_wait_readable(socket.number, max(0, (deadline - .now).saturatedNanoseconds)) > 0 else {
                return false
            }
            var bytes = [UInt8](repeating: 0, count: 4096)
            if unsafe rf_receive(socket.number, &bytes, bytes.count) <= 0 { return true }
        }
    }
}
