// What the pull machine remembers of pulls, waiters, sources, nodes and reads.

internal import RayCore

/// One object on its way.
struct Pull: Sendable {
    enum Stage: Sendable {
        /// No source has the object pinned for us.
        case asking
        /// Located; the draft is not asked for yet.
        case awaitingBudget
        /// The shell makes the draft.
        case allocating
        /// There is a draft, and bytes are missing.
        case reading
        /// The shell enters the complete draft.
        case publishing
        /// The shell enters an inline object.
        case delivering
        /// Nobody waits; the draft is dropped when its last read has completed.
        case draining
    }

    var object = ObjectID(words: (0, 0, 0))
    var generation: UInt32 = 0
    var stage = Stage.asking
    /// The highest of the waiters' priorities.
    var priority = PullPriority.taskArgument
    var waiters = IndexList()
    var waitersOf = InlineArray<3, Int>(repeating: 0)
    var sources = IndexList()
    /// The last source that delivered inline.
    var deliverer = LinkTable.none
    var size = 0
    var metadataSize = 0
    var map = ChunkMap()
    /// Reads in flight.
    var reads = 0

    var byteCount: Int { size + metadataSize }
    /// The draft was asked for, so the pull holds budget.
    var holdsDraft: Bool { stage == .allocating || stage == .reading }
    var isPublishing: Bool { stage == .publishing || stage == .delivering }
}

/// Someone who wants an object.
struct Waiter: Sendable {
    var token: UInt64
    var pull: Int
    var priority: PullPriority
}

/// A node that may have an object: one for each pull and node.
struct Source: Sendable {
    enum Stage: Sendable {
        /// Not needed yet.
        case idle
        /// Waits for a connection or for its turn.
        case waiting
        /// The request is out.
        case asked
        /// The object is pinned there for us.
        case located
        /// Given up; the request ends when the last read has completed.
        case leaving
        /// Failed, and will be tried again.
        case resting
        /// Failed for good.
        case failed
    }
    enum Queue: Sendable { case none, waiting, urgent, readable }

    var pull: Int
    var node: Int
    var stage = Stage.idle
    /// What a leaving source becomes.
    var afterLeaving = Stage.idle
    var queue = Queue.none
    var queuedAs = PullPriority.get
    /// It took too long, so another source is asked as well.
    var isSlow = false
    /// Failures since the last chunk that arrived.
    var failures = 0
    var failure = FabricError.Code.sourceUnavailable
    /// The open request, or 0, and the connection on which it was made.
    var request: UInt64 = 0
    var connection = Connection(index: 0, generation: 0)
    var attempt: UInt32 = 0
    var inlineLimit = 0
    /// When the request was first sent, then when the last renewal was.
    var sentAt = Timestamp.zero
    var lease = Duration.zero
    /// The number of the pin, which renewals name.
    var grant: UInt32 = 0
    /// The source keeps its pin at least until then.
    var leaseEnd = Timestamp.zero
    var extents: [LocatedExtent] = []
    var reads = IndexList()
}

/// An extent, and where in the object it starts.
struct LocatedExtent: Sendable {
    var start: Int
    var length: Int
    var location: RegionLocation
}

/// A node that is connected or named by a source.
struct Node: Sendable {
    var id: NodeID
    var connection: Connection?
    var isConnecting = false
    /// A read was refused: nothing more is started until something completes.
    var isStalled = false
    var sources = IndexList()
    /// Requests not yet released.
    var requests = 0
    /// Sources that want to ask, in order of priority, while requests are below their limit.
    var waiting = PriorityLists()
    /// Sources that want to ask for an object that holds budget. They pass the limit, or objects
    /// that wait for that budget could keep them out for ever.
    var urgent = IndexList()
    /// Located sources of objects with chunks that nobody fetches.
    var readable = PriorityLists()
    /// Reads in flight.
    var reads = 0
}

/// A chunk being read, part after part where it crosses extents.
struct Read: Sendable {
    /// 0 when it has completed.
    var token: UInt64 = 0
    var source = 0
    var pull = 0
    var node = 0
    var chunk = 0
    /// Bytes of the chunk that have arrived.
    var position = 0
    /// Bytes of the part in flight.
    var length = 0
}
