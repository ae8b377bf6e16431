// `bw` for large payloads: one-sided writes with a notification into a ring of the receiver's region.

internal import RayCore
internal import RayFabric

/// One end that writes payloads into its peer's ring, or is written to, or both. The receiver returns a
/// credit for each slot that it has looked at; a slot is used again once its write has completed here
/// and its credit is back.
struct WriteStream: BenchmarkEnd {
    private static let eventsPerStep = 64

    private let settings: WorkSettings
    private let region: BenchmarkRegion
    private let source: PayloadSource
    private var inspector: PayloadInspector
    private var control: BulkControl
    private var streams: [SlotLedger]
    private var writesInFlight = 0

    /// What the sender knows of one stream's slots, and the receiver of its sequence.
    private struct SlotLedger {
        var free: [Int]
        /// For each slot, what must still come before it is free: its completion and its credit.
        var pending: [UInt8]
        var sent: UInt64 = 0
        var isBlocked = false

        init(slots: Int) {
            free = Array((0..<slots).reversed())
            pending = Array(repeating: 0, count: slots)
        }

        /// One of the two things has come for `slot`.
        mutating func settle(_ slot: Int) throws(FabricError) {
            guard pending.indices.contains(slot), pending[slot] > 0 else {
                throw FabricError(.protocolViolation, "a credit or completion for slot \(slot), which is free")
            }
            pending[slot] -= 1
            if pending[slot] == 0 { free.append(slot) }
        }
    }

    init(_ settings: WorkSettings, region: BenchmarkRegion, initiates: Bool) {
        self.settings = settings
        self.region = region
        source = PayloadSource(settings)
        inspector = PayloadInspector(touch: settings.touch, verify: settings.verify, seed: settings.seed)
        control = BulkControl(settings, initiates: initiates)
        streams = Array(repeating: SlotLedger(slots: settings.slots), count: settings.streams)
    }

    /// Bytes of the region that each end needs: for each stream a ring to send from or to receive into,
    /// and both when both ends send.
    static func regionBytes(_ settings: WorkSettings) -> Int {
        (settings.bidirectional ? 2 : 1) * settings.streams * settings.slots * settings.slotBytes
    }

    mutating func begin<Engine: Transport & ~Copyable>(
        _ link: Link, on transport: inout Engine
    ) throws(FabricError) {
        control.begin(link)
    }

    @inline(__always)
    mutating func step<Engine: Transport & ~Copyable>(
        _ transport: inout Engine
    ) throws(FabricError) -> StepOutcome {
        var didWork = false
        if control.isSending {
            for stream in streams.indices where !streams[stream].isBlocked {
                while let slot = streams[stream].free.last {
                    guard try write(slot, of: stream, &transport) else { break }
                    didWork = true
                }
            }
        }
        for _ in 0..<Self.eventsPerStep {
            guard let event = transport.poll() else { break }
            didWork = true
            if try handle(event, &transport) { return .done }
        }
        control.tick()
        try control.flush(&transport)
        control.finishIfReady(&transport, isQuiet: writesInFlight == 0)
        return didWork ? .busy : .idle
    }

    private func offset(ofSlot slot: Int, stream: Int, receiving: Bool) -> Int {
        ((receiving && settings.bidirectional ? settings.streams : 0) + stream) * settings.slots * settings.slotBytes
            + slot * settings.slotBytes
    }

    /// - Returns: whether the transport took the write.
    private mutating func write<Engine: Transport & ~Copyable>(
        _ slot: Int, of stream: Int, _ transport: inout Engine
    ) throws(FabricError) -> Bool {
        let from = offset(ofSlot: slot, stream: stream, receiving: false)
        let to = offset(ofSlot: slot, stream: stream, receiving: true)
        let sequence = streams[stream].sent
        // SAFETY: the slot lies within the region and nothing that is in flight names it.
        unsafe source.prepare(
            UnsafeMutableRawBufferPointer(rebasing: region.memory[from..<from + settings.size]), sequence: sequence)
        let taken = try transport.write(
            RegionLocation(key: region.key, offset: UInt64(from)),
            to: RegionLocation(key: control.link.peerRegion, offset: UInt64(to)),
            length: settings.size, notification: sequence << 16 | UInt64(slot),
            on: control.link.connections[stream], token: UInt64(stream) << 32 | UInt64(slot), deadline: .never)
        guard taken else {
            streams[stream].isBlocked = true
            return false
        }
        streams[stream].free.removeLast()
        streams[stream].pending[slot] = 2
        writesInFlight += 1
        streams[stream].sent &+= 1
        return true
    }

    /// - Returns: whether this end is done.
    private mutating func handle<Engine: Transport & ~Copyable>(
        _ event: TransportEvent, _ transport: inout Engine
    ) throws(FabricError) -> Bool {
        switch event {
        case .notified(let connection, let number):
            if let stream = control.link.stream(of: connection) { try receive(number, stream: stream) }
        case .message(let connection):
            guard let header = BulkControl.control(in: transport.message),
                let stream = control.link.stream(of: connection)
            else { throw FabricError(.protocolViolation, "an unexpected message during bw") }
            switch header.kind {
            case .credit: try streams[stream].settle(Int(header.sequence))
            case .begin, .stop, .data, nil: control.sendWindow.mark(header.kind ?? .data)
            }
        case .completed(_, let token, let failure):
            if let failure { throw failure.error("a one-sided write failed during the benchmark") }
            let stream = Int(token >> 32)
            writesInFlight -= 1
            try streams[stream].settle(Int(token & 0xffff_ffff))
        case .writable(let connection):
            if let stream = control.link.stream(of: connection) { streams[stream].isBlocked = false }
        case .closed(_, let failure): return try control.closed(failure)
        case .connected, .revoked, .finished: break
        }
        return false
    }

    private mutating func receive(_ number: UInt64, stream: Int) throws(FabricError) {
        let slot = Int(number & 0xffff)
        guard slot < settings.slots else {
            throw FabricError(.protocolViolation, "a notification for slot \(slot) of \(settings.slots)")
        }
        let from = offset(ofSlot: slot, stream: stream, receiving: true)
        // SAFETY: the slot lies within the region; the peer writes to it again only after the credit.
        unsafe inspector.inspect(
            RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: region.memory[from..<from + settings.size])),
            sequence: number >> 16)
        control.window.count()
        control.queue(.credit, number: UInt64(slot), stream: stream)
    }

    var report: Report { control.report(size: settings.size, inspector) }
}
