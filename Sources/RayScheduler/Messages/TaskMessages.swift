// What submitters and workers say to each other about tasks on a lease.

public import RayCore

/// Runs a task on a leased worker. Repeated until a `TaskReport` ends it.
public struct TaskPush: Hashable, Sendable {
    public let task: TaskID
    /// Which execution of the task: the owner counts.
    public let execution: UInt32
    public let lease: LeaseID
    /// Counts the pushes on this lease from 1.
    public let number: UInt32
    /// Pushes on this lease with a lower number are over: they can be forgotten, and never run again.
    public var settledBelow: UInt32

    public init(task: TaskID, execution: UInt32, lease: LeaseID, number: UInt32, settledBelow: UInt32) {
        self.task = task
        self.execution = execution
        self.lease = lease
        self.number = number
        self.settledBelow = settledBelow
    }
}

/// Asks a worker to give up a task. Repeated until a `TaskReport` ends the task.
public struct TaskCancel: Hashable, Sendable {
    public let lease: LeaseID
    public let number: UInt32

    public init(lease: LeaseID, number: UInt32) {
        self.lease = lease
        self.number = number
    }
}

/// How far a pushed task is.
@frozen
public enum TaskProgress: Hashable, Sendable {
    /// It is here and waits or runs.
    case accepted
    case finished
    /// It was ended, or never begun, as the submitter wished.
    case cancelled
    /// It was not begun and will not be: the worker blocks, or leaves.
    case returned
    /// The lease is not, or no more, the worker's. It was not begun under this push.
    case refused
}

/// Answers a push.
public struct TaskReport: Hashable, Sendable {
    public let lease: LeaseID
    public let number: UInt32
    public let progress: TaskProgress

    public init(lease: LeaseID, number: UInt32, progress: TaskProgress) {
        self.lease = lease
        self.number = number
        self.progress = progress
    }
}
