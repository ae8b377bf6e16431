// What becomes of a connection when its queue pairs can not be connected, and who is let in.

#if Verbs
    import CVerbs
    import RayCore
    import Testing

    @testable import RayFabric

    @Suite struct ScriptedJoinTests {
        /// A station whose transport tells the log what it loses.
        private func station(
            _ fixture: TransportFixture<VerbsTransport>, _ node: UInt64, _ log: TestLog = TestLog()
        ) throws -> Station<VerbsTransport> {
            var configuration = fixture.configuration(node)
            configuration.log = { log.add($0) }
            return Station(try fixture.make(configuration))
        }

        /// What the log says of a fault; nil where nothing is lost that there was.
        private static func reason(_ fault: ScriptedJoinFault) -> String {
            switch fault {
            case .noChannel: "open the RDMA connection manager (modprobe rdma_ucm)"
            case .noIdentifier: "make an identifier of the connection manager"
            case .noBinding: "bind the connection manager to 127.0.0.2"
            case .noListening: "let the connection manager listen at 127.0.0.2"
            case .address: "finds no way to the peer's address, status -19"
            case .noAddressCall: "resolve the address of the peer's RDMA port"
            case .route: "finds no route to the peer, status -110"
            case .noRouteCall: "resolve the route to the peer's RDMA port"
            case .refused: "the peer's connection manager has refused, reason 8"
            case .unreachable: "the peer's connection manager does not answer, status -110"
            case .silent: "the connection manager did not connect it in time"
            case .wrongQuestion: "the peer's connection manager has refused, reason 28"
            case .wrongAnswer: "who answers at the peer's port does not know the token"
            case .noConnecting: "connect to the peer's RDMA port"
            case .noAccepting: "accept the peer's queue pair"
            case .noEstablishing: "tell the peer that its queue pair is connected"
            case .noAttributes: "ask how to connect a queue pair"
            case .otherDevice: "the peer is reached by another port than that of the connection"
            }
        }

        /// Both ends have sockets, know why, and connect by RDMA when it works again.
        @Test(arguments: ScriptedJoinFault.allCases, [ScriptedPace.atOnce, .late(seed: 3)])
        func socketsTakeOver(_ fault: ScriptedJoinFault, _ pace: ScriptedPace) throws {
            let fabric = ScriptedFabric(devices: 2, pace: pace)
            let log = TestLog()
            do {
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var left = try station(fixture, 1, log)
                var right = try station(fixture, 2, log)
                left.endpoint.joiningTime = fault == .silent ? .milliseconds(200) : .seconds(20)
                fabric.failJoins(fault)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let first = try fixture.connect(&left, to: &right, at: address)
                #expect(try left.send([1], on: first.left))
                try fixture.drive(&left, &right, "a message by sockets") { $1.messages == [[1]] }
                #expect(left.endpoint.rails.all.allSatisfy { $0.state == .absent })
                #expect(log.all.contains { $0.contains(Self.reason(fault)) }, "\(log.all)")
                #expect(left.endpoint.statistics.railsLost + right.endpoint.statistics.railsLost > 0)
                fabric.failJoins(nil)
                let second = try fixture.connect(&left, to: &right, at: address)
                #expect(left.endpoint.rails[second.left]?.state == .open)
                #expect(try left.send([2], on: second.left))
                try fixture.drive(&left, &right, "a message by RDMA") { $1.messages == [[1], [2]] }
            }
            fabric.expectClean()
        }

        /// No connection without RDMA.
        @Test(arguments: ScriptedJoinFault.allCases) func requiredIsAnError(_ fault: ScriptedJoinFault) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 4))
            let log = TestLog()
            do {
                let fixture = fabric.fixture(.required, host: "127.0.0.2")
                var left = try station(fixture, 1, log)
                var right = try station(fixture, 2, log)
                left.endpoint.joiningTime = fault == .silent ? .milliseconds(200) : .seconds(20)
                fabric.failJoins(fault)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let connection = try left.endpoint.connect(to: address, deadline: .now + .seconds(10))
                try fixture.drive(&left, &right, "the end") { left, _ in left.closure(connection) != nil }
                #expect(left.closure(connection)?.code == .rdmaUnavailable)
                #expect(left.connected.isEmpty && right.connected.isEmpty)
                #expect(log.all.contains { $0.contains(Self.reason(fault)) }, "\(log.all)")
            }
            fabric.expectClean()
        }

        /// A machine without the library goes by sockets, and says what to install.
        @Test func withoutTheLibrary() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let provider = VerbsProvider(
                    library: { () throws(FabricError) in
                        throw FabricError(.rdmaUnavailable, "librdmacm.so.1 is not installed")
                    }, ports: fabric.provider.ports)
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                #expect(
                    code {
                        _ = try VerbsTransport(
                            configuration: fixture.configuration(1), policy: .required, provider: provider)
                    } == .rdmaUnavailable)
                let uses = RDMAPortUse.all(of: provider)
                #expect(uses.count == 2)
                #expect(uses.allSatisfy { $0.obstacle?.description.contains("librdmacm.so.1 is not") == true })
                var left = Station(
                    try VerbsTransport(
                        configuration: fixture.configuration(1), policy: .automatic, provider: provider))
                var right = Station(try fixture.make(fixture.configuration(2)))
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let connection = try fixture.connect(&left, to: &right, at: address)
                #expect(try left.send([1], on: connection.left))
                try fixture.drive(&left, &right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }

        /// Each port is tried as a connection would use it.
        @Test(arguments: [ScriptedJoinFault.noChannel, .noBinding, .noListening])
        func listsSayWhatIsMissing(_ fault: ScriptedJoinFault) throws {
            let fabric = ScriptedFabric(devices: 1)
            #expect(RDMAPortUse.all(of: fabric.provider).allSatisfy { $0.obstacle == nil })
            fabric.failJoins(fault)
            let obstacle = try #require(RDMAPortUse.all(of: fabric.provider).first?.obstacle)
            #expect(obstacle.description.contains(Self.reason(fault).prefix(24)), "\(obstacle)")
            fabric.expectClean()
        }

        // MARK: Who is let in

        /// Connects to the port that the right end listens at, as somebody who knows its number.
        /// - Returns: what the connection manager says in the end.
        private func knock(
            _ fabric: ScriptedFabric, _ right: inout Station<VerbsTransport>, showing token: RailToken
        ) throws -> String? {
            let manager = try ConnectionManager(of: fabric.provider)
            let stranger = try ManagedIdentifier(of: manager, name: PairName(rail: 9, place: .messages))
            let port = try #require(fabric.provider.recentPorts().last?.ownIdentifier?.railPort)
            let own = try #require(fabric.provider.recentPorts().first?.ownIdentifier?.railPort)
            try stranger.resolve(
                SocketAddress(port, service: fabric.listeningService, scope: 0),
                from: SocketAddress(own, service: 0, scope: 0))
            let end = Timestamp.now + .seconds(10)
            while Timestamp.now < end {
                right.drain(limit: 1)
                guard case .report(let report) = manager.next() else { continue }
                switch report.kind {
                case .addressResolved: try stranger.resolveRoute()
                case .routeResolved: try stranger.connect(77, showing: token, ReadLimits(served: 1, asked: 1))
                case .failed(let reason): return reason
                default: return nil
                }
            }
            throw Overdue(description: "an answer")
        }

        private static let refusal = "the peer's connection manager has refused, reason 28"

        @Test(arguments: 1...3 as ClosedRange<UInt64>) func strangersAreRefused(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var pair = try fabric.fixture(.required, host: "127.0.0.2").pair()
                let pairs = fabric.existing.pairs
                #expect(try knock(fabric, &pair.right, showing: RailToken()) == Self.refusal)
                // Tokens are good once.
                let rail = try #require(pair.right.endpoint.rails.all.first)
                for known in [rail.lane?.pair, rail.paths.first?.pair] {
                    let token = try #require(known?.invitation?.question)
                    #expect(try knock(fabric, &pair.right, showing: token) == Self.refusal)
                }
                #expect(fabric.existing.pairs == pairs && rail.state == .open)
                #expect(try pair.left.send([1], on: pair.fromLeft))
                try fabric.fixture(.required).drive(&pair.left, &pair.right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }

        /// What an earlier incarnation was told is of no use to a later one, nor to anybody else.
        @Test func tokensEndWithTheirConnection() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let fixture = fabric.fixture(.required, host: "127.0.0.2")
                var left = try station(fixture, 1)
                var right = try station(fixture, 2)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                // The token is not used before that.
                fabric.failJoins(.silent)
                _ = try left.endpoint.connect(to: address, deadline: .now + .seconds(10))
                try fixture.drive(&left, &right, "the invitation") { left, _ in
                    left.endpoint.rails.all.first?.isJoining == true
                }
                let first = try #require(right.endpoint.rails.all.first)
                let token = try #require(first.lane?.pair?.invitation?.question)
                #expect(first.lane?.pair?.join.state == .invited)
                fabric.failJoins(nil)
                var again = Station(try fixture.make(fixture.configuration(1, incarnation: 2)))
                let connection = try fixture.connect(&again, to: &right, at: address)
                #expect(right.endpoint.rails[first.connection] == nil)
                #expect(try knock(fabric, &right, showing: token) == Self.refusal)
                #expect(right.endpoint.rails[connection.right]?.state == .open)
            }
            fabric.expectClean()
        }

        // MARK: Half way

        /// The peer goes away in the middle: the connection ends, and nothing is left.
        @Test(arguments: 1...10 as ClosedRange<UInt64>, [true, false])
        func thePeerDisappears(seed: UInt64, isRight: Bool) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var random = SeededRandom(seed: seed)
                let fixture = fabric.fixture(.automatic, host: "127.0.0.2")
                var left = try station(fixture, 1)
                var right = try station(fixture, 2)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                _ = try left.endpoint.connect(to: address, deadline: .now + .seconds(10))
                try fixture.drive(&left, &right, "the handshake") { left, right in
                    !left.endpoint.rails.isEmpty && !right.endpoint.rails.isEmpty
                }
                for _ in 0..<Int.random(in: 0...8, using: &random) {
                    if random.chance(0.5) { left.drain(limit: 1) } else { right.drain(limit: 1) }
                }
                if isRight {
                    _ = consume right
                    try fixture.driveAlone(&left, "the end") { $0.endpoint.rails.isEmpty }
                } else {
                    _ = consume left
                    try fixture.driveAlone(&right, "the end") { $0.endpoint.rails.isEmpty }
                }
            }
            fabric.expectClean()
        }

        /// The connection manager is the first to know that a device goes, or its address, or the peer's end.
        @Test(
            arguments: [RDMA_CM_EVENT_DEVICE_REMOVAL, RDMA_CM_EVENT_ADDR_CHANGE, RDMA_CM_EVENT_DISCONNECTED].map(
                \.rawValue))
        func whatItTellsLaterEndsTheQueuePairs(_ type: UInt32) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 5))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                var started = try traffic.start(0..<20)
                fabric.tellIdentifiers(ofDevice: 0, rdma_cm_event_type(rawValue: type))
                try traffic.drive("the loss") { $0.left.endpoint.statistics.railsLost == 1 }
                started += try traffic.start(20..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                traffic.expectEnded(started)
                #expect(try traffic.left.send([1], on: traffic.fromLeft))
                try traffic.drive("a message") { $0.messagesOfRight == [[1]] }
            }
            fabric.expectClean()
        }

        /// A further path that can not be connected is done without.
        @Test func aPathThatCanNotBeConnected() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 6))
            do {
                fabric.failJoins(.refused, ofDevice: 1)
                let fixture = fabric.fixture(.required, host: "127.0.0.2", ports: 2)
                var left = try station(fixture, 1)
                var right = try station(fixture, 2)
                // It is told, and does not wait for its own time to end.
                right.endpoint.joiningTime = .seconds(60)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let connection = try fixture.connect(&left, to: &right, at: address)
                try fixture.drive(&left, &right, "the end of the path") { left, right in
                    left.endpoint.rails.all.first?.path(1)?.state == .gone
                        && right.endpoint.rails.all.first?.path(1)?.state == .gone
                }
                #expect(left.endpoint.openPaths == 1)
                #expect(try left.send([1], on: connection.left))
                try fixture.drive(&left, &right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }
    }
#endif
