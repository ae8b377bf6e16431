// What goes into the node's machine and what comes out of it.

public import RayCore

/// What a node has.
public struct NodeCapacity: Sendable {
    public var cpu: ResourceAmount
    /// Bytes.
    public var memory: ResourceAmount
    /// Resources that are amounts without identity.
    public var plain: [ResourceVector.Entry]
    /// Accelerators and the like: so many, each with an index.
    public var indexed: [(name: ResourceName, count: UInt32)]

    public init(
        cpu: ResourceAmount, memory: ResourceAmount = .zero, plain: [ResourceVector.Entry] = [],
        indexed: [(name: ResourceName, count: UInt32)] = []
    ) {
        self.cpu = cpu
        self.memory = memory
        self.plain = plain
        self.indexed = indexed
    }

    /// All of it as a vector.
    public var total: ResourceVector {
        ResourceVector(
            cpu: cpu, memory: memory,
            others: plain + indexed.map { ResourceVector.Entry($0.name, ResourceAmount(Int64($0.count))) })
    }
}

/// Limits and times of a node.
public struct NodeConfiguration: Sendable {
    public var policy = SchedulingPolicy.localFirst
    /// A lease that is not renewed for this long is taken back, and its worker ended.
    public var leaseTerm = Duration.seconds(10)
    /// Between publications of the node's state, when it has changed.
    public var report = Duration.milliseconds(100)
    /// Bytes of arguments that granted leases may hold. A request that needs more runs when it is alone.
    public var argumentBytes: UInt64 = 1 << 30
    /// Workers beyond the CPUs that may exist at once because others block; more come one at a time, ever more slowly.
    public var extraWorkers = 32
    /// Until the first worker beyond `extraWorkers`; doubles with each, up to ten times.
    public var extraWorkerDelay = Duration.seconds(1)
    /// Leases at a time, whatever their demand.
    public var leaseLimit = 4096
    /// Worker processes that start at a time; zero for one a CPU.
    public var startingWorkers = 0
    /// Failed starts in a row of one environment before its requests fail.
    public var startAttempts = 5
    /// How long a worker without a lease stays, when there are more of them than CPUs.
    public var idleWorker = Duration.seconds(1)
    /// After so long without news from the control store it is asked for changes.
    public var viewSilence = Duration.seconds(3)
    /// Rejections after which a request waits here instead of being spilled again at once.
    public var rejectionLimit = 2
    /// How long requests wait for a view that shows room before nodes that are drawn are asked whether they have some.
    public var askAround = Duration.milliseconds(20)
    /// Waiting time after which a request that does not fit keeps later ones from taking its room.
    public var patience = Duration.seconds(5)
    /// Slots in all queues. Further requests fail.
    public var queueLimit = 4_000_000

    public init() {}
}

/// What happens to a node.
public enum NodeEvent: Sendable {
    case received(SchedulerMessage, from: Party)
    /// A worker of this node is up. Answers `startWorker`, or comes by itself, or stays though it was to be stopped.
    case workerReady(WorkerID, environment: UInt64)
    /// Answers `startWorker`.
    case workerStartFailed(environment: UInt64)
    /// A worker is gone: one of this node, or a submitter anywhere.
    case workerDied(WorkerID)
    /// The control store has declared a node dead.
    case nodeDied(NodeID)
    /// The task of a leased worker waits for an object: its CPUs are free until it goes on.
    case workerBlocked(WorkerID)
    case workerUnblocked(WorkerID)
    /// Answers `pull`: the object is in the local store, and pinned.
    case argumentLocal(ObjectID)
    /// Answers `pull`: by what was heard since, the object is nowhere, and may be made again.
    case argumentGone(ObjectID)
    /// An object that was local is so no more; it is asked for again.
    case argumentLost(ObjectID)
    /// The pulls of the node are, or are no more, at their limit.
    case pullLimit(Bool)
    /// Take no more work, and say when all is done.
    case drain
    /// The view was changed from outside. Batches that arrive by `received` need no such event.
    case viewChanged
}

/// What the shell of a node does.
public enum NodeDirective: Sendable {
    case send(SchedulerMessage, to: Party)
    /// Start a worker process. `workerReady` or `workerStartFailed` follows.
    case startWorker(environment: UInt64)
    /// End a worker process. `workerDied` follows. One that is idle may stay for what it owns: `workerReady` says so
    /// then. Any other has lost its lease, and must end at once.
    case stopWorker(WorkerID, isIdle: Bool)
    /// Make an object local and pin it. `argumentLocal` or `argumentGone` follows, unless `release` comes first.
    case pull(ObjectID)
    /// Unpin an object, or stop its pull.
    case release(ObjectID)
    /// After `drain`: no lease is left.
    case drained
}

/// Counts of a node, for those who watch it.
public struct NodeStatistics: Hashable, Sendable {
    public var granted: UInt64 = 0
    /// Slots that were sent to other nodes.
    public var spilled: UInt64 = 0
    public var rejected: UInt64 = 0
    /// Leases that ended otherwise than by their submitter.
    public var revoked: UInt64 = 0

    public init() {}
}
