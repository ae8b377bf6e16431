// One side of the conversation of two processes: numbers, what is unacknowledged, what came too early.

internal import RayCore

struct Link: Sendable {
    let peer: WorkerID
    private(set) var isClosed = false

    // Sending. The first of `unacknowledged` has the number `acknowledged` + 1.
    private(set) var unacknowledged = Queue<OwnershipMessage>()
    private var acknowledged: UInt64 = 0
    /// The highest number ever sent.
    private var transmitted: UInt64 = 0
    /// How many of `unacknowledged` are under way.
    private var underWay = 0
    /// How often in a row the timer for repeats has run out.
    private var repeats: UInt32 = 0
    private(set) var retransmitAt = Timestamp.never
    /// Since when the peer has acknowledged nothing of what waits; reset when it was inquired about.
    private var waitingSince = Timestamp.never

    // Receiving.
    private var taken: UInt64 = 0
    /// What the peer was last told of `taken`.
    private var told: UInt64 = 0
    /// What came before its turn, by number.
    private var early: [(sequence: UInt64, message: OwnershipMessage)] = []
    var acknowledgeAt = Timestamp.never

    init(peer: WorkerID) { self.peer = peer }

    mutating func close() {
        isClosed = true
        unacknowledged.removeAll()
        early = []
        underWay = 0
        (retransmitAt, acknowledgeAt) = (.never, .never)
    }

    // MARK: Sending

    mutating func enqueue(_ message: OwnershipMessage, _ now: Timestamp) {
        if unacknowledged.isEmpty { waitingSince = now }
        unacknowledged.append(message)
    }

    /// The next message that may leave, with the acknowledgement of what has come.
    mutating func nextToTransmit(from sender: WorkerID, window: Int) -> Envelope? {
        guard underWay < min(window, unacknowledged.count) else { return nil }
        underWay += 1
        let sequence = acknowledged + UInt64(underWay)
        transmitted = max(transmitted, sequence)
        return envelope(from: sender, sequence: sequence, message: unacknowledged[underWay - 1])
    }

    /// An envelope that takes the acknowledgement along.
    mutating func envelope(
        from sender: WorkerID, sequence: UInt64 = 0, message: OwnershipMessage? = nil
    ) -> Envelope {
        acknowledgeAt = .never
        told = taken
        return Envelope(
            sender: sender, receiver: peer, sequence: sequence, acknowledged: taken, attempt: repeats + 1,
            message: message)
    }

    mutating func acknowledge(_ sequence: UInt64, _ now: Timestamp, _ configuration: LinkConfiguration) {
        // What was never sent can not be acknowledged: such a number is not of our protocol.
        guard sequence > acknowledged, sequence <= transmitted else { return }
        while acknowledged < sequence {
            _ = unacknowledged.popFirst()
            acknowledged += 1
            underWay = max(0, underWay - 1)
        }
        repeats = 0
        waitingSince = unacknowledged.isEmpty ? .never : now
        retransmitAt = unacknowledged.isEmpty ? .never : now + configuration.retransmitAfter
    }

    mutating func armRetransmission(_ now: Timestamp, _ configuration: LinkConfiguration) {
        retransmitAt = now + interval(configuration)
    }

    /// All that is under way counts as lost, and will be sent again.
    mutating func backOff(_ now: Timestamp, _ configuration: LinkConfiguration) {
        underWay = 0
        repeats += 1
        retransmitAt = .never
    }

    private func interval(_ configuration: LinkConfiguration) -> Duration {
        min(configuration.retransmitAfter * (1 << Int(min(repeats, 16))), configuration.retransmitAtMost)
    }

    /// True once every `unreachableAfter` in which nothing was acknowledged.
    mutating func isSilent(_ now: Timestamp, _ configuration: LinkConfiguration) -> Bool {
        guard waitingSince != .never, now - waitingSince >= configuration.unreachableAfter else { return false }
        waitingSince = now
        return true
    }

    // MARK: Receiving

    /// True if the peer's window would close before the acknowledgement is due.
    func owesAcknowledgement(_ configuration: LinkConfiguration) -> Bool {
        taken - told >= UInt64(max(1, configuration.window / 4))
    }

    /// Appends the messages whose turn has come, with the peer's slot.
    mutating func take(
        _ message: OwnershipMessage, _ sequence: UInt64, window: Int, _ slot: Slot,
        into arrived: inout Queue<(Slot, OwnershipMessage)>
    ) {
        guard sequence > taken, sequence - taken <= UInt64(window) else { return }
        if sequence == taken + 1, early.isEmpty {
            taken = sequence
            return arrived.append((slot, message))
        }
        let place = early.firstIndex { $0.sequence >= sequence } ?? early.count
        if place < early.count, early[place].sequence == sequence { return }
        early.insert((sequence, message), at: place)
        var turn = 0
        while turn < early.count, early[turn].sequence == taken + 1 {
            arrived.append((slot, early[turn].message))
            taken += 1
            turn += 1
        }
        early.removeFirst(turn)
    }
}
