// The global scheduler of the compared designs as a machine without I/O.

public import RayCore

/// Names nodes for requests, by the view of the whole cluster that the nodes' reports give.
///
/// **central**: a request waits here until a node has room, as the reports and what was sent since say.
/// **bottomUp**: a request that its node had no room for is sent on at once, without room to the node with the
/// shortest queue, and waits there.
public struct GlobalScheduler: Sendable {
    private struct WaitingClass: Sendable {
        let schedulingClass: SchedulingClass
        var shape = ClusterView.ShapeHandle()
        var waiting = IndexList()
        var isListed = false
    }

    public let policy: SchedulingPolicy
    private var random: SeededRandom
    private var requests = RequestTable()
    private var links = LinkTable()
    private var classes: [WaitingClass] = []
    private var indexOfClass = IndexMap<SchedulingClass>()
    /// Classes of which something waits, in the order in which they began to.
    private var listed: [Int] = []

    public init(policy: SchedulingPolicy, seed: UInt64) {
        precondition(policy == .central || policy == .bottomUp, "\(policy) has no global scheduler")
        self.policy = policy
        random = SeededRandom(seed: seed)
    }

    /// Slots that wait here.
    public var queuedSlots: Int { requests.waitingSlots }

    public mutating func handle(
        _ event: GlobalEvent, now: Timestamp, view: inout ClusterView, into directives: inout [GlobalDirective]
    ) {
        switch event {
        case .received(.request(let request), let sender):
            guard sender == .worker(request.id.submitter) else { return }
            received(request, now, &view)
        case .received: return
        case .workerDied(let worker): submittersDied { $0 == worker }
        case .nodeDied(let node):
            view.nodeDied(node)
            submittersDied { $0.node == node }
        case .viewChanged: placeAll(now, &view)
        }
        sendAnswers(now, view, &directives)
    }

    /// When `tick` is due; `.never` if nothing waits for time.
    public private(set) var nextDeadline = Timestamp.never

    /// Looks at what waits again, even if no view has changed. Calling it early or often is harmless.
    public mutating func tick(now: Timestamp, view: inout ClusterView, into directives: inout [GlobalDirective]) {
        guard now >= nextDeadline else { return }
        placeAll(now, &view)
        sendAnswers(now, view, &directives)
    }

    private mutating func sendAnswers(
        _ now: Timestamp, _ view: ClusterView, _ directives: inout [GlobalDirective]
    ) {
        if requests.waitingSlots == 0 {
            nextDeadline = .never
        } else if nextDeadline <= now || nextDeadline == .never {
            nextDeadline = now + ClusterView.assumptionTime
        }
        while let index = requests.nextTouched() {
            let answer = requests.answer(index, reason: reason(of: index, view))
            directives.append(.send(.answer(answer), to: .worker(requests[index].id.submitter)))
        }
    }

    private mutating func received(_ request: LeaseRequest, _ now: Timestamp, _ view: inout ClusterView) {
        if let refusal = request.refusal.first { view.apply(refusal) }
        switch requests.admit(request) {
        case .stale: return
        case .known(let record): reduce(record, to: request.wanted)
        case .new:
            let classIndex = classIndex(of: request.schedulingClass)
            let record = requests.add(request, classIndex: classIndex, now: now)
            reduce(record, to: request.wanted)
            guard requests[record].waiting > 0 else { return }
            links.append(record, to: &classes[classIndex].waiting)
            requests[record].place = .ready
            if !classes[classIndex].isListed {
                classes[classIndex].isListed = true
                listed.append(classIndex)
            }
            place(classIndex, now, &view)
        }
    }

    private mutating func classIndex(of schedulingClass: SchedulingClass) -> Int {
        if let known = indexOfClass[schedulingClass] { return known }
        classes.append(WaitingClass(schedulingClass: schedulingClass))
        indexOfClass.insert(schedulingClass, classes.count - 1)
        return classes.count - 1
    }

    private mutating func reduce(_ record: Int, to wanted: UInt32) {
        let settled = requests[record].settled
        let excess = settled + requests[record].waiting - max(settled, min(wanted, settled + requests[record].waiting))
        guard excess > 0 else { return }
        requests.settle(record, .cancelled(slots: excess))
        unlinkIfDone(record)
    }

    private mutating func unlinkIfDone(_ record: Int) {
        guard requests[record].waiting == 0, requests[record].place == .ready else { return }
        requests[record].place = .none
        links.remove(record, from: &classes[Int(requests[record].classIndex)].waiting)
    }

    private mutating func submittersDied(where isDead: (WorkerID) -> Bool) {
        for (_, submitter) in requests.submitters(where: isDead) {
            for record in requests.waiting(of: submitter) {
                requests.settle(record, .cancelled(slots: requests[record].waiting))
                unlinkIfDone(record)
            }
            requests.forget(submitter)
        }
    }

    // MARK: Placing

    private mutating func placeAll(_ now: Timestamp, _ view: inout ClusterView) {
        for classIndex in listed { place(classIndex, now, &view) }
        listed.removeAll { index in
            guard classes[index].waiting.isEmpty else { return false }
            classes[index].isListed = false
            return true
        }
    }

    /// Names nodes for what waits of a class, as long as there are any.
    private mutating func place(_ classIndex: Int, _ now: Timestamp, _ view: inout ClusterView) {
        view.prepare(classes[classIndex].schedulingClass.shape, &classes[classIndex].shape, now)
        let shape = classes[classIndex].shape
        let demand = classes[classIndex].schedulingClass.demand
        while let record = classes[classIndex].waiting.first {
            if let node = requiredNode(classes[classIndex].schedulingClass) {
                guard view.isAlive(node) else { return }
                send(record, requests[record].waiting, to: node)
                continue
            }
            let best = view.bestBucket(shape, excluding: nil)
            // One that was filled by what was sent there may have room again by now.
            let hasRoom = best <= PlacementBucket.doubtful
            guard hasRoom || (policy == .bottomUp && best != PlacementBucket.none),
                let slot = view.drawBest(shape, excluding: nil, using: &random)
            else { return }
            var lot = 1
            if hasRoom {
                lot = max(1, view.slotsUntilWorse(demand, at: slot, limit: Int(requests[record].waiting)))
                view.deduct(demand, slots: lot, at: slot, now)
            } else {
                view.addQueued(lot, at: slot, now)
            }
            send(record, UInt32(lot), to: view.node(at: slot))
        }
    }

    private func requiredNode(_ schedulingClass: SchedulingClass) -> NodeID? {
        switch schedulingClass.constraint {
        case .node(let node): node
        case .hybrid, .spread, .preferredNode, .group: nil
        }
    }

    private mutating func send(_ record: Int, _ slots: UInt32, to node: NodeID) {
        requests.settle(record, .elsewhere(node, slots: slots, mode: .queue))
        unlinkIfDone(record)
    }

    private func reason(of record: Int, _ view: ClusterView) -> WaitReason? {
        guard requests[record].waiting > 0 else { return nil }
        let waiting = classes[Int(requests[record].classIndex)]
        guard view.isPrepared(waiting.shape), view.feasibleCount(waiting.shape) == 0 else { return .placing }
        return view.infeasibility(of: waiting.schedulingClass.shape)
    }
}
