// How connections and operations end: half-close, close, death, cancellation, deadlines.

import RayCore
import RayFabric
import Testing

extension TransportFixture where Endpoint: ~Copyable {
    /// One end finishes and goes on listening; then the other one does.
    func halfClose() throws {
        for leftFirst in [true, false] {
            var pair = try pair()
            let (fromLeft, fromRight) = (pair.fromLeft, pair.fromRight)
            if leftFirst {
                try finish(&pair.left, fromLeft, before: &pair.right, fromRight)
            } else {
                try finish(&pair.right, fromRight, before: &pair.left, fromLeft)
            }
            #expect(pair.left.closureCount(fromLeft) == 1)
            #expect(pair.right.closureCount(fromRight) == 1)
        }
    }

    private func finish(
        _ first: inout Peer, _ firstLink: Connection, before second: inout Peer, _ secondLink: Connection
    ) throws {
        // What was queued before is still sent.
        for number in 0..<50 { #expect(try first.send([UInt8(number)], on: firstLink)) }
        first.endpoint.finish(firstLink)
        try drive(&first, &second, "finished") { _, second in second.isFinished(secondLink) }
        #expect(second.messages == (0..<50).map { [UInt8($0)] })
        #expect(second.reports.last == .finished(secondLink))
        #expect(first.closure(firstLink) == nil)
        for number in 0..<50 { #expect(try second.send([UInt8(number)], on: secondLink)) }
        try drive(&first, &second, "messages after finish") { first, _ in first.messages.count == 50 }
        second.endpoint.finish(secondLink)
        try drive(&first, &second, "closed") { first, second in
            first.closure(firstLink) != nil && second.closure(secondLink) != nil
        }
        #expect(first.messages == (0..<50).map { [UInt8($0)] })
        #expect(first.closure(firstLink) == TransportFailure(.closed))
        #expect(second.closure(secondLink) == TransportFailure(.closed))
        #expect(!second.isFinished(firstLink) || firstLink == secondLink)
    }

    /// Operations that were started before `finish` still complete, whoever finishes first.
    func finishCompletesOperations() throws {
        let size = 4 << 20
        var pair = try pair()
        let mine = TestMemory(size)
        let theirs = TestMemory(size)
        theirs.fill(4)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: .read)
        let (fromLeft, fromRight) = (pair.fromLeft, pair.fromRight)
        #expect(try pair.left.read(LocationOf(remote, 0), into: LocationOf(local, 0), size, on: fromLeft, token: 1))
        pair.left.endpoint.finish(fromLeft)
        pair.right.endpoint.finish(fromRight)
        try drive(&pair.left, &pair.right, "closed") { left, right in
            left.closure(fromLeft) != nil && right.closure(fromRight) != nil
        }
        #expect(pair.left.isCompleted(1) == true)
        #expect(pair.left.failure(1) == nil)
        #expect(mine.differences(4) == 0)
        #expect(pair.left.closure(fromLeft) == TransportFailure(.closed))
        #expect(pair.right.closure(fromRight) == TransportFailure(.closed))
    }

    func finishedRefusesCalls() throws {
        var pair = try pair()
        let mine = TestMemory(64)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: .read)
        let (here, connection) = (LocationOf(local, 0), pair.fromLeft)
        pair.left.endpoint.finish(connection)
        pair.left.endpoint.finish(connection)
        #expect(code { try pair.left.send([1], on: connection) } == .closed)
        #expect(code { try pair.left.read(here, into: here, 8, on: connection, token: 1) } == .closed)
        #expect(code { try pair.left.write(here, to: here, 8, on: connection, token: 2) } == .closed)
        let fromRight = pair.fromRight
        try drive(&pair.left, &pair.right, "finished") { $1.isFinished(fromRight) }
        #expect(pair.right.reports.count { $0 == .finished(fromRight) } == 1)
    }

    /// An endpoint that is gone ends its connections, after a completion for each operation.
    func peerDeath() throws {
        let size = 32 << 20
        let pair = try pair()
        let (connection, fromRight) = (pair.fromLeft, pair.fromRight)
        var left = pair.left
        var right: Peer? = pair.right
        let mine = TestMemory(size)
        let theirs = TestMemory(size)
        let local = try unsafe left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe right!.endpoint.register(theirs.buffer, access: [.read, .write])
        let (here, there) = (LocationOf(local, 0), LocationOf(remote, 0))
        #expect(try left.read(there, into: here, size, on: connection, token: 1))
        #expect(try left.write(here, to: there, size, on: connection, token: 2))
        left.drain()
        #expect(right!.endpoint.peer(of: fromRight) != nil)
        right = nil
        try driveAlone(&left, "the loss") { $0.closure(connection) != nil }
        #expect(left.completions.count == 2)
        #expect(left.reports.last == .closed(connection, left.closure(connection)!))
        #expect([.connectionLost, .closed].contains(left.closure(connection)!.code))
        #expect(left.endpoint.peer(of: connection) == nil)
        #expect(code { try left.send([1], on: connection) } == .closed)
    }

    func closeWithOperations() throws {
        let size = 32 << 20
        var pair = try pair()
        let mine = TestMemory(size)
        let theirs = TestMemory(size)
        theirs.fill(1)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        let (here, there) = (LocationOf(local, 0), LocationOf(remote, 0))
        let (connection, fromRight) = (pair.fromLeft, pair.fromRight)
        for token in 0..<6 as Range<UInt64> {
            #expect(try pair.left.read(there, into: here, size, on: connection, token: token))
        }
        pair.left.endpoint.close(connection)
        #expect(code { try pair.left.send([1], on: connection) } == .closed)
        // The peer's help is not needed.
        try driveAlone(&pair.left, "closed") { $0.closure(connection) != nil }
        #expect(pair.left.reports.dropFirst().count == 7)
        #expect(pair.left.reports.last == .closed(connection, TransportFailure(.closed)))
        #expect(Set(pair.left.completions.map(\.token)) == Set(0..<6))
        #expect(pair.left.completions.allSatisfy { $0.failure == nil || $0.failure?.code == .closed })
        mine.fill(9)
        try drive(&pair.left, &pair.right, "the peer's closed") { $1.closure(fromRight) != nil }
        #expect([.connectionLost, .closed].contains(pair.right.closure(fromRight)!.code))
        #expect(pair.right.closureCount(fromRight) == 1)
        #expect(mine.differences(9) == 0, "memory was touched after the completion")
    }

    /// A connection that is gone does nothing, also when its slot is used again.
    func staleConnection() throws {
        var pair = try pair()
        let mine = TestMemory(64)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: .read)
        let (here, old) = (LocationOf(local, 0), pair.fromLeft)
        pair.left.endpoint.close(old)
        pair.left.endpoint.close(old)
        try driveAlone(&pair.left, "closed") { $0.closure(old) != nil }
        let new = try connect(&pair.left, to: &pair.right, at: pair.address)
        #expect(new.left != old)
        #expect(pair.left.endpoint.peer(of: old) == nil)
        #expect(code { try pair.left.send([1], on: old) } == .closed)
        #expect(code { try pair.left.read(here, into: here, 8, on: old, token: 1) } == .closed)
        #expect(code { try pair.left.write(here, to: here, 8, on: old, token: 1) } == .closed)
        pair.left.endpoint.cancel(token: 1, on: old)
        pair.left.endpoint.finish(old)
        pair.left.endpoint.close(old)
        let strange = Connection(index: .max, generation: .max)
        #expect(pair.left.endpoint.peer(of: strange) == nil)
        #expect(code { try pair.left.send([1], on: strange) } == .closed)
        pair.left.endpoint.close(strange)
        #expect(try pair.left.send([5], on: new.left))
        try drive(&pair.left, &pair.right, "a message") { $1.messages == [[5]] }
        #expect(pair.left.closureCount(old) == 1)
    }

    // MARK: Giving up operations

    func cancelRead() throws { try givesUp(isRead: true) { $0.endpoint.cancel(token: 1, on: $1) } }
    func cancelWrite() throws { try givesUp(isRead: false) { $0.endpoint.cancel(token: 1, on: $1) } }
    func readDeadline() throws { try givesUp(isRead: true, after: .milliseconds(30)) }
    func writeDeadline() throws { try givesUp(isRead: false, after: .milliseconds(30)) }

    /// The peer does not poll, so a large operation hangs until it is given up. Afterwards its memory
    /// is left alone, and the connection works.
    private func givesUp(
        isRead: Bool, after time: Duration? = nil, _ act: (inout Peer, Connection) -> Void = { _, _ in }
    ) throws {
        let size = 64 << 20
        var pair = try pair()
        let mine = TestMemory(size)
        let theirs = TestMemory(size)
        mine.fill(1)
        theirs.fill(2)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        let (here, there, connection) = (LocationOf(local, 0), LocationOf(remote, 0), pair.fromLeft)
        let deadline = time.map { now() + $0 } ?? .never
        #expect(
            try isRead
                ? pair.left.read(there, into: here, size, on: connection, token: 1, deadline: deadline)
                : pair.left.write(here, to: there, size, on: connection, token: 1, deadline: deadline))
        pair.left.drain()
        act(&pair.left, connection)
        try driveAlone(&pair.left, "the completion") { $0.isCompleted(1) }
        let expected: FabricError.Code = time == nil ? .cancelled : .deadlineExceeded
        // A transport that moves the bytes without the peer's help may be faster.
        #expect(pair.left.failure(1) == expected || (kind == .shm && pair.left.failure(1) == nil))
        mine.fill(3)
        try settle(&pair.left, &pair.right)
        #expect(mine.differences(3) == 0, "memory was touched after the completion")
        #expect(pair.left.completions.count == 1)
        #expect(try pair.left.read(there, into: here, 4096, on: connection, token: 2))
        #expect(try pair.left.send([7], on: connection))
        try drive(&pair.left, &pair.right, "what comes after") { left, right in
            left.isCompleted(2) && right.messages == [[7]]
        }
        #expect(pair.left.failure(2) == nil)
        // Giving up what is done does nothing.
        pair.left.endpoint.cancel(token: 2, on: connection)
        pair.left.endpoint.cancel(token: 77, on: connection)
        try settle(&pair.left, &pair.right)
        #expect(pair.left.completions.count == 2)
    }
}
