// All samples of a latency, in cycles, and their summary in microseconds.

internal import Histogram

/// Every sample goes in; three significant digits are kept.
struct LatencyHistogram {
    /// Longer samples count as this long: 2^40 cycles, some minutes.
    private static let longest: UInt64 = 1 << 40
    private var samples = Histogram<UInt64>(highestTrackableValue: longest, numberOfSignificantValueDigits: .three)

    @inline(__always)
    mutating func record(cycles: UInt64) {
        samples.record(min(cycles, Self.longest))
    }

    mutating func record(cycles: UInt64, count: UInt64) {
        samples.record(min(cycles, Self.longest), count: count)
    }

    mutating func add(_ other: LatencyHistogram) { samples.add(other.samples) }

    var count: UInt64 { samples.totalCount }

    /// Each distinct value and how often it came.
    var entries: [(cycles: UInt64, count: UInt64)] {
        samples.recordedValues().map { (cycles: $0.value, count: $0.count) }
    }

    /// - Parameter divisor: 2 makes one way out of a round trip.
    func summary(dividedBy divisor: Double, clock: CycleClock = .shared) -> LatencySummary? {
        guard count > 0 else { return nil }
        func microseconds(_ cycles: Double) -> Double { cycles * clock.nanosecondsPerCycle / divisor / 1000 }
        func percentile(_ rank: Double) -> Double { microseconds(Double(samples.valueAtPercentile(rank))) }
        return LatencySummary(
            minimum: microseconds(Double(samples.min)), mean: microseconds(samples.mean),
            p50: percentile(50), p90: percentile(90), p99: percentile(99), p999: percentile(99.9),
            maximum: microseconds(Double(samples.max)))
    }
}

/// A latency in microseconds.
struct LatencySummary {
    var minimum, mean, p50, p90, p99, p999, maximum: Double

    /// The median of each figure over several repeats; the least minimum and the greatest maximum.
    init?(medianOf repeats: [LatencySummary]) {
        guard !repeats.isEmpty else { return nil }
        minimum = repeats.map(\.minimum).min() ?? 0
        mean = median(repeats.map(\.mean))
        p50 = median(repeats.map(\.p50))
        p90 = median(repeats.map(\.p90))
        p99 = median(repeats.map(\.p99))
        p999 = median(repeats.map(\.p999))
        maximum = repeats.map(\.maximum).max() ?? 0
    }

    init(
        minimum: Double, mean: Double, p50: Double, p90: Double, p99: Double, p999: Double, maximum: Double
    ) {
        self.minimum = minimum
        self.mean = mean
        self.p50 = p50
        self.p90 = p90
        self.p99 = p99
        self.p999 = p999
        self.maximum = maximum
    }
}

/// The middle value, or the mean of the two middle ones; 0 of nothing.
func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
