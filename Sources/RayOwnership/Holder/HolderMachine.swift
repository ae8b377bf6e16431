// The machine of a raylet: which copies of which owners this node holds.

public import RayCore

/// The ownership protocol at the holder of copies: reports to owners, their orders, the sweep that reconciles the two,
/// and the way of epochs from the control store to the processes of the node.
///
/// One thread at a time. Each event costs constant amortised time, beside what it ends.
public struct HolderMachine: ~Copyable, Sendable {
    public let node: NodeID
    public let id: WorkerID
    let configuration: HolderConfiguration

    /// Valid while an event is handled.
    var now = Timestamp.zero
    var directives: [HolderDirective] = []

    // Copies.
    var copies = SlotTable(blank: HeldCopy())
    var copyOfObject: [ObjectID: Slot] = [:]
    var copiesOfOwner = SlotLists()
    /// Copies whose owners have to be told.
    var changesOfOwner = SlotLists()
    /// Owners with copies here, the one that is swept next first.
    var owners: Slot = .absent
    var ownerLists = SlotLists()
    /// Owners with changes that they have to be told.
    var ownersToTell: [Slot] = []
    /// The makings of which owners were told that they are gone.
    var lost = RecentMap<ObjectID, UInt32>(capacity: 4096)
    var reportAt = Timestamp.never
    var sweepAt = Timestamp.never

    // What is followed.
    var followed = SlotTable(blank: Followed())
    var followedOfObject: [ObjectID: Slot] = [:]
    var followedOfOwner = SlotLists()

    // Peers and members.
    var links: PeerLinks
    var peers = ChunkedArray(blank: HolderPeer())
    var peersOfNode = SlotLists()
    var nodes: [NodeID: Slot] = [:]
    var deaths: Deaths
    /// Processes of this node, in the order in which they started.
    var processes: [LocalProcess] = []
    public internal(set) var epoch: UInt64 = 0
    var settledEpoch: UInt64 = 0
    var reportedEpoch: UInt64 = 0

    public init(node: NodeID, configuration: HolderConfiguration) {
        precondition(configuration.reportBatch > 0, "nothing could be reported")
        self.node = node
        self.configuration = configuration
        id = .raylet(of: node)
        links = PeerLinks(id: id, configuration: configuration.links)
        deaths = Deaths(capacity: configuration.rememberedDeaths)
    }

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp { min(links.nextDeadline, reportAt, sweepAt) }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(_ event: HolderEvent, now: Timestamp, into directives: inout [HolderDirective]) {
        swap(&self.directives, &directives)
        defer { swap(&self.directives, &directives) }
        self.now = now
        take(event)
        for envelope in links.outbox { self.directives.append(.send(envelope)) }
        links.outbox.removeAll(keepingCapacity: true)
    }

    private mutating func take(_ event: HolderEvent) {
        switch event {
        case .sealed(let copy, let size): have(copy, size, .pinned)
        case .partial(let copy, let size, let chunks): have(copy, size, .partial(chunks))
        case .pulled(let copy, let size): have(copy, size, .complete)
        case .removed(let object): removed(object)
        case .follow(let object): follow(object)
        case .unfollow(let object): unfollow(object)
        case .workerStarted(let worker): started(worker)
        case .workerExited(let worker, let cause): exited(worker, cause)
        case .start: send(.join, to: configuration.controlStore)
        case .received(let envelope): received(envelope)
        case .timer: timer()
        }
    }

    private mutating func timer() {
        for peer in links.timer(now) where links.peer(peer).node != node {
            guard links.peer(peer) != configuration.controlStore else { continue }
            send(.inquire(links.peer(peer)), to: configuration.controlStore)
        }
        if reportAt <= now { report() }
        if sweepAt <= now { sweep() }
    }

    private mutating func received(_ envelope: Envelope) {
        guard envelope.receiver == id else { return }
        if let death = envelope.fence(from: configuration.controlStore) {
            return directives.append(.terminate(death.cause))
        }
        guard let peer = openPeer(envelope.sender) else { return }
        links.receive(envelope, from: peer, now: now)
        while let (peer, message) = links.nextArrived() { take(message, from: peer) }
    }

    private mutating func take(_ message: OwnershipMessage, from peer: Slot) {
        switch message {
        case .free(let orders): for copy in orders { freeOrdered(copy, by: peer) }
        case .pin(let copy): pinOrdered(copy, by: peer)
        case .verify(let asked): send(.copies(asked.map { state(of: $0) }), to: peer)
        case .status(let object, let status): statusChanged(object, status)
        case .welcome(let epoch, let settled, let deaths): welcomed(epoch, settled, deaths)
        case .died(let death): told(death, by: peer)
        case .settled(let epoch): settled(epoch)
        case .applied(let epoch): applied(epoch, by: peer)
        case .inquire(let worker): inquired(worker)
        // Not for a raylet: a peer that says these to one is mistaken.
        case .register, .registered, .refused, .release, .returned, .completed, .item, .follow, .unfollow, .copies,
            .reconcile, .missing, .join, .exited, .fenced, .adopt, .adopted, .disown:
            break
        }
    }

    // MARK: Peers

    /// The slot of a peer, known or new; nil if it is dead.
    mutating func openPeer(_ worker: WorkerID) -> Slot? {
        if let slot = links.find(worker) { return slot }
        guard deaths.death(of: worker) == nil else { return nil }
        let slot = links.open(worker)
        peers.grow(toInclude: slot)
        peersOfNode.append(slot, to: &nodes[worker.node, default: .absent])
        return slot
    }

    mutating func send(_ message: OwnershipMessage, to worker: WorkerID) {
        guard let peer = openPeer(worker) else { return }
        links.send(message, to: peer, now: now)
    }

    mutating func send(_ message: OwnershipMessage, to peer: Slot) { links.send(message, to: peer, now: now) }
}

/// A copy at this node, or one that was, until its owner has been told.
struct HeldCopy: Sendable {
    var id = CopyID(object: ObjectID(words: (0, 0, 0)), attempt: 0)
    var size: UInt64 = 0
    var state = CopyReport.State.removed
    var owner: Slot = .absent
    /// The owner has to be told.
    var isChanged = false
}

struct Followed: Sendable {
    var object = ObjectID(words: (0, 0, 0))
    var count = 0
    var owner: Slot = .absent
    var status: ObjectStatus?
}

struct HolderPeer: Sendable {
    var copies: Slot = .absent
    var changes: Slot = .absent
    var followed: Slot = .absent
    var isToBeTold = false
}

struct LocalProcess: Sendable {
    var worker: WorkerID
    var applied: UInt64
}
