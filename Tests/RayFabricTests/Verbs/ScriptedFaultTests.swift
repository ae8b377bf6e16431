// What a connection does when its queue pair, its device or its peer fails.

#if Verbs
    import CVerbs
    import RayCore
    import Testing

    @testable import RayFabric

    /// Something that ends a queue pair.
    enum ScriptedFault: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case ownPair, peersPair, bothPairs, failedRequest, refusedPost, lostFlush
        case ownDevice, ownDeviceByPoll, peersDevice, ownPort, peersPort

        var testDescription: String { rawValue }

        func happen(on fabric: ScriptedFabric) {
            switch self {
            case .ownPair: fabric.breakPairs(ofDevice: 0)
            case .peersPair: fabric.breakPairs(ofDevice: 1)
            case .bothPairs: for index in 0...1 { fabric.breakPairs(ofDevice: index) }
            case .failedRequest: fabric.fail(request: 3, with: IBV_WC_REM_OP_ERR)
            case .refusedPost: fabric.refusePosts(after: 2)
            case .lostFlush:
                fabric.loseFlushes()
                fabric.breakPairs(ofDevice: 0)
            case .ownDevice: fabric.loseDevice(0)
            case .ownDeviceByPoll: fabric.loseDevice(0, polls: -1)
            case .peersDevice: fabric.loseDevice(1)
            case .ownPort: fabric.failPort(ofDevice: 0)
            case .peersPort: fabric.failPort(ofDevice: 1)
            }
        }
    }

    @Suite struct ScriptedFaultTests {
        private static let cases = ScriptedFault.allCases.flatMap { fault in
            (1...3 as ClosedRange<UInt64>).map { (fault, $0) }
        }

        /// Everything is done by sockets then, once, and the connection goes on.
        @Test(arguments: cases) func socketsTakeOver(_ fault: ScriptedFault, seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                var random = SeededRandom(seed: seed)
                var started = try traffic.start(0..<20)
                traffic.pollLeft(Int.random(in: 0...12, using: &random))
                fault.happen(on: fabric)
                started += try traffic.start(20..<40)
                #expect(started == 40)
                try traffic.drive("all reads") { $0.ended.count == 40 }
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                #expect(traffic.left.endpoint.statistics.railsLost == 1)
                #expect(try traffic.left.send([1, 2, 3], on: traffic.fromLeft))
                try traffic.drive("a message") { $0.messagesOfRight == [[1, 2, 3]] }
                traffic.expectEnded(40)
                #expect(traffic.left.closure(traffic.fromLeft) == nil)
            }
            fabric.expectClean()
        }

        /// Nothing goes by sockets in silence: what was not done yet fails, and the connection ends.
        @Test(arguments: cases) func theConnectionEndsWhereRDMAIsRequired(_ fault: ScriptedFault, seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try ScriptedTraffic(fabric, .required)
                var random = SeededRandom(seed: seed)
                var started = try traffic.start(0..<20)
                traffic.pollLeft(Int.random(in: 0...12, using: &random))
                fault.happen(on: fabric)
                started += try traffic.start(20..<40)
                let fromLeft = traffic.fromLeft
                try traffic.drive("the end") { $0.isClosed }
                #expect(traffic.left.closure(fromLeft)?.code == .connectionLost)
                #expect(traffic.left.reports.last == .closed(fromLeft, TransportFailure(.connectionLost)))
                #expect(traffic.ended.allSatisfy { $0.code == nil || $0.code == .connectionLost })
                #expect(traffic.ended.contains { $0.code == .connectionLost })
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        /// The peer's transport goes away while its memory is read.
        @Test(arguments: [RDMAPolicy.automatic, .required], [true, false])
        func thePeerGoesAway(_ policy: RDMAPolicy, isHeld: Bool) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 4))
            do {
                var traffic = try ScriptedTraffic(fabric, policy)
                if isHeld { fabric.hold() }
                let started = try traffic.start(0..<40)
                traffic.pollLeft(5)
                traffic.right = nil
                let fromLeft = traffic.fromLeft
                try traffic.drive("the end") { $0.isClosed }
                fabric.release()
                let code = try #require(traffic.left.closure(fromLeft)?.code)
                #expect(code == .connectionLost || code == .closed)
                #expect(traffic.ended.allSatisfy { $0.code == nil || $0.code == .connectionLost || $0.code == .closed })
                #expect(traffic.ended.contains { $0.code != nil })
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        @Test(arguments: 1...5 as ClosedRange<UInt64>) func closingEndsEverything(seed: UInt64) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: seed))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                let started = try traffic.start(0..<40)
                traffic.pollLeft(Int(seed) * 3)
                let fromLeft = traffic.fromLeft
                traffic.left.endpoint.close(fromLeft)
                try traffic.drive("the end") { $0.isClosed }
                #expect(traffic.ended.allSatisfy { $0.code == nil || $0.code == .closed })
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        /// A deadline ends the queue pair; what has more time is done by sockets.
        @Test func aDeadlineEndsOneRead() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 6))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                fabric.hold()
                var started = try traffic.start(0..<10)
                started += try traffic.start(10..<11, within: .milliseconds(30))
                started += try traffic.start(11..<20)
                try traffic.drive("all reads") { $0.ended.count == 20 }
                for (token, code) in traffic.ended {
                    #expect(code == (token == 10 ? .deadlineExceeded : nil), "read \(token)")
                }
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        // MARK: What is promised beside

        /// What was finished before the fault is finished after it.
        @Test func finishingOutlivesTheQueuePair() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 7))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                fabric.hold()
                let started = try traffic.start(0..<10)
                traffic.finish()
                fabric.breakPairs(ofDevice: 0)
                try traffic.drive("the end") { $0.isClosed }
                #expect(traffic.left.closure(traffic.fromLeft) == TransportFailure(.closed))
                #expect(traffic.ended.allSatisfy { $0.code == nil })
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        /// Who was told that there is no room hears when there is.
        @Test func roomIsToldOfAfterTheFault() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 8))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic) { $0.maximumOperations = 4 }
                fabric.hold()
                let started = try traffic.start(0..<4)
                #expect(throws: Overdue.self) { _ = try traffic.start(4..<5) }
                fabric.breakPairs(ofDevice: 0)
                let connection = traffic.fromLeft
                try traffic.drive("room") { $0.left.isWritable(connection) && $0.ended.count == 4 }
                traffic.expectEnded(started)
            }
            fabric.expectClean()
        }

        // MARK: Memory that a device does not take

        /// Beyond the limit reads go by sockets, and the others by RDMA.
        @Test func memoryBeyondTheLimitGoesBySockets() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 5))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                fabric.limitLockedMemory(to: 0)
                let memory = TestMemory(1 << 20)
                memory.fill(9)
                let before = traffic.left.endpoint.statistics.railOperations
                let new = try unsafe traffic.right!.endpoint.register(memory.buffer, access: .read)
                let target = TestMemory(1 << 20)
                let local = try unsafe traffic.left.endpoint.register(target.buffer, access: [])
                #expect(
                    try traffic.left.read(
                        LocationOf(new, 0), into: LocationOf(local, 0), 1 << 20, on: traffic.fromLeft, token: 3000))
                try traffic.drive("the read") { $0.left.isCompleted(3000) }
                #expect(traffic.left.failure(3000) == nil)
                #expect(target.differences(9) == 0)
                #expect(traffic.left.endpoint.statistics.railOperations == before)
                #expect(traffic.left.endpoint.statistics.railsLost == 0)
            }
            fabric.expectClean()
        }

        @Test func theErrorNamesTheLimit() throws {
            let fabric = ScriptedFabric()
            do {
                let port = fabric.provider.recentPorts()[0]
                let device = try VerbsDevice(port, try #require(port.identifiers.last), of: fabric.provider)
                let memory = TestMemory(1 << 20)
                fabric.limitLockedMemory(to: 1 << 20)
                let first = try unsafe VerbsRegion(memory.buffer, .read, on: device)
                #expect(code { try unsafe VerbsRegion(memory.buffer, .read, on: device) } == .lockedMemoryLimit)
                _ = first.remoteKey
            }
            fabric.expectClean()
        }

        /// Address space without memory is not shown to a device.
        @Test func reservedMemoryIsRefused() throws {
            let fabric = ScriptedFabric()
            let port = fabric.provider.recentPorts()[0]
            let device = try VerbsDevice(port, try #require(port.identifiers.last), of: fabric.provider)
            let nothing = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
            #expect(code { try unsafe VerbsRegion(nothing, .read, on: device) } == .rdmaUnavailable)
        }

        /// A device that is gone is closed while the connection goes on: its removal waits for that.
        @Test(arguments: [ScriptedFault.ownDevice, .ownDeviceByPoll, .ownPort])
        func aLostDeviceIsClosed(_ fault: ScriptedFault) throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 1))
            do {
                var traffic = try ScriptedTraffic(fabric, .automatic)
                #expect(fabric.existing.contexts == 2)
                fault.happen(on: fabric)
                try traffic.drive("the end of the device") { _ in fabric.existing.contexts == 1 }
                #expect(try traffic.left.send([1, 2, 3], on: traffic.fromLeft))
                try traffic.drive("a message") { $0.messagesOfRight == [[1, 2, 3]] }
            }
            fabric.expectClean()
        }

        // MARK: Machines without RDMA

        @Test func withoutADeviceOnlyAutomaticWorks() throws {
            let fabric = ScriptedFabric(devices: 0)
            let fixture = fabric.fixture(.required)
            #expect(code { _ = try fixture.make(fixture.configuration(1)) } == .rdmaUnavailable)
            var pair = try fabric.fixture(.automatic).pair()
            #expect(try pair.left.send([1], on: pair.fromLeft))
            try fabric.fixture(.automatic).drive(&pair.left, &pair.right, "a message") { $1.messages == [[1]] }
        }
    }
#endif
