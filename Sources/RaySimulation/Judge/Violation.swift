// What a run can be found guilty of, and the marks that show what it has been through.

internal import RayOwnership

/// A promise of the design that did not hold.
package struct Violation: Error, Sendable, CustomStringConvertible {
    package enum Rule: String, CaseIterable, Sendable {
        case freedWhileReachable = "a value was freed while somebody could reach it"
        case leaked = "something is alive that nobody can reach"
        case wrongValue = "a value was read that was never written"
        case inexactError = "an error says what is not true"
        case hangs = "the run does not come to an end"
        case lateAnswer = "a get ended after its deadline"
        case answeredTwice = "a request was answered twice"
        case unknownTask = "a task runs that was not asked for"
        case ranTwice = "an attempt of a task ran twice"
        case ranOutOfOrder = "calls of an actor ran out of their order"
        case grantedTwice = "a resource was granted twice"
        case leaseUnknown = "a task was pushed on a lease that is not"
        case leaseWindow = "a lease was used after its window"
        case spilledTwice = "a request was spilled more than once"
        case brokenInvariant = "a machine broke its own invariant"
        case unexpected = "a machine wants what it never should"
        case queueBound = "a queue outgrew its bound"
    }

    package let rule: Rule
    package let text: String
    /// Virtual nanoseconds.
    package let time: UInt64

    package var description: String { "\(rule.rawValue), at \(time) ns: \(text)" }
}

/// Rare paths. A sweep is to reach every one of them.
package enum Mark: Int, CaseIterable, Sendable {
    case messageToTheDead, attemptHeld, taskEndedByDeath, leaseTakenBack, taskCancelled, dependencyFailed
    case unschedulable, workerStartFailed, idleWorkerOwnsObjects, zombieTerminated, taskRunsAgain
    case taskStopped, secondaryPinned, argumentMissing, blocked, driverExited, actorStarted, callWithoutActor
    case copyMissing, pulled, pullTimedOut, evicted, nodeRestarted, livingNodeDeclaredDead, suspected
    case copyLost, recoveryRefused, argumentGone
    case actorRestarted, actorEnded, actorEndedAtWork, actorCalledByOthers, callDied, callCancelled
    case nodeDrained, controlStoreRestarted, detachedPut, detachedOutlived
    // Errors that gets ended with.
    case ownerDied, lostPut, lostRetriesDisabled, lostRetriesExhausted, lostLineageEvicted
    case cancelled, workerDied, taskFailed, outOfScope, deadlineExceeded
    // Seen in messages.
    case spilledBack, spillRejected, leaseReused, requestQueued

    /// So rare that only sweeps of tens of thousands of seeds can be asked for them.
    package static let rarest: Set<Mark> = [.taskEndedByDeath]
}

extension ObjectError {
    /// Nil for what no program of ours can bring about.
    var mark: Mark? {
        switch reason {
        case .ownerDied: .ownerDied
        case .lostPut: .lostPut
        case .lostRetriesDisabled: .lostRetriesDisabled
        case .lostRetriesExhausted: .lostRetriesExhausted
        case .lostLineageEvicted: .lostLineageEvicted
        case .lostCancelled, .borrowed, .freed, .endOfStream: nil
        case .cancelled: .cancelled
        case .workerDied: .workerDied
        case .taskFailed: .taskFailed
        case .outOfScope: .outOfScope
        case .deadlineExceeded: .deadlineExceeded
        }
    }
}
