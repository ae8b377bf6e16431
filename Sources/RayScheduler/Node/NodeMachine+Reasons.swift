// Why a request waits at the node.

public import RayCore

extension NodeMachine {
    /// Why slots of a request wait here; nil if none does.
    /// - Complexity: linear in the nodes of the view when no node can run it, else in the queues and arguments.
    public func waitReason(of id: LeaseRequestID, now: Timestamp, view: ClusterView) -> WaitReason? {
        guard let index = requests.index(of: id), requests[index].waiting > 0 else { return nil }
        return reason(of: index, now, view)
    }

    func reason(of index: Int, _ now: Timestamp, _ view: ClusterView) -> WaitReason {
        let record = requests[index]
        if record.unplaced == 0 { return .workerStart(starting: UInt32(startingWorkers)) }
        let nodeClass = classes[Int(record.classIndex)]
        let schedulingClass = nodeClass.schedulingClass
        if own.condition == .draining { return .draining }
        if record.missing > 0 {
            let first = record.arguments.first { argument in
                argumentOfObject[argument.object].map { !arguments[$0].isLocal } ?? true
            }
            if let first { return .arguments(missing: UInt32(record.missing), first: first.object) }
        }
        if case .node(let node) = schedulingClass.constraint, node != id { return .nodeAbsent(node) }
        if !nodeClass.isFeasible, schedulingClass.constraint.groupID == nil {
            let isKnownElsewhere =
                view.isPrepared(nodeClass.shape) && view.feasibleCount(nodeClass.shape) > 0
            return isKnownElsewhere ? .placing : view.infeasibility(of: schedulingClass.shape)
        }
        return reasonOfRoom(record, nodeClass, now)
    }

    private func reasonOfRoom(_ record: RequestRecord, _ nodeClass: NodeClass, _ now: Timestamp) -> WaitReason {
        let schedulingClass = nodeClass.schedulingClass
        if let scarce = reservedResource(now), scarce.request != record.id, schedulingClass.demand[scarce.name] > .zero
        {
            return .olderRequest(scarce.request)
        }
        guard poolThatFits(nodeClass.queue) != nil else { return reasonOfShortage(schedulingClass) }
        if leaseSlots.used >= configuration.leaseLimit { return .workerLimit(UInt32(configuration.leaseLimit)) }
        let bytes = unpinnedBytes(of: record)
        if bytes > 0, pinnedBytes > 0, pinnedBytes + bytes > configuration.argumentBytes {
            return .argumentMemory(needed: bytes, pinned: pinnedBytes, limit: configuration.argumentBytes)
        }
        return .fairness(running: UInt32(nodeClass.running))
    }

    private func reasonOfShortage(_ schedulingClass: SchedulingClass) -> WaitReason {
        var free = pool.free
        var total = pool.total
        if case .group(let group, let bundle) = schedulingClass.constraint {
            let slot = bundlesOfGroup[group]?.first { bundle == nil || bundles[$0].id.index == bundle }
            guard let slot, bundles[slot].isCommitted else { return .placing }
            free = bundles[slot].pool.free
            total = bundles[slot].pool.total
        }
        guard let lacking = free.shortage(of: schedulingClass.demand) else { return .placing }
        return .resource(
            lacking.name, needed: lacking.needed, available: max(.zero, free[lacking.name]), total: total[lacking.name])
    }
}
