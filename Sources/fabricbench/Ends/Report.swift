// What one end has measured.

/// The figures of one run at one end. Both ends fill what they know.
struct Report {
    /// Messages or operations counted in the measured time, and their payload.
    var operations: UInt64 = 0
    var bytes: UInt64 = 0
    /// The measured time, and the CPU time that this process used in it.
    var nanoseconds: Double = 0
    var processorNanoseconds: Double = 0
    /// Payloads with wrong bytes or sequence numbers.
    var corrupted: UInt64 = 0
    /// What the receiver's reads of the payload add up to; only there so that they are really made.
    var checksum: UInt64 = 0
    /// Bytes by which a host's memory has grown while it made its objects.
    var memoryGrown: UInt64 = 0
    /// Samples of latency, if this end took any.
    var latency: LatencyHistogram?

    mutating func record(_ inspector: PayloadInspector) {
        corrupted = inspector.corrupted
        checksum = inspector.sink
    }

    mutating func record(_ span: MeasuredSpan) {
        nanoseconds = span.nanoseconds
        processorNanoseconds = span.processorNanoseconds
    }
}
