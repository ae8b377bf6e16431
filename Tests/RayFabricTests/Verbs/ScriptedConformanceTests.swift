// The conformance suite on RDMA, with devices of the test's own: runs everywhere.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    extension ScriptedFabric {
        /// Transports on this fabric that listen at `host`.
        /// - Parameter ports: how many a connection may use.
        func fixture(
            _ policy: RDMAPolicy, host: String = "127.0.0.1", ports: Int = 1
        ) -> TransportFixture<VerbsTransport> {
            TransportFixture<VerbsTransport>(
                kind: .verbs,
                make: { configuration throws(FabricError) in
                    var configuration = configuration
                    configuration.rdmaPorts = ports
                    return try VerbsTransport(configuration: configuration, policy: policy, provider: self.provider)
                },
                freshAddress: { .tcp(host: host, port: 0) },
                deadAddress: { .tcp(host: host, port: 9) },
                now: { .now })
        }

        /// The transports are gone and have used the devices well.
        func expectClean(_ location: SourceLocation = #_sourceLocation) {
            #expect(existing == .none, "something is left", sourceLocation: location)
            #expect(complaints == [], sourceLocation: location)
            #expect(notReady == 0, "a message found no receive", sourceLocation: location)
        }
    }

    @Suite(.serialized) struct ScriptedConformanceTests {
        /// Devices that take their time, and finish in an order that the seed decides.
        @Test(arguments: ConformanceTest.allCases) func late(_ test: ConformanceTest) throws {
            let fabric = ScriptedFabric(pace: .late(seed: 7))
            try test.run(on: fabric.fixture(.required))
            fabric.expectClean()
        }

        /// Connections that spread their operations over two devices at each end.
        @Test(arguments: ConformanceTest.allCases) func twoPaths(_ test: ConformanceTest) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 8))
            try test.run(on: fabric.fixture(.required, host: "127.0.0.2", ports: 2))
            fabric.expectClean()
        }

        /// Devices that are done before a call returns.
        @Test(
            arguments: ConformanceTest.allCases.filter {
                [
                    .messageSizes, .messageOrder, .messagesBothWays, .backpressure, .transferSizes, .manyOperations,
                    .operationLimit, .finishCompletesOperations, .closeWithOperations, .twoThreads,
                ].contains($0)
            })
        func atOnce(_ test: ConformanceTest) throws {
            let fabric = ScriptedFabric(devices: 2)
            try test.run(on: fabric.fixture(.required, host: "127.0.0.2"))
            fabric.expectClean()
        }
    }
#endif
