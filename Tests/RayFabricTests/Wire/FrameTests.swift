// Frame headers: round trips, limits, and bytes that nobody sends.

import RayCore
import Testing

@testable import RayFabric

private let location = RegionLocation(key: RegionKey(rawValue: 0xfeed_0000_0001), offset: 4096)

private let samples: [(frame: Frame, payload: Int)] = [
    (.message, 0), (.message, WireLimits.messageBytes), (.ping, 0), (.finish, 0), (.openLanes, 0),
    (.goodbye(.closed), 0), (.goodbye(.staleIncarnation), 0),
    (.readRequest(token: 1, source: location, length: .max), 0),
    (.readReply(token: 2, offset: 7, status: nil), 100),
    (.readReply(token: 2, offset: 0, status: .remoteAccessDenied), 0),
    (.readCancel(token: .max), 0),
    (.write(token: 3, target: location, total: 10, notification: nil), 10),
    (.write(token: 3, target: location, total: 0, notification: 0), 0),
    (.write(token: 3, target: location, total: 1 << 40, notification: .max), 5),
    (.writeWithheld(token: 4, withheld: 5, total: 6), 0),
    (.writeReply(token: 5, status: nil), 0), (.writeReply(token: 5, status: .remoteAccessDenied), 0),
]

private func encoded(_ frame: Frame, payload: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xcc, count: frame.headerByteCount)
    var span = bytes.mutableSpan
    var writer = unsafe WireWriter(span.mutableBytes)
    frame.encode(payload: payload, into: &writer)
    #expect(writer.remaining == 0)
    return bytes
}

private func word(_ bytes: [UInt8]) -> UInt64 {
    bytes.prefix(8).enumerated().reduce(0) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) }
}

private func decoded(_ bytes: [UInt8], bulk: Bool = false) throws -> (frame: Frame, payload: Int) {
    let prefix = try FramePrefix(word: word(bytes), onBulkLane: bulk)
    let body = Array(bytes.dropFirst(8))
    return (try unsafe Frame(prefix: prefix, body: body.span.bytes), prefix.payloadByteCount)
}

@Suite struct FrameTests {
    @Test func framesRoundTrip() throws {
        for sample in samples {
            let bytes = encoded(sample.frame, payload: sample.payload)
            #expect(bytes.count <= WireLimits.headerBytes)
            let result = try decoded(bytes)
            #expect(result.frame == sample.frame)
            #expect(result.payload == sample.payload)
        }
    }

    /// A peer does not choose what a call here ends with.
    @Test(arguments: [2, 4, 20, 21, 24, 43, 80, 81, 100, 105, .max] as [UInt16])
    func whatIsNoReasonToLeaveIsALostConnection(code: UInt16) throws {
        var bytes = encoded(.goodbye(.closed), payload: 0)
        (bytes[6], bytes[7]) = (UInt8(code & 0xff), UInt8(code >> 8))
        #expect(try decoded(bytes).frame == .goodbye(.connectionLost))
    }

    @Test func theBytesAreThoseOfTheDocument() {
        #expect(encoded(.message, payload: 0x0102) == [0x02, 0x01, 0, 0, 1, 0, 0, 0])
        #expect(encoded(.goodbye(.closed), payload: 0) == [0, 0, 0, 0, 4, 0, 3, 0])
        #expect(
            encoded(.readReply(token: 0x11, offset: 0x22, status: nil), payload: 1)
                == [1, 0, 0, 0, 7, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0])
        #expect(encoded(.write(token: 0, target: location, total: 0, notification: 9), payload: 0)[5] == 1)
    }

    @Test func aShortBodyIsTruncated() throws {
        for sample in samples where sample.frame.headerByteCount > FramePrefix.byteCount {
            let bytes = encoded(sample.frame, payload: sample.payload)
            for count in 8..<bytes.count {
                #expect(throws: WireError.truncated) { try decoded(Array(bytes.prefix(count))) }
            }
        }
    }

    @Test func onlyPayloadOfOneSidedOperationsTravelsOnBulkLanes() throws {
        for sample in samples {
            let word = word(encoded(sample.frame, payload: sample.payload))
            let isBulk = (try? FramePrefix(word: word, onBulkLane: true)) != nil
            #expect(isBulk == (sample.frame.kind == .write || sample.frame.kind == .readReply))
        }
    }

    @Test func lengthsAreBounded() throws {
        func prefix(_ kind: FramePrefix.Kind, _ length: Int, bulk: Bool) throws {
            _ = try FramePrefix(word: UInt64(length) | UInt64(kind.rawValue) << 32, onBulkLane: bulk)
        }
        try prefix(.message, WireLimits.messageBytes, bulk: false)
        #expect(throws: WireError.tooLong) { try prefix(.message, WireLimits.messageBytes + 1, bulk: false) }
        #expect(throws: WireError.tooLong) { try prefix(.write, WireLimits.messageBytes + 1, bulk: false) }
        try prefix(.write, WireLimits.pieceBytes, bulk: true)
        #expect(throws: WireError.tooLong) { try prefix(.write, WireLimits.pieceBytes + 1, bulk: true) }
        #expect(throws: WireError.tooLong) { try prefix(.message, Int(UInt32.max), bulk: false) }
        #expect(throws: WireError.malformed) { try prefix(.ping, 1, bulk: false) }
    }

    @Test func nonsenseIsMalformed() throws {
        #expect(throws: WireError.malformed) { try FramePrefix(word: 0, onBulkLane: false) }
        #expect(throws: WireError.malformed) { try FramePrefix(word: .max, onBulkLane: false) }
        #expect(throws: WireError.malformed) { try FramePrefix(word: 0x0000_0201_0000_0000, onBulkLane: false) }
        // More payload than the operation has bytes, and more withheld.
        #expect(throws: WireError.malformed) {
            try decoded(encoded(.write(token: 0, target: location, total: 4, notification: nil), payload: 5))
        }
        #expect(throws: WireError.malformed) {
            try decoded(encoded(.writeWithheld(token: 0, withheld: 5, total: 4), payload: 0))
        }
        // A failed read has no bytes.
        #expect(throws: WireError.malformed) {
            try decoded(encoded(.readReply(token: 0, offset: 0, status: .busy), payload: 5))
        }
    }

    @Test func whateverDecodesEncodesToTheSameBytes() throws {
        var random = SeededRandom(seed: 11)
        var count = 0
        for _ in 0..<50_000 {
            var bytes = (0..<48).map { _ in UInt8.random(in: 0...255, using: &random) }
            bytes[2] &= 0x03
            bytes[3] = 0
            bytes[4] &= 0x0f
            bytes[5] &= 0x01
            guard let prefix = try? FramePrefix(word: word(bytes), onBulkLane: false) else { continue }
            bytes = Array(bytes.prefix(prefix.headerByteCount))
            guard let result = try? decoded(bytes) else { continue }
            count += 1
            let again = try decoded(encoded(result.frame, payload: result.payload))
            #expect(again == result)
        }
        #expect(count > 1_000)
    }
}
