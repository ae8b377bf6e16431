// What the submitter's machine remembers of tasks, lanes, leases and requests.

internal import RayCore

/// A task from when it is submitted until it has ended.
struct TaskRecord: Sendable {
    enum Stage: UInt8 {
        case none
        /// Waits for objects.
        case resolving
        /// Waits for its placement group.
        case grouping
        /// Waits for a lease.
        case queued
        /// At a worker.
        case pushed
    }

    var id: TaskID
    var execution: UInt32
    var stage = Stage.none
    var isCancelled = false
    var classIndex: Int32
    var lane: Int32 = -1
    var lease: Int32 = -1
    /// Of the push on its lease.
    var number: UInt32 = 0
    /// Dependencies that are not resolved.
    var unresolved: Int32
    var pushed = Timestamp.zero
    /// Stored dependencies.
    var arguments: [TaskArgument] = []
    /// Bytes of stored dependencies by node, until the first node is chosen.
    var weights: [(node: NodeID, bytes: UInt64)] = []
}

/// Tasks of one class that are sent to one node first.
struct Lane: Sendable {
    struct Key: Hashable, Sendable {
        let classIndex: Int32
        /// The node with most of the arguments; nil without any that are stored.
        let node: NodeID?
    }

    let key: Key
    /// Tasks that wait for a lease.
    var queue = IndexList()
    /// Leases without a task.
    var idle = IndexList()
    /// Leases with a task and room for another.
    var busy = IndexList()
    /// Requests under way.
    var requests = IndexList()
    /// Slots of these that nobody has settled.
    var requestedSlots: Int = 0
    /// Of those to the first node the ones of which nothing was heard.
    var unheard: Int32 = 0
    /// Leases of the lane, whatever their stage.
    var leases: Int32 = 0
    /// What was said last about slots that wait, and by whom.
    var reason: (reason: WaitReason, party: Party)?
    var isStirred = false

    var isUnused: Bool { queue.isEmpty && requests.isEmpty && leases == 0 }
}

/// A class of tasks that were submitted.
struct SubmittedClass: Sendable {
    let schedulingClass: SchedulingClass
    /// Index of the lane for tasks without stored arguments, or -1.
    var plainLane: Int32 = -1
    /// Mean time that a task takes at a worker; zero until one has ended.
    var meanNanoseconds: Int64 = 0
    /// Lanes and tasks that refer to it.
    var uses: Int32 = 0
    /// Where the round over the bundles of its group has come to.
    var nextBundle = 0
}

/// A lease as its lessee has it.
struct HeldLease: Sendable {
    enum Stage: UInt8 {
        case none
        case open
        /// Takes no more tasks; goes back after those that it has.
        case closing
        /// Given back, not acknowledged yet.
        case returning
    }

    var id: LeaseID
    var worker: WorkerID
    var stage = Stage.open
    var isWorkerBad = false
    /// Its worker blocks or gave tasks back: it gets one at a time.
    var isSingle = false
    var lane: Int32
    var peer: Int32
    var granted: Timestamp
    /// When its last task ended, or it was granted.
    var lastEnd: Timestamp
    var lastNumber: UInt32 = 0
    /// Tasks at the worker, in the order of their pushes.
    var tasks = IndexList()
    var place = Place.none
    /// When something was last sent to or heard from its worker or node.
    var lastNews: Timestamp
    var backoff: Duration

    enum Place: UInt8 {
        case none
        case idle
        case busy
    }
}

/// A request for leases, until all its slots are settled.
struct OpenRequest: Sendable {
    var sequence: UInt64
    var party: Party
    var lane: Int32
    var slots: UInt32
    var wanted: UInt32
    /// Slots that were settled.
    var settled: UInt32 = 0
    /// Parts of the answer that are here.
    var parts: UInt32 = 0
    var attempt: UInt32 = 0
    var mode: RequestMode
    var rejections: UInt8
    var refusal: [NodeReport]
    var arguments: [TaskArgument]
    var isLocalityChoice: Bool
    /// Counts among the unheard ones of its lane.
    var isUnheard: Bool
    var backoff: Duration

    var waiting: UInt32 { slots - settled }
}

/// A node with leases of this submitter.
struct LeasePeer: Sendable {
    var node: NodeID
    var leases = IndexList()
}
