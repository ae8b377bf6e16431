// Messages between simulated processes: where they go, whether they arrive, and which machine gets them.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    // MARK: Addresses

    /// The process with this identity, if its node is of that incarnation still. It may be dead.
    func worker(_ id: WorkerID) -> Int? {
        let index = Int(truncatingIfNeeded: id.node.value) - 1
        guard nodes.indices.contains(index), nodes[index].id == id.node else { return nil }
        let number = Int(id.number) - 1
        guard nodes[index].workers.indices.contains(number) else { return nil }
        return nodes[index].workers[number]
    }

    func node(_ id: NodeID) -> Int? {
        let index = Int(truncatingIfNeeded: id.value) - 1
        guard nodes.indices.contains(index), nodes[index].id == id else { return nil }
        return index
    }

    private func target(_ party: Party) -> Target? {
        switch party {
        case .controlStore: .control
        case .node(let id): node(id).map { raylet($0) }
        case .worker(let id): worker(id).map { .worker($0) }
        }
    }

    private func target(_ address: WorkerID) -> Target? {
        if address.node == Self.controlID { return .control }
        if address.number == 0 { return node(address.node).map { raylet($0) } }
        return worker(address).map { .worker($0) }
    }

    // MARK: Sending

    /// Sends a message that may get lost. What goes to an address that is not there any more is lost.
    func send(_ message: Message, to target: Target?, from source: Int, bytes: Int) {
        guard let target else { return coverage.reach(.messageToTheDead) }
        let arrivals = network.send(from: source, to: node(of: target), bytes: bytes, at: now)
        if let first = arrivals.first { queue.insert(.message(target, message), at: first) }
        if let second = arrivals.second { queue.insert(.message(target, message), at: second) }
    }

    func send(_ message: SchedulerMessage, to party: Party, from sender: Party, at source: Int) {
        judge.sent(message, from: sender, to: party)
        guard let message = planted(message) else { return }
        send(.scheduler(message, from: sender), to: target(party), from: source, bytes: 200)
    }

    func send(_ envelope: Envelope, at source: Int) {
        send(.ownership(planted(envelope)), to: target(envelope.receiver), from: source, bytes: 200)
    }

    /// Sends a message of the shell's own protocols, which are repeated until they arrive, once.
    func sendSurely(_ message: Message, to target: Target, from source: Int, bytes: Int = 200) {
        guard isAlive(target) else { return }
        let arrivals = network.send(from: source, to: node(of: target), bytes: bytes, at: now)
        if let time = arrivals.first {
            queue.insert(.message(target, message), at: time)
        } else {
            queue.insert(.resend(from: source, target, message, bytes: bytes), at: now + Self.resendInterval)
        }
    }

    static let resendInterval: UInt64 = 50_000_000

    // MARK: Arriving

    func deliver(_ message: Message, to target: Target) {
        guard isAlive(target) else { return coverage.reach(.messageToTheDead) }
        if delayed(.message(target, message), target) { return }
        digest.fold(message.tag)
        switch message {
        case .scheduler(let content, let sender): deliver(content, from: sender, to: target)
        case .ownership(let envelope): deliver(envelope, to: target)
        case .actor(let message): received(message, place(target))
        case .actorRuns(let run): actorRuns(place(target), run)
        case .followActor(let actor, let follower): followActor(place(target), actor, by: follower)
        case .actorNews(let actor, let run): actorNews(place(target), actor, run)
        case .views(let broadcast):
            let node = nodes[self.node(of: target)]
            broadcast.apply(to: &node.view, of: &node.viewOrigin)
            deliver(.views(broadcast.batch), from: .controlStore, to: target)
        case .pullRequest(let copy, let request, let node, let incarnation):
            answerPull(self.node(of: target), copy, request: request, to: node, incarnation)
        case .pullAnswer(let copy, let request, let value, let size):
            pulled(node(of: target), copy, request: request, value: value, size: size)
        }
        if isAlive(target) { arm(target) }
    }

    /// The place of a worker that must be the target.
    private func place(_ target: Target) -> Int {
        guard case .worker(let worker) = target else { preconditionFailure("\(target) is no worker") }
        return worker
    }

    private func deliver(_ envelope: Envelope, to target: Target) {
        switch target {
        case .control:
            if envelope.receiver == Self.address(0) {
                members(.received(envelope))
            } else {
                detachedOwner(.received(envelope))
            }
        case .raylet(let node, _): holder(node, .received(envelope))
        case .worker(let worker):
            judge.received(envelope)
            owner(worker, .received(envelope))
        }
    }

    private func deliver(_ message: SchedulerMessage, from sender: Party, to target: Target) {
        switch target {
        case .control:
            heard(from: sender)
            if case .request = message {
                global(.received(message, from: sender))
            } else {
                hub(.received(message, from: sender))
            }
        case .raylet(let node, _):
            judge.arriving(message, atNode: nodes[node].id)
            nodeScheduler(node, .received(message, from: sender))
        case .worker(let worker):
            deliver(message, from: sender, toWorker: worker)
        }
    }

    /// Whoever was declared dead by mistake may talk to the scheduler's services alone.
    private func heard(from sender: Party) {
        switch sender {
        case .node(let node): members(.heard(.raylet(of: node)))
        case .worker(let worker): members(.heard(worker))
        case .controlStore: break
        }
    }

    private func deliver(_ message: SchedulerMessage, from sender: Party, toWorker worker: Int) {
        switch message {
        case .push(let push):
            if settings.bug == .pushRunsTwice,
                workers[worker].frame?.role == .task(push.task, attempt: push.execution)
            {
                runTask(worker, push.task, attempt: push.execution)
            }
            executor(worker, .received(message, from: sender))
        case .cancelTask: executor(worker, .received(message, from: sender))
        case .request, .giveBack, .renew, .answer, .gaveBack, .renewed, .taskReport, .report, .reportReceived,
            .pullViews, .views, .bundles, .bundlesAnswer:
            judge.arriving(message, atSubmitter: workers[worker].id, reading: reading(workers[worker].node))
            submitter(worker, .received(message, from: sender))
        }
    }
}

extension Message {
    /// What kind of message it is, for the digest.
    var tag: UInt64 {
        switch self {
        case .scheduler(let message, _):
            switch message {
            case .request(let request): 1 << 32 | request.id.sequence
            case .giveBack(let lease): 3 << 32 | lease.lease.number
            case .renew(let renewal): 4 << 32 | UInt64(renewal.leases.count)
            case .answer(let answer): 5 << 32 | answer.id.sequence
            case .gaveBack(let lease): 6 << 32 | lease.number
            case .renewed(let renewed): 7 << 32 | UInt64(renewed.lost.count)
            case .push(let push): 8 << 32 | push.task.sequence
            case .cancelTask(let cancel): 9 << 32 | cancel.lease.number
            case .taskReport(let report): 10 << 32 | report.lease.number
            case .report(let report): 11 << 32 | report.version
            case .reportReceived(let version): 12 << 32 | version
            case .pullViews(let pull): 13 << 32 | pull.since
            case .views(let batch): 14 << 32 | batch.to
            case .bundles: 15 << 32
            case .bundlesAnswer: 16 << 32
            }
        case .ownership(let envelope): 17 << 32 | envelope.sequence
        case .actor(let message): message.tag
        case .actorRuns(let place): 22 << 32 | UInt64(place.incarnation)
        case .followActor(let actor, _): 23 << 32 | actor.sequence
        case .actorNews(let actor, _): 24 << 32 | actor.sequence
        case .views(let broadcast): 14 << 32 | broadcast.batch.to
        case .pullRequest(let copy, _, _, _): 20 << 32 | copy.object.sequence
        case .pullAnswer(let copy, _, _, _): 21 << 32 | copy.object.sequence
        }
    }
}
