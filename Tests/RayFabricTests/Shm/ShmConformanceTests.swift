// The conformance suite on the shm transport.

import CLinux
import RayCore
import RayFabric
import Testing

@Suite(.serialized) struct ShmConformanceTests {
    @Test(arguments: ConformanceTest.allCases) func conforms(_ test: ConformanceTest) throws {
        try test.run(on: shmFixture())
    }
}

func shmFixture() -> TransportFixture<ShmTransport> {
    TransportFixture<ShmTransport>(
        kind: .shm,
        make: { configuration throws(FabricError) in try ShmTransport(configuration) },
        freshAddress: { .unix(path: freshSocketPath()) },
        deadAddress: { .unix(path: freshSocketPath()) },
        now: { .now })
}

/// A path in /tmp that no other test and no other process uses.
func freshSocketPath() -> String {
    "/tmp/rayfabric-test-\(getpid())-\(UInt64.random(in: 0 ... .max)).sock"
}
