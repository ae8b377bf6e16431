// Birth and death of processes and nodes, and the other faults of the plan.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    // MARK: Birth

    func addNode(_ index: Int, incarnation: UInt32) {
        let id = NodeID(value: UInt64(index + 1), incarnation: incarnation)
        var random = SeededRandom(seed: settings.seed &+ UInt64(index) << 32, concern: .clocks)
        let clock =
            settings.faults.contains(.skew)
            ? LocalClock(
                offset: UInt64(random.below(5_000_000_000)), drift: Int64(random.below(401)) - 200)
            : LocalClock()
        var configuration = NodeConfiguration()
        configuration.policy = settings.policy
        let node = SimulatedNode(
            id: id, clock: clock,
            scheduler: NodeMachine(
                id: id, capacity: NodeCapacity(cpu: ResourceAmount(Int64(settings.cpus[index]))),
                configuration: configuration, seed: machineSeeds.next()),
            holder: HolderMachine(node: id, configuration: HolderConfiguration(controlStore: Self.address(0))))
        if index == nodes.count {
            nodes.append(node)
        } else {
            nodes[index] = node
        }
        judge.joined(id, cpus: settings.cpus[index])
        holder(index, .start)
        arm(raylet(index))
    }

    func addWorker(node: Int, isDriver: Bool) -> Int {
        nodes[node].workers.append(workers.count)
        let id = WorkerID(node: nodes[node].id, number: UInt32(nodes[node].workers.count))
        var submitter = SubmitterConfiguration()
        submitter.policy = settings.policy
        if settings.bug == .leasePastWindow { submitter.leaseWindow = .seconds(60) }
        var ownership = WorkerConfiguration(
            controlStore: Self.address(0), detachedOwner: Self.address(1), relay: .raylet(of: nodes[node].id))
        ownership.lineageBytes = settings.lineageBytes
        workers.append(
            SimulatedWorker(
                id: id, node: node, isDriver: isDriver, owner: WorkerMachine(id: id, configuration: ownership),
                submitter: SubmitterMachine(id: id, configuration: submitter),
                executor: ExecutorMachine(id: id)))
        holder(node, .workerStarted(id))
        arm(.worker(workers.count - 1))
        return workers.count - 1
    }

    // MARK: Death

    func kill(_ worker: Int, cause: DeathCause) {
        guard workers[worker].isAlive else { return }
        end(worker)
        let node = workers[worker].node
        guard nodes[node].isAlive else { return }
        // The raylet sees its child end.
        holder(node, .workerExited(workers[worker].id, cause))
        if nodes[node].isAlive { nodeScheduler(node, .workerDied(workers[worker].id)) }
    }

    private func end(_ worker: Int) {
        workers[worker].isAlive = false
        workers[worker].frame = nil
        workers[worker].actor = nil
        workers[worker].waiters = [:]
        judge.died(workers[worker].id)
    }

    func killNode(_ node: Int) {
        guard nodes[node].isAlive else { return }
        nodes[node].isAlive = false
        for worker in nodes[node].workers where workers[worker].isAlive { end(worker) }
        nodes[node].store = [:]
        nodes[node].pulls = [:]
        judge.left(nodes[node].id)
    }

    func restart(_ node: Int) {
        guard !nodes[node].isAlive else { return }
        coverage.reach(.nodeRestarted)
        addNode(node, incarnation: nodes[node].id.incarnation + 1)
    }

    /// Whoever watches members has made up its mind.
    func declareDead(_ node: Int, _ incarnation: UInt32) {
        let id = NodeID(value: UInt64(node + 1), incarnation: incarnation)
        if isAlive(node, incarnation) { coverage.reach(.livingNodeDeclaredDead) }
        members(.declareDead(.node(id), .crashed))
    }

    /// Somebody gets no answer from a process. If its node is dead indeed, it is declared dead.
    func suspected(_ member: WorkerID) {
        coverage.reach(.suspected)
        guard member.node != Self.controlID else { return }
        let index = Int(member.node.value) - 1
        if !isAlive(index, member.node.incarnation) { members(.declareDead(.node(member.node), .crashed)) }
    }

    // MARK: Planned ends

    private func drain(_ node: Int) {
        guard nodes[node].isAlive, !nodes[node].isDraining else { return }
        nodes[node].isDraining = true
        judge.leases.drains(nodes[node].id)
        nodeScheduler(node, .drain)
    }

    /// The last lease of a draining node has ended: it leaves.
    func drained(_ node: Int) {
        guard nodes[node].isDraining else { return judge.violate(.unexpected, "nobody drains \(nodes[node].id)") }
        coverage.reach(.nodeDrained)
        let id = nodes[node].id
        killNode(node)
        members(.declareDead(.node(id), .nodeDrained))
        queue.insert(.restart(node: node), at: now + settings.workerStart)
        lastFault = max(lastFault, now + settings.workerStart)
    }

    /// Membership is durable, and so is the owner of detached objects. The states of nodes are not.
    private func restartControlStore(_ duration: UInt64) {
        coverage.reach(.controlStoreRestarted)
        let control = Int32(controlNode)
        network.cut(Network.Link(source: Network.Link.everyNode, target: control), until: now + duration)
        network.cut(Network.Link(source: control, target: Network.Link.everyNode), until: now + duration)
        lastFault = max(lastFault, now + duration)
        self.control.incarnation += 1
        self.control.hub = ViewHub(incarnation: self.control.incarnation)
        for node in self.control.deadNodes { hub(.nodeDied(node)) }
    }

    // MARK: The plan

    func strike(_ fault: Fault.Kind) {
        switch fault {
        case .cut(let link, let duration):
            network.cut(link, until: now + duration)
            lastFault = max(lastFault, now + duration)
            let node = Int(link.source)
            // Who is silent for long is taken for dead, though it lives.
            if link.target == Network.Link.everyNode, (1..<settings.nodes).contains(node),
                duration > settings.detection, nodes[node].isAlive
            {
                queue.insert(
                    .declareDead(node: node, incarnation: nodes[node].id.incarnation), at: now + settings.detection)
            }
        case .clog(let link, let duration):
            network.clog(link, until: now + duration)
            lastFault = max(lastFault, now + duration)
        case .slow(let node, let factor, let duration):
            nodes[node].slowUntil = now + duration
            nodes[node].slowFactor = factor
            lastFault = max(lastFault, now + duration)
        case .killWorker(let node, let number):
            let candidates = nodes[node].workers.filter { workers[$0].isAlive && $0 != 0 }
            guard nodes[node].isAlive, !candidates.isEmpty else { return }
            kill(candidates[number % candidates.count], cause: .killed)
        case .loseCopy(let node, let number): loseCopy(node, number)
        case .drain(let node): drain(node)
        case .restartControlStore(let duration): restartControlStore(duration)
        case .killNode(let node, let restartAfter):
            guard nodes[node].isAlive else { return }
            queue.insert(
                .declareDead(node: node, incarnation: nodes[node].id.incarnation), at: now + settings.detection)
            killNode(node)
            guard let restartAfter else { return }
            queue.insert(.restart(node: node), at: now + restartAfter)
            lastFault = max(lastFault, now + restartAfter)
        }
    }
}
