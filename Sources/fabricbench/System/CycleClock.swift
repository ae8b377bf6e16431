// The clock of short measurements: the CPU's cycle counter, and what a cycle is in nanoseconds.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Converts between cycles and time. A reading costs a few nanoseconds.
struct CycleClock {
    let nanosecondsPerCycle: Double

    /// Calibrated once, against the monotonic clock.
    static let shared = CycleClock(calibratingFor: .milliseconds(20))

    @inline(__always)
    static var now: UInt64 { rf_cycles() }

    private init(calibratingFor duration: Duration) {
        let start = Timestamp.now
        let firstCycle = Self.now
        let end = start + duration
        while Timestamp.now < end { rf_cpu_pause() }
        let cycles = Self.now &- firstCycle
        let elapsed = (Timestamp.now - start).saturatedNanoseconds
        nanosecondsPerCycle = Double(elapsed) / Double(max(cycles, 1))
    }

    func nanoseconds(_ cycles: UInt64) -> Double { Double(cycles) * nanosecondsPerCycle }
    func cycles(_ duration: Duration) -> UInt64 {
        UInt64(Double(max(duration.saturatedNanoseconds, 0)) / nanosecondsPerCycle)
    }
}

/// CPU time that this process has used, all its threads together.
func processorTime() -> Duration {
    var time = timespec()
    unsafe _ = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec))
}

/// A stretch of time and the CPU time that this process spends in it.
struct MeasuredSpan {
    private var startCycle: UInt64 = 0
    private var startProcessor = Duration.zero
    private(set) var nanoseconds: Double = 0
    private(set) var processorNanoseconds: Double = 0

    mutating func start(at cycle: UInt64 = CycleClock.now) {
        startCycle = cycle
        startProcessor = processorTime()
    }

    mutating func stop(at cycle: UInt64 = CycleClock.now) {
        nanoseconds = CycleClock.shared.nanoseconds(cycle &- startCycle)
        processorNanoseconds = Double((processorTime() - startProcessor).saturatedNanoseconds)
    }
}
