// The machine of a worker process: owner of its own objects, borrower of those of others.

public import RayCore

/// The ownership protocol in one worker process: state, events in, directives out.
///
/// docs/ownership.md explains the protocol. In short: the owner of an object keeps its record while anything refers to
/// it: handles and tasks of its own process, values of its own objects, other processes that have registered, and
/// loans to processes that have not yet. Who takes a reference over is kept by whoever it has it from until the owner
/// has acknowledged it, and by the barrier of epochs if that one dies. Messages between two processes are taken in
/// once and in order; the machine repeats them until then.
///
/// One thread at a time. Each event costs constant amortised time, beside what it ends: the death of a node costs what
/// that node held.
public struct WorkerMachine: ~Copyable, Sendable {
    public let id: WorkerID
    let configuration: WorkerConfiguration

    /// Valid while an event is handled.
    var now = Timestamp.zero
    var directives: [WorkerDirective] = []

    // Objects. Own ones are found by sequence, others by identifier.
    var objects = SlotTable(blank: ObjectRecord(ObjectID(words: (0, 0, 0)), .ended))
    var ownObjects: [UInt64: Slot] = [:]
    var borrowedObjects: [ObjectID: Slot] = [:]
    var lastSequence: UInt64 = 0
    /// Why objects have failed or ended.
    var errors: [Slot: ObjectError] = [:]
    /// Lists of borrowed objects of one owner, and of those that rely on one keeper.
    var ofOwner = SlotLists()
    var ofKeeper = SlotLists()

    // Objects and other processes.
    var borrowers = Relation<UInt64>(blank: 0)
    var followers = Relation<Void>(blank: ())
    var locations = Relation<Location>(blank: Location())
    var bitmaps = SlotTable(blank: ChunkBitmap(count: 0))
    var loans = SlotTable(blank: Loan(object: .absent, peer: .absent, kind: .argument, token: nil))
    var loanOfKey: [LoanKey: Slot] = [:]
    var loansOfPeer = SlotLists()

    // Waiting.
    var waiters = SlotTable(blank: Waiter(object: .absent, purpose: .get(0)))
    var waitersOfObject = SlotLists()
    var waitersOfTask = SlotLists()
    var waiterOfToken: [UInt64: Slot] = [:]
    var getDeadlines = DeadlineHeap()

    // Tasks.
    var tasks: SlotTable<TaskRecord>
    var taskOfSequence: [UInt64: Slot] = [:]
    var tasksOfExecutor = SlotLists()
    /// Finished tasks that may run again, in the order in which they finished.
    var lineage: Slot = .absent
    var lineageLists = SlotLists()
    public internal(set) var lineageBytes = 0
    var executions: SlotTable<Execution>
    var executionOfTask: [TaskID: Slot] = [:]
    var executionsOfCaller = SlotLists()
    /// Attempts that have ended here, so that a late repeat of a push starts nothing.
    var endedAttempts = RecentMap<Attempt, Bool>(capacity: 4096)

    // Peers. `peers` is beside the links.
    var links: PeerLinks
    var peers = ChunkedArray(blank: PeerRecord())
    var nodes = SlotTable(blank: NodeRecord(id: NodeID(value: 0, incarnation: 0)))
    var nodeOfID: [NodeID: Slot] = [:]
    var peersOfNode = SlotLists()

    // Membership.
    var deaths: Deaths
    /// The epoch that was applied last.
    public internal(set) var epoch: UInt64 = 0
    var settledEpoch: UInt64 = 0
    var reportedEpoch: UInt64 = 0
    /// Dead peers whose references are kept until their deaths are settled, in the order in which they were told.
    var unsettled = Queue<Slot>()
    var barrier = RegistrationBarrier()
    var hasJoined = false

    // Work that one event leaves to its end, and to the next time for gathering.
    var scopeQueue = Queue<Slot>()
    var recoveryQueue = Queue<Slot>()
    var failedTasks = Queue<(TaskID, ObjectError)>()
    var statusQueue: [Slot] = []
    var nodesWithOrders: [Slot] = []
    var gatherUntil = Timestamp.never

    public internal(set) var statistics = WorkerStatistics()

    public init(id: WorkerID, configuration: WorkerConfiguration) {
        self.id = id
        self.configuration = configuration
        tasks = SlotTable(
            blank: TaskRecord(
                id: TaskID(owner: id, sequence: 0), returns: 0, liveReturns: 0, hadRetries: false, lineageBytes: 0))
        executions = SlotTable(
            blank: Execution(task: TaskID(owner: id, sequence: 0), attempt: 0, caller: .absent))
        links = PeerLinks(id: id, configuration: configuration.links)
        deaths = Deaths(capacity: configuration.rememberedDeaths)
    }

    // MARK: Identifiers

    /// An identifier for an object to put.
    public mutating func makeObjectID() -> ObjectID {
        lastSequence += 1
        return ObjectID(owner: id, sequence: lastSequence)
    }

    /// An identifier for a task to submit, and with it those of its returns.
    public mutating func makeTaskID(returns: Int) -> TaskID {
        precondition(returns > 0 && returns < 1 << 24, "a task of \(returns) returns")
        let first = lastSequence + 1
        lastSequence += UInt64(returns)
        return TaskID(owner: id, sequence: first)
    }

    /// An identifier for a task that is a stream, and with it those of its items.
    public mutating func makeStreamID() -> TaskID {
        let first = (lastSequence | Self.streamMask) + 1
        lastSequence = first | Self.streamMask
        return TaskID(owner: id, sequence: first)
    }

    // MARK: Driving

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp {
        guard hasJoined || id != configuration.detachedOwner else { return .zero }
        return min(links.nextDeadline, getDeadlines.earliest, gatherUntil)
    }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(_ event: WorkerEvent, now: Timestamp, into directives: inout [WorkerDirective]) {
        swap(&self.directives, &directives)
        defer { swap(&self.directives, &directives) }
        self.now = now
        take(event)
        finish()
        for envelope in links.outbox { self.directives.append(.send(envelope)) }
        links.outbox.removeAll(keepingCapacity: true)
    }

    private mutating func take(_ event: WorkerEvent) {
        switch event {
        case .put(let object, let value, let contents): put(object, value, contents)
        case .putDetached(let request): askForAdoption(request)
        case .disown(let object): askToDisown(object)
        case .free(let object): freeByRequest(object)
        case .handleCreated(let object, let provenance): handleCreated(object, provenance)
        case .handleReleased(let object): handleReleased(object)
        case .exported(let object): exported(object)
        case .exportRevoked(let object): exportRevoked(object)
        case .get(let object, let waiter, let deadline): get(object, waiter, deadline)
        case .cancelGet(let waiter): cancelGet(waiter)
        case .copyMissing(let copy, let node): copyMissing(copy, at: node)
        case .recover(let object): recoverByRequest(object)
        case .submit(let submission): submit(submission)
        case .taskAssigned(let task, let attempt, let worker): assign(task, attempt, to: worker)
        case .attemptRejected(let task, let attempt, let failure): reject(task, attempt, failure)
        case .cancel(let task): cancel(task)
        case .taskStarted(let task, let attempt, let arguments): start(task, attempt, arguments)
        case .itemProduced(let task, let attempt, let index, let value): produce(task, attempt, index, value)
        case .taskFinished(let task, let attempt, let outcome): finish(task, attempt, outcome)
        case .received(let envelope): received(envelope)
        case .timer: timer()
        }
    }

    /// What an event has begun goes on until nothing is left: objects out of scope, objects to recover.
    mutating func finish() {
        repeat {
            drainFailures()
            drainScope()
            drainRecovery()
        } while !scopeQueue.isEmpty || !failedTasks.isEmpty
        reportBarrier()
    }

    private mutating func timer() {
        if id == configuration.detachedOwner, !hasJoined {
            hasJoined = true
            send(.join, to: configuration.controlStore)
        }
        while let waiter = getDeadlines.popExpired(now) { endGet(Slot(waiter), .deadlineExceeded) }
        for peer in links.timer(now) where links.peer(peer) != configuration.controlStore {
            send(.inquire(links.peer(peer)), to: configuration.controlStore)
        }
        if gatherUntil <= now { flushGathered() }
    }

    // MARK: Messages

    private mutating func received(_ envelope: Envelope) {
        guard envelope.receiver == id else { return }
        if let death = envelope.fence(from: configuration.controlStore) {
            return directives.append(.terminate(death.cause))
        }
        guard let peer = openPeer(envelope.sender) else { return }
        links.receive(envelope, from: peer, now: now)
        while let (peer, message) = links.nextArrived() {
            take(message, from: peer)
            finish()
        }
    }

    private mutating func take(_ message: OwnershipMessage, from peer: Slot) {
        switch message {
        case .register(let object, let claim): register(object, claim, peer)
        case .registered(let object, let claim): registered(object, claim)
        case .refused(let object, let claim, let error): refused(object, claim, error)
        case .release(let object, let claim): release(object, claim, peer)
        case .returned(let kind, let token): returned(kind, token, peer)
        case .completed(let completion): completed(completion, peer)
        case .item(let item): arrived(item, peer)
        case .follow(let object): follow(object, peer)
        case .unfollow(let object): unfollow(object, peer)
        case .status(let object, let status): statusChanged(object, status)
        case .copies(let reports): for report in reports { copyReported(report, peer) }
        case .reconcile(let copies): for copy in copies { reconcile(copy, peer) }
        case .missing(let copy, let node): suspect(copy, at: node)
        case .welcome(let epoch, let settled, let deaths): welcomed(epoch, settled, deaths)
        case .died(let death): told(death, by: peer)
        case .settled(let epoch): settled(epoch)
        case .adopt(let request, let claim): adopt(request, claim, peer)
        case .adopted(let request, let task, let claim): adopted(request, task, claim, peer)
        case .disown(let object): disown(object)
        // Not for a worker: a peer that says these to one is mistaken.
        case .free, .pin, .verify, .join, .applied, .inquire, .exited, .fenced: break
        }
    }
}

/// What a machine has done since its start.
public struct WorkerStatistics: Sendable, Equatable {
    public var recoveredByPin = 0
    public var recoveredByTask = 0
    public var lineageEvictions = 0
    public var refusedRegistrations = 0
    public var orphanCopies = 0
    public init() {}
}
