// Connections over several devices: bulk is spread, and one device that fails stops nothing.

#if Verbs
    import CLinux
    import CVerbs
    import RayCore
    import Synchronization
    import Testing

    @testable import RayFabric

    /// What a transport has told its user unasked.
    final class TestLog: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }

    extension VerbsTransport {
        /// Of the only connection.
        var openPaths: Int { rails.all.first?.paths.count { $0.state == .open } ?? 0 }
    }

    @Suite struct ScriptedPathTests {
        /// Queue pairs in the order in which they are made: each end makes two for path 0, one of them for messages.
        private static let (firstPath, secondPath) = (0..<4, 4..<6)

        /// Reads in flight between two transports with two devices each, over both.
        private func traffic(
            _ fabric: ScriptedFabric, _ policy: RDMAPolicy, spin: Duration = .zero, log: TestLog = TestLog()
        ) throws -> ScriptedTraffic {
            var traffic = try ScriptedTraffic(fabric, policy, ports: 2) {
                $0.log = { log.add($0) }
                $0.spin = spin
            }
            try traffic.drive("two paths at both ends") { traffic in
                let left = traffic.left.endpoint.openPaths
                let right =
                    switch traffic.right {
                    case .some(let right): right.endpoint.openPaths
                    case .none: 0
                    }
                return left == 2 && right == 2
            }
            return traffic
        }

        @Test(arguments: 1...5 as ClosedRange<UInt64>) func bulkIsSpread(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try traffic(fabric, .required)
                let before = fabric.requestsByDevice
                let started = try traffic.start(0..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                let moved = zip(fabric.requestsByDevice, before).map { $0 - $1 }
                #expect(moved.allSatisfy { $0 >= 8 }, "\(moved)")
            }
            fabric.expectClean()
        }

        /// A device that is found lost while a wait spins is not waited for when it sleeps: that would keep a driver
        /// from removing the device.
        @Test(.enabled(if: sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1, "no wait spins on one processor"))
        func aDeviceThatIsLostWhileAWaitSpinsIsNotWatched() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                var traffic = try traffic(fabric, .automatic, spin: .seconds(1))
                while traffic.left.drain() {}
                let before = descriptors(of: traffic.left.endpoint)
                // Path 1 of the left one.
                fabric.loseDevice(1)
                traffic.left.endpoint.wait(until: .now + .seconds(1))
                let after = descriptors(of: traffic.left.endpoint)
                #expect(after.count == before.count / 2)
                #expect(traffic.left.endpoint.sockets.watched.isDisjoint(with: before.subtracting(after)))
            }
            fabric.expectClean()
        }

        private func descriptors(of endpoint: borrowing VerbsTransport) -> Set<Int32> {
            Set(endpoint.devices.flatMap { [$0.eventDescriptor, $0.healthDescriptor] })
        }

        /// A device beside the first fails in the middle of reads: the other does them, whatever the policy.
        @Test(arguments: [RDMAPolicy.automatic, .required], [1, 2, 3] as [UInt64])
        func theOthersGoOn(_ policy: RDMAPolicy, seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            let log = TestLog()
            do {
                var traffic = try traffic(fabric, policy, log: log)
                var started = try traffic.start(0..<20)
                traffic.pollLeft(Int(seed) * 3)
                fabric.breakPairs(Self.secondPath)
                started += try traffic.start(20..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                #expect(traffic.left.endpoint.statistics.railsLost == 1)
                #expect(traffic.left.endpoint.openPaths == 1)
                #expect(try traffic.left.send([1], on: traffic.fromLeft))
                try traffic.drive("a message") { $0.messagesOfRight == [[1]] }
                #expect(traffic.left.closure(traffic.fromLeft) == nil)
            }
            fabric.expectClean()
            let told = log.all.filter { $0.contains("a path of RDMA") }
            #expect(told.count == 2, "each end tells once: \(log.all)")
        }

        /// The first path fails with the messages: bulk goes on by the other one.
        @Test(arguments: [1, 2, 3] as [UInt64]) func theFirstFails(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try traffic(fabric, .automatic)
                var started = try traffic.start(0..<20)
                traffic.pollLeft(Int(seed) * 2)
                fabric.breakPairs(Self.firstPath)
                try traffic.drive("the loss") { $0.left.endpoint.openPaths == 1 }
                let before = traffic.left.endpoint.statistics.railOperations
                started += try traffic.start(20..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                #expect(traffic.left.endpoint.statistics.railOperations >= before + 20)
                #expect(try traffic.left.send([1], on: traffic.fromLeft))
                try traffic.drive("a message") { $0.messagesOfRight == [[1]] }
            }
            fabric.expectClean()
        }

        /// Both devices die, one after the other: sockets are left.
        @Test(arguments: [1, 2, 3] as [UInt64]) func allFail(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try traffic(fabric, .automatic)
                var started = try traffic.start(0..<15)
                traffic.pollLeft(3)
                fabric.loseDevice(1)
                started += try traffic.start(15..<30)
                traffic.pollLeft(Int(seed))
                fabric.loseDevice(0)
                started += try traffic.start(30..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                #expect(traffic.left.endpoint.openPaths == 0)
            }
            fabric.expectClean()
        }

        /// The switch to sockets is told of once, with its reason.
        @Test func aLossIsToldOfOnce() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 5))
            let log = TestLog()
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic) { $0.log = { log.add($0) } }
                let started = try traffic.start(0..<40)
                fabric.loseDevice(0)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
            }
            let own = log.all.filter { $0.contains("d0 or its port is gone; sockets take over") }
            #expect(own.count == 1 && log.all.count == 2, "\(log.all)")
        }

        // MARK: Lists of ports

        private static func port(_ last: UInt8) -> RailPort {
            RailPort([UInt8](repeating: 0, count: 10) + [0xff, 0xff, 127, 0, 0, last])
        }

        /// A list that comes again, or another one, or to the end that has sent it, changes nothing.
        @Test func listsThatComeLateDoNothing() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 6))
            do {
                var traffic = try traffic(fabric, .required)
                let pairs = fabric.existing.pairs
                for list in [[Self.port(1)], [Self.port(2)], [Self.port(77)], []] {
                    let left = try #require(traffic.left.endpoint.rails.all.first)
                    traffic.left.endpoint.take(.ports(list), left)
                    let right = try #require(traffic.right?.endpoint.rails.all.first)
                    traffic.right?.endpoint.take(.ports(list), right)
                    #expect(left.paths.count == 2 && right.paths.count == 2)
                }
                let started = try traffic.start(0..<40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                traffic.expectEnded(started)
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                #expect(traffic.left.endpoint.openPaths == 2 && fabric.existing.pairs == pairs)
            }
            fabric.expectClean()
        }

        /// A list of ports that the peer has no more: there is no path to them, and all else goes on.
        @Test func listsOfPortsThatAreGone() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 7))
            do {
                let fixture = fabric.fixture(.required, host: "127.0.0.2", ports: 2)
                let other = fabric.fixture(.required, host: "127.0.0.2")
                var left = Station(try fixture.make(fixture.configuration(1)))
                // It tells of no ports by itself.
                var right = Station(try other.make(other.configuration(2)))
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let connection = try fixture.connect(&left, to: &right, at: address)
                let rail = try #require(left.endpoint.rails.all.first)
                left.endpoint.take(.ports([Self.port(77)]), rail)
                #expect(rail.paths.count == 2)
                try fixture.drive(&left, &right, "the end of the path") { _, _ in rail.path(1)?.state == .gone }
                #expect(rail.state == .open && left.endpoint.openPaths == 1)
                #expect(try left.send([1], on: connection.left))
                try fixture.drive(&left, &right, "a message") { $1.messages == [[1]] }
            }
            fabric.expectClean()
        }

        // MARK: Nothing goes by sockets where RDMA is required

        /// A device that does not take memory: the error says why, at both ends.
        @Test(arguments: [true, false]) func refusedMemoryIsAnError(ofPeer: Bool) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 5))
            do {
                var traffic = try ScriptedTraffic(fabric, .required)
                let mine = TestMemory(1 << 20)
                let theirs = TestMemory(1 << 20)
                if ofPeer { fabric.limitLockedMemory(to: 0) }
                let remote = try unsafe traffic.right!.endpoint.register(theirs.buffer, access: .read)
                fabric.limitLockedMemory(to: ofPeer ? .max : 0)
                let local = try unsafe traffic.left.endpoint.register(mine.buffer, access: [])
                #expect(try traffic.sendToLeft([1]))
                try traffic.drive("what was told before the message") { $0.left.messages.count == 1 }
                let connection = traffic.fromLeft
                var found: FabricError.Code?
                do {
                    _ = try traffic.left.read(
                        LocationOf(remote, 0), into: LocationOf(local, 0), 1 << 20, on: connection, token: 3000)
                } catch let error as FabricError {
                    found = error.code
                    #expect("\(error)".contains("ulimit -l"))
                }
                #expect(found == .lockedMemoryLimit)
            }
            fabric.expectClean()
        }
    }
#endif
