// The conformance suite on the io_uring transport.

import RayCore
import RayFabric
import Testing

@Suite(.serialized) struct UringConformanceTests {
    @Test(arguments: ConformanceTest.allCases) func realTime(_ test: ConformanceTest) throws {
        try run(test, withoutCopy: false)
    }

    /// Sends without a copy, which the kernel only pretends on loopback: everything but the speed is real.
    @Test(
        arguments: ConformanceTest.allCases.filter {
            [
                .transferSizes, .gibibyte, .severalRegions, .staleKey, .manyOperations, .peerDeath,
                .closeWithOperations,
                .cancelRead, .cancelWrite, .readDeadline, .writeDeadline, .cutAndHealed, .unresponsivePeer,
            ].contains($0)
        })
    func withoutCopy(_ test: ConformanceTest) throws { try run(test, withoutCopy: true) }

    /// Which sends are without a copy: none within one machine unless a test asks for it.
    @Test(arguments: [false, true]) func sendsWithoutCopy(_ isForced: Bool) throws {
        let fixture = fixture(withoutCopy: isForced)
        var pair = try fixture.pair()
        let memory = TestMemory(8 << 20)
        let local = try unsafe pair.left.endpoint.register(memory.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(memory.buffer, access: .read)
        // Lanes open during the first reads.
        for token in 1...8 as ClosedRange<UInt64> {
            #expect(
                try pair.left.endpoint.read(
                    LocationOf(remote, 0), into: LocationOf(local, 4 << 20), length: 4 << 20, on: pair.fromLeft,
                    token: token, deadline: .now + .seconds(20)))
            try fixture.drive(&pair.left, &pair.right, "read \(token)", within: .seconds(20)) { left, _ in
                left.completions.count == Int(token)
            }
        }
        guard isForced else {
            let statistics = pair.right.endpoint.statistics
            #expect(statistics.zeroCopySends == 0 && statistics.zeroCopyCopied == 0)
            return
        }
        try fixture.drive(&pair.left, &pair.right, "a notice", within: .seconds(20)) { _, right in
            let statistics = right.endpoint.statistics
            return statistics.zeroCopySends + statistics.zeroCopyCopied > 0
        }
    }

    private func run(_ test: ConformanceTest, withoutCopy: Bool) throws {
        try test.run(on: fixture(withoutCopy: withoutCopy))
    }

    private func fixture(withoutCopy: Bool) -> TransportFixture<UringTransport> {
        TransportFixture<UringTransport>(
            kind: .uring,
            make: { configuration throws(FabricError) in
                var transport = try UringTransport(configuration: configuration)
                transport.forcesZeroCopy = withoutCopy
                return transport
            },
            freshAddress: { .tcp(host: "127.0.0.1", port: 0) },
            // The discard port, where no test machine listens.
            deadAddress: { .tcp(host: "127.0.0.1", port: 9) },
            now: { .now })
    }
}
