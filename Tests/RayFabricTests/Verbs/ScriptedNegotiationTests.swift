// How two ends agree on a queue pair, and what becomes of the connection when that fails.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    @Suite struct ScriptedNegotiationTests {
        /// A device that dies while two ends agree leaves them with sockets, whenever it does.
        @Test(arguments: 1...20 as ClosedRange<UInt64>) func aDeviceDiesDuringTheNegotiation(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var random = SeededRandom(seed: seed)
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var left = Station(try fixture.make(fixture.configuration(1)))
                var right = Station(try fixture.make(fixture.configuration(2)))
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let connection = try left.endpoint.connect(to: address, deadline: .now + .seconds(10))
                try fixture.drive(&left, &right, "the handshake") { left, right in
                    !left.endpoint.rails.isEmpty || !right.endpoint.rails.isEmpty
                }
                for _ in 0..<Int.random(in: 0...8, using: &random) {
                    if random.chance(0.5) { left.drain(limit: 1) } else { right.drain(limit: 1) }
                }
                fabric.loseDevice(0)
                // Before its deadline, which would end the connection.
                try fixture.drive(&left, &right, "both ends", within: .seconds(3)) { left, right in
                    left.connected.count == 1 && right.connected.count == 1
                }
                #expect(try left.send([1], on: connection))
                try fixture.drive(&left, &right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }

        /// Who connects after the loss of a device has sockets.
        @Test func connectionsAfterALossGoBySockets() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 10))
            do {
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var pair = try fixture.pair()
                fabric.loseDevice(0)
                let second = try fixture.connect(&pair.left, to: &pair.right, at: pair.address)
                for (index, connection) in [pair.fromLeft, second.left].enumerated() {
                    #expect(try pair.left.send([UInt8(index)], on: connection))
                }
                try fixture.drive(&pair.left, &pair.right, "messages") { $1.messages.count == 2 }
            }
            fabric.expectClean()
        }

        /// A device that is found dead before the peer's offer has come.
        @Test func aDeviceDiesBeforeTheOfferComes() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 11))
            do {
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var left = try station(fixture, 1)
                var right = try station(fixture, 2)
                // The end that accepts is the first to know that the other one is who it says.
                try beginToConnect(&left, to: &right, fixture) { _, right in !right.endpoint.rails.isEmpty }
                fabric.loseDevice(1)
                try fixture.driveAlone(&right, "the loss") { $0.connected.count == 1 }
                // Before its deadline, which would end the connection.
                try fixture.drive(&left, &right, "the other end", within: .seconds(3)) { left, _ in
                    left.connected.count == 1
                }
                let connection = left.connected[0]
                #expect(try left.send([1], on: connection))
                try fixture.drive(&left, &right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }

        /// What the peer's answer brings between `poll` and `wait` is not slept over.
        @Test func aWaitHearsThePeer() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var left = try station(fixture, 1)
                var right = try station(fixture, 2)
                try beginToConnect(&left, to: &right, fixture) { left, _ in
                    left.endpoint.rails.all.first?.lane?.pair?.join.state == .connecting
                }
                // It accepts; nothing else happens for seconds.
                try fixture.driveAlone(&right, "the answer") { $0.endpoint.rails.all.contains(where: \.isConnected) }
                right.drain()
                let begun = Timestamp.now
                left.endpoint.wait(until: begun + .seconds(20))
                #expect(.now - begun < .seconds(2))
                try fixture.drive(&left, &right, "both ends") { $0.connected.count == 1 && $1.connected.count == 1 }
            }
            fabric.expectClean()
        }

        /// A transport without a reason of its own to wake up.
        private func station(
            _ fixture: TransportFixture<VerbsTransport>, _ node: UInt64
        ) throws -> Station<VerbsTransport> {
            var configuration = fixture.configuration(node)
            configuration.heartbeatInterval = .seconds(10)
            configuration.livenessTimeout = .seconds(30)
            return Station(try fixture.make(configuration))
        }

        /// Polls both ends by turns, once each.
        private func beginToConnect(
            _ left: inout Station<VerbsTransport>, to right: inout Station<VerbsTransport>,
            _ fixture: TransportFixture<VerbsTransport>,
            until isDone: (borrowing Station<VerbsTransport>, borrowing Station<VerbsTransport>) -> Bool
        ) throws {
            let address = try right.endpoint.listen(at: fixture.freshAddress())
            _ = try left.endpoint.connect(to: address, deadline: .now + .seconds(10))
            let end = Timestamp.now + .seconds(10)
            while !isDone(left, right) {
                guard .now < end else { throw Overdue(description: "the handshake") }
                left.drain(limit: 1)
                if isDone(left, right) { return }
                right.drain(limit: 1)
            }
        }
    }
#endif
