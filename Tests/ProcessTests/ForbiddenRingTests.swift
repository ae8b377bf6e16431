// Where io_uring is forbidden: an error, or nio where the configuration allows it.

import RayFabric
import Testing

extension ProcessTests {
    @Test func aForbiddenRingIsAnErrorUnlessAFallbackIsAllowed() throws {
        let (path, otherPath) = (StorePath(), StorePath())
        let probe = try ProbeProcess()
        _ = try probe.ask("forbidIOUring")
        #expect(try probe.failure(of: "host \(path) 16 listen=127.0.0.1:0") == "ioUringForbidden")
        #expect(try probe.ask("log") == "")

        // The path is free again, and the second start says what it fell back to.
        _ = try probe.ask("host \(path) 16 listen=127.0.0.1:0 fallback=yes")
        #expect(try probe.ask("log").contains("io_uring is forbidden here, using nio instead"))

        // And it works: a node with io_uring pulls from it.
        let id = try probe.ask("put 3000000")
        let other = try ProbeProcess.host("\(otherPath)", mebibytes: 16, "listen=127.0.0.1:0")
        _ = try other.ask("connect \(probe.ask("address")) 10000")
        #expect(try other.ask("get \(id) 10000") == "3000000 bytes, whole")
    }
}
