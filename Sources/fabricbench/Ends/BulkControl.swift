// What the two kinds of bulk transfer share: marks and credits on their way out, and the orderly end.

internal import RayCore
internal import RayFabric

/// The control side of one end of `bandwidth`.
struct BulkControl {
    let initiates: Bool
    let sends: Bool
    let receives: Bool
    var link = Link(connections: [], peerRegion: RegionKey(rawValue: 0))
    var window: ReceiveWindow
    var sendWindow = SendWindow()
    private var outbox: [(stream: Int, header: PayloadHeader)] = []
    private var hasFinished = false
    private var open = 0

    /// - Parameter initiates: the initiator sends and the acceptor receives; both do both if the
    ///   benchmark is bidirectional.
    init(_ settings: WorkSettings, initiates: Bool) {
        self.initiates = initiates
        sends = initiates || settings.bidirectional
        receives = !initiates || settings.bidirectional
        window = ReceiveWindow(settings)
    }

    mutating func begin(_ link: Link) {
        self.link = link
        open = link.connections.count
    }

    /// Whether more payload is wanted from this end. The acceptor begins when payload has come: the
    /// initiator has finished its rendezvous by then.
    var isSending: Bool { sends && !sendWindow.isStopped && (initiates || window.total > 0) }

    /// Queues a control message. After the end has finished nobody needs one.
    mutating func queue(_ kind: MessageKind, number: UInt64 = 0, stream: Int = 0) {
        guard !hasFinished else { return }
        outbox.append((stream: stream, header: PayloadHeader(kind, sequence: number)))
    }

    /// Looks at the clock and queues what the sender must be told.
    mutating func tick() {
        guard receives else { return }
        switch window.tick() {
        case .begin: queue(.begin)
        case .stop: queue(.stop)
        case nil: break
        }
    }

    /// Sends what is queued, as far as the transport takes it.
    mutating func flush<Engine: Transport & ~Copyable>(_ transport: inout Engine) throws(FabricError) {
        var taken = 0
        for (stream, header) in outbox {
            let message: [1 of UInt64] = [header.word]
            guard try unsafe transport.send(message.span.bytes, on: link.connections[stream]) else { break }
            taken += 1
        }
        if taken > 0 { outbox.removeFirst(taken) }
    }

    /// The control message in `message`; nil when it is payload.
    @inline(__always)
    static func control(in message: RawSpan) -> PayloadHeader? {
        guard message.byteCount == PayloadHeader.byteCount else { return nil }
        // SAFETY: the size was checked.
        let header = PayloadHeader(word: unsafe message.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self))
        return header.kind == .data ? nil : header
    }

    /// Half-closes all connections once this end has nothing more to say.
    /// - Parameter isQuiet: whether nothing is in flight.
    mutating func finishIfReady<Engine: Transport & ~Copyable>(_ transport: inout Engine, isQuiet: Bool) {
        guard !hasFinished, isQuiet, outbox.isEmpty, !sends || sendWindow.isStopped, !receives || window.isDone else {
            return
        }
        hasFinished = true
        for connection in link.connections { transport.finish(connection) }
    }

    /// - Returns: whether that was the last connection.
    mutating func closed(_ failure: TransportFailure) throws(FabricError) -> Bool {
        guard hasFinished, failure.code == .closed else { throw lost(failure) }
        open -= 1
        return open == 0
    }

    func report(size: Int, _ inspector: PayloadInspector) -> Report {
        var report = receives ? window.report(size: size) : sendWindow.report
        report.record(inspector)
        return report
    }
}
