// Calls of actors: the shell of the callers' machine and of the actors'.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// What a process keeps of the actors that it calls and that it has made.
struct ActorCalls {
    var machine = ActorCallerMachine()
    /// Calls that the machine has; whether they are at the actor.
    var isSent: [TaskID: Bool] = [:]
    /// Attempts that the owner machine wants before the attempt before was reported.
    var held: [TaskID: UInt32] = [:]
    /// Actors that it has called, in the order of the first calls.
    var known: [ObjectID] = []
    var own: [ObjectID: OwnActor] = [:]
}

extension Cluster {
    // MARK: Calls, at the caller

    /// A program makes a call.
    func submitCall(_ worker: Int, _ task: TaskID, to actor: ObjectID) {
        judge.actors.called(task)
        guard settings.bug != .callsOvertake else { return }
        addCall(worker, task, to: actor)
    }

    private func addCall(_ worker: Int, _ task: TaskID, to actor: ObjectID) {
        workers[worker].calls.isSent[task] = false
        caller(worker, .submit(task, to: actor))
        guard !workers[worker].calls.known.contains(actor) else { return }
        workers[worker].calls.known.append(actor)
        guard actor.owner != workers[worker].id else { return }
        coverage.reach(.actorCalledByOthers)
        if workers[worker].owner.isKnownDead(actor.owner) { return caller(worker, .dead(actor)) }
        guard let creator = self.worker(actor.owner) else { return }
        sendSurely(.followActor(actor, by: workers[worker].id), to: .worker(creator), from: workers[worker].node)
    }

    /// The owner machine wants an attempt of a call: its inputs are there.
    func call(_ worker: Int, actor: ObjectID, _ task: TaskID, attempt: UInt32) {
        let isSent = workers[worker].calls.isSent[task]
        if isSent == true {
            coverage.reach(.attemptHeld)
            workers[worker].calls.held[task] = attempt
            return
        }
        if isSent == nil {
            // To make a value again, behind what was called since.
            if attempt > 1 { judge.actors.called(task) }
            addCall(worker, task, to: actor)
        }
        judge.actors.ready(task, attempt: attempt)
        caller(worker, .ready(task, execution: attempt))
    }

    /// It is not wanted any more.
    func withdrawCall(_ worker: Int, _ task: TaskID) {
        guard let isSent = workers[worker].calls.isSent[task] else { return }
        workers[worker].calls.held[task] = nil
        caller(worker, .withdraw(task))
        if !isSent { workers[worker].calls.isSent[task] = nil }
    }

    /// The owner machine forgets a task: a call that never left goes. One that did was done, or died: that is said
    /// apart.
    func forgetCall(_ worker: Int, _ task: TaskID) {
        if workers[worker].calls.isSent[task] == false { withdrawCall(worker, task) }
        actorIsOver(worker, task.returnID(0))
    }

    /// Nil stands for a tick.
    func caller(_ worker: Int, _ event: ActorCallerEvent?) {
        var directives: [ActorCallerDirective] = []
        let reading = reading(workers[worker].node)
        if let event {
            trace?("  \(workers[worker].id) caller \(event)")
            workers[worker].calls.machine.handle(event, now: reading, into: &directives)
        } else {
            workers[worker].calls.machine.tick(now: reading, into: &directives)
        }
        arm(.worker(worker))
        for directive in directives where workers[worker].isAlive {
            trace?("  \(workers[worker].id) caller wants \(directive)")
            switch directive {
            case .assigned(let task, let execution, let executor):
                workers[worker].calls.isSent[task] = true
                owner(worker, .taskAssigned(task, attempt: execution, to: executor))
            case .send(let message, let target): send(message, to: target, at: workers[worker].node)
            case .ended(let task, let execution, let end): callEnded(worker, task, attempt: execution, end)
            }
        }
    }

    private func callEnded(_ worker: Int, _ task: TaskID, attempt: UInt32, _ end: ActorCallEnd) {
        judge.ended(task, attempt: attempt, end, actor: specifications[task]?.actor)
        workers[worker].calls.isSent[task] = end == .died ? false : nil
        switch end {
        case .finished: break
        case .died:
            // The owner machine, which has heard of the death before, says whether it runs again.
            coverage.reach(.callDied)
            if !workers[worker].owner.isUnderWay(task) { return withdrawCall(worker, task) }
            if settings.bug == .callRunsAgain {
                caller(worker, .withdraw(task))
                if let actor = specifications[task]?.actor { caller(worker, .submit(task, to: actor)) }
                judge.actors.ready(task, attempt: attempt)
                return caller(worker, .ready(task, execution: attempt))
            }
        case .cancelled:
            coverage.reach(.callCancelled)
            owner(worker, .attemptRejected(task, attempt: attempt, .refused))
        case .actorDead:
            coverage.reach(.callWithoutActor)
            owner(worker, .attemptRejected(task, attempt: attempt, .environmentFailed))
        }
        guard workers[worker].isAlive, let next = workers[worker].calls.held.removeValue(forKey: task),
            let actor = specifications[task]?.actor
        else { return }
        call(worker, actor: actor, task, attempt: next)
    }

    // MARK: News

    /// Where an actor runs; nil when it is no more.
    func actorNews(_ worker: Int, _ actor: ObjectID, _ place: ActorPlace?) {
        guard let place else { return caller(worker, .dead(actor)) }
        if !workers[worker].owner.isKnownDead(place.worker) { caller(worker, .placed(place)) }
    }

    /// A process hears of a death, before anything else that follows from it.
    func actorsHear(_ worker: Int, of death: Death) {
        switch death.member {
        case .worker(let dead):
            caller(worker, .workerDied(dead))
            actor(worker, .callerDied(dead))
        case .node(let node):
            caller(worker, .nodeDied(node))
            actor(worker, .nodeDied(node))
        }
        for actor in workers[worker].calls.known where workers[worker].owner.isKnownDead(actor.owner) {
            caller(worker, .dead(actor))
        }
    }

    // MARK: Calls, at the actor

    func actor(_ worker: Int, _ event: ActorEvent) {
        guard workers[worker].actor != nil else { return }
        trace?("  \(workers[worker].id) actor \(event)")
        var directives: [ActorDirective] = []
        workers[worker].actor?.machine.handle(event, into: &directives)
        for directive in directives where workers[worker].isAlive {
            trace?("  \(workers[worker].id) actor wants \(directive)")
            switch directive {
            case .run(let task, let execution): runCall(worker, task, attempt: execution)
            case .interrupt(let task): interrupt(worker, task)
            case .send(let message, let target): send(message, to: target, at: workers[worker].node)
            }
        }
    }

    private func runCall(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        guard let specification = specifications[task] else { preconditionFailure("\(task) was never submitted") }
        judge.ran(task, attempt: attempt, on: workers[worker].id)
        judge.ranCall(task, on: workers[worker].id)
        guard workers[worker].frame == nil else {
            return judge.violate(.grantedTwice, "\(workers[worker].id) runs two calls at once")
        }
        begin(worker, .call(task, attempt: attempt), specification)
    }

    // MARK: Messages

    private func send(_ message: ActorMessage, to target: WorkerID, at node: Int) {
        send(.actor(message), to: worker(target).map { .worker($0) }, from: node, bytes: 200)
    }

    func received(_ message: ActorMessage, _ worker: Int) {
        switch message {
        case .call: actor(worker, .received(message))
        case .report: caller(worker, .received(message))
        }
    }
}

extension ActorMessage {
    /// For the digest.
    var tag: UInt64 {
        switch self {
        case .call(let call): 18 << 32 | call.number
        case .report(let report): 19 << 32 | report.number
        }
    }
}
