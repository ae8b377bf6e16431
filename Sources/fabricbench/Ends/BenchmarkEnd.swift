// One end of a benchmark as a machine that is stepped, and the loops that drive one or two of them.

internal import CLinux
internal import RayCore
internal import RayFabric

/// What a step has achieved.
enum StepOutcome {
    /// Something happened; step again at once.
    case busy
    /// Nothing to do until the transport has an event.
    case idle
    /// This end has finished.
    case done
}

/// One end of a benchmark. It never waits by itself, so that two processes can run one end each, or
/// one thread can run both ends of a transport that stays within a process.
protocol BenchmarkEnd: ~Copyable {
    /// Starts the work once both ends are connected.
    mutating func begin<Engine: Transport & ~Copyable>(
        _ link: Link, on transport: inout Engine
    ) throws(FabricError)

    /// Does what can be done without waiting.
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome
}

/// An end with the rendezvous before it.
struct LinkedEnd<End: BenchmarkEnd & ~Copyable>: ~Copyable {
    private var rendezvous: Rendezvous
    private var isLinked = false
    var end: End

    init(_ rendezvous: Rendezvous, then end: consuming End) {
        self.rendezvous = rendezvous
        self.end = end
    }

    @inline(__always)
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome {
        if isLinked { return try end.step(&transport) }
        if let link = try rendezvous.step(&transport) {
            isLinked = true
            try end.begin(link, on: &transport)
            return .busy
        }
        return rendezvous.wasIdle ? .idle : .busy
    }
}

/// How an end waits for events.
enum WaitMode: UInt8, CaseIterable, Sendable {
    /// Polls without pause: the lowest latency, one core in full use.
    case spin
    /// As programs do by default: spins for a short time, then sleeps.
    case adaptive
    /// Sleeps at once.
    case sleep
}

/// Empty polls between two looks at the clock.
private let pollsPerClock = 4096

/// Steps one end until it is done.
func drive<End: BenchmarkEnd & ~Copyable, Engine: Transport & ~Copyable>(
    _ end: inout LinkedEnd<End>, on transport: inout Engine, wait: WaitMode, deadline: Timestamp
) throws(FabricError) {
    var steps = 0
    while true {
        switch try end.step(&transport) {
        case .done: return
        case .busy: break
        case .idle:
            switch wait {
            case .spin: break
            case .adaptive, .sleep: transport.wait(until: deadline)
            }
        }
        steps &+= 1
        if steps % pollsPerClock == 0 || wait != .spin { try check(deadline) }
    }
}

/// Steps both ends in turn, in one thread, until both are done.
func drive<First: BenchmarkEnd & ~Copyable, Second: BenchmarkEnd & ~Copyable, Engine: Transport & ~Copyable>(
    _ first: inout LinkedEnd<First>, on firstTransport: inout Engine,
    _ second: inout LinkedEnd<Second>, on secondTransport: inout Engine, deadline: Timestamp
) throws(FabricError) {
    var steps = 0
    var firstDone = false
    var secondDone = false
    while !(firstDone && secondDone) {
        if !firstDone, try first.step(&firstTransport) == .done { firstDone = true }
        if !secondDone, try second.step(&secondTransport) == .done { secondDone = true }
        steps &+= 1
        if steps % pollsPerClock == 0 { try check(deadline) }
    }
}

private func check(_ deadline: Timestamp) throws(FabricError) {
    guard Timestamp.now < deadline else {
        throw FabricError(.deadlineExceeded, "the benchmark did not end in its time")
    }
}

/// The error for a connection that ended in the middle of a benchmark.
func lost(_ failure: TransportFailure) -> FabricError {
    failure.error("the connection between the two ends was lost during the benchmark")
}
