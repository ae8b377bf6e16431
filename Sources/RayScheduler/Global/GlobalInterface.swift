// What goes into the global scheduler of the compared designs and what comes out of it.

public import RayCore

/// What happens to the global scheduler.
public enum GlobalEvent: Sendable {
    case received(SchedulerMessage, from: Party)
    /// A submitter is gone.
    case workerDied(WorkerID)
    case nodeDied(NodeID)
    /// The view has changed: what waits is looked at again.
    case viewChanged
}

/// What the shell of the global scheduler does.
public enum GlobalDirective: Sendable {
    case send(SchedulerMessage, to: Party)
}
