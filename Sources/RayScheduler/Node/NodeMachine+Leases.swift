// Leases at the node: given back, renewed, taken back, ended.

internal import RayCore

extension NodeMachine {
    /// The slot of a lease that holds resources still.
    func leaseSlot(of number: UInt64) -> Int? {
        let slot = Int(number & 0xf_ffff)
        return slot < leases.count && leases[slot].stage != .none && leases[slot].number == number ? slot : nil
    }

    mutating func received(
        _ message: LeaseReturn, _ sender: Party, _ now: Timestamp, _ directives: inout [NodeDirective]
    ) {
        guard message.lease.node == id else { return }
        if let slot = leaseSlot(of: message.lease.number), leases[slot].stage == .active {
            guard case .worker(let owner) = sender, requests.submitter(Int(leases[slot].submitter)) == owner else {
                return
            }
            if message.isWorkerBad {
                revoke(slot, &directives)
            } else {
                let worker = Int(leases[slot].worker)
                endLease(slot, &directives)
                workers[worker].lease = -1
                use(worker, now)
            }
        }
        directives.append(.send(.gaveBack(message.lease), to: sender))
    }

    mutating func received(_ renewal: LeaseRenewal, _ now: Timestamp, _ directives: inout [NodeDirective]) {
        var lost: [LeaseID] = []
        for lease in renewal.leases {
            if lease.node == id, let slot = leaseSlot(of: lease.number), leases[slot].stage == .active {
                leases[slot].renewed = now
            } else {
                lost.append(lease)
            }
        }
        directives.append(
            .send(.renewed(LeaseRenewed(lost: lost)), to: .worker(renewal.submitter)))
    }

    /// Takes back what was not renewed within its term.
    mutating func sweepLeases(_ now: Timestamp, _ directives: inout [NodeDirective]) {
        var isActive = false
        for slot in leases.indices where leases[slot].stage == .active {
            isActive = true
            if now >= leases[slot].renewed + configuration.leaseTerm { revoke(slot, &directives) }
        }
        nextLeaseSweep = isActive ? now + configuration.leaseTerm / 4 : .never
    }

    /// Takes a lease back. Its worker may be at work, so its resources are free only when it has ended.
    mutating func revoke(_ slot: Int, _ directives: inout [NodeDirective]) {
        switch leases[slot].stage {
        case .none, .ending: return
        case .starting: endLease(slot, &directives)
        case .active:
            statistics.revoked += 1
            leases[slot].stage = .ending
            leaseLinks.remove(slot, from: &leasesOfSubmitter[Int(leases[slot].submitter)])
            leases[slot].submitter = -1
            stop(Int(leases[slot].worker), &directives)
        }
    }

    /// The resources of a lease are free: nobody uses them any more.
    mutating func endLease(_ slot: Int, _ directives: inout [NodeDirective]) {
        let lease = leases[slot]
        let classIndex = Int(lease.classIndex)
        let demand = classes[classIndex].schedulingClass.demand
        if lease.submitter >= 0 { leaseLinks.remove(slot, from: &leasesOfSubmitter[Int(lease.submitter)]) }
        if lease.isLending { reclaim(slot) }
        if lease.stage == .starting {
            requests[Int(lease.request)].starting -= 1
            environments[classes[classIndex].environment].waitingCount -= 1
        }
        if lease.pool == 0 {
            pool.giveBack(demand, lease.shares)
        } else {
            let bundle = Int(lease.pool) - 1
            bundles[bundle].pool.giveBack(demand, lease.shares)
            bundles[bundle].leases -= 1
            endBundleIfDone(bundle)
        }
        leases[slot].stage = .none
        leases[slot].shares = []
        unpinArguments(of: slot)
        leases[slot].arguments = []
        leaseSlots.give(slot)
        classes[classIndex].running -= 1
        noteIfUnused(classIndex)
        releaseArguments(&directives)
        hasChanged = true
        mayGrant = true
    }

    /// Gives up leases of a request that wait for a worker.
    mutating func endStartingLeases(of record: Int, _ count: Int, _ directives: inout [NodeDirective]) {
        var left = count
        for slot in leases.indices.reversed()
        where left > 0 && leases[slot].stage == .starting && leases[slot].request == record {
            endLease(slot, &directives)
            left -= 1
        }
        precondition(left == 0, "\(requests[record].id) has fewer leases that start than it counts")
    }

    // MARK: Blocked workers

    /// The task of a worker waits for an object. Its CPUs go to others, so that what it waits for can run; but only
    /// so many workers may exist beyond the CPUs, and more come ever more slowly.
    mutating func workerBlocked(_ worker: WorkerID, _ now: Timestamp) {
        guard let slot = workerOfID[worker].map({ Int(workers[$0].lease) }), slot >= 0,
            leases[slot].stage == .active, !leases[slot].isBlocked
        else { return }
        leases[slot].isBlocked = true
        guard classes[Int(leases[slot].classIndex)].schedulingClass.demand.cpu > .zero else { return }
        if lending < configuration.extraWorkers {
            lend(slot)
        } else {
            waitingToLend.append(leases[slot].number)
            if nextExtraWorker == .never { nextExtraWorker = now + extraWorkerDelay }
            lendMore(now)
        }
    }

    mutating func workerUnblocked(_ worker: WorkerID, _ now: Timestamp) {
        guard let slot = workerOfID[worker].map({ Int(workers[$0].lease) }), slot >= 0, leases[slot].isBlocked
        else { return }
        leases[slot].isBlocked = false
        if leases[slot].isLending { reclaim(slot) }
        lendMore(now)
    }

    private mutating func lend(_ slot: Int) {
        leases[slot].isLending = true
        lending += 1
        changeCPU(of: slot) { pool, amount in pool.lendCPU(amount) }
        mayGrant = true
    }

    private mutating func reclaim(_ slot: Int) {
        leases[slot].isLending = false
        lending -= 1
        changeCPU(of: slot) { pool, amount in pool.reclaimCPU(amount) }
    }

    private mutating func changeCPU(of slot: Int, _ change: (inout ResourcePool, ResourceAmount) -> Void) {
        let amount = classes[Int(leases[slot].classIndex)].schedulingClass.demand.cpu
        if leases[slot].pool == 0 {
            change(&pool, amount)
        } else {
            change(&bundles[Int(leases[slot].pool) - 1].pool, amount)
        }
        hasChanged = true
    }

    /// Lets blocked workers lend their CPUs: those for which there is room, and one more each time it is due.
    mutating func lendMore(_ now: Timestamp) {
        while let number = waitingToLend.first {
            let isBelowLimit = lending < configuration.extraWorkers
            guard isBelowLimit || now >= nextExtraWorker else { break }
            _ = waitingToLend.popFirst()
            guard let slot = leaseSlot(of: number), leases[slot].isBlocked, !leases[slot].isLending else { continue }
            lend(slot)
            guard !isBelowLimit else { continue }
            extraWorkerDelay = min(extraWorkerDelay * 2, configuration.extraWorkerDelay * 10)
            nextExtraWorker = now + extraWorkerDelay
        }
        guard lending < configuration.extraWorkers else { return }
        nextExtraWorker = .never
        extraWorkerDelay = configuration.extraWorkerDelay
    }
}
