// The receiver's side of a transfer as a machine without I/O: its state and its inputs.

package import RayCore

/// Pulls objects from other nodes into the local store.
///
/// Events go in through the methods, with the time; directives come out at the end of a buffer that
/// the caller owns. The shell runs them in order, and may report outcomes while it does:
///
///     var next = 0
///     while next < directives.count { run(directives[next]); next += 1 }
///     directives.removeAll(keepingCapacity: true)
///
/// Many waiters of one object share one transfer, at the highest of their priorities. An object
/// holds budget only from when a source has it pinned and its draft is asked for, until the draft
/// is published or dropped. Sources are asked in the order in which they were given, one at a time
/// until one is slow, fails or the object is large; what has arrived is never fetched twice.
///
/// **Rules.** Replies of peers, completions and connection events may be late, repeated, or about
/// things long gone: they are ignored then. A draft is never dropped, and a source never told that
/// it may unpin, before each read has completed. A chunk counts only if it completed while the
/// source was bound to keep its pin. The shell answers each `connect`, `allocate`, `read`,
/// `publish` and `deliverInline` once.
///
/// One thread at a time; nothing is allocated once the tables have grown.
package struct PullMachine: Sendable {
    let configuration: PullConfiguration

    var pulls: [Pull] = []
    var pullSlots = SlotPool()
    var pullOfObject: [ObjectID: Int] = [:]
    /// Located objects that wait for budget.
    var awaitingBudget = PriorityLists()
    var awaitingBudgetLinks = LinkTable()

    var waiters: [Waiter] = []
    var waiterSlots = SlotPool()
    var waiterOfToken: [UInt64: Int] = [:]
    var waiterLinks = LinkTable()
    var waiterDeadlines = DeadlineHeap()

    var sources: [Source] = []
    var sourceSlots = SlotPool()
    /// Sources of one pull, sources of one node, and sources in one of a node's queues.
    var pullLinks = LinkTable()
    var nodeLinks = LinkTable()
    var queueLinks = LinkTable()
    var sourceTimers = DeadlineHeap()
    var lastRequest: UInt32 = 0

    var nodes: [Node] = []
    var nodeSlots = SlotPool()
    var nodeOfID: [NodeID: Int] = [:]
    var nodeOfConnection: [Connection: Int] = [:]

    var reads: [Read] = []
    var readSlots = SlotPool()
    var readLinks = LinkTable()
    var lastToken: UInt32 = 0

    /// Bytes of the drafts, asked for or made. At most the budget, or one object that is larger.
    package internal(set) var draftBytes = 0
    /// Drafts, asked for or made.
    package internal(set) var drafts = 0
    /// No draft is asked for before this time, since the store was full.
    var storeFullUntil = Timestamp.zero
    package internal(set) var statistics = PullStatistics()

    package init(configuration: PullConfiguration = PullConfiguration()) {
        precondition(configuration.chunkBytes > 0 && configuration.readsPerSource > 0, "nothing could be read")
        self.configuration = configuration
    }

    // MARK: Waiters

    /// Asks for an object. `finished` with `waiter` follows, exactly once, by `deadline`.
    ///
    /// If the object is being pulled already, the waiter joins, and sources that are new or had
    /// failed are added. Fails with `busy` at a limit, `sourceUnavailable` without sources, the
    /// code that all sources failed with, or `sourceUnavailable` if they differ; `objectDeleted`
    /// wins over other codes.
    /// - Precondition: `waiter` is not in use.
    package mutating func pull(
        _ object: ObjectID, from nodes: [NodeID], priority: PullPriority, deadline: Timestamp, waiter: UInt64,
        now: Timestamp, into directives: inout [PullDirective]
    ) {
        precondition(waiterOfToken[waiter] == nil, "waiter \(waiter) waits already")
        guard deadline > now else { return directives.append(.finished(waiter: waiter, failure: .deadlineExceeded)) }
        guard waiterSlots.used < configuration.maximumWaiters, let pull = findOrAddPull(object) else {
            return directives.append(.finished(waiter: waiter, failure: .busy))
        }
        addWaiter(waiter, to: pull, priority: priority, deadline: deadline)
        var refused = false
        for node in nodes where !addSource(node, to: pull) { refused = true }
        revive(pull)
        if refused, pulls[pull].sources.isEmpty {
            end(pull, .busy, now, &directives)
        } else {
            advance(pull, now, &directives)
        }
        admit(now, &directives)
    }

    /// Another node has the object. Ignored unless the object is being pulled.
    package mutating func addSource(
        _ node: NodeID, of object: ObjectID, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let pull = pullOfObject[object] else { return }
        _ = addSource(node, to: pull)
        advance(pull, now, &directives)
    }

    /// A waiter gives up and gets `cancelled`; ignored if it has its result. The transfer ends with
    /// its last waiter.
    package mutating func cancel(waiter: UInt64, now: Timestamp, into directives: inout [PullDirective]) {
        guard let index = waiterOfToken[waiter] else { return }
        endWaiter(index, .cancelled, now, &directives)
    }

    // MARK: Connections

    /// There is a connection to a node, asked for or not. Further ones are ignored while it lasts.
    package mutating func connected(
        _ node: NodeID, _ connection: Connection, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let node = findOrAddNode(node), nodes[node].connection == nil else { return }
        nodes[node].connection = connection
        nodes[node].isConnecting = false
        nodes[node].isStalled = false
        nodeOfConnection[connection] = node
        askNext(node, now, &directives)
    }

    /// A connection has closed. Completions of its reads should have been reported before.
    package mutating func disconnected(
        _ connection: Connection, _ failure: TransportFailure, now: Timestamp,
        into directives: inout [PullDirective]
    ) {
        guard let node = nodeOfConnection.removeValue(forKey: connection) else { return }
        nodes[node].connection = nil
        failAllSources(of: node, failure.code, now, &directives)
    }

    /// A connection that `connect` asked for did not come about.
    package mutating func connectFailed(
        _ node: NodeID, _ failure: TransportFailure, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let node = nodeOfID[node], nodes[node].connection == nil else { return }
        nodes[node].isConnecting = false
        failAllSources(of: node, failure.code, now, &directives)
    }

    /// A connection takes output again.
    package mutating func writable(
        _ connection: Connection, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let node = nodeOfConnection[connection] else { return }
        nodes[node].isStalled = false
        readNext(node, now, &directives)
    }

    // MARK: Replies and reads

    /// A source has answered. `extents` belong to a located reply. An inline reply makes at most one
    /// `deliverInline`, which the shell runs while it still has the message.
    package mutating func received(
        _ reply: TransferReply, extents: [RemoteExtent], from connection: Connection,
        now: Timestamp, into directives: inout [PullDirective]
    ) {
        switch reply {
        case .located(let request, let size, let metadataSize, let lease, let grant):
            guard let source = sourceOf(request, connection), sources[source].stage == .asked else { return }
            sources[source].grant = grant
            located(source, size, metadataSize, extents, lease: .milliseconds(lease), now, &directives)
        case .inline(let request, let size, let metadataSize, let payload):
            guard let source = sourceOf(request, connection), sources[source].stage == .asked else { return }
            inline(source, size, metadataSize, payload, now, &directives)
        case .negative(let request, let reason):
            guard let source = sourceOf(request, connection), sources[source].stage != .leaving else { return }
            fail(source, reason.code, now, &directives)
        case .renewed(let request, let attempt):
            guard let source = sourceOf(request, connection) else { return }
            renewed(source, attempt: attempt, now)
        }
    }

    /// A read has ended; nil means that all its bytes are in the draft.
    package mutating func completed(
        token: UInt64, failure: TransportFailure?, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let read = readOf(token) else { return }
        nodes[reads[read].node].isStalled = false
        readEnded(read, failure?.code, now, &directives)
    }

    /// `Transport.read` returned false: the read did not start. It is tried again when something
    /// completes, or with `writable`.
    package mutating func readRefused(
        token: UInt64, now: Timestamp, into directives: inout [PullDirective]
    ) {
        guard let read = readOf(token) else { return }
        nodes[reads[read].node].isStalled = true
        dropRead(read, giveBack: true, now, &directives)
    }

    // MARK: The store

    /// The draft that `allocate` asked for exists.
    package mutating func allocated(_ id: PullID, now: Timestamp, into directives: inout [PullDirective]) {
        guard let pull = pullOf(id), pulls[pull].stage == .allocating else { return }
        draftMade(pull, now, &directives)
    }

    /// There is no draft. With `retry`, it is asked for again a little later, ahead of the others;
    /// else the pull ends with `code`. `objectExists` says that the object is in the store by now,
    /// and is a success.
    package mutating func allocationFailed(
        _ id: PullID, _ code: FabricError.Code, retry: Bool, now: Timestamp,
        into directives: inout [PullDirective]
    ) {
        guard let pull = pullOf(id), pulls[pull].stage == .allocating else { return }
        draftRefused(pull, code, retry: retry, now, &directives)
    }

    /// Space was freed in the store: a draft that did not fit may be tried again.
    package mutating func storeHasRoom(now: Timestamp, into directives: inout [PullDirective]) {
        storeFullUntil = .zero
        admit(now, &directives)
    }

    /// The object is in the store.
    package mutating func published(_ id: PullID, now: Timestamp, into directives: inout [PullDirective]) {
        guard let pull = pullOf(id), pulls[pull].isPublishing else { return }
        publishEnded(pull, nil, now, &directives)
    }

    /// The object could not be entered. With `retry`, an inline object is asked for again a little
    /// later. A draft is dropped: `abort` follows.
    package mutating func publishFailed(
        _ id: PullID, _ code: FabricError.Code, retry: Bool, now: Timestamp,
        into directives: inout [PullDirective]
    ) {
        guard let pull = pullOf(id), pulls[pull].isPublishing else { return }
        if retry, pulls[pull].stage == .delivering {
            deliverAgain(pull, now, &directives)
        } else {
            publishEnded(pull, code, now, &directives)
        }
    }

    // MARK: Time

    /// When `tick` is due; `.never` if nothing waits for time.
    package var nextDeadline: Timestamp {
        let store = awaitingBudget.first == nil || storeFullUntil == .zero ? .never : storeFullUntil
        return min(waiterDeadlines.earliest, sourceTimers.earliest, store)
    }

    /// Does what time has made due. Calling it early or often is harmless.
    package mutating func tick(now: Timestamp, into directives: inout [PullDirective]) {
        while let waiter = waiterDeadlines.popExpired(now) {
            endWaiter(waiter, .deadlineExceeded, now, &directives)
        }
        while let source = sourceTimers.popExpired(now) { timeIsUp(source, now, &directives) }
        if storeFullUntil <= now { storeHasRoom(now: now, into: &directives) }
    }
}

/// Counters of a pull machine since its start.
package struct PullStatistics: Sendable {
    /// Bytes that arrived in drafts and counted.
    package var bytesRead: UInt64 = 0
    package var bytesInline: UInt64 = 0
    package var objectsPulled: UInt64 = 0
    package var requestsSent: UInt64 = 0
    /// Requests repeated for want of an answer.
    package var requestsRepeated: UInt64 = 0
    /// Reads that failed or came too late to be trusted, and were done again.
    package var readsWasted: UInt64 = 0
    /// Sources dropped for answers that can not be right.
    package var protocolViolations: UInt64 = 0
    package init() {}
}
