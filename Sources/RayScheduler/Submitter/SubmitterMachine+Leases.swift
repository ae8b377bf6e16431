// Leases at the submitter: used, renewed, given back, lost.

internal import RayCore

extension SubmitterMachine {
    mutating func granted(
        _ grant: LeaseGrant, to lane: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        guard leaseOfID[grant.lease] == nil, !deadNodes.contains(grant.lease.node) else { return }
        let slot = leaseSlots.take()
        let peer = peerIndex(of: grant.lease.node, now)
        let lease = HeldLease(
            id: grant.lease, worker: grant.worker, lane: Int32(lane), peer: Int32(peer), granted: now, lastEnd: now,
            lastNews: now, backoff: configuration.retransmission)
        if slot == leases.count { leases.append(lease) } else { leases[slot] = lease }
        leaseOfID.insert(grant.lease, slot)
        lanes[lane].leases += 1
        peerLinks.append(slot, to: &peers[peer].leases)
        rest(slot, now, &directives)
    }

    private mutating func peerIndex(of node: NodeID, _ now: Timestamp) -> Int {
        if let known = peerOfNode[node] { return known }
        let index = peerSlots.take()
        let peer = LeasePeer(node: node)
        if index == peers.count { peers.append(peer) } else { peers[index] = peer }
        peerOfNode.insert(node, index)
        peerTimers.set(index, to: now + configuration.renewal)
        return index
    }

    // MARK: Tasks on leases

    /// Gives tasks of a lane to its leases: first to those without one, then, if its tasks are short, behind others.
    mutating func pushTasks(of lane: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        while let task = lanes[lane].queue.first, let lease = leaseForNextTask(lane) {
            if isOver(lease, now) {
                closeLease(lease, now, &directives)
            } else {
                push(task, on: lease, now, &directives)
            }
        }
        if lanes[lane].queue.isEmpty { limitIdleness(of: lane, now, &directives) }
    }

    /// Leases that no task is left for wait a while for one. Those that do so already come first in their list.
    private mutating func limitIdleness(
        of lane: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        let due = now.after(idleLease)
        var next = lanes[lane].idle.last
        while let lease = next, idleLease == 0 || leaseTimers[lease] > due {
            next = leaseLinks.previous(before: lease)
            if idleLease == 0 { closeLease(lease, now, &directives) } else { leaseTimers.set(lease, to: due) }
        }
    }

    /// A lease takes one task in any case, and others within its window.
    private func isOver(_ lease: Int, _ now: Timestamp) -> Bool {
        leases[lease].lastNumber > 0 && now >= leases[lease].granted.after(leaseWindow)
    }

    private func leaseForNextTask(_ lane: Int) -> Int? {
        if let idle = lanes[lane].idle.first { return idle }
        let mean = classes[Int(lanes[lane].key.classIndex)].meanNanoseconds
        guard mean > 0, mean <= shortTask else { return nil }
        return lanes[lane].busy.first
    }

    private mutating func push(
        _ task: Int, on lease: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        taskLinks.remove(task, from: &lanes[Int(tasks[task].lane)].queue)
        taskLinks.append(task, to: &leases[lease].tasks)
        leases[lease].lastNumber += 1
        tasks[task].stage = .pushed
        tasks[task].lease = Int32(lease)
        tasks[task].number = leases[lease].lastNumber
        tasks[task].pushed = now
        leases[lease].lastNews = now
        leases[lease].backoff = configuration.retransmission
        refile(lease)
        sendPush(task, &directives)
        let due = now.after(retransmission)
        if leaseTimers[lease] > due { leaseTimers.set(lease, to: due) }
    }

    private func sendPush(_ task: Int, _ directives: inout [SubmitterDirective]) {
        let lease = leases[Int(tasks[task].lease)]
        let first = lease.tasks.first.map { tasks[$0].number } ?? lease.lastNumber + 1
        directives.append(
            .send(
                .push(
                    TaskPush(
                        task: tasks[task].id, execution: tasks[task].execution, lease: lease.id,
                        number: tasks[task].number, settledBelow: first)),
                to: .worker(lease.worker)))
    }

    func sendCancel(_ task: Int, _ directives: inout [SubmitterDirective]) {
        let lease = leases[Int(tasks[task].lease)]
        directives.append(
            .send(.cancelTask(TaskCancel(lease: lease.id, number: tasks[task].number)), to: .worker(lease.worker)))
    }

    mutating func received(
        _ report: TaskReport, _ sender: Party, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        guard let lease = leaseOfID[report.lease], sender == .worker(leases[lease].worker),
            let task = pushedTask(report.number, on: lease)
        else { return }
        leases[lease].lastNews = now
        switch report.progress {
        case .accepted: return
        case .finished:
            measure(task, on: lease, now)
            end(task, .finished, &directives)
        case .cancelled: end(task, .cancelled, &directives)
        case .returned:
            leases[lease].isSingle = true
            takeBack(task, &directives)
        case .refused:
            leases[lease].stage = .closing
            leases[lease].isWorkerBad = true
            takeBack(task, &directives)
        }
        rest(lease, now, &directives)
    }

    private func pushedTask(_ number: UInt32, on lease: Int) -> Int? {
        var task = leases[lease].tasks.first
        while let current = task, tasks[current].number != number { task = taskLinks.next(after: current) }
        return task
    }

    private mutating func measure(_ task: Int, on lease: Int, _ now: Timestamp) {
        let begun = max(tasks[task].pushed, leases[lease].lastEnd)
        let took = max(now, begun).nanoseconds - begun.nanoseconds
        leases[lease].lastEnd = now
        leases[lease].isSingle = false
        let classIndex = Int(tasks[task].classIndex)
        let mean = classes[classIndex].meanNanoseconds
        let sample = Int64(clamping: max(1, took))
        classes[classIndex].meanNanoseconds = mean == 0 ? sample : max(1, mean - mean / 8 + sample / 8)
    }

    /// A task that was not begun is the next of its lane again.
    private mutating func takeBack(_ task: Int, _ directives: inout [SubmitterDirective]) {
        if tasks[task].isCancelled { return end(task, .cancelled, &directives) }
        let lane = Int(tasks[task].lane)
        taskLinks.remove(task, from: &leases[Int(tasks[task].lease)].tasks)
        tasks[task].stage = .queued
        tasks[task].lease = -1
        taskLinks.prepend(task, to: &lanes[lane].queue)
        stir(lane)
    }

    /// A lease has a task less, or is new: it takes the next one of its lane, or goes back.
    private mutating func rest(_ lease: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        let lane = Int(leases[lease].lane)
        stir(lane)
        if leases[lease].stage == .closing || isOver(lease, now) {
            return closeLease(lease, now, &directives)
        }
        refile(lease)
    }

    /// Puts an open lease into the list of its lane that its tasks say.
    private mutating func refile(_ lease: Int) {
        let lane = Int(leases[lease].lane)
        var place = HeldLease.Place.none
        if leases[lease].stage == .open {
            if leases[lease].tasks.isEmpty {
                place = .idle
            } else if Int(leases[lease].tasks.count) < configuration.tasksInFlight, !leases[lease].isSingle {
                place = .busy
            }
        }
        guard place != leases[lease].place else { return }
        switch leases[lease].place {
        case .none: break
        case .idle: leaseLinks.remove(lease, from: &lanes[lane].idle)
        case .busy: leaseLinks.remove(lease, from: &lanes[lane].busy)
        }
        switch place {
        case .none: break
        case .idle: leaseLinks.append(lease, to: &lanes[lane].idle)
        case .busy: leaseLinks.append(lease, to: &lanes[lane].busy)
        }
        leases[lease].place = place
    }

    // MARK: Time

    /// A lease's time has come: what was not answered is repeated, what was idle for long goes back.
    mutating func leaseDue(_ lease: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard leases[lease].stage != .none else { return }
        let isIdle = leases[lease].stage == .open && leases[lease].tasks.isEmpty
        let due = leases[lease].lastNews + (isIdle ? configuration.idleLease : leases[lease].backoff)
        guard now >= due else { return leaseTimers.set(lease, to: due) }
        if isIdle { return closeLease(lease, now, &directives) }
        leases[lease].lastNews = now
        leases[lease].backoff = min(leases[lease].backoff * 2, configuration.poll)
        if leases[lease].stage == .returning {
            sendReturn(lease, &directives)
        } else {
            for task in taskLinks.indices(of: leases[lease].tasks) {
                sendPush(task, &directives)
                if tasks[task].isCancelled { sendCancel(task, &directives) }
            }
        }
        leaseTimers.set(lease, to: now + leases[lease].backoff)
    }

    /// Tells a node which of its leases are in use.
    mutating func renew(_ peer: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        let used = peerLinks.indices(of: peers[peer].leases).filter { leases[$0].stage != .returning }
        if !used.isEmpty {
            let renewal = LeaseRenewal(submitter: id, leases: used.map { leases[$0].id })
            directives.append(.send(.renew(renewal), to: .node(peers[peer].node)))
        }
        peerTimers.set(peer, to: now + configuration.renewal)
    }

    mutating func received(
        _ renewed: LeaseRenewed, _ sender: Party, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        for lost in renewed.lost where sender == .node(lost.node) {
            if let lease = leaseOfID[lost] { lose(lease, .leaseLost(lost), &directives) }
        }
    }

    // MARK: Ends

    /// A lease takes no more tasks, and goes back when it has none.
    private mutating func closeLease(_ lease: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard leases[lease].tasks.isEmpty else {
            leases[lease].stage = .closing
            return refile(lease)
        }
        leases[lease].stage = .returning
        refile(lease)
        leases[lease].lastNews = now
        leases[lease].backoff = configuration.retransmission
        leaseTimers.set(lease, to: now + configuration.retransmission)
        sendReturn(lease, &directives)
    }

    private func sendReturn(_ lease: Int, _ directives: inout [SubmitterDirective]) {
        let message = LeaseReturn(lease: leases[lease].id, isWorkerBad: leases[lease].isWorkerBad)
        directives.append(.send(.giveBack(message), to: .node(leases[lease].id.node)))
    }

    mutating func returned(_ id: LeaseID, _ sender: Party) {
        guard sender == .node(id.node), let lease = leaseOfID[id], leases[lease].stage == .returning
        else { return }
        forget(lease)
    }

    private mutating func forget(_ lease: Int) {
        leases[lease].stage = .none
        refile(lease)
        leaseTimers.remove(lease)
        leaseOfID.remove(leases[lease].id)
        let peer = Int(leases[lease].peer)
        peerLinks.remove(lease, from: &peers[peer].leases)
        if peers[peer].leases.isEmpty {
            peerTimers.remove(peer)
            peerOfNode.remove(peers[peer].node)
            peerSlots.give(peer)
        }
        let lane = Int(leases[lease].lane)
        lanes[lane].leases -= 1
        leaseSlots.give(lease)
        stir(lane)
    }

    /// A lease is no more. Its tasks may have run.
    private mutating func lose(_ lease: Int, _ reason: TaskEnd, _ directives: inout [SubmitterDirective]) {
        while let task = leases[lease].tasks.first {
            end(task, tasks[task].isCancelled ? .cancelled : reason, &directives)
        }
        forget(lease)
    }

    mutating func loseLeases(of node: NodeID, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard let peer = peerOfNode[node] else { return }
        for lease in peerLinks.indices(of: peers[peer].leases) { lose(lease, .nodeDied(node), &directives) }
    }

    mutating func workerDied(_ worker: WorkerID, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard let peer = peerOfNode[worker.node] else { return }
        for lease in peerLinks.indices(of: peers[peer].leases)
        where leases[lease].worker == worker && leases[lease].stage != .returning {
            lose(lease, .workerDied(worker), &directives)
        }
    }
}
