// The judge's own book of leases, kept from the messages that it sees go by.

internal import RayCore
internal import RayScheduler

/// Which worker is leased to whom, and what each node has given out.
struct LeaseJudge {
    private struct Lease {
        let worker: WorkerID
        let demand: Int64
        /// When the grant came to the submitter, by its own clock.
        var arrival: Timestamp?
        var wasBlocked = false
    }

    private struct Asked {
        var mode: RequestMode
        var demand: Int64
        var hasArguments: Bool
    }

    private struct Question: Hashable {
        var request: LeaseRequestID
        var node: NodeID
    }

    private var leases: [LeaseID: Lease] = [:]
    private var leaseOfWorker: [WorkerID: LeaseID] = [:]
    private var asked: [Question: Asked] = [:]
    private var draining: Set<NodeID> = []
    private var capacity: [NodeID: Int64] = [:]
    private var granted: [NodeID: Int64] = [:]
    /// Parts of each answer that its submitter has, from the first on.
    private var parts: [LeaseRequestID: UInt32] = [:]

    mutating func joined(_ node: NodeID, cpus: Int) {
        capacity[node] = Int64(cpus) * ResourceAmount.unitsPerWhole
        granted[node] = 0
    }

    private mutating func end(_ lease: LeaseID) {
        guard let known = leases.removeValue(forKey: lease) else { return }
        if leaseOfWorker[known.worker] == lease { leaseOfWorker[known.worker] = nil }
        if !known.wasBlocked { granted[lease.node, default: 0] -= known.demand }
    }

    /// Workers that have died.
    private var dead: Set<WorkerID> = []

    mutating func died(_ worker: WorkerID) {
        dead.insert(worker)
        if let lease = leaseOfWorker[worker] { end(lease) }
    }

    /// A leased worker waits and gives its CPU back. It takes it again later whether or not there is room, and a
    /// grant may have been decided in between: from now on its lease is not counted.
    mutating func blocked(_ worker: WorkerID) {
        guard let lease = leaseOfWorker[worker], let known = leases[lease], !known.wasBlocked else { return }
        leases[lease]?.wasBlocked = true
        granted[lease.node, default: 0] -= known.demand
    }

    mutating func drains(_ node: NodeID) { draining.insert(node) }

    /// A message arrives at a node.
    mutating func arriving(_ message: SchedulerMessage, at node: NodeID) {
        if case .giveBack(let back) = message { end(back.lease) }
    }

    /// A request is sent to a node.
    mutating func asks(_ request: LeaseRequest, of node: NodeID) {
        asked[Question(request: request.id, node: node)] = Asked(
            mode: request.mode, demand: request.schedulingClass.demand.cpu.units,
            hasArguments: !request.arguments.isEmpty)
    }

    /// A node answers.
    /// - Returns: what is wrong with that.
    mutating func answered(_ answer: LeaseAnswer, by node: NodeID) -> (Violation.Rule, String)? {
        guard let question = asked[Question(request: answer.id, node: node)] else { return nil }
        // With arguments it may: nothing is reserved while they come, and then its data are here.
        if question.mode == .grantOrReject, !question.hasArguments, answer.waiting > 0, let reason = answer.reason,
            !reason.isForStart
        {
            return (.spilledTwice, "\(answer.id) waits at \(node), where it may not: \(reason)")
        }
        for part in answer.parts {
            switch part {
            case .granted(let grant):
                if let wrong = grantedNow(grant, question.demand) { return wrong }
            case .elsewhere(let other, _, _):
                // A draining node hands on all that waits there.
                if question.mode != .place, !draining.contains(node) {
                    return (.spilledTwice, "\(node) spills \(answer.id) on to \(other)")
                }
            case .rejected, .cancelled, .failed: break
            }
        }
        return nil
    }

    private mutating func grantedNow(_ grant: LeaseGrant, _ demand: Int64) -> (Violation.Rule, String)? {
        // The parts of an answer are repeated until they have arrived.
        guard leases[grant.lease] == nil, !ended(grant.lease) else { return nil }
        // One that is taken back at once is told after its worker has been ended.
        guard !dead.contains(grant.worker) else { return nil }
        if let other = leaseOfWorker[grant.worker] {
            return (.grantedTwice, "\(grant.worker) is leased by \(grant.lease) and by \(other)")
        }
        last[grant.lease.node] = max(last[grant.lease.node] ?? 0, grant.lease.number)
        leases[grant.lease] = Lease(worker: grant.worker, demand: demand)
        leaseOfWorker[grant.worker] = grant.lease
        granted[grant.lease.node, default: 0] += demand
        let (sum, limit) = (granted[grant.lease.node] ?? 0, capacity[grant.lease.node] ?? 0)
        return sum > limit
            ? (.grantedTwice, "\(grant.lease.node) has given out \(sum) of \(limit) ten-thousandths of CPUs") : nil
    }

    /// The highest lease of each node: leases are numbered in the order of their grants.
    private var last: [NodeID: UInt64] = [:]

    private func ended(_ lease: LeaseID) -> Bool {
        leases[lease] == nil && lease.number <= last[lease.node] ?? 0
    }

    /// A grant arrives at its submitter. Behind parts of the answer that have not come it is not taken.
    mutating func arrived(_ answer: LeaseAnswer, reading: Timestamp) {
        let known = parts[answer.id] ?? 0
        guard answer.first <= known else { return }
        parts[answer.id] = max(known, answer.first + UInt32(answer.parts.count))
        for case .granted(let grant) in answer.parts where leases[grant.lease]?.arrival == nil {
            leases[grant.lease]?.arrival = reading
        }
    }

    /// A task is pushed for the first time.
    func pushed(_ push: TaskPush, reading: Timestamp, window: Duration) -> (Violation.Rule, String)? {
        guard let lease = leases[push.lease] else { return nil }
        guard let arrival = lease.arrival else {
            return (.leaseUnknown, "\(push.task) is pushed on \(push.lease), which has not arrived")
        }
        return reading - arrival > window
            ? (.leaseWindow, "\(push.task) is pushed \(reading - arrival) after \(push.lease) came") : nil
    }
}

extension WaitReason {
    /// Room was found: what is missing is the worker or the data.
    fileprivate var isForStart: Bool {
        switch self {
        case .arguments, .argumentMemory, .workerStart, .workerLimit, .placing: true
        case .resource, .olderRequest, .fairness, .infeasibleResource, .infeasibleLabels, .nodeAbsent, .draining: false
        }
    }
}

extension Judge {
    mutating func sent(_ message: SchedulerMessage, from sender: Party, to receiver: Party) {
        if case .request(let request) = message, case .node(let node) = receiver { leases.asks(request, of: node) }
        guard case .answer(let answer) = message, case .node(let node) = sender else { return }
        for part in answer.parts {
            switch part {
            case .elsewhere: marks.append(.spilledBack)
            case .rejected: marks.append(.spillRejected)
            case .granted, .cancelled, .failed: break
            }
        }
        if answer.waiting > 0 { marks.append(.requestQueued) }
        if let (rule, text) = leases.answered(answer, by: node) { violate(rule, text) }
    }

    mutating func arriving(_ message: SchedulerMessage, atNode node: NodeID) { leases.arriving(message, at: node) }

    mutating func arriving(_ message: SchedulerMessage, atSubmitter worker: WorkerID, reading: Timestamp) {
        if case .answer(let answer) = message { leases.arrived(answer, reading: reading) }
    }

    mutating func pushed(_ push: TaskPush, by worker: WorkerID, reading: Timestamp) {
        if push.number > 1 { marks.append(.leaseReused) }
        let window = SubmitterConfiguration().leaseWindow
        if let (rule, text) = leases.pushed(push, reading: reading, window: window) { violate(rule, text) }
    }

    mutating func blocked(_ worker: WorkerID) { leases.blocked(worker) }
}
