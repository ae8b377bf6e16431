// Messages: whole, once, in order, and no more than the receiver can take.

import RayCore
import RayFabric
import Testing

extension TransportFixture where Endpoint: ~Copyable {
    func messageSizes() throws {
        var pair = try pair()
        let maximum = pair.left.endpoint.maximumMessageBytes
        #expect(maximum >= 256 << 10)
        let sizes = [0, 1, 2, 7, 8, 63, 64, 65, 1000, 4095, 4096, 4097, 65_535, 65_536, 100_000, maximum - 1, maximum]
        for size in sizes {
            let message = Self.message(size, seed: size)
            #expect(try pair.left.send(message, on: pair.fromLeft), "\(size) bytes")
            pair.right.reports = []
            try drive(&pair.left, &pair.right, "a message of \(size) bytes") { _, right in !right.reports.isEmpty }
            // The bytes are compared apart: a failure should not print them.
            #expect(pair.right.reports.count == 1)
            #expect(pair.right.messages.first == message, "\(size) bytes")
        }
        #expect(pair.right.endpoint.statistics.messagesReceived == UInt64(sizes.count))
        #expect(pair.left.endpoint.statistics.messagesSent == UInt64(sizes.count))
        #expect(pair.right.endpoint.statistics.bytesReceived == UInt64(sizes.reduce(0, +)))
    }

    /// Many messages of mixed sizes at once, more than any queue holds.
    func messageOrder() throws {
        var pair = try pair()
        var random = SeededRandom(seed: 1)
        let sizes = (0..<3000).map { _ in
            random.chance(0.02) ? Int.random(in: 8...200_000, using: &random) : Int.random(in: 8...300, using: &random)
        }
        pair.right.countsMessages = true
        var next = 0
        while pair.right.messageCount < sizes.count {
            while next < sizes.count, try pair.left.send(Self.numbered(next, sizes[next]), on: pair.fromLeft) {
                next += 1
            }
            let reached = pair.right.messageCount
            try drive(&pair.left, &pair.right, "message \(reached)") { $1.messageCount > reached }
        }
        #expect(pair.right.outOfOrder == 0)
        #expect(pair.right.endpoint.statistics.bytesReceived == UInt64(sizes.reduce(0, +)))
    }

    func messagesBothWays() throws {
        var pair = try pair()
        pair.left.countsMessages = true
        pair.right.countsMessages = true
        let count = 500
        var sentLeft = 0
        var sentRight = 0
        while pair.left.messageCount < count || pair.right.messageCount < count {
            while sentLeft < count, try pair.left.send(Self.numbered(sentLeft, 5000), on: pair.fromLeft) {
                sentLeft += 1
            }
            while sentRight < count, try pair.right.send(Self.numbered(sentRight, 3000), on: pair.fromRight) {
                sentRight += 1
            }
            let reached = pair.left.messageCount + pair.right.messageCount
            try drive(&pair.left, &pair.right, "message \(reached)") { $0.messageCount + $1.messageCount > reached }
        }
        #expect(pair.left.outOfOrder == 0)
        #expect(pair.right.outOfOrder == 0)
    }

    func messageTooLarge() throws {
        var pair = try pair()
        let message = [UInt8](repeating: 1, count: pair.left.endpoint.maximumMessageBytes + 1)
        let connection = pair.fromLeft
        #expect(code { try pair.left.send(message, on: connection) } == .messageTooLarge)
        // The connection goes on.
        #expect(try pair.left.send([9], on: connection))
        try drive(&pair.left, &pair.right, "a message") { $1.messages == [[9]] }
    }

    /// Each connection has its own order, and none is mixed up with another.
    func severalConnections() throws {
        var pair = try pair()
        var fromLeft = [pair.fromLeft]
        var fromRight = [pair.fromRight]
        for _ in 1..<8 {
            let next = try connect(&pair.left, to: &pair.right, at: pair.address)
            fromLeft.append(next.left)
            fromRight.append(next.right)
        }
        pair.right.reports = []
        for round in 0..<20 {
            for (index, connection) in fromLeft.enumerated() {
                #expect(try pair.left.send([UInt8(index), UInt8(round)], on: connection))
            }
        }
        try drive(&pair.left, &pair.right, "160 messages") { $1.messages.count == 160 }
        for (index, connection) in fromRight.enumerated() {
            let received = pair.right.reports.compactMap { report -> [UInt8]? in
                if case .message(connection, let bytes) = report { bytes } else { nil }
            }
            #expect(received == (0..<20).map { [UInt8(index), $0] })
        }
        // Closing one leaves the others.
        pair.left.endpoint.close(fromLeft[3])
        try drive(&pair.left, &pair.right, "the close") { $1.closure(fromRight[3]) != nil }
        #expect(try pair.left.send([42], on: fromLeft[4]))
        try drive(&pair.left, &pair.right, "a message") { $1.messages.last == [42] }
    }

    /// A receiver that does not poll stops the sender; nothing is lost.
    func backpressure() throws {
        var pair = try pair { $0.sendQueueBytes = 64 << 10 }
        pair.right.countsMessages = true
        var sent = 0
        while try pair.left.send(Self.numbered(sent, 1000), on: pair.fromLeft) {
            sent += 1
            guard sent < 100_000 else { throw Overdue(description: "\(kind): 100 MB were queued without an end") }
            if sent % 16 == 0 { pair.left.drain() }
        }
        #expect(pair.left.isWritable(pair.fromLeft) == false)
        let stoppedAt = sent
        let connection = pair.fromLeft
        try drive(&pair.left, &pair.right, "room") { left, _ in left.isWritable(connection) }
        while sent < stoppedAt + 2000 || pair.right.messageCount < sent {
            while sent < stoppedAt + 2000, try pair.left.send(Self.numbered(sent, 1000), on: connection) { sent += 1 }
            let reached = pair.right.messageCount
            if reached < sent { try drive(&pair.left, &pair.right, "message \(reached)") { $1.messageCount > reached } }
        }
        #expect(pair.right.messageCount == sent)
        #expect(pair.right.outOfOrder == 0)
    }

    /// A receiver that takes a while over each message, with more on the way than any buffer holds.
    func slowReader() throws {
        var pair = try pair()
        pair.right.countsMessages = true
        let (count, size) = (500, 4000)
        var sent = 0
        for _ in 0..<count * 3 where pair.right.messageCount < count {
            while sent < count, try pair.left.send(Self.numbered(sent, size), on: pair.fromLeft) { sent += 1 }
            pair.left.drain()
            pair.right.drain(limit: 1)
            let time = Timestamp.now + .microseconds(300)
            while Timestamp.now < time {}
            if pair.right.closure(pair.fromRight) != nil { break }
        }
        #expect(pair.right.closure(pair.fromRight) == nil)
        while pair.right.messageCount < count {
            while sent < count, try pair.left.send(Self.numbered(sent, size), on: pair.fromLeft) { sent += 1 }
            let reached = pair.right.messageCount
            try drive(&pair.left, &pair.right, "message \(reached)") { $1.messageCount > reached }
        }
        #expect(pair.right.outOfOrder == 0)
    }

    // MARK: Contents

    static func message(_ size: Int, seed: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ seed) }
    }

    /// Begins with its number; at least 8 bytes.
    static func numbered(_ number: Int, _ size: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size)
        for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: number >> (8 * index)) }
        return bytes
    }
}
