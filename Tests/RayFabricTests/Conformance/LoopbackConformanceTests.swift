// The conformance suite on the loopback transport, under both clocks.

import RayCore
import RayFabric
import Testing

@Suite(.serialized) struct LoopbackConformanceTests {
    @Test(arguments: ConformanceTest.allCases) func realTime(_ test: ConformanceTest) throws {
        try test.run(on: fixture(LoopbackNetwork()))
    }

    @Test(arguments: ConformanceTest.allCases) func virtualTime(_ test: ConformanceTest) throws {
        let network = LoopbackNetwork(clock: .virtual, seed: 7)
        network.setDelay(.microseconds(1) ... .microseconds(900))
        var fixture = fixture(network)
        fixture.usesRealTime = false
        try test.run(on: fixture)
    }

    private func fixture(_ network: LoopbackNetwork) -> TransportFixture<LoopbackTransport> {
        var fixture = TransportFixture<LoopbackTransport>(
            kind: .loopback,
            make: { configuration throws(FabricError) in try LoopbackTransport(configuration, network: network) },
            freshAddress: { .loopback(name: "") },
            deadAddress: { .loopback(name: "nobody") },
            now: { network.now })
        fixture.cut = { network.cut(between: $0, and: $1) }
        fixture.heal = { network.heal(between: $0, and: $1) }
        return fixture
    }
}
