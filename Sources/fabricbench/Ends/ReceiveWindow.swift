// The clock of `bandwidth`: payload is counted where it arrives, between two marks that the sender is told.

/// Counts payloads of one receiver from the end of the warm-up until the measured time is over.
struct ReceiveWindow {
    /// What the sender must be told.
    enum Mark { case begin, stop }
    private enum Phase { case waiting, warmup, measure, done }

    private let warmupCycles: UInt64
    private let durationCycles: UInt64
    private var phase = Phase.waiting
    private var nextPhaseAt: UInt64 = 0
    private(set) var total: UInt64 = 0
    private var totalAtStart: UInt64 = 0
    private var counted: UInt64 = 0
    private var span = MeasuredSpan()

    init(_ settings: WorkSettings) {
        warmupCycles = CycleClock.shared.cycles(settings.warmup)
        durationCycles = CycleClock.shared.cycles(settings.duration)
    }

    var isDone: Bool { phase == .done }

    @inline(__always)
    mutating func count(_ amount: UInt64 = 1) { total &+= amount }

    /// Looks at the clock. To be called often, but not per message: it costs some nanoseconds.
    mutating func tick() -> Mark? {
        let now = CycleClock.now
        switch phase {
        case .waiting:
            guard total > 0 else { return nil }
            phase = .warmup
            nextPhaseAt = now &+ warmupCycles
            return nil
        case .warmup:
            guard now >= nextPhaseAt else { return nil }
            phase = .measure
            totalAtStart = total
            span.start(at: now)
            nextPhaseAt = now &+ durationCycles
            return .begin
        case .measure:
            guard now >= nextPhaseAt else { return nil }
            phase = .done
            counted = total &- totalAtStart
            span.stop(at: now)
            return .stop
        case .done: return nil
        }
    }

    /// What was counted.
    func report(size: Int) -> Report {
        var report = Report(operations: counted, bytes: counted * UInt64(size))
        report.record(span)
        return report
    }
}

/// The sender's share of a window: its CPU time between the receiver's two marks.
struct SendWindow {
    private var span = MeasuredSpan()
    private(set) var isStopped = false

    mutating func mark(_ kind: MessageKind) {
        switch kind {
        case .begin: span.start()
        case .stop:
            isStopped = true
            span.stop()
        case .data, .credit: break
        }
    }

    var report: Report {
        var report = Report()
        report.record(span)
        return report
    }
}
