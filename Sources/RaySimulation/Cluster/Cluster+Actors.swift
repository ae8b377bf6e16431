// Actors: workers that run one creation for as long as the actor lives, and calls from its creator in between.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    func createActor(_ worker: Int, into variable: Variable) {
        let task = workers[worker].owner.makeTaskID(returns: 1)
        specifications[task] = TaskSpecification(recipe: 0, arguments: [], actor: nil, isCreation: true)
        judge.submitted(task, arguments: [])
        judge.acquire(task.returnID(0), by: workers[worker].id)
        workers[worker].frame?.variables[variable] = task.returnID(0)
        owner(
            worker,
            .submit(
                RayOwnership.TaskSubmission(task: task, returns: 1, arguments: [], maximumRetries: 0, lineageBytes: 200)
            ))
    }

    /// A call whose inputs are there. It waits until the actor runs somewhere.
    func call(_ worker: Int, actor: ObjectID, _ task: TaskID, attempt: UInt32) {
        if failedActors.contains(actor) { return rejectCall(worker, task, attempt: attempt) }
        guard let place = actorPlaces[actor] else {
            waitingCalls[actor, default: []].append((task, attempt))
            return
        }
        owner(worker, .taskAssigned(task, attempt: attempt, to: workers[place].id))
        sendSurely(.call(task, attempt: attempt), to: .worker(place), from: workers[worker].node)
    }

    func placeActor(_ actor: ObjectID, at place: Int) {
        actorPlaces[actor] = place
        guard let creator = worker(actor.owner), workers[creator].isAlive else { return }
        for (task, attempt) in waitingCalls.removeValue(forKey: actor) ?? [] {
            call(creator, actor: actor, task, attempt: attempt)
        }
        if stoppedActors.contains(actor) { endActor(creator, actor) }
    }

    /// The creation ended without an actor: calls that wait for it, or come later, never run.
    func actorFailed(_ worker: Int, _ actor: ObjectID) {
        failedActors.insert(actor)
        for (task, attempt) in waitingCalls.removeValue(forKey: actor) ?? [] {
            rejectCall(worker, task, attempt: attempt)
        }
    }

    func rejectCall(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        coverage.reach(.callWithoutActor)
        owner(worker, .attemptRejected(task, attempt: attempt, .environmentFailed))
    }

    /// The creator lets go of the actor.
    func endActor(_ worker: Int, _ actor: ObjectID) {
        guard let place = actorPlaces[actor] else {
            stoppedActors.insert(actor)
            return
        }
        let creation = TaskID(owner: actor.owner, sequence: actor.sequence)
        sendSurely(.stopActor(creation), to: .worker(place), from: workers[worker].node)
    }

    func receiveCall(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        let creation = specifications[task]?.actor.map { TaskID(owner: $0.owner, sequence: $0.sequence) }
        guard let actor = workers[worker].actor, actor.creation == creation else {
            guard let caller = self.worker(task.owner) else { return }
            return sendSurely(
                .callRefused(task, attempt: attempt), to: .worker(caller), from: workers[worker].node)
        }
        workers[worker].actor?.queue.append((task, attempt))
        if workers[worker].frame == nil { runNextCall(worker) }
    }

    func stopActor(_ worker: Int, _ creation: TaskID) {
        guard workers[worker].actor?.creation == creation else { return }
        workers[worker].actor?.isStopping = true
        if workers[worker].frame == nil { runNextCall(worker) }
    }

    func runNextCall(_ worker: Int) {
        guard let actor = workers[worker].actor else { return }
        if let (task, attempt) = actor.queue.first {
            workers[worker].actor?.queue.removeFirst()
            guard let specification = specifications[task] else { preconditionFailure("\(task) was never submitted") }
            judge.ran(task, attempt: attempt, on: workers[worker].id)
            return begin(worker, .call(task, attempt: attempt), specification)
        }
        guard actor.isStopping else { return }
        workers[worker].actor = nil
        if let kept = actor.kept { release(worker, kept) }
        let value = Value(word: 0x100)
        judge.produced(actor.creation.returnID(0), value)
        owner(
            worker,
            .taskFinished(
                actor.creation, attempt: actor.attempt, .succeeded([ReturnedValue(.inline(value.bytes))])))
        if workers[worker].isAlive { executor(worker, .finished(actor.creation, isCancelled: false)) }
    }

    /// Keeps a reference beyond the call, in place of the one before.
    func keep(_ worker: Int, _ variable: Variable) {
        guard let frame = workers[worker].frame, let object = frame.variables[variable],
            let (task, _) = frame.role.task, let actor = workers[worker].actor
        else { return }
        acquire(worker, object, .task(task))
        workers[worker].actor?.kept = object
        if let before = actor.kept { release(worker, before) }
    }
}
