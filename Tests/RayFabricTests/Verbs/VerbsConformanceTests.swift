// The conformance suite on RDMA: runs where there is a device, in the guest of `make test-rdma`.

#if Verbs
    import RayCore
    import RayFabric
    import Testing

    let hasRDMADevice = RDMAPort.all().contains(where: \.isActive)

    @Suite(.serialized, .enabled(if: hasRDMADevice, "no RDMA device here: make test-rdma runs these in a guest"))
    struct VerbsConformanceTests {
        private static let host = Result { () throws(FabricError) in try RDMAPort.host() }

        @Test(arguments: ConformanceTest.allCases) func realTime(_ test: ConformanceTest) throws {
            try test.run(on: fixture())
        }

        /// One-sided operations are the device's, and its alone.
        @Test func operationsGoByRDMA() throws {
            let fixture = try fixture()
            var pair = try fixture.pair()
            let mine = TestMemory(4 << 20)
            let theirs = TestMemory(4 << 20)
            let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
            let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
            theirs.fill(1)
            // The peer tells of its memory when it is registered; a message behind that shows that it came.
            #expect(try pair.right.send([1], on: pair.fromRight))
            try fixture.drive(&pair.left, &pair.right, "a message", within: .seconds(20)) { left, _ in
                left.messages.count == 1
            }
            for token in 1...4 as ClosedRange<UInt64> {
                #expect(
                    try pair.left.endpoint.read(
                        LocationOf(remote, 0), into: LocationOf(local, 0), length: 4 << 20, on: pair.fromLeft,
                        token: token, deadline: .now + .seconds(20)))
                try fixture.drive(&pair.left, &pair.right, "read \(token)", within: .seconds(20)) { left, _ in
                    left.completions.count == Int(token)
                }
            }
            #expect(pair.left.completions.allSatisfy { $0.failure == nil })
            #expect(mine.differences(1, 0..<(4 << 20), sourceOffset: 0) == 0)
            #expect(
                try pair.left.write(
                    LocationOf(local, 0), to: LocationOf(remote, 0), 1 << 20, notification: 9, on: pair.fromLeft,
                    token: 5))
            try fixture.drive(&pair.left, &pair.right, "a write", within: .seconds(20)) { left, right in
                left.completions.count == 5 && right.notifications.count == 1
            }
            let statistics = pair.left.endpoint.statistics
            #expect(statistics.railOperations == 5 && statistics.railsLost == 0)
        }

        private func fixture() throws -> TransportFixture<VerbsTransport> {
            let host = try Self.host.get()
            return TransportFixture<VerbsTransport>(
                kind: .verbs,
                make: { configuration throws(FabricError) in
                    // Showing a gigabyte to two emulated devices takes minutes; scripted ones do that in `make test`.
                    var configuration = configuration
                    configuration.rdmaPorts = 1
                    return try VerbsTransport(configuration: configuration, policy: .required)
                },
                freshAddress: { .tcp(host: host, port: 0) },
                deadAddress: { .tcp(host: host, port: 9) },
                now: { .now })
        }
    }
#endif
