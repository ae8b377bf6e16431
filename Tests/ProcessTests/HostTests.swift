// The host dies or stops, and a second one wants its place.

import CLinux
import RayCore
import RayFabric
import Testing

extension ProcessTests {
    @Suite(.serialized) struct LostHost {
        let path = StorePath()

        @Test func everyCallSaysSo() throws {
            let host = try ProbeProcess.host("\(path)")
            let client = try ProbeProcess.client("\(path)")
            let held = try client.ask("put 300000")
            #expect(try client.ask("hold \(held) 2000") == "300000 bytes, whole")
            let draft = try client.ask("create 5000")
            let never = try host.ask("create 1000")
            let blocked = try client.begin("get \(never) 60000")
            let suspended = try client.begin("getAsynchronously \(never) 60000")
            try waitUntil("get sleeps") { client.isAsleep(blocked) }
            host.kill()
            #expect(try client.failure(of: blocked, within: .seconds(2)) == "hostLost")
            #expect(try client.failure(of: suspended, within: .seconds(2)) == "hostLost")
            // A view that is held stays; memory that was granted can still be written, for nobody.
            #expect(try client.ask("check \(held)") == "300000 bytes, whole")
            _ = try client.ask("fill \(draft)")
            for call in [
                "seal \(draft)", "get \(held) 1000", "hold \(held) 1000", "put 10", "put 1000000", "create 10",
                "contains \(held)", "contains \(never)", "delete \(held)", "report",
            ] { #expect(try client.failure(of: call) == "hostLost", "\(call)") }
            let late = try client.begin("getAsynchronously \(held) 1000")
            #expect(try client.failure(of: late, within: .seconds(2)) == "hostLost")
            _ = try client.ask("release")
        }

        @Test func aSecondHostIsRefusedUntilTheFirstIsDead() throws {
            let host = try ProbeProcess.host("\(path)")
            let id = try host.ask("put 1000")
            let second = try ProbeProcess()
            #expect(try second.failure(of: "host \(path) 64") == "hostExists")
            #expect(try second.failure(of: "host \(path) 64 listen=127.0.0.1:0") == "hostExists")
            let client = try ProbeProcess.client("\(path)")
            #expect(try client.ask("get \(id) 2000") == "1000 bytes, whole")
            host.kill()
            let stranded = try ProbeProcess()
            #expect(try stranded.failure(of: "attach \(path)") == "connectionRefused")
            _ = try second.ask("host \(path) 64")
            let descriptors = try HostReport(of: second)["descriptors"]
            #expect(try client.failure(of: "get \(id) 2000") == "hostLost")
            let other = try ProbeProcess.client("\(path)")
            let new = try other.ask("put 1000")
            #expect(try second.ask("get \(new) 2000") == "1000 bytes, whole")
            #expect(try other.failure(of: "get \(id) 1") == "deadlineExceeded")
            // What was refused has left nothing behind.
            for _ in 0..<5 { #expect(try second.failure(of: "hostAnother \(path) 64") == "hostExists") }
            other.kill()
            try waitUntil("descriptors are back") { try HostReport(of: second)["descriptors"] == descriptors }
        }

        /// What a store that can not begin says, and that it leaves alone what is not its own.
        @Test func pathsThatCanNotBe() throws {
            let probe = try ProbeProcess()
            let long = "/tmp/" + String(repeating: "a", count: 103)
            #expect(try probe.failure(of: "host \(long) 64") == "addressInvalid")
            #expect(try probe.failure(of: "attach \(long)") == "addressInvalid")
            #expect(try probe.failure(of: "host /tmp/fabric-none/store 64") == "addressInvalid")
            #expect(try probe.failure(of: "attach /tmp/fabric-none/store") == "connectionRefused")
            let file = unsafe fopen("\(path)", "w")
            try #require(unsafe file != nil && fclose(file) == 0)
            #expect(try probe.failure(of: "host \(path) 64") == "addressInUse")
            let isThere = unsafe access("\(path)", F_OK) == 0
            #expect(isThere)
            #expect(try probe.failure(of: "attach \(path)") == "connectionRefused")
        }

        @Test func anotherProgramsSocketIsLeftAlone() throws {
            let listener = try UnixSocket.listen(at: "\(path)", mode: 0o600)
            let probe = try ProbeProcess()
            #expect(try probe.failure(of: "host \(path) 64") == "addressInUse")
            _ = try UnixSocket.connect(to: "\(path)")
            _ = consume listener
            _ = try probe.ask("host \(path) 64")
        }
    }

    @Suite(.serialized) struct StoppedProcess {
        let path = StorePath()

        /// A client that does not run holds what it holds and disturbs nobody.
        @Test func client() throws {
            let host = try ProbeProcess.host("\(path)")
            let (stopped, other) = (try ProbeProcess.client("\(path)"), try ProbeProcess.client("\(path)"))
            let held = try other.ask("put 100000")
            _ = try stopped.ask("hold \(held) 2000")
            let draft = try stopped.ask("create 1000")
            _ = try stopped.ask("fill \(draft)")
            let blocked = try stopped.begin("get \(draft) 60000")
            stopped.stop()
            _ = try other.ask("delete \(held)")
            let id = try other.ask("put 3000000")
            #expect(try host.ask("get \(id) 2000") == "3000000 bytes, whole")
            #expect(try HostReport(of: host)["deleted"] == 1)
            stopped.resume()
            #expect(try stopped.ask("check \(held)") == "100000 bytes, whole")
            _ = try stopped.ask("seal \(draft)")
            #expect(try stopped.reply(to: blocked, within: .seconds(2)) == "1000 bytes, whole")
            _ = try stopped.ask("release")
            #expect(try HostReport(of: host)["deleted"] == 0)
        }

        /// No call waits for ever for a host that does not run, and none is lost when it goes on.
        @Test func host() throws {
            let host = try ProbeProcess.host("\(path)")
            let (client, other) = (try ProbeProcess.client("\(path)"), try ProbeProcess.client("\(path)"))
            // Never mapped by the client: only the host can give it this memory.
            let unmapped = try other.ask("put 3000000")
            let own = try client.ask("put 1000")
            let deleted = try client.ask("put 1000")
            let never = try other.ask("create 10")
            #expect(try client.ask("get \(own) 2000") == "1000 bytes, whole")
            host.stop()
            #expect(try client.ask("get \(own) 100") == "1000 bytes, whole")
            let started = Timestamp.now
            #expect(try client.failure(of: "get \(never) 100") == "deadlineExceeded")
            let suspended = try client.begin("getAsynchronously \(never) 100")
            #expect(try client.failure(of: suspended, within: .seconds(10)) == "deadlineExceeded")
            #expect(try client.failure(of: "get \(unmapped) 100") == "deadlineExceeded")
            let mapping = try client.begin("getAsynchronously \(unmapped) 100")
            #expect(try client.failure(of: mapping, within: .seconds(10)) == "deadlineExceeded")
            _ = try client.ask("delete \(deleted)")
            #expect(try client.failure(of: "get \(own) 100") == "deadlineExceeded")
            #expect(Timestamp.now - started < .seconds(9))
            host.resume()
            #expect(try client.ask("get \(unmapped) 2000") == "3000000 bytes, whole")
            #expect(try client.ask("get \(own) 2000") == "1000 bytes, whole")
            #expect(try client.ask("contains \(deleted)") == "no")
            #expect(try client.ask("put 1000000") != "")
            _ = try client.ask("release")
            #expect(try HostReport(of: host)["pins"] == 0)
        }

        /// One that only asks what the host knows is told that it does not answer.
        @Test func attachingToAStoppedHost() throws {
            let host = try ProbeProcess.host("\(path)")
            let client = try ProbeProcess.client("\(path)")
            let stranger = try ProbeProcess()
            host.stop()
            let attach = try stranger.begin("attach \(path)")
            let report = try client.begin("report")
            #expect(try stranger.failure(of: attach, within: .seconds(15)) == "peerUnresponsive")
            #expect(try client.failure(of: report, within: .seconds(15)) == "peerUnresponsive")
            host.resume()
            #expect(try client.ask("report").hasPrefix("objects=0 "))
            _ = try stranger.ask("attach \(path)")
        }
    }
}
