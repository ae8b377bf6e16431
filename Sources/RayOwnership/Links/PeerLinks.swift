// Messages between two processes: each taken in once and in order, whatever the network does.

internal import RayCore

/// The links of one process with its peers.
///
/// A message is kept and sent again until the peer has acknowledged it, or is dead. The receiver takes messages in by
/// their numbers: it ignores what it has had, and keeps what came too early. So the protocol above may rely on order
/// between two processes, and on nothing between three.
struct PeerLinks: Sendable {
    let id: WorkerID
    let configuration: LinkConfiguration
    private var links: SlotTable<Link>
    private var slots: [WorkerID: Slot] = [:]
    private var timers = DeadlineHeap()
    /// Envelopes to be sent now.
    var outbox: [Envelope] = []
    /// Messages taken in, in order, with the peers that sent them.
    private var arrived = Queue<(Slot, OwnershipMessage)>()

    init(id: WorkerID, configuration: LinkConfiguration) {
        precondition(configuration.window > 0, "nothing could be sent")
        self.id = id
        self.configuration = configuration
        links = SlotTable(blank: Link(peer: id))
    }

    var nextDeadline: Timestamp { timers.earliest }
    var count: Int { links.count }
    /// Slots ever used: the length that tables beside this one must have.
    var end: Slot { links.end }

    /// The slot of a peer that is known already.
    func find(_ peer: WorkerID) -> Slot? { slots[peer] }

    mutating func open(_ peer: WorkerID) -> Slot {
        if let slot = slots[peer] { return slot }
        let slot = links.insert(Link(peer: peer))
        slots[peer] = slot
        return slot
    }

    func peer(_ slot: Slot) -> WorkerID { links[slot].peer }
    func isClosed(_ slot: Slot) -> Bool { links[slot].isClosed }
    /// True if the peer has acknowledged everything.
    func isIdle(_ slot: Slot) -> Bool { links[slot].unacknowledged.isEmpty }

    /// The peer is dead: nothing goes there and nothing comes from there any more.
    mutating func close(_ slot: Slot) {
        links[slot].close()
        timers.remove(Int(slot))
    }

    /// Forgets a closed link; its slot will be used again.
    mutating func remove(_ slot: Slot) {
        precondition(links[slot].isClosed, "a link in use was removed")
        slots[links[slot].peer] = nil
        links.remove(slot)
    }

    mutating func send(_ message: OwnershipMessage, to slot: Slot, now: Timestamp) {
        guard !links[slot].isClosed else { return }
        links[slot].enqueue(message, now)
        transmit(slot, now)
    }

    /// Takes in an envelope from a peer. `nextArrived` then gives the messages that have come into order.
    mutating func receive(_ envelope: Envelope, from slot: Slot, now: Timestamp) {
        guard !links[slot].isClosed else { return }
        links[slot].acknowledge(envelope.acknowledged, now, configuration)
        if let message = envelope.message, envelope.sequence > 0 {
            links[slot].take(message, envelope.sequence, window: configuration.window, slot, into: &arrived)
            if links[slot].acknowledgeAt == .never {
                links[slot].acknowledgeAt = now + configuration.acknowledgeWithin
            }
        }
        if links[slot].owesAcknowledgement(configuration) { outbox.append(links[slot].envelope(from: id)) }
        transmit(slot, now)
    }

    mutating func nextArrived() -> (peer: Slot, message: OwnershipMessage)? {
        while let (slot, message) = arrived.popFirst() {
            if !links[slot].isClosed { return (slot, message) }
        }
        return nil
    }

    /// Repeats and acknowledges what is due.
    /// - Returns: peers that have been silent for so long that they should be inquired about.
    mutating func timer(_ now: Timestamp) -> [Slot] {
        var silent: [Slot] = []
        while let slot = timers.popExpired(now).map(Slot.init) {
            if links[slot].retransmitAt <= now {
                links[slot].backOff(now, configuration)
                if links[slot].isSilent(now, configuration) { silent.append(slot) }
            }
            transmit(slot, now)
            if links[slot].acknowledgeAt <= now { outbox.append(links[slot].envelope(from: id)) }
            arm(slot)
        }
        return silent
    }

    private mutating func transmit(_ slot: Slot, _ now: Timestamp) {
        while let envelope = links[slot].nextToTransmit(from: id, window: configuration.window) {
            outbox.append(envelope)
            if links[slot].retransmitAt == .never { links[slot].armRetransmission(now, configuration) }
        }
        arm(slot)
    }

    private mutating func arm(_ slot: Slot) {
        let due = min(links[slot].retransmitAt, links[slot].acknowledgeAt)
        if timers[Int(slot)] != due { timers.set(Int(slot), to: due) }
    }
}
