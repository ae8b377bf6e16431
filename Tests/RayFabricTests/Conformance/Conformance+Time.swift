// Liveness, waiting, waking, threads.

import RayCore
import RayFabric
import Synchronization
import Testing

extension TransportFixture where Endpoint: ~Copyable {
    /// A peer that is there but never polls is given up, with what it was asked for.
    func unresponsivePeer() throws {
        var pair = try pair {
            $0.heartbeatInterval = .milliseconds(50)
            $0.livenessTimeout = .milliseconds(300)
        }
        let mine = TestMemory(64 << 20)
        let theirs = TestMemory(64 << 20)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: .read)
        let connection = pair.fromLeft
        #expect(
            try pair.left.read(
                LocationOf(remote, 0), into: LocationOf(local, 0), 64 << 20, on: connection, token: 1))
        try driveAlone(&pair.left, "the peer to be given up") { $0.closure(connection) != nil }
        #expect(pair.left.closure(connection)?.code == .peerUnresponsive)
        #expect(pair.left.isCompleted(1) == true)
        #expect(pair.left.failure(1) == .peerUnresponsive || (kind == .shm && pair.left.failure(1) == nil))
        #expect(pair.left.reports.last == .closed(connection, pair.left.closure(connection)!))
        // Continued, it learns of it, and may connect anew.
        let fromRight = pair.fromRight
        try drive(&pair.left, &pair.right, "the peer to learn of it") { $1.closure(fromRight) != nil }
        _ = try connect(&pair.left, to: &pair.right, at: pair.address)
    }

    /// Two that are alive and have nothing to say stay connected.
    func idleStaysOpen() throws {
        var pair = try pair {
            $0.heartbeatInterval = .milliseconds(50)
            $0.livenessTimeout = .milliseconds(500)
        }
        try settle(&pair.left, &pair.right, for: .milliseconds(1200))
        #expect(pair.left.reports == [.connected(pair.fromLeft)])
        #expect(pair.right.reports == [.connected(pair.fromRight)])
        #expect(try pair.left.send([1], on: pair.fromLeft))
        try drive(&pair.left, &pair.right, "a message") { $1.messages == [[1]] }
    }

    /// A short cut holds traffic back, a long one ends the connection.
    func cutAndHealed() throws {
        guard let cut, let heal else { return }
        var pair = try pair {
            $0.heartbeatInterval = .milliseconds(50)
            $0.livenessTimeout = .milliseconds(500)
        }
        let (left, right) = (NodeID(value: 1, incarnation: 1), NodeID(value: 2, incarnation: 1))
        let (fromLeft, fromRight) = (pair.fromLeft, pair.fromRight)
        cut(left, right)
        #expect(try pair.left.send([1], on: fromLeft))
        try settle(&pair.left, &pair.right, for: .milliseconds(100))
        #expect(pair.right.messages == [])
        heal(left, right)
        try drive(&pair.left, &pair.right, "the message") { $1.messages == [[1]] }
        cut(left, right)
        try drive(&pair.left, &pair.right, "both to notice") {
            $0.closure(fromLeft) != nil && $1.closure(fromRight) != nil
        }
        #expect(pair.left.closure(fromLeft)?.code == .peerUnresponsive)
        #expect(pair.right.closure(fromRight)?.code == .peerUnresponsive)
        heal(left, right)
        _ = try connect(&pair.left, to: &pair.right, at: pair.address)
    }

    func waitDeadline() throws {
        var pair = try pair()
        // A time that has passed does not wait.
        pair.left.endpoint.wait(until: .zero)
        pair.left.endpoint.wait(until: now())
        let end = now() + .milliseconds(40)
        var rounds = 0
        while now() < end {
            pair.left.endpoint.wait(until: end)
            pair.left.drain()
            rounds += 1
        }
        // It may end early now and then, but it does not spin.
        #expect(rounds < 100)
    }

    func waker() throws {
        var station = Station(try make(configuration(1)))
        let waker = station.endpoint.waker
        let before = now()
        // A signal before the wait counts.
        let first = TestThread { waker.signal() }
        first.join()
        station.endpoint.wait(until: before + .seconds(600))
        #expect(now() < before + .seconds(500))
        guard usesRealTime else { return }
        // And one during the wait: signalled until the wait has ended, whenever it began.
        let isDone = Atomic(false)
        let second = TestThread {
            while !isDone.load(ordering: .acquiring) {
                waker.signal()
                pause(.milliseconds(2))
            }
        }
        for _ in 0..<10 { station.endpoint.wait(until: before + .seconds(600)) }
        isDone.store(true, ordering: .releasing)
        second.join()
        #expect(now() < before + .seconds(500))
        // No more signals than those: the waker does not stay set.
        let end = now() + .milliseconds(20)
        var rounds = 0
        while now() < end {
            station.endpoint.wait(until: end)
            rounds += 1
        }
        #expect(rounds < 100)
    }

    /// Each endpoint on a thread of its own: an echo, with sleeps between.
    func twoThreads() throws {
        guard usesRealTime else { return }
        let count = 300
        let shared = Mutex<(address: Address?, failure: String?)>((nil, nil))
        let theirs = TestMemoryBox(1 << 20)
        theirs.memory.fill(8)
        let key = Mutex<RegionKey?>(nil)
        let server = TestThread {
            do {
                try self.echo(count, theirs) { address, region in
                    key.withLock { $0 = region }
                    shared.withLock { $0.address = address }
                }
            } catch {
                shared.withLock { $0.failure = "\(error)" }
            }
        }
        defer { server.join() }
        var left = Station(try make(configuration(1)))
        let begun = now()
        while shared.withLock({ $0.address == nil && $0.failure == nil }), now() - begun < .seconds(20) {
            pause(.milliseconds(1))
        }
        let address = try #require(shared.withLock { $0.address })
        let connection = try left.endpoint.connect(to: address, deadline: now() + .seconds(10))
        try driveAlone(&left, "connect") { $0.connected == [connection] }
        for number in 0..<count {
            let message = Self.message(number * 7, seed: number)
            #expect(try left.send(message, on: connection))
            try driveAlone(&left, "echo \(number)") { $0.messages.count == number + 1 }
            #expect(left.messages[number] == message)
        }
        let mine = TestMemory(1 << 20)
        let local = try unsafe left.endpoint.register(mine.buffer, access: [])
        let remote = try #require(key.withLock { $0 })
        #expect(
            try left.read(LocationOf(remote, 0), into: LocationOf(local, 0), 1 << 20, on: connection, token: 1))
        try driveAlone(&left, "the read") { $0.isCompleted(1) }
        #expect(left.failure(1) == nil)
        #expect(mine.differences(8) == 0)
        left.endpoint.finish(connection)
        try driveAlone(&left, "closed") { $0.closure(connection) != nil }
        server.join()
        #expect(shared.withLock { $0.failure } == nil)
    }

    /// Sends every message back until the peer finishes, then finishes too.
    private func echo(
        _ count: Int, _ memory: TestMemoryBox, ready: (Address, RegionKey) -> Void
    ) throws {
        var station = Station(try make(configuration(2)))
        let key = try unsafe station.endpoint.register(memory.memory.buffer, access: .read)
        ready(try station.endpoint.listen(at: freshAddress()), key)
        try driveAlone(&station, "an accepted connection") { $0.connected.count == 1 }
        let connection = station.connected[0]
        for number in 0..<count {
            try driveAlone(&station, "message \(number)") { $0.messages.count > number }
            guard try station.send(station.messages[number], on: connection) else {
                throw Overdue(description: "\(kind): an echo was not taken")
            }
        }
        try driveAlone(&station, "finished") { $0.isFinished(connection) }
        station.endpoint.finish(connection)
        try driveAlone(&station, "closed") { $0.closure(connection) != nil }
    }
}
