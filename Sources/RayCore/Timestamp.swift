// Logical time: what machines are given as `now`. Real shells fill it from the monotonic clock,
// the simulator from its own.

/// A point in time in nanoseconds since an arbitrary start. Only differences mean anything.
@frozen
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var nanoseconds: UInt64

    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// Before every other time.
    public static let zero = Timestamp(nanoseconds: 0)
    /// After every other time: no deadline.
    public static let never = Timestamp(nanoseconds: .max)

    @inlinable
    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.nanoseconds < right.nanoseconds }

    /// This time plus `duration`; saturates at `.zero` and `.never`.
    @inlinable
    public static func + (time: Timestamp, duration: Duration) -> Timestamp {
        let delta = duration.saturatedNanoseconds
        if delta >= 0 {
            let (sum, overflow) = time.nanoseconds.addingReportingOverflow(UInt64(delta))
            return overflow ? .never : Timestamp(nanoseconds: sum)
        }
        let (difference, underflow) = time.nanoseconds.subtractingReportingOverflow(delta.magnitude)
        return underflow ? .zero : Timestamp(nanoseconds: difference)
    }

    /// Time from `earlier` to this one; negative when `earlier` is later.
    @inlinable
    public static func - (later: Timestamp, earlier: Timestamp) -> Duration {
        later >= earlier
            ? .nanoseconds(Int64(clamping: later.nanoseconds - earlier.nanoseconds))
            : .zero - .nanoseconds(Int64(clamping: earlier.nanoseconds - later.nanoseconds))
    }

    public var description: String { self == .never ? "never" : "\(nanoseconds) ns" }
}

extension Duration {
    /// Whole milliseconds, rounded up, held within `Int64`.
    @inlinable
    public var wholeMilliseconds: Int64 {
        let nanoseconds = saturatedNanoseconds
        return nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0)
    }

    /// Whole nanoseconds, held within `Int64`.
    @inlinable
    public var saturatedNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, overflowed) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflowed ? (seconds < 0 ? .min : .max) : sum
    }
}
