// The machine of the control store: who is dead, since which epoch.

public import RayCore

/// Turns "does not answer" into "is dead", for all at once.
///
/// Whoever watches the members decides; this machine makes an epoch of it and tells every member. An epoch is settled
/// when all live members have applied it, which they say only when all references that they took over before it are
/// known to their owners. So nobody lets go what it held for the dead before.
///
/// Its state is to be durable: after a restart the shell gives back the machine as it was.
public struct ControlStoreMachine: ~Copyable, Sendable {
    public let id: WorkerID
    let configuration: ControlStoreConfiguration

    /// Valid while an event is handled.
    private var now = Timestamp.zero
    private var directives: [ControlStoreDirective] = []

    private var links: PeerLinks
    /// Members, beside the links.
    private var members = ChunkedArray(blank: Member())
    private var memberList: Slot = .absent
    private var memberLists = SlotLists()
    /// Links with the processes of each node.
    private var peersOfNode: [NodeID: Slot] = [:]
    private var nodeLists = SlotLists()
    /// The live incarnation of each node that has joined.
    private var liveNodes: [UInt64: NodeID] = [:]

    private var deaths: Deaths
    public private(set) var epoch: UInt64 = 0
    public private(set) var settledEpoch: UInt64 = 0
    /// How many members have yet to apply each epoch after `settledEpoch`, in order.
    private var waiting = Queue<Int>()
    public private(set) var memberCount = 0

    private struct Member: Sendable {
        var isMember = false
        var applied: UInt64 = 0
    }

    public init(id: WorkerID, configuration: ControlStoreConfiguration) {
        self.id = id
        self.configuration = configuration
        links = PeerLinks(id: id, configuration: configuration.links)
        deaths = Deaths(capacity: configuration.rememberedDeaths)
    }

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp { links.nextDeadline }

    /// Whether a process was declared dead, by itself or with its node.
    public func death(of worker: WorkerID) -> Death? { deaths.death(of: worker) }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(
        _ event: ControlStoreEvent, now: Timestamp, into directives: inout [ControlStoreDirective]
    ) {
        swap(&self.directives, &directives)
        defer { swap(&self.directives, &directives) }
        self.now = now
        switch event {
        case .declareDead(let member, let cause): declareDead(member, cause)
        case .received(let envelope): received(envelope)
        case .heard(let worker): _ = fence(worker)
        case .timer:
            for peer in links.timer(now) { self.directives.append(.suspected(links.peer(peer), by: id)) }
        }
        for envelope in links.outbox { self.directives.append(.send(envelope)) }
        links.outbox.removeAll(keepingCapacity: true)
    }

    private mutating func received(_ envelope: Envelope) {
        guard envelope.receiver == id else { return }
        guard !fence(envelope.sender) else { return }
        let peer = open(envelope.sender)
        links.receive(envelope, from: peer, now: now)
        while let (peer, message) = links.nextArrived() { take(message, from: peer) }
    }

    /// Tells a process that was declared dead.
    /// - Returns: whether it was.
    private mutating func fence(_ worker: WorkerID) -> Bool {
        guard let death = deaths.death(of: worker) else { return false }
        directives.append(.send(.fence(death, from: id, to: worker)))
        return true
    }

    private mutating func open(_ worker: WorkerID) -> Slot {
        if let slot = links.find(worker) { return slot }
        let slot = links.open(worker)
        members.grow(toInclude: slot)
        nodeLists.append(slot, to: &peersOfNode[worker.node, default: .absent])
        return slot
    }

    private mutating func take(_ message: OwnershipMessage, from peer: Slot) {
        switch message {
        case .join: join(peer)
        case .applied(let epoch): applied(epoch, by: peer)
        case .inquire(let worker): inquired(worker, by: peer)
        case .exited(let worker, let cause):
            guard links.peer(peer) == .raylet(of: worker.node) else { return }
            declareDead(.worker(worker), cause)
        // Not for the control store: a peer that says these to it is mistaken.
        case .register, .registered, .refused, .release, .returned, .completed, .item, .follow, .unfollow, .status,
            .copies, .reconcile, .free, .pin, .verify, .missing, .welcome, .died, .settled, .fenced, .adopt,
            .adopted, .disown:
            break
        }
    }

    // MARK: Members

    private mutating func join(_ peer: Slot) {
        guard !members[peer].isMember else { return }
        let worker = links.peer(peer)
        if let before = liveNodes[worker.node.value], before.incarnation < worker.node.incarnation {
            declareDead(.node(before), .replaced)
        }
        if worker == .raylet(of: worker.node) { liveNodes[worker.node.value] = worker.node }
        members[peer] = Member(isMember: true, applied: epoch)
        memberLists.append(peer, to: &memberList)
        memberCount += 1
        let told = deaths.latest(configuration.deathsInWelcome)
        links.send(.welcome(epoch: epoch, settled: settledEpoch, deaths: told), to: peer, now: now)
        directives.append(.joined(worker))
    }

    private mutating func broadcast(_ message: OwnershipMessage) {
        var peer = memberList
        while peer != .absent {
            links.send(message, to: peer, now: now)
            peer = memberLists.next(after: peer, in: memberList)
        }
    }

    private mutating func inquired(_ worker: WorkerID, by peer: Slot) {
        if let death = deaths.death(of: worker) { return links.send(.died(death), to: peer, now: now) }
        if let live = liveNodes[worker.node.value], live.incarnation > worker.node.incarnation {
            return declareDead(.node(worker.node), .replaced)
        }
        directives.append(.suspected(worker, by: links.peer(peer)))
        // Its raylet knows whether it has ended.
        let raylet = WorkerID.raylet(of: worker.node)
        if worker != raylet, let raylet = links.find(raylet) { links.send(.inquire(worker), to: raylet, now: now) }
    }

    // MARK: Epochs

    private mutating func declareDead(_ member: Death.Member, _ cause: DeathCause) {
        guard !deaths.isKnown(member) else { return }
        if case .worker(let worker) = member, deaths.death(of: worker) != nil { return }
        epoch += 1
        let death = Death(member, cause, epoch: epoch)
        deaths.insert(death)
        directives.append(.died(death))
        switch member {
        case .worker(let worker):
            if let peer = links.find(worker) { end(peer, death) }
        case .node(let node):
            while let peer = peersOfNode[node], peer != .absent { end(peer, death) }
            peersOfNode[node] = nil
            if liveNodes[node.value] == node { liveNodes[node.value] = nil }
        }
        waiting.append(memberCount)
        broadcast(.died(death))
        settle()
    }

    private mutating func end(_ peer: Slot, _ death: Death) {
        // It may be alive, and should know. If this is lost, it is told when it speaks.
        directives.append(.send(.fence(death, from: id, to: links.peer(peer))))
        if members[peer].isMember {
            memberLists.remove(peer, from: &memberList)
            memberCount -= 1
            // Epochs wait for it no longer; the one that begins now was not counted yet.
            countApplied(from: members[peer].applied, to: epoch - 1)
        }
        nodeLists.remove(peer, from: &peersOfNode[links.peer(peer).node, default: .absent])
        members.clear(peer)
        links.close(peer)
        links.remove(peer)
    }

    private mutating func applied(_ applied: UInt64, by peer: Slot) {
        guard members[peer].isMember, applied > members[peer].applied, applied <= epoch else { return }
        countApplied(from: members[peer].applied, to: applied)
        members[peer].applied = applied
        settle()
    }

    private mutating func countApplied(from before: UInt64, to applied: UInt64) {
        var passed = max(before, settledEpoch)
        while passed < applied {
            waiting[Int(passed - settledEpoch)] -= 1
            passed += 1
        }
    }

    private mutating func settle() {
        let before = settledEpoch
        while !waiting.isEmpty, waiting[0] == 0 {
            _ = waiting.popFirst()
            settledEpoch += 1
        }
        if settledEpoch > before { broadcast(.settled(epoch: settledEpoch)) }
    }
}
