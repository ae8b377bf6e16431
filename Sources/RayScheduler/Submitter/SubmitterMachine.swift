// The submitter's side of scheduling as a machine without I/O: its state and its inputs.

public import RayCore

/// Finds leased workers for the tasks of one driver or worker.
///
/// A task waits until its dependencies are resolved, then in the **lane** of its class and first node: the near
/// node, or the one with most bytes of its stored arguments. A lane asks for as many leases as it has tasks
/// without one, in few requests for many slots; what comes back is a lease, another node to ask, or a reason to
/// wait. A lease takes one task after the other, for a bounded time, then goes back. A task is pushed to the worker
/// itself: nodes are not on its path.
///
/// **Rules.** Requests, pushes and returns are repeated until answered or the other side is dead. Answers may be
/// late, repeated, or about things long gone: then they are ignored, and a lease that nobody wants goes back. A
/// task that may have run is never run again by this machine: it ends with what became of it. Every submitted
/// task ends exactly once.
///
/// One thread at a time; nothing is allocated per task once the tables have grown, but for its arguments.
public struct SubmitterMachine: ~Copyable, Sendable {
    public let id: WorkerID
    public let configuration: SubmitterConfiguration
    /// Times of the configuration that are needed for each task, in nanoseconds: a `Duration` is dear to add.
    let leaseWindow: UInt64
    let idleLease: UInt64
    let retransmission: UInt64
    let shortTask: Int64

    var tasks: [TaskRecord] = []
    var taskSlots = SlotPool()
    /// A task is in the queue of a lane, in the list of a lease, or in neither.
    var taskLinks = LinkTable()
    var taskOfID = IndexMap<TaskID>()

    var classes: [SubmittedClass] = []
    var classSlots = SlotPool()
    var indexOfClass = IndexMap<SchedulingClass>()

    var lanes: [Lane] = []
    var laneSlots = SlotPool()
    var laneOfKey: [Lane.Key: Int] = [:]

    var leases: [HeldLease] = []
    var leaseSlots = SlotPool()
    var leaseOfID = IndexMap<LeaseID>()
    /// Leases in the lists of lanes, and in those of peers.
    var leaseLinks = LinkTable()
    var peerLinks = LinkTable()
    var leaseTimers = DeadlineHeap()

    var requests: [OpenRequest] = []
    var requestSlots = SlotPool()
    var requestOfSequence = IndexMap<UInt64>()
    var requestLinks = LinkTable()
    var requestTimers = DeadlineHeap()
    /// All requests under way, the oldest first.
    var openRequests = IndexList()
    var openLinks = LinkTable()
    var lastSequence: UInt64 = 0

    var peers: [LeasePeer] = []
    var peerSlots = SlotPool()
    var peerOfNode = IndexMap<NodeID>()
    var peerTimers = DeadlineHeap()

    /// Tasks that wait for an object.
    var dependents: [ObjectID: [Int32]] = [:]
    var groups: [GroupID: [NodeID]] = [:]
    /// Tasks that wait for a group.
    var grouping: [GroupID: [Int32]] = [:]
    /// Where requests go first. Moves when the near node is drained.
    var home: Party
    /// Nodes that are dead; no message goes there.
    var deadNodes: Set<NodeID> = []

    /// Lanes that may have something to do at the end of the event.
    var stirred: [Int] = []

    public init(id: WorkerID, configuration: SubmitterConfiguration = SubmitterConfiguration()) {
        precondition(configuration.tasksInFlight > 0, "a lease without tasks is of no use")
        precondition(
            configuration.slotsPerRequest > 0 && configuration.requestsPerLane > 0, "nothing could be asked for")
        self.id = id
        self.configuration = configuration
        leaseWindow = configuration.leaseWindow.boundedNanoseconds
        idleLease = configuration.idleLease.boundedNanoseconds
        retransmission = configuration.retransmission.boundedNanoseconds
        shortTask = configuration.shortTask.saturatedNanoseconds
        home = configuration.policy == .central ? .controlStore : .node(id.node)
    }

    // MARK: Events

    public mutating func handle(
        _ event: SubmitterEvent, now: Timestamp, into directives: inout [SubmitterDirective]
    ) {
        switch event {
        case .submit(let task): submit(task, now, &directives)
        case .resolved(let object, let resolution): resolved(object, resolution, now, &directives)
        case .cancel(let task): cancel(task, now, &directives)
        case .received(let message, let sender): received(message, sender, now, &directives)
        case .nodeDied(let node): nodeDied(node, now, &directives)
        case .workerDied(let worker): workerDied(worker, now, &directives)
        case .groupPlaced(let group, let nodes): groupPlaced(group, nodes, now, &directives)
        case .groupRemoved(let group): groupRemoved(group, &directives)
        }
        pumpStirred(now, &directives)
    }

    private mutating func received(
        _ message: SchedulerMessage, _ sender: Party, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        switch message {
        case .answer(let answer): received(answer, sender, now, &directives)
        case .taskReport(let report): received(report, sender, now, &directives)
        case .gaveBack(let lease): returned(lease, sender)
        case .renewed(let renewed): received(renewed, sender, now, &directives)
        case .request, .giveBack, .renew, .push, .cancelTask, .report, .reportReceived, .pullViews, .views, .bundles,
            .bundlesAnswer:
            return
        }
    }

    // MARK: Time

    /// When `tick` is due; `.never` if nothing waits for time.
    public var nextDeadline: Timestamp {
        min(min(requestTimers.earliest, leaseTimers.earliest), peerTimers.earliest)
    }

    /// Does what time has made due. Calling it early or often is harmless.
    public mutating func tick(now: Timestamp, into directives: inout [SubmitterDirective]) {
        while let request = requestTimers.popExpired(now) { repeatRequest(request, now, &directives) }
        while let lease = leaseTimers.popExpired(now) { leaseDue(lease, now, &directives) }
        while let peer = peerTimers.popExpired(now) { renew(peer, now, &directives) }
        pumpStirred(now, &directives)
    }

    // MARK: For those who watch

    /// Tasks that have not ended.
    public var taskCount: Int { taskSlots.used }
    /// Leases held, or given back and not acknowledged.
    public var leaseCount: Int { leaseSlots.used }
    /// Requests with unsettled slots.
    public var requestCount: Int { requestSlots.used }
}
