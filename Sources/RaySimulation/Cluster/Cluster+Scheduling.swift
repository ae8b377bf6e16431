// The shell of the scheduler's machines: events in, directives run.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    // MARK: Submitter

    /// Nil stands for a tick.
    func submitter(_ worker: Int, _ event: SubmitterEvent?) {
        var directives = submitterBuffers.popLast() ?? []
        let reading = reading(workers[worker].node)
        if let event {
            workers[worker].submitter.handle(event, now: reading, into: &directives)
        } else {
            workers[worker].submitter.tick(now: reading, into: &directives)
        }
        arm(.worker(worker))
        for directive in directives { perform(directive, worker) }
        directives.removeAll(keepingCapacity: true)
        submitterBuffers.append(directives)
    }

    private func perform(_ directive: SubmitterDirective, _ worker: Int) {
        trace?("  \(workers[worker].id) submitter wants \(directive)")
        guard workers[worker].isAlive else { return }
        switch directive {
        // Nothing asks for placement groups.
        case .locate(let group): submitter(worker, .groupRemoved(group))
        case .resolve(let object): get(worker, object, purpose: .dependency)
        case .send(let message, let party):
            if case .push(let push) = message { assign(worker, push, to: party) }
            send(message, to: party, from: .worker(workers[worker].id), at: workers[worker].node)
        case .ended(let task, let end): ended(worker, task, end)
        }
    }

    /// The owner learns which worker an attempt is pushed to, before the push leaves.
    private func assign(_ worker: Int, _ push: TaskPush, to party: Party) {
        guard case .worker(let executor) = party else { preconditionFailure("a push to \(party)") }
        let before = workers[worker].assigned[push.task]
        guard before?.lease != push.lease || before?.number != push.number else { return }
        workers[worker].assigned[push.task] = push
        judge.pushed(push, by: workers[worker].id, reading: reading(workers[worker].node))
        owner(worker, .taskAssigned(push.task, attempt: push.execution, to: executor))
    }

    /// Gives a task to the scheduler, as soon as that is done with the attempt before.
    func schedule(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        guard let specification = specifications[task] else { preconditionFailure("\(task) was never submitted") }
        guard workers[worker].scheduled[task] == nil else {
            coverage.reach(.attemptHeld)
            workers[worker].held[task] = attempt
            // Nobody wants what the attempt before would still bring.
            return submitter(worker, .cancel(task))
        }
        workers[worker].scheduled[task] = attempt
        judge.scheduled(task, attempt: attempt)
        let dependencies = specification.arguments.filter(\.isValue).map(\.object)
        submitter(
            worker,
            .submit(
                RayScheduler.TaskSubmission(
                    id: task, execution: attempt,
                    schedulingClass: specification.schedulingClass ?? classes[specification.recipe],
                    dependencies: dependencies)))
    }

    private func ended(_ worker: Int, _ task: TaskID, _ end: TaskEnd) {
        guard let attempt = workers[worker].scheduled.removeValue(forKey: task) else {
            return judge.violate(.answeredTwice, "\(task) ended (\(end)) and was not submitted")
        }
        judge.ended(task, attempt: attempt)
        workers[worker].assigned[task] = nil
        switch end {
        case .finished: break
        // The owner machine learns of deaths by itself; a worker whose lease was taken back is ended.
        case .workerDied, .nodeDied: coverage.reach(.taskEndedByDeath)
        case .leaseLost: coverage.reach(.leaseTakenBack)
        case .cancelled:
            coverage.reach(.taskCancelled)
            owner(worker, .attemptRejected(task, attempt: attempt, .refused))
        case .dependencyFailed:
            coverage.reach(.dependencyFailed)
            owner(worker, .attemptRejected(task, attempt: attempt, .inputUnavailable))
        case .unschedulable:
            coverage.reach(.unschedulable)
            owner(worker, .attemptRejected(task, attempt: attempt, .environmentFailed))
        }
        guard workers[worker].isAlive, let next = workers[worker].held.removeValue(forKey: task) else { return }
        schedule(worker, task, attempt: next)
    }

    // MARK: Executor

    func executor(_ worker: Int, _ event: ExecutorEvent) {
        var directives = executorBuffers.popLast() ?? []
        workers[worker].executor.handle(event, now: reading(workers[worker].node), into: &directives)
        for directive in directives {
            guard workers[worker].isAlive else { break }
            switch directive {
            case .run(let task, let execution): runTask(worker, task, attempt: execution)
            case .interrupt(let task): interrupt(worker, task)
            case .send(let message, let party):
                send(message, to: party, from: .worker(workers[worker].id), at: workers[worker].node)
            }
        }
        directives.removeAll(keepingCapacity: true)
        executorBuffers.append(directives)
    }

    // MARK: Node

    /// Nil stands for a tick.
    func nodeScheduler(_ node: Int, _ event: NodeEvent?) {
        var directives = nodeBuffers.popLast() ?? []
        let reading = reading(node)
        if let event {
            nodes[node].scheduler.handle(event, now: reading, view: &nodes[node].view, into: &directives)
        } else {
            nodes[node].scheduler.tick(now: reading, view: &nodes[node].view, into: &directives)
        }
        arm(raylet(node))
        let incarnation = nodes[node].id.incarnation
        for directive in directives where isAlive(node, incarnation) { perform(directive, node) }
        directives.removeAll(keepingCapacity: true)
        nodeBuffers.append(directives)
    }

    private func perform(_ directive: NodeDirective, _ node: Int) {
        trace?("  \(nodes[node].id) scheduler wants \(directive)")
        switch directive {
        case .send(let message, let party):
            send(message, to: party, from: .node(nodes[node].id), at: node)
        case .startWorker(let environment):
            queue.insert(
                .workerStarted(node: node, incarnation: nodes[node].id.incarnation, environment: environment),
                at: now + settings.workerStart + execution.exponential(mean: settings.workerStart / 4))
        case .stopWorker(let id, let isIdle): stopWorker(id, isIdle: isIdle)
        case .pull(let object): pullArgument(node, object)
        case .release(let object): releaseArgument(node, object)
        case .drained: drained(node)
        }
    }

    func workerStarted(_ node: Int, incarnation: UInt32, environment: UInt64) {
        guard isAlive(node, incarnation) else { return }
        if execution.chance(settings.startFailure) {
            coverage.reach(.workerStartFailed)
            return nodeScheduler(node, .workerStartFailed(environment: environment))
        }
        let worker = addWorker(node: node, isDriver: false)
        nodeScheduler(node, .workerReady(workers[worker].id, environment: environment))
    }

    /// A worker whose lease was taken back ends at once. One that is idle stays while it owns objects, for these
    /// would end with it.
    private func stopWorker(_ id: WorkerID, isIdle: Bool) {
        guard let worker = worker(id), workers[worker].isAlive else { return }
        guard isIdle, workers[worker].owner.objectCount > 0 else { return kill(worker, cause: .exited) }
        coverage.reach(.idleWorkerOwnsObjects)
        queue.insert(.stays(worker: worker), at: now + settings.workerStart)
    }

    /// A worker that was to end because it is idle offers itself again.
    func stays(_ worker: Int) {
        guard workers[worker].isAlive else { return }
        nodeScheduler(workers[worker].node, .workerReady(workers[worker].id, environment: 0))
    }

    // MARK: Control store

    /// Nil stands for a tick.
    func hub(_ event: HubEvent?) {
        var directives: [HubDirective] = []
        if let event {
            control.hub.handle(event, now: reading(controlNode), into: &directives)
        } else {
            control.hub.tick(now: reading(controlNode), into: &directives)
        }
        arm(.control)
        for directive in directives {
            switch directive {
            case .broadcast(let batch):
                _ = globalView.apply(batch)
                let broadcast = viewBroadcast(batch)
                for node in nodes.indices where nodes[node].isAlive {
                    send(.views(broadcast), to: raylet(node), from: controlNode, bytes: 200)
                }
                global(.viewChanged)
            case .send(.views(let batch), .node(let id)):
                // Many may ask the same, at the start above all.
                let answer = lastViewAnswer.flatMap { $0.isSame(as: batch) ? $0 : nil } ?? viewBroadcast(batch)
                lastViewAnswer = answer
                send(.views(answer), to: node(id).map { raylet($0) }, from: controlNode, bytes: 200)
            case .send(let message, let party): send(message, to: party, from: .controlStore, at: controlNode)
            }
        }
    }

    private func viewBroadcast(_ batch: ViewBatch) -> ViewBroadcast {
        broadcasts += 1
        return ViewBroadcast(batch, serial: broadcasts)
    }

    /// Nil stands for a tick.
    func global(_ event: GlobalEvent?) {
        var directives: [GlobalDirective] = []
        if let event {
            control.global?.handle(event, now: reading(controlNode), view: &globalView, into: &directives)
        } else {
            control.global?.tick(now: reading(controlNode), view: &globalView, into: &directives)
        }
        arm(.control)
        for directive in directives {
            switch directive {
            case .send(let message, let party): send(message, to: party, from: .controlStore, at: controlNode)
            }
        }
    }
}
