// Actors: processes that run one creation for as long as they live. Their owners tell callers where they run.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// What an actor has beside its process.
struct Actor {
    let creation: TaskID
    let attempt: UInt32
    var machine: ActorMachine
    var kept: ObjectID?
}

/// An actor, at the process that has made it.
struct OwnActor {
    /// Of the latest run that was heard of.
    var place: ActorPlace?
    /// Its creation will not run any more.
    var isOver = false
    /// Who is told of news.
    var followers: [WorkerID] = []
}

extension Cluster {
    // MARK: At the owner

    /// Each actor is of a class of its own: nothing else may wait for a lease that it keeps.
    func createActor(_ worker: Int, into variable: Variable, milliCPU: Int, restarts: Int) {
        let task = workers[worker].owner.makeTaskID(returns: 1)
        var specification = TaskSpecification(recipe: 0, arguments: [], actor: nil, isCreation: true)
        specification.schedulingClass = SchedulingClass(
            demand: ResourceVector(cpu: ResourceAmount(units: Int64(milliCPU) * 10)), function: 1 << 63 | task.sequence)
        specifications[task] = specification
        workers[worker].calls.own[task.returnID(0)] = OwnActor()
        judge.submitted(task, arguments: [])
        judge.acquire(task.returnID(0), by: workers[worker].id)
        workers[worker].frame?.variables[variable] = task.returnID(0)
        owner(
            worker,
            .submit(
                RayOwnership.TaskSubmission(
                    task: task, returns: 1, arguments: [], maximumRetries: restarts, lineageBytes: 200)))
    }

    /// The creator lets go of the actor: it ends, whatever it does.
    func endActor(_ worker: Int, _ actor: ObjectID) {
        owner(worker, .cancel(TaskID(owner: actor.owner, sequence: actor.sequence)))
    }

    /// A run of an actor says that it has begun.
    func actorRuns(_ worker: Int, _ place: ActorPlace) {
        guard let own = workers[worker].calls.own[place.actor], !own.isOver,
            place.incarnation > own.place?.incarnation ?? 0, !workers[worker].owner.isKnownDead(place.worker)
        else { return }
        if own.place != nil { coverage.reach(.actorRestarted) }
        workers[worker].calls.own[place.actor]?.place = place
        caller(worker, .placed(place))
        for follower in own.followers { tell(follower, place.actor, place, from: worker) }
    }

    /// The creation has ended for good.
    func actorIsOver(_ worker: Int, _ actor: ObjectID) {
        guard let own = workers[worker].calls.own[actor], !own.isOver else { return }
        workers[worker].calls.own[actor]?.isOver = true
        caller(worker, .dead(actor))
        for follower in own.followers { tell(follower, actor, nil, from: worker) }
    }

    /// Another process calls an actor of this one.
    func followActor(_ worker: Int, _ actor: ObjectID, by follower: WorkerID) {
        guard let own = workers[worker].calls.own[actor] else {
            return judge.violate(.unexpected, "\(workers[worker].id) does not know \(actor)")
        }
        workers[worker].calls.own[actor]?.followers.append(follower)
        if own.isOver { return tell(follower, actor, nil, from: worker) }
        if let place = own.place { tell(follower, actor, place, from: worker) }
    }

    private func tell(_ follower: WorkerID, _ actor: ObjectID, _ place: ActorPlace?, from worker: Int) {
        guard let target = self.worker(follower) else { return }
        sendSurely(.actorNews(actor, place), to: .worker(target), from: workers[worker].node)
    }

    // MARK: Where it runs

    func actorStarted(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        coverage.reach(.actorStarted)
        let place = ActorPlace(actor: task.returnID(0), incarnation: attempt, worker: workers[worker].id)
        judge.started(place)
        workers[worker].actor = Actor(creation: task, attempt: attempt, machine: ActorMachine(place: place))
        owner(worker, .taskStarted(task, attempt: attempt, arguments: []))
        guard workers[worker].isAlive, let creator = self.worker(task.owner) else { return }
        sendSurely(.actorRuns(place), to: .worker(creator), from: workers[worker].node)
    }

    /// The creation was cancelled, or its owner is dead: the process ends, with the call that runs.
    func endActorRun(_ worker: Int) {
        guard let actor = workers[worker].actor else { return }
        coverage.reach(workers[worker].frame == nil ? .actorEnded : .actorEndedAtWork)
        owner(worker, .taskFinished(actor.creation, attempt: actor.attempt, .cancelled))
        if workers[worker].isAlive { executor(worker, .finished(actor.creation, isCancelled: true)) }
        kill(worker, cause: .exited)
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
