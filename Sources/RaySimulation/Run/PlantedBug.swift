// Bugs that are planted on purpose, between the machines and what they drive: a sweep that misses one is blind.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// A bug. Its name is what `--bug` takes.
package enum PlantedBug: String, CaseIterable, Sendable {
    // Ownership.
    /// What a worker goes on holding after a task is not told: the lender lets go before the owner knows.
    case lenderLetsGo = "lender-lets-go"
    /// A reference that was found in a value is not counted.
    case handleForgotten = "handle-forgotten"
    /// Copies are not dropped when their object ends, and reconciling does not find them.
    case freeLost = "free-lost"
    /// A completion is acknowledged and forgotten.
    case completionLost = "completion-lost"
    /// Workers are not told of deaths: who waits for a dead owner waits on.
    case deathNotTold = "death-not-told"
    /// A detached object is disowned as soon as it is made: it ends with who made it.
    case disownedEarly = "disowned-early"
    /// A finished task can not run again, though its value may be needed again.
    case lineageForgotten = "lineage-forgotten"
    // Stores.
    /// The copy that must stay is evicted.
    case pinnedEvicted = "pinned-evicted"
    /// A pull brings other bytes.
    case pullCorrupted = "pull-corrupted"
    // Scheduling.
    /// A worker that works is taken for blocked: its CPU is given out again.
    case cpuGivenTwice = "cpu-given-twice"
    /// A lease is used for longer than its window.
    case leasePastWindow = "lease-past-window"
    /// A request that was spilled may be spilled again.
    case secondSpill = "second-spill"
    /// A repeated push runs its task again.
    case pushRunsTwice = "push-runs-twice"
    /// Answers to repeated requests get lost, all of them.
    case answerLost = "answer-lost"
    // Actors.
    /// A call takes its place when its inputs are there, not when it is made.
    case callsOvertake = "calls-overtake"
    /// A call that was under way when its actor died runs again, unasked, though it has no retries.
    case callRunsAgain = "call-runs-again"
}

extension Cluster {
    /// The envelope as a broken machine would send it.
    func planted(_ envelope: Envelope) -> Envelope {
        guard let bug = settings.bug, let message = envelope.message else { return envelope }
        var broken = envelope
        let nothing = OwnershipMessage.unfollow(ObjectID(owner: envelope.receiver, sequence: 0))
        switch message {
        case .completed(var completion):
            if bug == .lenderLetsGo {
                completion.kept = []
                broken.message = .completed(completion)
            }
            if bug == .completionLost { broken.message = nothing }
        case .free: if bug == .freeLost { broken.message = .free([]) }
        case .died: if bug == .deathNotTold, worker(envelope.receiver) != nil { broken.message = nothing }
        case .item, .register, .registered, .refused, .release, .returned, .follow, .unfollow, .status, .copies,
            .reconcile,
            .pin,
            .verify, .missing, .join, .welcome, .applied, .settled, .inquire, .exited, .fenced, .adopt, .adopted,
            .disown:
            break
        }
        return broken
    }

    /// The message as a broken machine would send it; nil when it would not.
    func planted(_ message: SchedulerMessage) -> SchedulerMessage? {
        if settings.bug == .secondSpill, case .request(let request) = message, request.mode == .grantOrReject {
            return .request(request.asking(.place))
        }
        if settings.bug == .answerLost, case .answer(let answer) = message, answer.attempt > 1 { return nil }
        return message
    }
}

extension LeaseRequest {
    /// The same request in another mode.
    fileprivate func asking(_ mode: RequestMode) -> LeaseRequest {
        var request = LeaseRequest(
            id: id, attempt: attempt, settledBelow: settledBelow, schedulingClass: schedulingClass, slots: slots,
            answered: answered, arguments: arguments, mode: mode, rejections: rejections, refusal: refusal,
            isLocalityChoice: isLocalityChoice)
        request.wanted = wanted
        return request
    }
}
