// Room at the node is given to what waits: which class comes next, and why others do not.

internal import RayCore

extension NodeMachine {
    /// Classes of a queue that are compared for each grant.
    private static let comparedClasses = 16

    /// Grants whatever fits. Does nothing if nothing has changed that could make something fit.
    mutating func dispatch(_ now: Timestamp, _ directives: inout [NodeDirective]) {
        guard mayGrant else { return }
        mayGrant = false
        while leaseSlots.used < configuration.leaseLimit, let next = nextClass(now) {
            grant(next.classIndex, from: next.pool, now, &directives)
        }
    }

    /// Of the classes that fit the one with the fewest leases by CPU. What has waited for long and does not fit keeps
    /// others from the resource that it lacks.
    private mutating func nextClass(_ now: Timestamp) -> (classIndex: Int, pool: Int)? {
        let scarce = reservedResource(now)
        var best: (classIndex: Int, pool: Int)?
        var bestUse = Int64.max
        for queue in activeQueues {
            let demand = queues[queue].key.demand
            guard let pool = poolThatFits(queue) else { continue }
            if let scarce, pool == 0, demand[scarce.name] > .zero { continue }
            guard let classIndex = leastServed(queue) else { continue }
            let use = Int64(classes[classIndex].running) * max(1, demand.cpu.units)
            if use < bestUse {
                best = (classIndex, pool)
                bestUse = use
            }
        }
        return best
    }

    /// The pool from which a queue's demand can be taken now; 0 is the node's own, which a draining node closes.
    func poolThatFits(_ queue: Int) -> Int? {
        let key = queues[queue].key
        guard let group = key.group else { return own.condition == .alive && pool.covers(key.demand) ? 0 : nil }
        return bundlesOfGroup[group]?.first { slot in
            bundles[slot].isCommitted && !bundles[slot].isEnding && bundles[slot].pool.covers(key.demand)
                && (key.bundle == nil || key.bundle == bundles[slot].id.index)
        }.map { $0 + 1 }
    }

    /// The class of a queue with the fewest leases, among the next few whose first request may be granted.
    private mutating func leastServed(_ queue: Int) -> Int? {
        if queues[queue].round.count == 1, let only = queues[queue].round.first {
            return hasArgumentRoom(only) ? only : nil
        }
        var best: Int?
        var next = queues[queue].round.first
        var compared = 0
        while let classIndex = next, compared < Self.comparedClasses {
            next = classLinks.next(after: classIndex)
            guard hasArgumentRoom(classIndex) else { continue }
            compared += 1
            if best.map({ classes[classIndex].running < classes[$0].running }) ?? true { best = classIndex }
        }
        // The round goes on behind those that were compared.
        if let best {
            classLinks.remove(best, from: &queues[queue].round)
            classLinks.append(best, to: &queues[queue].round)
        }
        return best
    }

    /// The first request of a class in the order in which they came.
    func firstRequest(_ classIndex: Int) -> Int? {
        guard let ready = classes[classIndex].ready.first else { return classes[classIndex].settled.first }
        guard let settled = classes[classIndex].settled.first else { return ready }
        return requests[settled].since <= requests[ready].since ? settled : ready
    }

    /// The request that has waited longest beyond the limit of patience without fitting, and what it lacks.
    func reservedResource(_ now: Timestamp) -> (name: ResourceName, request: LeaseRequestID)? {
        guard activeQueues.count > 1 else { return nil }
        var oldest = Timestamp.never
        var found: (name: ResourceName, request: LeaseRequestID)?
        for queue in activeQueues where queues[queue].key.group == nil {
            let demand = queues[queue].key.demand
            guard let first = queues[queue].round.first,
                let lacking = pool.free.shortage(of: demand), let record = firstRequest(first),
                requests[record].since + configuration.patience <= now, requests[record].since < oldest
            else { continue }
            oldest = requests[record].since
            found = (lacking.name, requests[record].id)
        }
        return found
    }

    // MARK: Grants

    /// Gives resources to one slot of the first request of a class: it has a lease when a worker is there.
    private mutating func grant(
        _ classIndex: Int, from poolIndex: Int, _ now: Timestamp, _ directives: inout [NodeDirective]
    ) {
        guard let record = firstRequest(classIndex) else { preconditionFailure("a class without requests is granted") }
        let demand = classes[classIndex].schedulingClass.demand
        var lease = Lease()
        if poolIndex == 0 {
            lease.shares = pool.take(demand)
        } else {
            lease.shares = bundles[poolIndex - 1].pool.take(demand)
            bundles[poolIndex - 1].leases += 1
        }
        lease.stage = .starting
        lease.request = Int32(record)
        lease.submitter = requests[record].submitter
        lease.classIndex = Int32(classIndex)
        lease.pool = Int32(poolIndex)
        lease.arguments = requests[record].arguments
        let slot = addLease(lease)
        pinArguments(of: slot)
        classes[classIndex].running += 1
        requests[record].starting += 1
        hasChanged = true
        unlinkIfPlaced(record)
        let environment = classes[classIndex].environment
        if let worker = environments[environment].idle.last {
            takeIdle(worker)
            activate(slot, with: worker, now)
        } else {
            environments[environment].waiting.append(leases[slot].number)
            environments[environment].waitingCount += 1
            startWorkers(environment, &directives)
        }
    }

    private mutating func addLease(_ lease: Lease) -> Int {
        let slot = leaseSlots.take()
        lastLease += 1
        if slot == leases.count { leases.append(lease) } else { leases[slot] = lease }
        // The low bits find the slot, the high ones count up.
        leases[slot].number = lastLease << 20 | UInt64(slot)
        leaseLinks.append(slot, to: &leasesOfSubmitter[Int(lease.submitter)])
        return slot
    }

    /// A worker is there for a lease: the slot is granted.
    mutating func activate(_ slot: Int, with worker: Int, _ now: Timestamp) {
        let record = Int(leases[slot].request)
        leases[slot].stage = .active
        leases[slot].worker = Int32(worker)
        leases[slot].renewed = now
        leases[slot].request = -1
        workers[worker].lease = Int32(slot)
        requests[record].starting -= 1
        statistics.granted += 1
        if nextLeaseSweep == .never { nextLeaseSweep = now + configuration.leaseTerm / 4 }
        requests.settle(
            record,
            .granted(
                LeaseGrant(
                    lease: LeaseID(node: id, number: leases[slot].number), worker: workers[worker].id,
                    shares: leases[slot].shares)))
    }

    // MARK: Classes

    /// The index of a class, which is made when it is not there.
    mutating func classIndex(of schedulingClass: SchedulingClass) -> Int {
        if let known = indexOfClass[schedulingClass] { return known }
        let constraint = schedulingClass.constraint
        var bundle: UInt32?
        if case .group(_, let index) = constraint { bundle = index }
        let queue = queueIndex(
            of: DemandQueue.Key(demand: schedulingClass.demand, group: constraint.groupID, bundle: bundle))
        queues[queue].classes += 1
        let made = NodeClass(
            schedulingClass: schedulingClass, queue: queue,
            environment: environmentIndex(of: schedulingClass.environment),
            isFeasible: isFeasible(schedulingClass))
        let index = classSlots.take()
        if index == classes.count { classes.append(made) } else { classes[index] = made }
        indexOfClass.insert(schedulingClass, index)
        unusedLinks.append(index, to: &unusedClasses)
        return index
    }

    /// Whether this node could run a class, were it empty. A bundle's node can, whatever else it has.
    private func isFeasible(_ schedulingClass: SchedulingClass) -> Bool {
        switch schedulingClass.constraint {
        case .group: return true
        case .node(let node): if node != id { return false }
        case .hybrid, .spread, .preferredNode: break
        }
        return pool.total.covers(schedulingClass.demand) && schedulingClass.labels.matches(own.labels)
    }

    private mutating func queueIndex(of key: DemandQueue.Key) -> Int {
        if let known = indexOfQueue[key] { return known }
        let index = queueSlots.take()
        let made = DemandQueue(key: key)
        if index == queues.count { queues.append(made) } else { queues[index] = made }
        indexOfQueue[key] = index
        return index
    }

    private mutating func environmentIndex(of value: UInt64) -> Int {
        if let known = indexOfEnvironment[value] { return known }
        environments.append(WorkerEnvironment(value: value))
        indexOfEnvironment.insert(value, environments.count - 1)
        return environments.count - 1
    }

    /// Puts a class with a queue among those that are looked at: when there is room here, or, if it can not run here,
    /// when the view changes.
    mutating func listInRound(_ classIndex: Int) {
        guard !classes[classIndex].isInRound else { return }
        classes[classIndex].isInRound = true
        guard classes[classIndex].isFeasible else { return classLinks.append(classIndex, to: &foreignClasses) }
        let queue = classes[classIndex].queue
        if queues[queue].round.isEmpty { activeQueues.append(queue) }
        classLinks.append(classIndex, to: &queues[queue].round)
    }

    mutating func dropFromRound(_ classIndex: Int) {
        guard classes[classIndex].isInRound else { return }
        classes[classIndex].isInRound = false
        guard classes[classIndex].isFeasible else { return classLinks.remove(classIndex, from: &foreignClasses) }
        let queue = classes[classIndex].queue
        classLinks.remove(classIndex, from: &queues[queue].round)
        guard queues[queue].round.isEmpty, let position = activeQueues.firstIndex(of: queue) else { return }
        activeQueues.remove(at: position)
    }

    /// Keeps a class of which nothing is left for a while, and forgets the one that was unused longest.
    mutating func noteIfUnused(_ classIndex: Int) {
        guard classes[classIndex].isUnused != classes[classIndex].isListedUnused else { return }
        classes[classIndex].isListedUnused.toggle()
        guard classes[classIndex].isListedUnused else {
            return unusedLinks.remove(classIndex, from: &unusedClasses)
        }
        unusedLinks.append(classIndex, to: &unusedClasses)
        guard unusedClasses.count > Self.unusedClassLimit, let oldest = unusedLinks.popFirst(&unusedClasses) else {
            return
        }
        let queue = classes[oldest].queue
        indexOfClass.remove(classes[oldest].schedulingClass)
        classSlots.give(oldest)
        queues[queue].classes -= 1
        if queues[queue].classes == 0 {
            indexOfQueue[queues[queue].key] = nil
            queueSlots.give(queue)
        }
    }
}
