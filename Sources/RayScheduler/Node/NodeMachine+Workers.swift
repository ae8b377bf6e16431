// The node's worker processes: started for leases, kept while they may be used, ended.

internal import RayCore

extension NodeMachine {
    /// Starts that may be under way at a time.
    private var startLimit: Int {
        configuration.startingWorkers > 0
            ? configuration.startingWorkers : max(1, Int(pool.total.cpu.units / ResourceAmount.unitsPerWhole))
    }

    /// Starts a worker for each lease that waits for one, as far as allowed.
    mutating func startWorkers(_ environment: Int, _ directives: inout [NodeDirective]) {
        while environments[environment].starting < environments[environment].waitingCount, startingWorkers < startLimit
        {
            environments[environment].starting += 1
            startingWorkers += 1
            directives.append(.startWorker(environment: environments[environment].value))
        }
    }

    mutating func workerReady(
        _ id: WorkerID, _ environment: UInt64, _ now: Timestamp, _ directives: inout [NodeDirective]
    ) {
        guard id.node == self.id else { return }
        if let known = workerOfID[id] { return stays(known, now) }
        let index: Int
        if let known = indexOfEnvironment[environment] {
            index = known
        } else {
            environments.append(WorkerEnvironment(value: environment))
            index = environments.count - 1
            indexOfEnvironment.insert(environment, index)
        }
        environments[index].failures = 0
        startEnded(index)
        let slot = workerSlots.take()
        let worker = PoolWorker(id: id, environment: Int32(index))
        if slot == workers.count { workers.append(worker) } else { workers[slot] = worker }
        workerOfID.insert(id, slot)
        use(slot, now)
        startAll(&directives)
    }

    /// An idle worker that was to end stays.
    private mutating func stays(_ worker: Int, _ now: Timestamp) {
        guard workers[worker].isEnding, workers[worker].lease < 0 else { return }
        workers[worker].isEnding = false
        use(worker, now)
    }

    private mutating func startEnded(_ environment: Int) {
        guard environments[environment].starting > 0 else { return }
        environments[environment].starting -= 1
        startingWorkers -= 1
    }

    /// A start has ended: whoever waits may start one now.
    private mutating func startAll(_ directives: inout [NodeDirective]) {
        for environment in environments.indices where environments[environment].waitingCount > 0 {
            startWorkers(environment, &directives)
        }
    }

    mutating func workerStartFailed(_ environment: UInt64, _ directives: inout [NodeDirective]) {
        guard let index = indexOfEnvironment[environment] else { return }
        startEnded(index)
        environments[index].failures += 1
        if environments[index].failures >= configuration.startAttempts {
            environments[index].failures = 0
            failLeases(of: index, &directives)
        }
        startAll(&directives)
    }

    /// No worker can be started: the slots that wait for one fail.
    private mutating func failLeases(of environment: Int, _ directives: inout [NodeDirective]) {
        while let number = environments[environment].waiting.popFirst() {
            guard let slot = leaseSlot(of: number), leases[slot].stage == .starting else { continue }
            let record = Int(leases[slot].request)
            endLease(slot, &directives)
            requests.settle(record, .failed(slots: 1, .workerStartFailed))
            unlinkIfPlaced(record)
        }
    }

    /// Gives a worker without a lease to the next lease that waits for one, or keeps it.
    mutating func use(_ worker: Int, _ now: Timestamp) {
        let environment = Int(workers[worker].environment)
        while let number = environments[environment].waiting.popFirst() {
            guard let slot = leaseSlot(of: number), leases[slot].stage == .starting else { continue }
            environments[environment].waitingCount -= 1
            return activate(slot, with: worker, now)
        }
        workers[worker].idleSince = now
        idleLinks.append(worker, to: &environments[environment].idle)
        idleWorkers += 1
        mayGrant = true
    }

    mutating func takeIdle(_ worker: Int) {
        idleLinks.remove(worker, from: &environments[Int(workers[worker].environment)].idle)
        idleWorkers -= 1
    }

    mutating func stop(_ worker: Int, _ directives: inout [NodeDirective]) {
        guard !workers[worker].isEnding else { return }
        workers[worker].isEnding = true
        directives.append(.stopWorker(workers[worker].id, isIdle: workers[worker].lease < 0))
    }

    /// A worker is gone: its lease ends, and if it submitted tasks, what it asked for and what it has.
    mutating func workerDied(_ id: WorkerID, _ now: Timestamp, _ directives: inout [NodeDirective]) {
        if let worker = workerOfID.remove(id) {
            let lease = Int(workers[worker].lease)
            if lease >= 0 {
                if leases[lease].stage == .active { statistics.revoked += 1 }
                endLease(lease, &directives)
            } else if !workers[worker].isEnding {
                takeIdle(worker)
            }
            workerSlots.give(worker)
            lendMore(now)
        }
        submittersDied(&directives) { $0 == id }
    }

    // MARK: Idle workers

    /// Workers without a lease that are kept: one a CPU.
    private var idleLimit: Int { startLimit }

    /// When the worker that has been idle longest is due to end, if there are too many.
    var nextIdleWorker: Timestamp {
        guard idleWorkers > idleLimit, let oldest = oldestIdle else { return .never }
        return workers[oldest].idleSince + configuration.idleWorker
    }

    private var oldestIdle: Int? {
        environments.compactMap(\.idle.first).min {
            (workers[$0].idleSince, $0) < (workers[$1].idleSince, $1)
        }
    }

    mutating func stopIdleWorkers(_ now: Timestamp, _ directives: inout [NodeDirective]) {
        while idleWorkers > idleLimit, let oldest = oldestIdle,
            workers[oldest].idleSince + configuration.idleWorker <= now
        {
            takeIdle(oldest)
            stop(oldest, &directives)
        }
    }
}
