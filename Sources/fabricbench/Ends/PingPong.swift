// `lat`: one payload goes to and fro; a sample is a round trip.

internal import RayCore
internal import RayFabric

/// The state that both ends of a ping-pong share: sends one payload, recognises one that arrives.
private struct PayloadExchange {
    let settings: WorkSettings
    let region: BenchmarkRegion
    var link = Link(connections: [], peerRegion: RegionKey(rawValue: 0))
    var inspector: PayloadInspector
    private let source: PayloadSource
    private var sent: UInt64 = 0
    private var received: UInt64 = 0
    private var writesInFlight = 0
    /// A payload that the transport did not take yet.
    private(set) var isOwed = false
    private var hasFinished = false

    init(_ settings: WorkSettings, region: BenchmarkRegion) {
        self.settings = settings
        self.region = region
        inspector = PayloadInspector(touch: settings.touch, verify: settings.verify, seed: settings.seed)
        source = PayloadSource(settings)
    }

    /// Bytes of the region that one end needs: a source and a target.
    static func regionBytes(_ settings: WorkSettings) -> Int { 2 * settings.slotBytes }

    // SAFETY: both lie within the region, which has `regionBytes`.
    private var outgoing: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(rebasing: region.memory[0..<settings.size])
    }
    private var incoming: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
            rebasing: region.memory[settings.slotBytes..<settings.slotBytes + settings.size])
    }

    /// Fills the next payload. The one before may be overwritten: the answer to it has come.
    @inline(__always)
    mutating func prepare() {
        unsafe source.prepare(outgoing, sequence: sent)
    }

    @inline(__always)
    mutating func send<Engine: Transport & ~Copyable>(_ transport: inout Engine) throws(FabricError) {
        let connection = link.connections[0]
        let taken: Bool
        if settings.usesWrites {
            taken = try transport.write(
                RegionLocation(key: region.key, offset: 0),
                to: RegionLocation(key: link.peerRegion, offset: UInt64(settings.slotBytes)),
                length: settings.size, notification: sent, on: connection, token: sent, deadline: .never)
            if taken { writesInFlight += 1 }
        } else {
            // SAFETY: the region outlives the call, which copies the bytes.
            taken = try unsafe transport.send(RawSpan(_unsafeBytes: outgoing), on: connection)
        }
        isOwed = !taken
        if taken { sent &+= 1 }
    }

    /// Whether `event` brought the next payload. Other events are dealt with here.
    @inline(__always)
    mutating func accepts<Engine: Transport & ~Copyable>(
        _ event: TransportEvent, _ transport: inout Engine
    ) throws(FabricError) -> Bool {
        switch event {
        case .message:
            inspector.inspect(transport.message, sequence: received)
        case .notified(_, let number):
            guard number == received else {
                throw FabricError(.protocolViolation, "payload \(number) was notified in place of \(received)")
            }
            // SAFETY: the region outlives the call; the peer writes to it again only after our answer.
            unsafe inspector.inspect(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(incoming)), sequence: received)
        case .completed(_, _, let failure):
            if let failure { throw failure.error("a one-sided write failed during the benchmark") }
            writesInFlight -= 1
            return false
        case .writable, .revoked, .finished, .connected: return false
        case .closed(_, let failure): throw lost(failure)
        }
        received &+= 1
        return true
    }

    /// Half-closes once nothing is in flight.
    mutating func finish<Engine: Transport & ~Copyable>(_ transport: inout Engine) {
        guard !hasFinished, writesInFlight == 0 else { return }
        hasFinished = true
        transport.finish(link.connections[0])
    }

    /// Whether `event` is the end that both sides have asked for.
    func isOrderlyEnd(_ event: TransportEvent) -> Bool {
        if case .closed(_, let failure) = event { return hasFinished && failure.code == .closed }
        return false
    }
}

/// The end that asks and takes the time.
struct Pinger: BenchmarkEnd {
    private var exchange: PayloadExchange
    private var sentAt: UInt64 = 0
    private var measureFrom: UInt64 = 0
    private var measureUntil: UInt64 = 0
    private var histogram = LatencyHistogram()
    private var span = MeasuredSpan()
    private enum Phase { case warmup, measure, finish }
    private var phase = Phase.warmup

    init(_ settings: WorkSettings, region: BenchmarkRegion) {
        exchange = PayloadExchange(settings, region: region)
    }

    /// Bytes of the region that each end needs.
    static func regionBytes(_ settings: WorkSettings) -> Int { PayloadExchange.regionBytes(settings) }

    mutating func begin<Engine: Transport & ~Copyable>(
        _ link: Link, on transport: inout Engine
    ) throws(FabricError) {
        exchange.link = link
        let clock = CycleClock.shared
        measureFrom = CycleClock.now &+ clock.cycles(exchange.settings.warmup)
        measureUntil = measureFrom &+ clock.cycles(exchange.settings.duration)
        try ping(&transport)
    }

    @inline(__always)
    private mutating func ping<Engine: Transport & ~Copyable>(_ transport: inout Engine) throws(FabricError) {
        exchange.prepare()
        sentAt = CycleClock.now
        try exchange.send(&transport)
    }

    @inline(__always)
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome {
        if exchange.isOwed { try exchange.send(&transport) }
        guard let event = transport.poll() else { return .idle }
        let now = CycleClock.now
        if exchange.isOrderlyEnd(event) { return .done }
        if try exchange.accepts(event, &transport) {
            if try takeSample(at: now) { try ping(&transport) }
        }
        if phase == .finish { exchange.finish(&transport) }
        return .busy
    }

    /// - Returns: whether another round trip is wanted.
    @inline(__always)
    private mutating func takeSample(at now: UInt64) throws(FabricError) -> Bool {
        switch phase {
        case .warmup:
            if now >= measureFrom {
                phase = .measure
                span.start()
            }
            return true
        case .measure:
            histogram.record(cycles: now &- sentAt)
            if now < measureUntil { return true }
            span.stop(at: now)
            phase = .finish
            return false
        case .finish:
            throw FabricError(.protocolViolation, "a payload arrived that was not asked for")
        }
    }

    var report: Report {
        var report = Report(
            operations: histogram.count, bytes: histogram.count * 2 * UInt64(exchange.settings.size),
            latency: histogram)
        report.record(exchange.inspector)
        report.record(span)
        return report
    }
}

/// The end that answers. Its CPU time covers the warm-up too; the time beside it does as well.
struct Ponger: BenchmarkEnd {
    private var exchange: PayloadExchange
    private var span = MeasuredSpan()
    private var answered: UInt64 = 0
    private var isFinishing = false

    init(_ settings: WorkSettings, region: BenchmarkRegion) {
        exchange = PayloadExchange(settings, region: region)
    }

    mutating func begin<Engine: Transport & ~Copyable>(
        _ link: Link, on transport: inout Engine
    ) throws(FabricError) {
        exchange.link = link
        span.start()
    }

    @inline(__always)
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome {
        if exchange.isOwed { try exchange.send(&transport) }
        guard let event = transport.poll() else { return .idle }
        if exchange.isOrderlyEnd(event) { return .done }
        if case .finished = event {
            span.stop()
            isFinishing = true
        }
        if try exchange.accepts(event, &transport) {
            exchange.prepare()
            try exchange.send(&transport)
            answered &+= 1
        }
        if isFinishing { exchange.finish(&transport) }
        return .busy
    }

    var report: Report {
        var report = Report(operations: answered, bytes: answered * 2 * UInt64(exchange.settings.size))
        report.record(exchange.inspector)
        report.record(span)
        return report
    }
}
