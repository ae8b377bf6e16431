// The shell of ownership's machines: events in, directives run.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    // MARK: Worker

    func owner(_ worker: Int, _ event: WorkerEvent) {
        trace?("  \(workers[worker].id) owner \(event)")
        var directives = workerBuffers.popLast() ?? []
        workers[worker].owner.handle(event, now: reading(workers[worker].node), into: &directives)
        arm(.worker(worker))
        // What a batch frees may be the arguments of tasks that it ends.
        for case .forgetTask(let task) in directives { forget(task) }
        for case .died(let death) in directives { actorsHear(worker, of: death) }
        for case .forgetTask(let task) in directives where workers[worker].isAlive { forgetCall(worker, task) }
        withdraw(directives, worker)
        for directive in directives where workers[worker].isAlive { perform(directive, worker) }
        directives.removeAll(keepingCapacity: true)
        workerBuffers.append(directives)
        // A look into a machine takes time in proportion to its state.
        workers[worker].uninspected += 1
        if workers[worker].uninspected > Self.violationInterval + workers[worker].owner.objectCount {
            workers[worker].uninspected = 0
            judge.inspect(workers[worker].owner)
        }
    }

    private func perform(_ directive: WorkerDirective, _ worker: Int) {
        trace?("  \(workers[worker].id) owner wants \(directive)")
        switch directive {
        case .send(let envelope): send(envelope, at: workers[worker].node)
        case .runTask(let task, let attempt): runWanted(worker, task, attempt: attempt)
        case .stopTask(let task, let attempt, let executor): stopWanted(worker, task, attempt: attempt, on: executor)
        case .forgetTask: break
        case .abandonTask(let task, _): interrupt(worker, task)
        case .deliver(let waiter, let outcome): delivered(worker, waiter, outcome)
        case .freed(let object):
            digest.fold(object.sequence)
            judge.freed(object, by: workers[worker].id)
        case .recoveryRefused: coverage.reach(.recoveryRefused)
        case .adopted(_, let task): adopted(worker, task)
        case .died(let death): heard(worker, of: death)
        case .terminate(let cause):
            coverage.reach(.zombieTerminated)
            kill(worker, cause: cause)
        }
    }

    /// What a death has ended for its owner, or made it want anew, the scheduler may know not to have begun, and
    /// would move to another worker: it is told before it hears of the death.
    private func withdraw(_ directives: [WorkerDirective], _ worker: Int) {
        let isOfDeath = directives.contains { if case .died = $0 { true } else { false } }
        guard isOfDeath else { return }
        for directive in directives {
            switch directive {
            case .forgetTask(let task), .runTask(let task, _):
                if workers[worker].scheduled[task] != nil { submitter(worker, .cancel(task)) }
            case .send, .stopTask, .abandonTask, .deliver, .freed, .recoveryRefused, .adopted, .died, .terminate: break
            }
        }
    }

    private func forget(_ task: TaskID) {
        specifications[task]?.isForgotten = true
        judge.forgotten(task)
    }

    private func runWanted(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        guard let specification = specifications[task] else {
            return judge.violate(.unknownTask, "\(task) is to run and was never submitted")
        }
        if specification.isForgotten || (settings.bug == .lineageForgotten && attempt > 1) {
            return judge.violate(.unknownTask, "\(task) is to run and was forgotten")
        }
        if attempt > 1 {
            coverage.reach(.taskRunsAgain)
            judge.runsAgain(task)
        }
        if let actor = specification.actor {
            call(worker, actor: actor, task, attempt: attempt)
        } else {
            schedule(worker, task, attempt: attempt)
        }
    }

    private func stopWanted(_ worker: Int, _ task: TaskID, attempt: UInt32, on executor: WorkerID?) {
        coverage.reach(.taskStopped)
        workers[worker].held[task] = nil
        if workers[worker].scheduled[task] != nil { submitter(worker, .cancel(task)) }
        withdrawCall(worker, task)
    }

    private func heard(_ worker: Int, of death: Death) {
        switch death.member {
        case .node(let node): submitter(worker, .nodeDied(node))
        case .worker(let dead): submitter(worker, .workerDied(dead))
        }
    }

    /// Events between looks into a machine, and one more for each object.
    static let violationInterval = 32

    // MARK: Holder

    func holder(_ node: Int, _ event: HolderEvent) {
        var directives = holderBuffers.popLast() ?? []
        nodes[node].holder.handle(event, now: reading(node), into: &directives)
        arm(raylet(node))
        let incarnation = nodes[node].id.incarnation
        for directive in directives where isAlive(node, incarnation) { perform(directive, node) }
        directives.removeAll(keepingCapacity: true)
        holderBuffers.append(directives)
    }

    private func perform(_ directive: HolderDirective, _ node: Int) {
        switch directive {
        case .send(let envelope): send(envelope, at: node)
        case .free(let copy): freeCopy(node, copy)
        case .pin(let copy):
            if nodes[node].store[copy.object]?.attempt == copy.attempt {
                coverage.reach(.secondaryPinned)
                nodes[node].store[copy.object]?.isPinned = true
            }
        case .statusChanged(let object, let status): statusChanged(node, object, status)
        case .died(let death):
            switch death.member {
            case .node(let dead): nodeScheduler(node, .nodeDied(dead))
            case .worker(let dead): nodeScheduler(node, .workerDied(dead))
            }
        case .terminate:
            coverage.reach(.zombieTerminated)
            killNode(node)
        }
    }

    // MARK: Control store

    func members(_ event: ControlStoreEvent) {
        var directives: [ControlStoreDirective] = []
        control.members.handle(event, now: reading(controlNode), into: &directives)
        arm(.control)
        for directive in directives {
            switch directive {
            case .send(let envelope): send(envelope, at: controlNode)
            case .joined: break
            case .suspected(let member, _): suspected(member)
            case .died(let death):
                judge.declared(death)
                switch death.member {
                case .node(let node):
                    control.deadNodes.append(node)
                    hub(.nodeDied(node))
                    global(.nodeDied(node))
                case .worker(let worker): global(.workerDied(worker))
                }
            }
        }
    }

    func detachedOwner(_ event: WorkerEvent) {
        var directives: [WorkerDirective] = []
        control.owner.handle(event, now: reading(controlNode), into: &directives)
        arm(.control)
        for directive in directives {
            switch directive {
            case .send(let envelope): send(envelope, at: controlNode)
            case .freed(let object): judge.freed(object, by: Self.address(1))
            case .died, .forgetTask, .recoveryRefused: break
            case .runTask, .stopTask, .abandonTask, .deliver, .adopted, .terminate:
                judge.violate(.unexpected, "the owner of detached objects wants \(directive)")
            }
        }
    }
}
