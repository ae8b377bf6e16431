// Flow control of messages by RDMA, and what becomes of them when the queue pairs fail.

import RayCore
import Testing

@testable import RayFabric

/// One end: its window, the ring and what it has sent and got.
private struct End {
    var window: PacketWindow
    var ring: [UInt8]
    var parser = RailStreamParser()
    var assembled: [UInt8] = []
    var sent: [[UInt8]] = []
    var got: [[UInt8]] = []
    /// Packets in its places, not taken out.
    var places: [[UInt8]] = []
    var isFinished = false
    /// Posted packets that want a completion.
    var signals = 0

    init(_ shape: PacketWindow.Shape) {
        window = PacketWindow(shape)
        ring = Array(repeating: 0, count: shape.ringBytes)
    }

    mutating func write(_ kind: RailFrameHead.Kind, _ payload: [UInt8]) -> Bool {
        let head = RailFrameHead(kind, length: payload.count).rawValue
        let frame = (0..<4).map { UInt8(truncatingIfNeeded: head >> ($0 * 8)) } + payload
        guard frame.count + (kind == .finish ? 0 : 4) <= window.room else { return false }
        for (index, byte) in frame.enumerated() { ring[(Int(window.written) + index) % ring.count] = byte }
        window.write(frame.count)
        return true
    }

    func bytes(_ range: Range<UInt64>) -> [UInt8] { range.map { ring[Int($0) % ring.count] } }

    mutating func parse(_ packet: [UInt8]) throws {
        var cursor = 0
        while let frame = try parser.next(in: unsafe packet.span.bytes, at: &cursor, into: &assembled) {
            switch frame {
            case .inPlace(.finish, _), .assembled(.finish):
                isFinished = true
                window.ask()
            case .inPlace(_, let range): got.append(Array(packet[range]))
            case .assembled: got.append(Array(assembled[4...]))
            }
        }
    }
}

/// Two ends and the packets between them.
private struct Link {
    var ends: [End]
    var flying: [[(bytes: [UInt8], taken: UInt32)]] = [[], []]
    var random: SeededRandom

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let shape = PacketWindow.Shape(
            receives: Int.random(in: 4...9, using: &random), packetBytes: Int.random(in: 5...90, using: &random),
            ringBytes: 2048, depth: Int.random(in: 8...20, using: &random))
        ends = [End(shape), End(shape)]
    }

    mutating func step() throws {
        let side = Int.random(in: 0...1, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            let count = Int.random(in: 0...(Bool.random(using: &random) ? 20 : 600), using: &random)
            let message = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            if ends[side].write(.message, message) { ends[side].sent.append(message) }
        case 1: post(side)
        case 2: try arrive(at: side)
        case 3: try takeOut(side)
        default: complete(side)
        }
    }

    mutating func post(_ side: Int) {
        while let packet = ends[side].window.next() {
            let end = packet.offset + UInt64(packet.length)
            flying[side].append((ends[side].bytes(packet.offset..<end), packet.taken))
            #expect(packet.length <= ends[side].window.shape.packetBytes)
            if packet.isSignalled { ends[side].signals += 1 }
        }
    }

    mutating func complete(_ side: Int) {
        guard ends[side].signals > 0 else { return }
        ends[side].signals -= 1
        ends[side].window.completed()
    }

    mutating func arrive(at side: Int) throws {
        guard !flying[1 - side].isEmpty else { return }
        let packet = flying[1 - side].removeFirst()
        #expect(ends[side].window.receivesPosted > 0, "no receive for a packet")
        try ends[side].window.received(packet.bytes.count, taken: packet.taken)
        ends[side].places.append(packet.bytes)
    }

    mutating func takeOut(_ side: Int) throws {
        guard !ends[side].places.isEmpty else { return }
        try ends[side].parse(ends[side].places.removeFirst())
        _ = ends[side].window.takeOut()
    }

    /// Until nothing moves any more.
    mutating func settle() throws {
        for _ in 0..<2000 {
            for side in 0...1 {
                post(side)
                try arrive(at: side)
                try takeOut(side)
                complete(side)
            }
        }
    }

    /// Some of what flies arrives, then both ends hand over by sockets.
    mutating func breakDown() throws {
        for side in 0...1 {
            for _ in 0..<Int.random(in: 0...flying[1 - side].count, using: &random) { try arrive(at: side) }
            flying[1 - side] = []
            ends[side].window.breakDown()
            while !ends[side].window.isDrained { ends[side].window.receiveFlushed() }
            let next = ends[side].window.next()
            #expect(next == nil)
        }
        for side in 0...1 {
            while !ends[1 - side].places.isEmpty { try takeOut(1 - side) }
            let rest = try ends[side].window.handOver(from: ends[1 - side].window.arrived)
            try ends[1 - side].parse(ends[side].bytes(rest))
        }
    }

    func check(_ seed: UInt64) {
        #expect(ends[0].sent == ends[1].got && ends[1].sent == ends[0].got, "seed \(seed)")
    }
}

@Suite struct PacketWindowTests {
    @Test func messagesArriveInOrderAndTheEndIsAcknowledged() throws {
        for seed in 0..<300 as Range<UInt64> {
            var link = Link(seed: seed)
            for _ in 0..<400 { try link.step() }
            for side in 0...1 {
                let fits = link.ends[side].write(.finish, [])
                #expect(fits)
            }
            try link.settle()
            link.check(seed)
            #expect(link.ends.allSatisfy { $0.isFinished && $0.window.isAcknowledged }, "seed \(seed)")
        }
    }

    @Test func nothingIsLostOrDoubledWhenQueuePairsFail() throws {
        for seed in 0..<500 as Range<UInt64> {
            var link = Link(seed: seed)
            for _ in 0..<Int.random(in: 0..<300, using: &link.random) { try link.step() }
            try link.breakDown()
            link.check(seed)
            #expect(link.ends.allSatisfy { $0.window.isAcknowledged })
        }
    }

    /// One end sends without end and the other only listens: room always comes back.
    @Test func aListenerGivesRoomBack() throws {
        var link = Link(seed: 7)
        for _ in 0..<200 {
            let message = [UInt8](repeating: 1, count: 1000)
            let fits = link.ends[0].write(.message, message)
            #expect(fits)
            link.ends[0].sent.append(message)
            for _ in 0..<300 {
                link.post(0)
                link.post(1)
                try link.arrive(at: 1)
                try link.arrive(at: 0)
                try link.takeOut(1)
                try link.takeOut(0)
                link.complete(0)
                link.complete(1)
            }
        }
        link.check(7)
    }

    @Test func liesOfThePeerAreRefused() throws {
        var window = PacketWindow(PacketWindow.Shape())
        func isRefused(_ lie: (inout PacketWindow) throws -> Void) -> Bool {
            var copy = window
            do { try lie(&copy) } catch { return true }
            return false
        }
        #expect(isRefused { try $0.received(1, taken: 1) })
        window.write(100)
        _ = window.next()
        #expect(isRefused { try $0.received(1, taken: 2) })
        #expect(isRefused { try $0.received(1, taken: .max) })
        #expect(isRefused { _ = try $0.handOver(from: 101) })
        try window.received(0, taken: 1)
        #expect(window.acknowledged == 100)
        #expect(isRefused { _ = try $0.handOver(from: 99) })
    }
}
