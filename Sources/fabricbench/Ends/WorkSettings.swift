// What both ends of a benchmark must agree on.

internal import RayCore
internal import RayFabric

/// The settings of one run, the same at both ends.
struct WorkSettings {
    /// Payload bytes of a message or operation.
    var size = 8
    /// Connections between the two ends.
    var streams = 1
    /// Whether payload goes by one-sided writes with a notification, and not by messages.
    var usesWrites = false
    /// Whether both ends send, in `bandwidth`.
    var bidirectional = false
    /// Whether receivers read every cache line of the payload.
    var touch = false
    /// Whether payloads are filled from `seed` and checked byte by byte.
    var verify = false
    var wait = WaitMode.spin
    /// Time before the measured time, and the measured time.
    var warmup = Duration.milliseconds(200)
    var duration = Duration.seconds(1)
    var seed: UInt64 = 0
    /// For tests: one payload is sent with a changed byte.
    var injectsCorruption = false

    /// Slots of one stream's ring in `bandwidth`: as many payloads as fit into some megabytes, which a
    /// cache can hold, but enough to keep the path busy.
    var slots: Int { min(max(Self.ringBytes / slotBytes, size > 64 << 20 ? 2 : 4), 64) }
    private static let ringBytes = 8 << 20

    /// Room for one payload, in whole cache lines.
    var slotBytes: Int { (size + 63) & ~63 }
}

/// The send buffer of one end: fills payloads and numbers them.
struct PayloadSource {
    private let settings: WorkSettings
    /// Which payload is spoilt for tests; an early one, so that short runs reach it.
    private static let corruptedSequence: UInt64 = 5

    init(_ settings: WorkSettings) { self.settings = settings }

    /// Makes `payload` the one with number `sequence`.
    @inline(__always)
    func prepare(_ payload: UnsafeMutableRawBufferPointer, sequence: UInt64) {
        if settings.size >= PayloadHeader.byteCount {
            // SAFETY: the payload has `size` bytes.
            unsafe payload.storeBytes(of: PayloadHeader(.data, sequence: sequence).word, as: UInt64.self)
        }
        if settings.verify { unsafe Pattern(seed: settings.seed, sequence: sequence).fill(payload) }
        if settings.injectsCorruption, sequence == Self.corruptedSequence { unsafe payload[payload.count - 1] ^= 0x10 }
    }
}
