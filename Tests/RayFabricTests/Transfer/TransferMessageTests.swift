// The bytes of the transfer protocol, right ones and wrong ones.

import RayCore
import Testing

@testable import RayFabric

@Suite struct TransferMessageTests {
    static let extents = [
        RemoteExtent(key: RegionKey(rawValue: 0xfedc_ba98_7654_3210), offset: 1 << 40, length: 3),
        RemoteExtent(key: RegionKey(rawValue: 2), offset: .max, length: .max),
    ]
    static let messages: [TransferMessage] =
        [
            .call(.request(1 << 60, attempt: 3, object(0x0102_0304_0506_0708), inlineLimit: 102_400)),
            .call(.renew(2, grant: 9, attempt: .max)), .call(.release(.max)),
            .reply(.located(7, size: 1 << 40, metadataSize: 55, lease: 10_000, grant: 8)),
            .reply(.inline(9, size: 4, metadataSize: 2, payload: 21..<27)),
            .reply(.inline(9, size: 0, metadataSize: 0, payload: 21..<21)),
            .reply(.renewed(3, attempt: 4)),
        ] + NegativeReason.allCases.map { .reply(.negative(4, $0)) }

    static func bytes(of message: TransferMessage) -> [UInt8] {
        switch message {
        case .reply(.located): encoded(message, extents)
        case .reply(.inline(_, _, _, let payload)): encoded(message) + [1, 2, 3, 4, 5, 6].prefix(payload.count)
        case .call, .reply: encoded(message)
        }
    }

    func read(_ bytes: [UInt8], _ extents: inout [RemoteExtent]) throws(WireError) -> TransferMessage {
        // SAFETY: every byte of an array of bytes is initialised.
        try unsafe TransferMessage.read(bytes.span.bytes, extents: &extents)
    }

    @Test(arguments: messages) func roundTrip(message: TransferMessage) throws {
        var extents = [RemoteExtent(key: RegionKey(rawValue: 1), offset: 0, length: 1)]
        let bytes = Self.bytes(of: message)
        #expect(TransferMessage.firstBytes.contains(bytes[0]))
        #expect(try read(bytes, &extents) == message)
        if case .reply(.located) = message { #expect(extents == Self.extents) }
    }

    @Test(arguments: messages) func shorterAndLongerOnesAreRefused(message: TransferMessage) {
        var extents: [RemoteExtent] = []
        let bytes = Self.bytes(of: message)
        for count in 0..<bytes.count {
            #expect(throws: WireError.self) { try read(Array(bytes.prefix(count)), &extents) }
        }
        #expect(throws: WireError.self) { try read(bytes + [0], &extents) }
    }

    @Test func hostileSizesAreRefused() {
        var extents: [RemoteExtent] = []
        let located = encoded(.reply(.located(7, size: 1, metadataSize: 0, lease: 1, grant: 1)))
        var huge = located
        for index in 9..<17 { huge[index] = 0xff }
        #expect(throws: WireError.tooLong) { try read(huge, &extents) }
        huge[16] = 0x7f
        #expect(throws: Never.self) { try read(huge, &extents) }
        huge[17] = 1
        #expect(throws: WireError.tooLong, "the sum is no Int") { try read(huge, &extents) }
        var many = located
        for index in 29..<33 { many[index] = 0xff }
        #expect(throws: WireError.tooLong) { try read(many, &extents) }
    }

    @Test func largestMessageFits() throws {
        let extent = RemoteExtent(key: RegionKey(rawValue: 1), offset: 2, length: 3)
        var extents = Array(repeating: extent, count: TransferMessage.maximumExtents)
        let message = TransferMessage.reply(.located(1, size: 2, metadataSize: 3, lease: 4, grant: 5))
        let bytes = encoded(message, extents)
        #expect(bytes.count == TransferMessage.maximumByteCount)
        #expect(try read(bytes, &extents) == message)
        extents.append(extent)
        #expect(throws: WireError.tooLong) { try read(encoded(message, extents), &extents) }
    }

    /// Whatever comes, reading gives a message or an error, and both machines survive the message.
    @Test func randomAndMutatedBytesNeverTrap() {
        var random = SeededRandom(seed: 2024)
        var extents: [RemoteExtent] = []
        var bench = PullBench { $0.inlineLimit = 100 }
        bench.connect(node(1))
        var serve = ServeMachine()
        var served: [ServeDirective] = []
        var messages = 0
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if random.chance(0.3) {
                bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                if !bytes.isEmpty { bytes[0] = UInt8.random(in: TransferMessage.firstBytes, using: &random) }
            } else {
                bytes = Self.bytes(of: Self.messages.randomElement(using: &random)!)
                for _ in 0..<Int.random(in: 0...4, using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
            }
            if bench.take().requests.isEmpty {
                bench.pull(object(UInt64(round)), from: [node(1)], waiter: UInt64(round))
            }
            // The reply to a request that is open goes further than one to any other.
            if let request = bench.directives.requests.last, bytes.count >= 9 {
                for index in 0..<8 { bytes[1 + index] = UInt8(truncatingIfNeeded: request >> (8 * index)) }
            }
            guard let message = try? read(bytes, &extents) else { continue }
            messages += 1
            switch message {
            case .call(let call): serve.received(call, from: connection(node(1)), now: bench.now, into: &served)
            case .reply(let reply): bench.receive(reply, from: node(1), extents)
            }
            served.removeAll()
        }
        #expect(messages > 5000)
    }
}
