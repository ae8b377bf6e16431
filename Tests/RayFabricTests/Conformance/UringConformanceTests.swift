// The conformance suite on the io_uring transport.

import RayCore
import RayFabric
import Testing

@Suite(.serialized) struct UringConformanceTests {
    @Test(arguments: ConformanceTest.allCases) func realTime(_ test: ConformanceTest) throws {
        try test.run(
            on: TransportFixture<UringTransport>(
                kind: .uring,
                make: { configuration throws(FabricError) in try UringTransport(configuration: configuration) },
                freshAddress: { .tcp(host: "127.0.0.1", port: 0) },
                // The discard port, where no test machine listens.
                deadAddress: { .tcp(host: "127.0.0.1", port: 9) },
                now: { .now }))
    }
}
