// Why an object has no value: the errors that gets and dependent tasks end with.

public import RayCore

/// Why a process or node is no more, as the control store was told.
public enum DeathCause: UInt8, Hashable, Sendable {
    /// It ended by itself, as a driver does when it is done.
    case exited
    case crashed
    case killed
    case outOfMemory
    /// Its node was declared dead.
    case nodeLost
    /// Its node left the cluster as planned.
    case nodeDrained
    /// A later incarnation of its node has joined.
    case replaced
    /// The control store knows no such member: it has forgotten it, or it never joined.
    case unknownMember
}

/// The error of an object: where it arose, and why. Tasks that depend on the object hand on the same error, so
/// that `object` is always the first in the chain that failed.
public struct ObjectError: Error, Hashable, Sendable {
    public enum Reason: Hashable, Sendable {
        /// The owner is dead, and its objects end with it; the owner and its node are in `object.owner`.
        case ownerDied(DeathCause)
        /// All copies are lost, and it was put: no task can make it again.
        case lostPut
        /// All copies are lost, and its task was submitted without retries.
        case lostRetriesDisabled
        /// All copies are lost, and its task has used up its retries.
        case lostRetriesExhausted
        /// All copies are lost, and the task that made it was forgotten to hold the limit of lineage bytes.
        case lostLineageEvicted
        /// All copies are lost, and its task was cancelled.
        case lostCancelled
        /// Recovery was asked of a process that only borrows it: the owner alone can.
        case borrowed
        /// Its task was cancelled before it was done.
        case cancelled
        /// Its task died with the worker that ran it, and may not run again.
        case workerDied(WorkerID, DeathCause)
        /// Its task failed on a live worker for a reason of the system's, and may not run again.
        case taskFailed(TaskFailure)
        /// It was freed by request.
        case freed
        /// Its owner does not know it, or any more: all references that the owner knew of are gone.
        case outOfScope
        /// It would be an item of a stream that has ended before it.
        case endOfStream
        /// The wait for it ended before it came.
        case deadlineExceeded
    }

    /// The object that failed first.
    public let object: ObjectID
    public let reason: Reason

    public init(_ object: ObjectID, _ reason: Reason) {
        self.object = object
        self.reason = reason
    }
}

/// Why a worker that lives could not bring a task to its end. What the user's function throws is a value, not this.
public enum TaskFailure: UInt8, Hashable, Sendable {
    case outOfMemory
    case outOfDisk
    case environmentFailed
    case inputUnavailable
    /// The worker refused or abandoned it; it may run elsewhere.
    case refused
}

extension ObjectError: CustomStringConvertible {
    public var description: String { "\(object): \(reason.text(of: object))" }
}

extension ObjectError.Reason {
    fileprivate func text(of object: ObjectID) -> String {
        switch self {
        case .ownerDied(let cause): "its owner \(object.owner) on \(object.owner.node) died (\(cause))"
        case .lostPut: "all copies are lost, and what was put can not be made again"
        case .lostRetriesDisabled: "all copies are lost, and its task has no retries"
        case .lostRetriesExhausted: "all copies are lost, and its task has used up its retries"
        case .lostLineageEvicted: "all copies are lost, and its lineage was dropped at the limit of lineage bytes"
        case .lostCancelled: "all copies are lost, and its task was cancelled"
        case .borrowed: "only its owner \(object.owner) can recover it"
        case .cancelled: "its task was cancelled"
        case .workerDied(let worker, let cause): "its task died with \(worker) on \(worker.node) (\(cause))"
        case .taskFailed(let failure): "its task failed (\(failure))"
        case .freed: "it was freed by request"
        case .outOfScope: "its owner knows of no reference to it"
        case .endOfStream: "its stream has no such item"
        case .deadlineExceeded: "the wait for it ended first"
        }
    }
}
