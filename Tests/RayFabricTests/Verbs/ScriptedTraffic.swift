// Reads in flight between two RDMA transports, watched byte by byte: for tests of what goes wrong.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    /// Two connected transports and many reads of the left one. Each has its own place in memory, which
    /// is overwritten as soon as the read has ended: whatever appears there later was written too late.
    struct ScriptedTraffic: ~Copyable {
        static let count = 40
        static let size = 200_001
        /// What memory holds once nobody may write to it any more.
        private static let poison: UInt64 = 500

        let fixture: TransportFixture<VerbsTransport>
        var left: Station<VerbsTransport>
        var right: Station<VerbsTransport>?
        let fromLeft: Connection
        let fromRight: Connection
        private let mine: [TestMemoryBox]
        private let theirs: TestMemoryBox
        private let local: [RegionKey]
        private let remote: RegionKey
        /// Ends of reads, in order.
        private(set) var ended: [(token: Int, code: FabricError.Code?)] = []
        /// Reads that ended well and had other bytes than they should.
        private(set) var wrong: [Int] = []
        private var seen = 0

        /// The left transport uses device 0 of the fabric, the right one device 1.
        init(
            _ fabric: ScriptedFabric, _ policy: RDMAPolicy, ports: Int = 1,
            _ adjust: (inout TransportConfiguration) -> Void = { _ in }
        ) throws {
            let fixture = fabric.fixture(policy, host: "127.0.0.2", ports: ports)
            var pair = try fixture.pair(adjust)
            let mine = (0..<Self.count).map { _ in TestMemoryBox(Self.size) }
            let theirs = TestMemoryBox(Self.count * Self.size)
            theirs.memory.fill(1)
            var local: [RegionKey] = []
            for box in mine { local.append(try unsafe pair.left.endpoint.register(box.memory.buffer, access: [])) }
            let remote = try unsafe pair.right.endpoint.register(theirs.memory.buffer, access: .read)
            try Self.goByRDMA(&pair, LocationOf(remote, 0), LocationOf(local[0], 0), fixture)
            self.init(fixture, pair, mine: mine, theirs: theirs, local: local, remote: remote)
        }

        private init(
            _ fixture: TransportFixture<VerbsTransport>, _ pair: consuming Pair<VerbsTransport>, mine: [TestMemoryBox],
            theirs: TestMemoryBox, local: [RegionKey], remote: RegionKey
        ) {
            (self.fixture, self.mine, self.theirs, self.local) = (fixture, mine, theirs, local)
            self.remote = remote
            (fromLeft, fromRight) = (pair.fromLeft, pair.fromRight)
            left = pair.left
            right = consume pair.right
        }

        /// Until the left one has been told of the memory, reads go by sockets.
        private static func goByRDMA(
            _ pair: inout Pair<VerbsTransport>, _ remote: RegionLocation, _ local: RegionLocation,
            _ fixture: TransportFixture<VerbsTransport>
        ) throws {
            var token = UInt64(1000)
            let connection = pair.fromLeft
            while pair.left.endpoint.statistics.railOperations == 0 {
                guard token < 2000 else { throw Overdue(description: "reads never went by RDMA") }
                token += 1
                #expect(try pair.left.read(remote, into: local, 8, on: connection, token: token))
                try fixture.drive(&pair.left, &pair.right, "a first read") { left, _ in left.isCompleted(token) }
            }
            pair.left.reports = []
        }

        /// Starts reads; a connection that has ended takes none.
        /// - Returns: how many were started.
        mutating func start(_ tokens: Range<Int>, within time: Duration = .seconds(30)) throws -> Int {
            var started = 0
            for token in tokens {
                do {
                    guard
                        try left.read(
                            LocationOf(remote, UInt64(token * Self.size)), into: LocationOf(local[token], 0), Self.size,
                            on: fromLeft, token: UInt64(token), deadline: .now + time)
                    else { throw Overdue(description: "no room for read \(token)") }
                    started += 1
                } catch let error as FabricError where error.code == .closed {
                    continue
                }
            }
            return started
        }

        /// Polls both ends until `isDone`, and looks at each read that has ended.
        mutating func drive(
            _ purpose: String, until isDone: (borrowing ScriptedTraffic) -> Bool
        ) throws {
            let end = Timestamp.now + .seconds(20)
            while true {
                var moved = left.drain(limit: 4)
                look()
                if right?.drain() == true { moved = true }
                if isDone(self) { return }
                guard Timestamp.now < end else { throw Overdue(description: purpose) }
                if !moved {
                    left.endpoint.wait(until: .now + .microseconds(50))
                    right?.endpoint.wait(until: .now + .microseconds(50))
                }
            }
        }

        /// Sends a message from the right end.
        mutating func sendToLeft(_ message: [UInt8]) throws -> Bool {
            try right?.send(message, on: fromRight) ?? false
        }

        /// Both ends start nothing more.
        mutating func finish() {
            left.endpoint.finish(fromLeft)
            right?.endpoint.finish(fromRight)
        }

        var messagesOfRight: [[UInt8]] {
            switch right {
            case .some(let right): right.messages
            case .none: []
            }
        }

        /// Whether both ends know that the connection has ended; an end that is gone needs to know nothing.
        var isClosed: Bool {
            guard left.closure(fromLeft) != nil else { return false }
            switch right {
            case .some(let right): return right.closure(fromRight) != nil
            case .none: return true
            }
        }

        /// Polls the left end a few times, whatever comes.
        mutating func pollLeft(_ times: Int) {
            for _ in 0..<times { left.drain(limit: 1) }
            look()
        }

        private mutating func look() {
            let completions = left.completions
            for completion in completions[seen...] {
                let token = Int(completion.token)
                guard token < Self.count else { continue }
                ended.append((token, completion.failure?.code))
                let memory = mine[token]
                if completion.failure == nil,
                    memory.memory.differences(1, 0..<Self.size, sourceOffset: token * Self.size) != 0
                {
                    wrong.append(token)
                }
                memory.memory.fill(Self.poison)
            }
            seen = completions.count
        }

        /// All reads have ended, each once, and nothing was written afterwards.
        mutating func expectEnded(_ count: Int, _ location: SourceLocation = #_sourceLocation) {
            #expect(ended.count == count, sourceLocation: location)
            #expect(Set(ended.map(\.token)).count == count, "a read ended twice", sourceLocation: location)
            #expect(wrong == [], "reads with wrong bytes", sourceLocation: location)
            for (token, _) in ended {
                #expect(
                    mine[token].memory.differences(Self.poison) == 0, "read \(token) was written to after its end",
                    sourceLocation: location)
            }
        }
    }
#endif
