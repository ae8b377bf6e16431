// What goes into a worker's machine and what comes out of it.

public import RayCore

/// What happens to a worker that runs tasks.
public enum ExecutorEvent: Sendable {
    case received(SchedulerMessage, from: Party)
    /// The task that `run` began has ended, by itself or after `interrupt`.
    case finished(TaskID, isCancelled: Bool)
    /// The running task waits for an object: what has not begun goes back.
    case blocked
    case unblocked
}

/// What the shell of a worker does.
public enum ExecutorDirective: Sendable {
    /// Run a task. One at a time; `finished` follows.
    case run(TaskID, execution: UInt32)
    /// End the running task early if possible. `finished` follows in any case.
    case interrupt(TaskID)
    case send(SchedulerMessage, to: Party)
}
