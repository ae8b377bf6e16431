// What goes into the submitter's machine and what comes out of it.

public import RayCore

/// Limits and times of a submitter.
public struct SubmitterConfiguration: Sendable {
    public var policy = SchedulingPolicy.localFirst
    /// No task starts on a lease that is older than this.
    public var leaseWindow = Duration.milliseconds(500)
    /// How long a lease without a task is kept for the next one.
    public var idleLease = Duration.milliseconds(1)
    /// Tasks on a worker at a time, of which one runs, where tasks are short.
    public var tasksInFlight = 2
    /// A class whose tasks take no longer than this on average has `tasksInFlight`, any other one.
    public var shortTask = Duration.milliseconds(10)
    /// Slots in one request.
    public var slotsPerRequest = 1024
    /// Requests of a class, and first node, under way at a time.
    public var requestsPerLane = 16
    /// Until the first repetition of what was not answered; doubles up to `poll`.
    public var retransmission = Duration.milliseconds(200)
    /// Between repetitions of what waits for long: a request in a queue, a task that runs.
    public var poll = Duration.seconds(2)
    /// Between renewals of leases. A third of the node's `leaseTerm`, or less.
    public var renewal = Duration.seconds(3)

    public init() {}
}

/// A task as it is submitted.
public struct TaskSubmission: Sendable {
    public let id: TaskID
    /// Which execution of the task this is: the owner counts.
    public let execution: UInt32
    public let schedulingClass: SchedulingClass
    /// Objects that must exist before it is scheduled.
    public let dependencies: [ObjectID]

    public init(id: TaskID, execution: UInt32 = 1, schedulingClass: SchedulingClass, dependencies: [ObjectID] = []) {
        self.id = id
        self.execution = execution
        self.schedulingClass = schedulingClass
        self.dependencies = dependencies
    }
}

/// What became of a dependency.
public enum Resolution: Sendable {
    /// Its value travels with the task: nothing to pull, no weight in the choice of a node.
    case inline
    /// It is in the stores of these nodes.
    case stored(bytes: UInt64, nodes: [NodeID])
    /// It will never exist: tasks that depend on it fail.
    case failed
}

/// What happens to a submitter.
public enum SubmitterEvent: Sendable {
    case submit(TaskSubmission)
    /// Answers `resolve`, once.
    case resolved(ObjectID, Resolution)
    /// The user gives up a task. `ended` follows in any case, with `cancelled` if it worked.
    case cancel(TaskID)
    case received(SchedulerMessage, from: Party)
    /// The control store has declared a node dead.
    case nodeDied(NodeID)
    /// A worker of a living node has died.
    case workerDied(WorkerID)
    /// Where the bundles of a group are, by index. Answers `locate`, or comes by itself.
    case groupPlaced(GroupID, nodes: [NodeID])
    /// Tasks in the group that have not started fail.
    case groupRemoved(GroupID)
}

/// How a task ended, for the scheduler. Values and errors of user code are between worker and owner.
public enum TaskEnd: Hashable, Sendable, CustomStringConvertible {
    case finished
    case cancelled
    /// It may have run, in whole or in part.
    case workerDied(WorkerID)
    /// It may have run, in whole or in part.
    case nodeDied(NodeID)
    /// The node took the lease back, since it heard nothing. It may have run, in whole or in part.
    case leaseLost(LeaseID)
    /// It did not run.
    case dependencyFailed(ObjectID)
    /// It did not run.
    case unschedulable(LeaseFailure)

    public var description: String {
        switch self {
        case .finished: "finished"
        case .cancelled: "cancelled"
        case .workerDied(let worker): "\(worker) died"
        case .nodeDied(let node): "\(node) died"
        case .leaseLost(let lease): "\(lease) was taken back"
        case .dependencyFailed(let object): "\(object), which it needs, will never exist"
        case .unschedulable(let failure): "can not be scheduled: \(failure)"
        }
    }
}

/// What the shell of a submitter does.
public enum SubmitterDirective: Sendable {
    /// Find out what becomes of an object, and say so with `resolved`, once.
    case resolve(ObjectID)
    /// Find out where a placement group is, and say so with `groupPlaced` or `groupRemoved` as soon as it is known.
    case locate(GroupID)
    case send(SchedulerMessage, to: Party)
    /// A task is over: the last that is heard of it.
    case ended(TaskID, TaskEnd)
}

/// Why a task has not started.
public enum TaskWait: Hashable, Sendable, CustomStringConvertible {
    /// So many objects that it depends on are not there.
    case dependencies(Int)
    case group(GroupID)
    /// What was last heard about the tasks of its class that wait, and from whom.
    case lease(WaitReason, at: Party)
    /// Leases were asked for, and no answer has come yet.
    case asking
    /// It is at a worker.
    case pushed(WorkerID)

    public var description: String {
        switch self {
        case .dependencies(let count): "waits for \(count) object\(count == 1 ? "" : "s")"
        case .group(let group): "\(group) is not placed yet"
        case .lease(let reason, at: let party): "\(party): \(reason)"
        case .asking: "a lease was asked for"
        case .pushed(let worker): "is at \(worker)"
        }
    }
}
