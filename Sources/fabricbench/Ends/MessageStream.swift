// `bw` for small payloads: messages, many at a time.

internal import RayCore
internal import RayFabric

/// One end that sends messages as fast as the transport takes them, or receives them, or both.
struct MessageStream: BenchmarkEnd {
    /// Messages queued between two polls: enough to travel together, few enough to stay in the cache.
    private static let batchBytes = 64 << 10
    private static let longestBatch = 256
    /// Events taken in one step.
    private static let eventsPerStep = 64

    private let settings: WorkSettings
    private let region: BenchmarkRegion
    private let source: PayloadSource
    private let batch: Int
    private var inspector: PayloadInspector
    private var control: BulkControl
    private var sent: [UInt64]
    private var received: [UInt64]
    private var isBlocked: [Bool]

    init(_ settings: WorkSettings, region: BenchmarkRegion, initiates: Bool) {
        self.settings = settings
        self.region = region
        source = PayloadSource(settings)
        batch = min(max(Self.batchBytes / settings.size, 1), Self.longestBatch)
        inspector = PayloadInspector(touch: settings.touch, verify: settings.verify, seed: settings.seed)
        control = BulkControl(settings, initiates: initiates)
        sent = Array(repeating: 0, count: settings.streams)
        received = Array(repeating: 0, count: settings.streams)
        isBlocked = Array(repeating: false, count: settings.streams)
    }

    /// Bytes of the region that each end needs: the message that is being sent.
    static func regionBytes(_ settings: WorkSettings) -> Int { settings.slotBytes }

    mutating func begin<Engine: Transport & ~Copyable>(
        _ link: Link, on transport: inout Engine
    ) throws(FabricError) {
        control.begin(link)
    }

    @inline(__always)
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome {
        try control.flush(&transport)
        var didWork = false
        if control.isSending {
            for stream in 0..<settings.streams where !isBlocked[stream] {
                try sendBatch(on: stream, &transport)
                didWork = true
            }
        }
        for _ in 0..<Self.eventsPerStep {
            guard let event = transport.poll() else { break }
            didWork = true
            if try handle(event, &transport) { return .done }
        }
        control.tick()
        control.finishIfReady(&transport, isQuiet: true)
        return didWork ? .busy : .idle
    }

    @inline(__always)
    private mutating func sendBatch<Engine: Transport & ~Copyable>(
        on stream: Int, _ transport: inout Engine
    ) throws(FabricError) {
        let connection = control.link.connections[stream]
        // SAFETY: the message lies within the region, which outlives the call; `send` copies it.
        let message = unsafe UnsafeMutableRawBufferPointer(rebasing: region.memory[0..<settings.size])
        var sequence = sent[stream]
        for _ in 0..<batch {
            unsafe source.prepare(message, sequence: sequence)
            guard try unsafe transport.send(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(message)), on: connection)
            else {
                isBlocked[stream] = true
                break
            }
            sequence &+= 1
        }
        sent[stream] = sequence
    }

    /// - Returns: whether this end is done.
    @inline(__always)
    private mutating func handle<Engine: Transport & ~Copyable>(
        _ event: TransportEvent, _ transport: inout Engine
    ) throws(FabricError) -> Bool {
        switch event {
        case .message(let connection):
            if let header = BulkControl.control(in: transport.message) {
                control.sendWindow.mark(header.kind ?? .data)
            } else if let stream = control.link.stream(of: connection) {
                inspector.inspect(transport.message, sequence: received[stream])
                received[stream] &+= 1
                control.window.count()
            }
        case .writable(let connection):
            if let stream = control.link.stream(of: connection) { isBlocked[stream] = false }
        case .closed(_, let failure): return try control.closed(failure)
        case .connected, .completed, .notified, .revoked, .finished: break
        }
        return false
    }

    var report: Report { control.report(size: settings.size, inspector) }
}
