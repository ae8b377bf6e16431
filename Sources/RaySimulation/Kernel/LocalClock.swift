// The clock that a node sees: the virtual time with its own offset and rate.

package import RayCore

/// Clocks of different nodes differ by an offset and run at slightly different rates. Machines see only this
/// clock; the simulator converts their deadlines back.
package struct LocalClock: Sendable {
    /// Nanoseconds that this clock is ahead of the virtual time at its start.
    package let offset: UInt64
    /// Parts in a million by which this clock runs fast (positive) or slow.
    package let drift: Int64

    package init(offset: UInt64 = 0, drift: Int64 = 0) {
        precondition(abs(drift) < 1_000_000, "a clock that stands still or runs backwards")
        (self.offset, self.drift) = (offset, drift)
    }

    /// What this clock shows at the virtual time.
    package func reading(at time: UInt64) -> Timestamp {
        guard drift != 0 else { return Timestamp(nanoseconds: offset + time) }
        return Timestamp(nanoseconds: offset + scaled(time, by: 1_000_000 + drift, over: 1_000_000))
    }

    /// The first virtual time at which this clock shows `reading` or more.
    package func time(of reading: Timestamp) -> UInt64 {
        guard reading != .never else { return .max }
        guard reading.nanoseconds > offset else { return 0 }
        let elapsed = reading.nanoseconds - offset
        guard drift != 0 else { return elapsed }
        var time = scaled(elapsed, by: 1_000_000, over: 1_000_000 + drift)
        while self.reading(at: time) < reading { time += 1 }
        return time
    }

    private func scaled(_ time: UInt64, by factor: Int64, over divisor: Int64) -> UInt64 {
        let product = time.multipliedFullWidth(by: UInt64(factor))
        return UInt64(divisor).dividingFullWidth(product).quotient
    }
}
