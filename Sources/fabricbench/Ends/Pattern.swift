// The contents of payloads: a header word with the sequence number, then bytes that follow from a seed.

internal import RayCore

/// What a message of a benchmark is for; the lowest byte of its header word.
enum MessageKind: UInt8 {
    /// Payload to be counted.
    case data
    /// The receiver has begun to measure.
    case begin
    /// The receiver has measured enough: send no more.
    case stop
    /// A slot of the receiver's ring is free again; its number stands in the sequence field.
    case credit
}

/// The first word of a payload of at least 8 bytes.
struct PayloadHeader {
    static let byteCount = 8
    let word: UInt64

    @inline(__always)
    init(_ kind: MessageKind, sequence: UInt64) { word = sequence << 8 | UInt64(kind.rawValue) }

    @inline(__always)
    init(word: UInt64) { self.word = word }

    @inline(__always)
    var sequence: UInt64 { word >> 8 }
    @inline(__always)
    var kind: MessageKind? { MessageKind(rawValue: UInt8(truncatingIfNeeded: word)) }
}

/// Payload bytes that both ends can compute: word `i` is `start + i * step`, start drawn from the seed
/// and the sequence number, so that a lost, repeated, shifted or changed piece shows.
struct Pattern {
    private static let step: UInt64 = 0x9e37_79b9_7f4a_7c15
    private let start: UInt64

    init(seed: UInt64, sequence: UInt64) {
        var random = SeededRandom(seed: seed ^ sequence &* 0xd134_2543_de82_ef95)
        start = random.next()
    }

    /// Fills everything after the header; a payload too short for one has a zero first byte instead.
    func fill(_ payload: UnsafeMutableRawBufferPointer) {
        let first = Self.firstOffset(payload.count)
        var word = start
        var offset = first
        // SAFETY: every store lies below `payload.count`, which the loop conditions check.
        while offset + 8 <= payload.count {
            unsafe payload.storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
            word &+= Self.step
            offset += 8
        }
        while offset < payload.count {
            unsafe payload.storeBytes(of: UInt8(truncatingIfNeeded: word), toByteOffset: offset, as: UInt8.self)
            word >>= 8
            offset += 1
        }
    }

    /// Whether everything after the header is what `fill` writes.
    func matches(_ payload: RawSpan) -> Bool {
        var word = start
        var offset = Self.firstOffset(payload.byteCount)
        var difference: UInt64 = 0
        // SAFETY: every load lies below `byteCount`, which the loop conditions check.
        while offset + 8 <= payload.byteCount {
            difference |= unsafe payload.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self) ^ word
            word &+= Self.step
            offset += 8
        }
        while offset < payload.byteCount {
            let byte = unsafe payload.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
            difference |= UInt64(byte ^ UInt8(truncatingIfNeeded: word))
            word >>= 8
            offset += 1
        }
        return difference == 0
    }

    private static func firstOffset(_ count: Int) -> Int {
        count >= PayloadHeader.byteCount ? PayloadHeader.byteCount : min(count, 1)
    }
}

/// What a receiver does with each payload, and what it found.
struct PayloadInspector {
    private let touches: Bool
    private let verify: Bool
    private let seed: UInt64
    /// Payloads with a wrong sequence number or wrong bytes.
    private(set) var corrupted: UInt64 = 0
    /// The sum of what was read, so that the reads can not be optimised away.
    private(set) var sink: UInt64 = 0

    init(touch: Bool, verify: Bool, seed: UInt64) {
        touches = touch
        self.verify = verify
        self.seed = seed
    }

    /// Looks at one payload as far as the options ask: the header always, where there is room for it.
    @inline(__always)
    mutating func inspect(_ payload: RawSpan, sequence: UInt64) {
        if payload.byteCount >= PayloadHeader.byteCount {
            // SAFETY: the size was checked.
            let word = unsafe payload.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self)
            if word != PayloadHeader(.data, sequence: sequence).word {
                corrupted += 1
                return
            }
        }
        if verify, !Pattern(seed: seed, sequence: sequence).matches(payload) { corrupted += 1 }
        touch(payload)
    }

    /// Reads every cache line, if it was asked for.
    @inline(__always)
    mutating func touch(_ payload: RawSpan) {
        if touches { sink &+= Self.sumOfCacheLines(payload) }
    }

    /// Reads one word of each cache line.
    private static func sumOfCacheLines(_ payload: RawSpan) -> UInt64 {
        var sum: UInt64 = 0
        var offset = 0
        while offset + 8 <= payload.byteCount {
            // SAFETY: the loop condition keeps the load inside of the payload.
            sum &+= unsafe payload.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            offset += 64
        }
        return sum
    }
}
