// Memory that there was before a device was opened is shown to it in steps; what becomes of operations meanwhile.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    /// Two connected transports with a region each. The test says when it is shown to their devices.
    private struct Ends: ~Copyable {
        static let pieces = 16
        static let piece = 64 << 10
        static let size = pieces * piece

        let fixture: TransportFixture<VerbsTransport>
        var left: Station<VerbsTransport>
        var right: Station<VerbsTransport>
        let fromLeft: Connection
        let fromRight: Connection
        let mine: TestMemoryBox
        let theirs: TestMemoryBox
        let local: RegionKey
        let remote: RegionKey

        /// - Parameters:
        ///   - left, right: bytes that the device of this end is shown in a poll.
        init(
            _ fabric: ScriptedFabric, _ policy: RDMAPolicy, left: UInt64 = .max, right: UInt64 = .max, ports: Int = 1
        ) throws {
            let fixture = fabric.fixture(policy, host: "127.0.0.2", ports: ports)
            let (mine, theirs) = (TestMemoryBox(Self.size), TestMemoryBox(Self.size))
            theirs.memory.fill(1)
            var first = Station(try fixture.make(fixture.configuration(1)))
            var second = Station(try fixture.make(fixture.configuration(2)))
            first.endpoint.registrationStep = left
            second.endpoint.registrationStep = right
            let local = try unsafe first.endpoint.register(mine.memory.buffer, access: [])
            let remote = try unsafe second.endpoint.register(theirs.memory.buffer, access: [.read, .write])
            let address = try second.endpoint.listen(at: fixture.freshAddress())
            let connections = try fixture.connect(&first, to: &second, at: address)
            self.init(fixture, first, second, connections, (mine, theirs), (local, remote))
        }

        private init(
            _ fixture: TransportFixture<VerbsTransport>, _ left: consuming Station<VerbsTransport>,
            _ right: consuming Station<VerbsTransport>, _ connections: (left: Connection, right: Connection),
            _ memory: (TestMemoryBox, TestMemoryBox), _ regions: (RegionKey, RegionKey)
        ) {
            self.fixture = fixture
            self.left = left
            self.right = right
            (fromLeft, fromRight) = connections
            (mine, theirs) = memory
            (local, remote) = regions
        }

        var rail: Rail? { left.endpoint.rails[fromLeft] }

        mutating func drive(
            _ purpose: String,
            until isDone: (borrowing Station<VerbsTransport>, borrowing Station<VerbsTransport>) -> Bool
        ) throws {
            try fixture.drive(&left, &right, purpose, until: isDone)
        }

        /// What each end has said has arrived at the other, and there was time for more.
        mutating func exchange() throws {
            let before = (left.messages.count, right.messages.count)
            for round in 1...3 {
                #expect(try left.send([1], on: fromLeft))
                #expect(try right.send([2], on: fromRight))
                try drive("messages") {
                    $0.messages.count == before.0 + round && $1.messages.count == before.1 + round
                }
            }
        }

        mutating func read(_ piece: Int, token: UInt64, deadline: Timestamp = .never) throws {
            let offset = UInt64(piece * Self.piece)
            #expect(
                try left.read(
                    LocationOf(remote, offset), into: LocationOf(local, offset), Self.piece, on: fromLeft, token: token,
                    deadline: deadline))
        }

        func expectRead(_ piece: Int, _ location: SourceLocation = #_sourceLocation) {
            let start = piece * Self.piece
            let wrong = mine.memory.differences(1, start..<(start + Self.piece), sourceOffset: start)
            #expect(wrong == 0, "piece \(piece)", sourceLocation: location)
        }

        mutating func registerAll() {
            left.endpoint.registrationStep = .max
            right.endpoint.registrationStep = .max
        }
    }

    @Suite struct ScriptedRegistrationTests {
        /// A connection comes up and carries messages before anything is registered but its own buffers.
        @Test(arguments: [RDMAPolicy.automatic, .required]) func noConnectionWaits(_ policy: RDMAPolicy) throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try Ends(fabric, policy, left: 0, right: 0)
                try ends.exchange()
                #expect(ends.rail?.state == .open)
                let buffers = fabric.existing.regions
                #expect(buffers == 2)
                // A piece for each poll, and who has nothing else to do polls.
                ends.right.endpoint.registrationStep = UInt64(Ends.piece)
                for count in 1...Ends.pieces {
                    let begun = Timestamp.now
                    ends.right.endpoint.wait(until: begun + .seconds(20))
                    #expect(.now - begun < .seconds(2))
                    _ = ends.right.endpoint.poll()
                    #expect(fabric.existing.regions == buffers + count)
                }
                ends.left.endpoint.registrationStep = .max
                _ = ends.left.endpoint.poll()
                #expect(fabric.existing.regions == buffers + Ends.pieces + 1)
                #expect(!ends.left.endpoint.isRegistering && !ends.right.endpoint.isRegistering)
                try ends.exchange()
                #expect(ends.rail?.paths[0].remote.count == Ends.pieces)
            }
            fabric.expectClean()
        }

        /// Many small regions are one step.
        @Test func stepsAreCountedInBytes() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let fixture = fabric.fixture(.required, host: "127.0.0.2")
                let memory = (0..<10).map { _ in TestMemoryBox(4096) }
                var left = Station(try fixture.make(fixture.configuration(1)))
                var right = Station(try fixture.make(fixture.configuration(2)))
                left.endpoint.registrationStep = 0
                for box in memory { _ = try unsafe left.endpoint.register(box.memory.buffer, access: .read) }
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                _ = try fixture.connect(&left, to: &right, at: address)
                let before = fabric.existing.regions
                left.endpoint.registrationStep = 4 * 4096
                for count in [4, 8, 10, 10] {
                    _ = left.endpoint.poll()
                    #expect(fabric.existing.regions == before + count)
                }
            }
            fabric.expectClean()
        }

        /// Which end is late.
        enum Late: CaseIterable, Sendable { case left, right, both }

        private func ends(_ fabric: ScriptedFabric, _ policy: RDMAPolicy, _ late: Late, ports: Int = 1) throws -> Ends {
            try Ends(
                fabric, policy, left: late == .right ? .max : 0, right: late == .left ? .max : 0, ports: ports)
        }

        @Test(arguments: Late.allCases) func socketsAreFaster(_ late: Late) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 1))
            do {
                var ends = try ends(fabric, .automatic, late)
                try ends.read(3, token: 1)
                try ends.drive("a read by sockets") { left, _ in left.isCompleted(1) }
                ends.expectRead(3)
                #expect(ends.left.failure(1) == nil && ends.left.endpoint.statistics.railOperations == 0)
                ends.registerAll()
                try ends.drive("registration") { left, right in
                    left.endpoint.rails.all.allSatisfy { $0.paths[0].peerHasRegistered }
                        && !left.endpoint.isRegistering && !right.endpoint.isRegistering
                }
                try ends.read(4, token: 2)
                try ends.drive("a read by RDMA") { left, _ in left.isCompleted(2) }
                ends.expectRead(4)
                #expect(ends.left.endpoint.statistics.railOperations == 1)
            }
            fabric.expectClean()
        }

        /// Where sockets may not stand in, operations wait, and are told to be done when they are.
        @Test(arguments: Late.allCases) func operationsWait(_ late: Late) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 2))
            do {
                var ends = try ends(fabric, .required, late)
                try ends.read(3, token: 1)
                let offset = UInt64(4 * Ends.piece)
                #expect(
                    try ends.left.write(
                        LocationOf(ends.local, offset), to: LocationOf(ends.remote, offset), Ends.piece,
                        notification: 7, on: ends.fromLeft, token: 2))
                try ends.exchange()
                #expect(ends.left.completions.isEmpty && ends.right.notifications.isEmpty)
                #expect(ends.left.endpoint.held == 2)
                ends.registerAll()
                try ends.drive("both") { $0.completions.count == 2 && $1.notifications == [7] }
                #expect(ends.left.failure(1) == nil && ends.left.failure(2) == nil)
                ends.expectRead(3)
                #expect(ends.theirs.memory.isClear(4 * Ends.piece..<5 * Ends.piece) == true)
                #expect(ends.left.endpoint.statistics.railOperations == 2 && ends.left.endpoint.held == 0)
            }
            fabric.expectClean()
        }

        /// What is registered already is not waited for.
        @Test func partsThatAreThereAreUsed() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try ends(fabric, .required, .right)
                ends.right.endpoint.registrationStep = UInt64(3 * Ends.piece)
                _ = ends.right.endpoint.poll()
                ends.right.endpoint.registrationStep = 0
                for (token, piece) in [2, 3].enumerated() { try ends.read(piece, token: UInt64(token)) }
                try ends.drive("the first") { left, _ in left.isCompleted(0) }
                try ends.exchange()
                #expect(ends.left.completions.count == 1)
                ends.registerAll()
                try ends.drive("the second") { left, _ in left.isCompleted(1) }
                for piece in 2...3 { ends.expectRead(piece) }
            }
            fabric.expectClean()
        }

        @Test func whatWaitsCanBeCancelled() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try ends(fabric, .required, .right)
                try ends.read(1, token: 1)
                try ends.read(2, token: 2)
                ends.left.endpoint.cancel(token: 1, on: ends.fromLeft)
                try ends.drive("the end") { left, _ in left.isCompleted(1) }
                #expect(ends.left.failure(1) == .cancelled && ends.left.isCompleted(2) == false)
                ends.registerAll()
                try ends.drive("the other one") { left, _ in left.isCompleted(2) }
                #expect(ends.left.completions.count == 2 && ends.left.failure(2) == nil)
                #expect(ends.mine.memory.isClear(Ends.piece..<2 * Ends.piece) == true)
            }
            fabric.expectClean()
        }

        /// The deadline of one that waits ends it, and nothing else.
        @Test func whatWaitsHasItsDeadline() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try ends(fabric, .required, .right)
                try ends.read(1, token: 1, deadline: .now + .milliseconds(20))
                try ends.read(2, token: 2, deadline: .now + .seconds(100))
                try ends.drive("the end") { left, _ in left.isCompleted(1) }
                #expect(ends.left.failure(1) == .deadlineExceeded)
                ends.registerAll()
                try ends.drive("the other one") { left, _ in left.isCompleted(2) }
                #expect(ends.left.failure(2) == nil && ends.left.endpoint.statistics.railsLost == 0)
            }
            fabric.expectClean()
        }

        /// An end that is done sending waits for its operations.
        @Test func theEndOfSendingWaits() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 3))
            do {
                var ends = try ends(fabric, .required, .left)
                try ends.read(1, token: 1)
                ends.left.endpoint.finish(ends.fromLeft)
                #expect(try ends.right.send([1], on: ends.fromRight))
                try ends.drive("a message") { left, _ in left.messages.count == 1 }
                #expect(ends.right.isFinished(ends.fromRight) == false)
                ends.registerAll()
                let connection = ends.fromRight
                try ends.drive("the end") { left, right in left.isCompleted(1) && right.isFinished(connection) }
                #expect(ends.left.failure(1) == nil)
                ends.expectRead(1)
            }
            fabric.expectClean()
        }

        @Test func whatWaitsEndsWithItsConnection() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try ends(fabric, .required, .both)
                try ends.read(1, token: 1)
                try ends.read(2, token: 2)
                let connection = ends.fromLeft
                ends.right.endpoint.close(ends.fromRight)
                try ends.drive("the end") { left, _ in left.closure(connection) != nil }
                #expect(ends.left.completions.count == 2 && ends.left.completions.allSatisfy { $0.failure != nil })
                #expect(ends.left.endpoint.held == 0)
            }
            fabric.expectClean()
        }

        /// Memory that a device does not take is an error once all was tried, not before; what it took can be used.
        @Test(arguments: [Late.left, .right]) func refusedMemoryIsAnErrorInTheEnd(_ late: Late) throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var ends = try ends(fabric, .required, late)
                fabric.limitLockedMemory(to: fabric.locked { fabric.lockedMemory } + 4 * Ends.piece)
                let step = UInt64(Ends.piece)
                (ends.left.endpoint.registrationStep, ends.right.endpoint.registrationStep) = (step, step)
                try ends.read(1, token: 1)
                try ends.read(9, token: 2)
                try ends.drive("both") { left, _ in left.completions.count == 2 }
                #expect(ends.left.failure(1) == nil && ends.left.failure(2) == .lockedMemoryLimit)
                ends.expectRead(1)
                // Not one attempt more than was needed to know.
                #expect(!ends.left.endpoint.isRegistering && !ends.right.endpoint.isRegistering)
                #expect(fabric.refusedRegistrations == 1)
                let connection = ends.fromLeft
                #expect(ends.left.closure(connection) == nil)
            }
            fabric.expectClean()
        }

        /// A region that is not to be used any more is not shown to anybody; who has waited for it is told.
        @Test func regionsThatGoAreNotRegistered() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 4))
            do {
                var ends = try ends(fabric, .required, .right)
                try ends.read(1, token: 1)
                try ends.exchange()
                ends.right.endpoint.deregister(ends.remote)
                let before = fabric.registrations
                // It takes no steps any more.
                ends.right.endpoint.registrationStep = UInt64(Ends.piece)
                _ = ends.right.endpoint.poll()
                #expect(ends.right.endpoint.isRegistering == false)
                try ends.drive("the end") { left, _ in left.isCompleted(1) }
                #expect(ends.left.failure(1) == .remoteAccessDenied)
                #expect(fabric.registrations == before)
            }
            fabric.expectClean()
        }

        /// Memory that comes to a part is registered at once and once; the rest is not forgotten.
        @Test func memoryThatComesMeanwhileIsRegisteredOnce() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 5))
            do {
                var ends = try ends(fabric, .required, .right)
                try ends.read(4, token: 4)
                try ends.read(5, token: 5)
                try ends.read(6, token: 6)
                let before = fabric.registrations
                ends.right.endpoint.memoryCame(
                    to: ends.remote, range: UInt64(5 * Ends.piece)..<UInt64(6 * Ends.piece))
                #expect(fabric.registrations == before + 1)
                try ends.drive("what has come") { left, _ in left.isCompleted(5) }
                try ends.exchange()
                #expect(ends.left.completions.count == 1)
                ends.registerAll()
                try ends.drive("all") { left, _ in left.completions.count == 3 }
                // What lies before and behind it.
                #expect(fabric.registrations == before + 3)
                for piece in 4...6 { ends.expectRead(piece) }
                // All that was to be registered may come so, and the peer hears of the end of it.
                #expect(ends.rail?.paths[0].peerHasRegistered == true)
            }
            fabric.expectClean()
        }

        @Test func memoryThatComesMayBeAllThatWasMissing() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 6))
            do {
                var ends = try ends(fabric, .required, .right)
                ends.right.endpoint.memoryCame(to: ends.remote, range: 0..<UInt64(Ends.size))
                let before = fabric.registrations
                // Nobody has this region: it need not be waited for any more.
                let nowhere = LocationOf(RegionKey(rawValue: 12345), 0)
                #expect(try ends.left.read(nowhere, into: LocationOf(ends.local, 0), 8, on: ends.fromLeft, token: 1))
                try ends.drive("the error") { left, _ in left.isCompleted(1) }
                #expect(ends.left.failure(1) == .remoteAccessDenied)
                #expect(fabric.registrations == before && !ends.right.endpoint.isRegistering)
            }
            fabric.expectClean()
        }

        // MARK: Several devices

        /// Each device is shown all, and the peer hears of it on each path: of one that joins devices which were
        /// shown all before, too.
        @Test func allPathsAreTold() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 7))
            do {
                var early = try Ends(fabric, .required, ports: 2)
                try early.drive("all announcements") { left, right in
                    left.endpoint.openPaths == 2 && right.endpoint.openPaths == 2
                        && left.endpoint.rails.all.allSatisfy { $0.paths.allSatisfy(\.peerHasRegistered) }
                        && right.endpoint.rails.all.allSatisfy { $0.paths.allSatisfy(\.peerHasRegistered) }
                }
            }
            fabric.expectClean()
            do {
                var ends = try ends(fabric, .required, .both, ports: 2)
                try ends.drive("two paths") { $0.endpoint.openPaths == 2 && $1.endpoint.openPaths == 2 }
                try ends.exchange()
                #expect(ends.rail?.paths.contains { $0.peerHasRegistered } == false)
                let before = fabric.registrations
                ends.registerAll()
                try ends.drive("all announcements") { left, right in
                    left.endpoint.rails.all.allSatisfy { $0.paths.allSatisfy(\.peerHasRegistered) }
                        && right.endpoint.rails.all.allSatisfy { $0.paths.allSatisfy(\.peerHasRegistered) }
                }
                #expect(fabric.registrations == before + 4)
                #expect(ends.rail?.paths.map(\.remote.count) == [1, 1])
            }
            fabric.expectClean()
        }

        /// What a path that fails had to do waits for the memory of the others.
        @Test func operationsOfALostPathWait() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 8))
            do {
                var ends = try ends(fabric, .required, .left, ports: 2)
                try ends.drive("two paths") { $0.endpoint.openPaths == 2 && $1.endpoint.openPaths == 2 }
                // The second device is shown all, the first one nothing.
                ends.left.endpoint.registrationStep = .max
                ends.left.endpoint.registerStep(on: 1)
                ends.left.endpoint.registrationStep = 0
                fabric.hold()
                try ends.read(1, token: 1)
                #expect(ends.left.endpoint.held == 0 && ends.rail?.operations == 1)
                fabric.breakPairs(4..<6)
                fabric.release()
                try ends.drive("the loss") { left, _ in left.endpoint.openPaths == 1 && left.endpoint.held == 1 }
                try ends.exchange()
                #expect(ends.left.completions.isEmpty)
                ends.registerAll()
                try ends.drive("the read") { left, _ in left.isCompleted(1) }
                #expect(ends.left.failure(1) == nil)
                ends.expectRead(1)
            }
            fabric.expectClean()
        }
    }
#endif
