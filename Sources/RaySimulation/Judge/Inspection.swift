// The look at everything, now and then: is all quiet, and is nothing left behind?

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    func inspect() {
        for mark in judge.marks { coverage.reach(mark) }
        judge.marks.removeAll(keepingCapacity: true)
        for worker in workers where worker.isAlive { judge.inspect(worker.owner) }
        isQuiet = now > lastFault && unrest() == nil
        if !isQuiet { queue.insert(.inspect, at: now + Self.inspectionInterval) }
    }

    /// What is still going on, or was left behind; nil when nothing is.
    func unrest() -> String? {
        for worker in workers where worker.isAlive {
            if worker.frame != nil { return "\(worker.id) runs \(String(describing: worker.frame))" }
            if worker.actor != nil { return "\(worker.id) is an actor" }
            if worker.submitter.taskCount > 0 { return "\(worker.id) waits for \(worker.submitter.taskCount) tasks" }
            if worker.owner.objectCount > 0 { return leftovers(of: worker.owner) }
        }
        for node in nodes where node.isAlive {
            if node.scheduler.queuedSlots > 0 { return "\(node.id) has \(node.scheduler.queuedSlots) slots queued" }
            if node.scheduler.leaseCount > 0 { return "\(node.id) has \(node.scheduler.leaseCount) leases" }
            if !node.pulls.isEmpty { return "\(node.id) pulls \(node.pulls.count) objects" }
            if !node.store.isEmpty { return "\(node.id) stores \(node.store.count) objects" }
            if node.holder.copyCount > 0 { return "\(node.id) reports \(node.holder.copyCount) copies" }
        }
        if control.owner.objectCount > 0 { return leftovers(of: control.owner) }
        return judge.reachableCount > 0 ? "the judge knows of \(judge.reachableCount) objects" : nil
    }

    private func leftovers(of owner: WorkerMachine) -> String {
        var first: ObjectID?
        owner.forEachObject { if first == nil { first = $0 } }
        let summary = first.flatMap { owner.summary(of: $0) }.map { "\($0)" } ?? ""
        return "\(owner.id) knows of \(owner.objectCount) objects, such as \(first.map(\.description) ?? ""): \(summary)"
    }
}
