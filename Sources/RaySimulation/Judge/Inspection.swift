// The look at everything, now and then: is all quiet, and is nothing left behind?

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    func inspect() {
        for mark in judge.marks { coverage.reach(mark) }
        judge.marks.removeAll(keepingCapacity: true)
        for worker in workers where worker.isAlive { judge.inspect(worker.owner) }
        if now > lastFault, activity() == nil { cleanUpDetached() }
        isQuiet = now > lastFault && activity() == nil && remains() == nil
        if !isQuiet { queue.insert(.inspect, at: now + Self.inspectionInterval) }
    }

    /// The run should have come to an end long ago.
    func blameUnrest() {
        if let activity = activity() {
            judge.violate(.hangs, "after \(now / 1_000_000_000) s \(activity)")
        } else {
            let remains = remains() ?? "nothing"
            judge.violate(.leaked, "after \(now / 1_000_000_000) s \(remains)")
        }
    }

    /// What still goes on; nil when nothing does.
    private func activity() -> String? {
        for worker in workers where worker.isAlive {
            if let frame = worker.frame { return "\(worker.id) runs \(frame)" }
            if worker.actor != nil { return "\(worker.id) is an actor" }
            if worker.calls.machine.callCount > 0 {
                return "\(worker.id) waits for \(worker.calls.machine.callCount) calls"
            }
            if worker.submitter.taskCount > 0 { return "\(worker.id) waits for \(worker.submitter.taskCount) tasks" }
            if worker.owner.taskCount > 0 { return "\(worker.id) owns \(worker.owner.taskCount) tasks" }
        }
        for node in nodes where node.isAlive {
            if node.scheduler.queuedSlots > 0 { return "\(node.id) has \(node.scheduler.queuedSlots) slots queued" }
            if node.scheduler.leaseCount > 0 { return "\(node.id) has \(node.scheduler.leaseCount) leases" }
            if !node.pulls.isEmpty { return "\(node.id) pulls \(node.pulls.count) objects" }
        }
        return nil
    }

    /// What was left behind; nil when nothing was.
    private func remains() -> String? {
        for worker in workers where worker.isAlive && worker.owner.objectCount > 0 {
            return leftovers(of: worker.owner)
        }
        for node in nodes where node.isAlive {
            if !node.store.isEmpty { return "\(node.id) stores \(node.store.count) objects" }
            if node.holder.copyCount > 0 { return "\(node.id) reports \(node.holder.copyCount) copies" }
        }
        if control.owner.objectCount > 0 { return leftovers(of: control.owner) }
        return judge.reachableCount > 0 ? "the judge knows of \(judge.reachableCount) objects" : nil
    }

    private func leftovers(of owner: borrowing WorkerMachine) -> String {
        var first: ObjectID?
        owner.forEachObject { if first == nil { first = $0 } }
        let summary = first.flatMap { owner.summary(of: $0) }.map { "\($0)" } ?? ""
        return
            "\(owner.id) knows of \(owner.objectCount) objects, such as \(first.map(\.description) ?? ""): \(summary)"
    }
}
