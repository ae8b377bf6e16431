// What the node's machine remembers of classes, leases, workers, arguments and bundles.

internal import RayCore

/// A class of which something waits or runs here, or did lately.
struct NodeClass: Sendable {
    let schedulingClass: SchedulingClass
    var shape = ClusterView.ShapeHandle()
    /// Index of its queue: classes that ask for the same from the same pools share one.
    let queue: Int
    let environment: Int
    /// The node could run it, were it empty.
    let isFeasible: Bool
    /// Requests that may still go elsewhere.
    var ready = IndexList()
    /// Requests that stay here.
    var settled = IndexList()
    /// Requests whose arguments are not local yet.
    var pulling = IndexList()
    /// Leases, those that wait for a worker too.
    var running: Int32 = 0
    /// In the round of its queue.
    var isInRound = false
    var isListedUnused = true
    /// How many nodes are asked next time, see `askAround`; how many were the last time, and how many slots came back.
    var askLimit = 8
    var asked = 0
    var cameBack = 0

    var isUnused: Bool { ready.isEmpty && settled.isEmpty && pulling.isEmpty && running == 0 }
    var hasQueue: Bool { !ready.isEmpty || !settled.isEmpty }
}

/// Classes with one demand on the same pools: whether it fits is asked once for all of them.
struct DemandQueue: Sendable {
    struct Key: Hashable, Sendable {
        let demand: ResourceVector
        /// In a group: which one, and which bundle.
        let group: GroupID?
        let bundle: UInt32?
    }

    let key: Key
    /// Classes that use it.
    var classes: Int32 = 0
    /// Classes with a request that could be granted, in the order in which they are looked at.
    var round = IndexList()
}

/// A lease, from when it holds resources until these are free.
struct Lease: Sendable {
    enum Stage: UInt8 {
        case none
        /// Waits for a worker.
        case starting
        case active
        /// Taken back: its worker is being ended.
        case ending
    }

    var number: UInt64 = 0
    var stage = Stage.none
    /// Gave back its CPUs, since its task waits.
    var isLending = false
    var isBlocked = false
    var request: Int32 = -1
    var submitter: Int32 = -1
    var worker: Int32 = -1
    var classIndex: Int32 = -1
    /// 0 for the node's own, else 1 + the bundle's slot.
    var pool: Int32 = 0
    var renewed = Timestamp.zero
    var shares: [ResourceShare] = []
    var arguments: [TaskArgument] = []
}

/// A worker process of this node.
struct PoolWorker: Sendable {
    let id: WorkerID
    let environment: Int32
    /// -1 when it is idle.
    var lease: Int32 = -1
    var idleSince = Timestamp.zero
    /// It was asked to end.
    var isEnding = false
}

/// Workers that were started with the same environment.
struct WorkerEnvironment: Sendable {
    let value: UInt64
    /// The one that was used last is last.
    var idle = IndexList()
    var starting: Int32 = 0
    /// Failed starts in a row.
    var failures: Int32 = 0
    /// Numbers of leases that wait for a worker; some may be gone.
    var waiting = Fifo<UInt64>()
    /// Leases that wait for a worker.
    var waitingCount: Int32 = 0
}

/// An argument of requests and leases.
struct Argument: Sendable {
    let object: ObjectID
    let bytes: UInt64
    var isLocal = false
    /// It is nowhere, by the last that was heard, and is not being pulled.
    var isGone = false
    /// Requests and leases that need it.
    var uses: Int32 = 0
    /// Leases among them.
    var leases: Int32 = 0
    /// Requests among them.
    var requests: [Int32] = []
}

/// A bundle on this node.
struct Bundle: Sendable {
    let id: BundleID
    let attempt: UInt64
    let demand: ResourceVector
    let shares: [ResourceShare]
    var pool: ResourcePool
    var isCommitted = false
    /// To be given back when its last lease is over.
    var isEnding = false
    var leases: Int32 = 0
}
