// The processes of a simulated cluster: nodes with their raylet, workers and drivers, and the control store.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// A process as a target of events. Workers have one place for ever; a node's raylet has its incarnation.
enum Target: Equatable {
    case control
    case raylet(Int, incarnation: UInt32)
    case worker(Int)
}

/// The raylet of a node, its store, and what is known of its workers.
final class SimulatedNode {
    let id: NodeID
    var isAlive = true
    var isDraining = false
    let clock: LocalClock
    var scheduler: NodeMachine
    var holder: HolderMachine
    var view = ClusterView()
    var viewOrigin = ViewOrigin()
    /// Places of workers, by their number less one.
    var workers: [Int] = []
    var store: [ObjectID: Copy] = [:]
    var pulls: [ObjectID: Pull] = [:]
    var wakeAt = UInt64.max
    /// Everything takes `slowFactor` times as long until then.
    var slowUntil: UInt64 = 0
    var slowFactor = 1
    var busyUntil: UInt64 = 0

    init(id: NodeID, clock: LocalClock, scheduler: consuming NodeMachine, holder: consuming HolderMachine) {
        (self.id, self.clock) = (id, clock)
        self.scheduler = scheduler
        self.holder = holder
    }
}

/// A complete copy in a node's store.
struct Copy {
    var attempt: UInt32
    var size: UInt64
    var value: Value
    /// Not to be evicted, as the owner said or because it was made here.
    var isPinned: Bool
}

/// An object that is being made local.
struct Pull {
    /// The node's scheduler wants it, and keeps it until it lets go.
    var isArgument = false
    /// Gets of local workers.
    var waiters: [(worker: Int, waiter: UInt64)] = []
    /// Where it is, by the last that was heard.
    var located: LocatedObject?
    /// By the last that was heard it is an error or travels with the task: there is nothing to wait for.
    var hasNoCopies = false
    /// The request under way, if any; answers to others are stale.
    var request: UInt64?
    /// Locations are asked in turn.
    var turn = 0
    var isFollowed = false
    /// The scheduler was told that it is here.
    var isAnswered = false
}

/// A worker or driver process.
final class SimulatedWorker {
    let id: WorkerID
    let node: Int
    let isDriver: Bool
    var isAlive = true
    var owner: WorkerMachine
    var submitter: SubmitterMachine
    var executor: ExecutorMachine
    var wakeAt = UInt64.max
    var frame: Frame?
    /// Who waits for gets of the owner machine.
    var waiters: [UInt64: Waiter] = [:]
    var nextWaiter: UInt64 = 1
    /// Submitted to the scheduler and not ended there, with the attempt.
    var scheduled: [TaskID: UInt32] = [:]
    /// Attempts that the owner wants while the scheduler is not done with the one before.
    var held: [TaskID: UInt32] = [:]
    /// Pushes that the owner machine was told of.
    var assigned: [TaskID: TaskPush] = [:]
    /// Handles that the owner machine was not told of: a planted bug.
    var forgotten: [ObjectID: Int] = [:]
    /// What becomes the value of the detached object that it waits for.
    var adoption: (variable: Variable, bytes: Int, contents: [ObjectID])?
    /// Events since the judge looked into the owner machine.
    var uninspected = 0
    /// Set in a worker that has become an actor.
    var actor: Actor?
    var calls = ActorCalls()

    init(
        id: WorkerID, node: Int, isDriver: Bool, owner: consuming WorkerMachine,
        submitter: consuming SubmitterMachine, executor: ExecutorMachine
    ) {
        (self.id, self.node, self.isDriver) = (id, node, isDriver)
        self.owner = owner
        self.submitter = submitter
        self.executor = executor
    }
}

/// Who waits for a get.
struct Waiter {
    enum Purpose: Equatable {
        /// The running function, of this serial number, in this variable.
        case variable(Variable, frame: UInt64)
        /// The scheduler, which wants to know where the object is.
        case dependency
        /// Nobody any more: the function was ended early.
        case nobody
    }

    var object: ObjectID
    var purpose: Purpose
    var deadline: UInt64
    /// The deadline is short on purpose: the get may end by it.
    var isShort: Bool
    /// The owner machine has the get and has not answered.
    var isAsked = false
}

/// A function that runs.
struct Frame {
    enum Role: Equatable {
        case driver
        case task(TaskID, attempt: UInt32)
        case call(TaskID, attempt: UInt32)
    }

    let serial: UInt64
    let role: Role
    let recipe: Int
    var counter = 0
    var variables: [ObjectID?]
    /// The references inside of what was got, by variable.
    var contents: [[ObjectID]]
    var word: UInt64
    /// A value that it needed was an error: it returns errors.
    var isFailed = false
    /// It was told to end early.
    var isInterrupted = false
    /// Gets that it waits for.
    var outstanding = 0
    var isBlocked = false
}

/// A task as the shell of its submitter keeps it.
struct TaskSpecification {
    let recipe: Int
    let arguments: [(object: ObjectID, isValue: Bool)]
    /// For a call: the actor, by the return of its creation.
    let actor: ObjectID?
    let isCreation: Bool
    /// Nil: that of its recipe.
    var schedulingClass: SchedulingClass?
    var isForgotten = false
}

/// The control store's process.
struct ControlStore: ~Copyable {
    var members: ControlStoreMachine
    /// Owner of detached objects.
    var owner: WorkerMachine
    var hub: ViewHub
    /// Of the hub: how often it has started.
    var incarnation: UInt32 = 1
    /// Nodes that were declared dead.
    var deadNodes: [NodeID] = []
    /// Somebody has disowned what dead creators have left.
    var hasCleanedUp = false
    /// Where the policy has one.
    var global: GlobalScheduler?
    var wakeAt = UInt64.max
}
