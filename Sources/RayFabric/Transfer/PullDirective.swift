// What the pull machine tells its shell to do, and the small types in which they talk.

package import RayCore

/// A pull of one object, for as long as the machine knows it: a slot and its generation. Shells
/// keep what belongs to a pull (its draft) in an array by `index`.
package struct PullID: Hashable, Sendable {
    package let index: UInt32
    package let generation: UInt32
}

/// Who is waiting. A get is served before a wait, a wait before the argument of a queued task.
package enum PullPriority: UInt8, Comparable, CaseIterable, Sendable {
    case get, wait, taskArgument

    package static func < (left: PullPriority, right: PullPriority) -> Bool { left.rawValue < right.rawValue }
}

/// One read of the transport, into the draft of a pull.
package struct ChunkRead: Hashable, Sendable {
    package let pull: PullID
    package let connection: Connection
    package let remote: RegionLocation
    /// Where in the draft: bytes from the start of the object. Metadata follows the object's bytes.
    package let offset: Int
    /// At least 1.
    package let length: Int
    /// Never reused while it is in flight; always less than 2^63.
    package let token: UInt64
    package let deadline: Timestamp
}

/// What the shell has to do, in this order. Trivial to copy: nothing is allocated per directive.
package enum PullDirective: Hashable, Sendable {
    /// Answer with `connected` or `disconnected`, at once if the outcome is known.
    case connect(NodeID)
    /// Encode and send. A message that can not be queued may be dropped: requests are repeated and
    /// pins end with their lease, but it is faster to keep it until the connection is writable.
    case send(TransferCall, Connection)
    /// Make a draft of `size` bytes with `metadataSize` bytes of metadata behind them; answer with
    /// `allocated` or `allocationFailed`.
    case allocate(PullID, ObjectID, size: Int, metadataSize: Int)
    /// Start `Transport.read`; answer with `completed`, or `readRefused` if it returned false.
    case read(ChunkRead)
    /// `Transport.cancel`. The read's completion must still be reported.
    case cancelRead(Connection, token: UInt64)
    /// All bytes are in the draft: seal it and enter it as a secondary copy; answer with `published`
    /// or `publishFailed`.
    case publish(PullID)
    /// The object is in the message that is being handled: put it into the store (or hand it to who
    /// waits) before the next `poll`; answer with `published` or `publishFailed`.
    case deliverInline(PullID, ObjectID, size: Int, metadataSize: Int, payload: Range<Int>)
    /// Drop the draft. All its reads have completed, and the pull is over.
    case abort(PullID)
    /// A waiter has its result; nil means that the object is there. Exactly one for each `pull`.
    case finished(waiter: UInt64, failure: FabricError.Code?)
}

/// Limits and times of the pull machine. The defaults suit nodes with 10 to 400 Gbit/s between them.
package struct PullConfiguration: Sendable {
    /// Bytes asked for in one read.
    package var chunkBytes = 1 << 20
    /// Reads in flight to one source.
    package var readsPerSource = 8
    /// Bytes of all drafts together. An object that is larger is pulled when there is no other draft.
    package var budgetBytes = 1 << 30
    /// Drafts at once.
    package var maximumDrafts = 256
    /// Objects larger than this fail with `objectTooLarge` before the store is asked.
    package var maximumObjectBytes = Int.max / 4
    /// Objects of up to this many bytes, metadata included, may come inside the reply.
    package var inlineLimit = 100 << 10
    /// Objects with at least this many bytes missing are read from several sources.
    package var spreadBytes = 8 << 20
    /// Sources that one object is read from at once.
    package var sourcesAtOnce = 4
    /// Sources that are remembered for one object; more are ignored.
    package var sourcesPerObject = 64
    /// Requests at one source that are not released; more wait for their turn.
    package var requestsPerSource = 256
    /// Objects pulled at once; more are refused with `busy`.
    package var maximumPulls = 1 << 16
    /// Waiters of all pulls; more are refused with `busy`.
    package var maximumWaiters = 1 << 18
    /// Nodes known at once; more are refused with `busy`.
    package var maximumNodes = 1 << 14
    /// A request without an answer is repeated after this time, and another source is asked too.
    package var requestTimeout: Duration = .seconds(1)
    /// Attempts of one request.
    package var requestAttempts: UInt32 = 3
    /// Time for one read.
    package var readTimeout: Duration = .seconds(30)
    /// Failures in a row before a source is given up.
    package var failuresPerSource = 5
    /// Rest of a source after its first failure; doubles with each further one.
    package var retryDelay: Duration = .milliseconds(50)
    /// Time until a full store is asked again, unless `storeHasRoom` says so earlier.
    package var storeRetryDelay: Duration = .milliseconds(20)

    package init() {}
}
