// The judge's own book of actors: in which order calls were made, and in which they run.

internal import RayCore
internal import RayScheduler

/// Calls and runs of actors.
struct ActorJudge {
    private struct Lane: Hashable {
        /// An incarnation has its process for itself.
        var worker: WorkerID
        var caller: WorkerID
    }

    private struct Attempt: Hashable {
        var task: TaskID
        var number: UInt32
    }

    /// Places of calls in the order in which their callers made them.
    private var order: [TaskID: UInt64] = [:]
    private var lastOrder: UInt64 = 0
    /// The last that each incarnation has run of each caller.
    private var lastRun: [Lane: UInt64] = [:]
    /// Attempts that may run and have not ended at their caller.
    private var open: Set<Attempt> = []
    /// The latest run of each actor.
    private var places: [ObjectID: ActorPlace] = [:]

    /// A program makes a call, or one is to run again that was over: behind all before it.
    mutating func called(_ task: TaskID) {
        lastOrder += 1
        order[task] = lastOrder
    }

    mutating func ready(_ task: TaskID, attempt: UInt32) { open.insert(Attempt(task: task, number: attempt)) }

    /// - Returns: whether it was under way.
    mutating func ended(_ task: TaskID, attempt: UInt32) -> Bool {
        open.remove(Attempt(task: task, number: attempt)) != nil
    }

    /// - Returns: the place of a call, and that of a later one of its caller that has run before it, if any.
    mutating func ran(_ task: TaskID, on worker: WorkerID) -> (UInt64, after: UInt64)? {
        let lane = Lane(worker: worker, caller: task.owner)
        let (place, last) = (order[task] ?? 0, lastRun[lane] ?? 0)
        lastRun[lane] = place
        return place > last ? nil : (place, last)
    }

    /// - Returns: the run before this one.
    mutating func started(_ place: ActorPlace) -> ActorPlace? { places.updateValue(place, forKey: place.actor) }
}

extension Judge {
    mutating func ranCall(_ task: TaskID, on worker: WorkerID) {
        guard let (place, last) = actors.ran(task, on: worker), !isGone(worker), !isGone(task.owner) else { return }
        violate(.ranOutOfOrder, "\(task), call \(place), ran on \(worker) after call \(last)")
    }

    /// An attempt of a call ended at its caller.
    mutating func ended(_ task: TaskID, attempt: UInt32, _ end: ActorCallEnd, actor: ObjectID?) {
        if !actors.ended(task, attempt: attempt) {
            violate(.answeredTwice, "attempt \(attempt) of call \(task) ended (\(end)) and was not under way")
        }
        guard end == .actorDead, let actor, !isGone(actor.owner) else { return }
        let creation = TaskID(owner: actor.owner, sequence: actor.sequence)
        if isOpen(creation) { violate(.inexactError, "\(task) ended for its actor is dead, but \(creation) is wanted") }
    }

    /// A run of an actor begins: the one before is over.
    mutating func started(_ place: ActorPlace) {
        guard let before = actors.started(place), !isGone(before.worker), !isGone(place.worker) else { return }
        violate(.ranTwice, "\(place.actor) runs on \(place.worker) and on \(before.worker)")
    }
}
