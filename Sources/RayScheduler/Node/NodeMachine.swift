// The node's side of scheduling as a machine without I/O: its state and its inputs.

public import RayCore

/// Grants leases of one node's workers, and names other nodes when these are better.
///
/// Events go in with the time and the view of the cluster; directives come out at the end of a buffer that the
/// caller owns. A request is placed when it comes: here, on other nodes of the view (one hop), or nowhere yet.
/// What stays here waits in a queue of its class until its arguments are local, its demand fits, and a worker is
/// there. Classes with the same demand share one test of whether it fits, so an event costs what the number of
/// different demands is, never what the number of requests is.
///
/// **Rules.** Messages of others may be late, repeated, reordered or about things long gone: they are answered
/// again or ignored. A request is answered by a log of parts that only grows. Resources are free again only when
/// the worker that used them is known not to: given back by its lessee, or dead. What is not yet here, an
/// argument or a worker, holds no room that another could use, but for a worker that is starting.
///
/// One thread at a time.
public struct NodeMachine: ~Copyable, Sendable {
    /// Classes kept though nothing of them waits or runs.
    static let unusedClassLimit = 1024

    public let id: NodeID
    public let configuration: NodeConfiguration
    public internal(set) var statistics = NodeStatistics()
    var random: SeededRandom

    /// The node's own state as it would publish it.
    var own: NodeReport
    var pool: ResourcePool

    var requests = RequestTable()
    var requestLinks = LinkTable()

    var classes: [NodeClass] = []
    var classSlots = SlotPool()
    var classLinks = LinkTable()
    var indexOfClass = IndexMap<SchedulingClass>()
    var unusedClasses = IndexList()
    var unusedLinks = LinkTable()

    var queues: [DemandQueue] = []
    var queueSlots = SlotPool()
    var indexOfQueue: [DemandQueue.Key: Int] = [:]
    /// Queues with a class in their round.
    var activeQueues: [Int] = []
    /// Classes of which something waits that can not run here.
    var foreignClasses = IndexList()
    /// Something was freed or came in since the queues were looked at.
    var mayGrant = false

    var leases: [Lease] = []
    var leaseSlots = SlotPool()
    var leaseLinks = LinkTable()
    /// By the slot of the submitter in the table of requests.
    var leasesOfSubmitter: [IndexList] = []
    var lastLease: UInt64 = 0
    var nextLeaseSweep = Timestamp.never

    var workers: [PoolWorker] = []
    var workerSlots = SlotPool()
    var workerOfID = IndexMap<WorkerID>()
    var idleLinks = LinkTable()
    var idleWorkers = 0
    var environments: [WorkerEnvironment] = []
    var indexOfEnvironment = IndexMap<UInt64>()
    var startingWorkers = 0

    /// Leases that lend their CPUs, and blocked ones that may not yet.
    var lending = 0
    var waitingToLend = Fifo<UInt64>()
    var nextExtraWorker = Timestamp.never
    var extraWorkerDelay: Duration

    var arguments: [Argument] = []
    var argumentSlots = SlotPool()
    var argumentOfObject = IndexMap<ObjectID>()
    /// Arguments without uses, to be released.
    var unusedArguments: [Int] = []
    /// Bytes of the arguments of leases.
    var pinnedBytes: UInt64 = 0

    var bundles: [Bundle] = []
    var bundleSlots = SlotPool()
    var bundlesOfGroup: [GroupID: [Int]] = [:]
    var attemptOfGroup: [GroupID: UInt64] = [:]
    var groupsGone = Fifo<GroupID>()

    var hasChanged = true
    var acknowledgedVersion: UInt64 = 0
    /// Of the control store that was heard last.
    var controlStoreIncarnation: UInt32 = 1
    var nextReport = Timestamp.zero
    var nextViewPull = Timestamp.zero
    /// When what waits is looked at again, even if no view arrives.
    var nextLook = Timestamp.never
    var isDrained = false

    /// - Parameters:
    ///   - id: the node, with its incarnation.
    ///   - capacity: what it has to give.
    ///   - labels: what selectors of classes are held against.
    ///   - configuration: times and bounds.
    ///   - seed: of the draws among equally good nodes.
    public init(
        id: NodeID, capacity: NodeCapacity, labels: NodeLabels = .none,
        configuration: NodeConfiguration = NodeConfiguration(), seed: UInt64
    ) {
        self.id = id
        self.configuration = configuration
        random = SeededRandom(seed: seed)
        pool = ResourcePool(capacity)
        own = NodeReport(node: id, version: 0, total: pool.total, labels: labels)
        extraWorkerDelay = configuration.extraWorkerDelay
    }

    // MARK: Events

    public mutating func handle(
        _ event: NodeEvent, now: Timestamp, view: inout ClusterView, into directives: inout [NodeDirective]
    ) {
        switch event {
        case .received(let message, let sender): received(message, sender, now, &view, &directives)
        case .workerReady(let worker, let environment): workerReady(worker, environment, now, &directives)
        case .workerStartFailed(let environment): workerStartFailed(environment, &directives)
        case .workerDied(let worker): workerDied(worker, now, &directives)
        case .nodeDied(let node):
            view.nodeDied(node)
            submittersDied(&directives) { $0.node == node }
            reconsider(now, &view, &directives)
        case .workerBlocked(let worker): workerBlocked(worker, now)
        case .workerUnblocked(let worker): workerUnblocked(worker, now)
        case .argumentLocal(let object): argumentLocal(object)
        case .argumentGone(let object): argumentGone(object, &directives)
        case .argumentLost(let object): argumentLost(object, &directives)
        case .pullLimit(let isLimited): pullLimit(isLimited, now, &view, &directives)
        case .drain: drain(now, &view, &directives)
        case .viewChanged: reconsider(now, &view, &directives)
        }
        finish(now, &view, &directives)
    }

    private mutating func received(
        _ message: SchedulerMessage, _ sender: Party, _ now: Timestamp, _ view: inout ClusterView,
        _ directives: inout [NodeDirective]
    ) {
        switch message {
        case .request(let request):
            guard sender == .worker(request.id.submitter) else { return }
            received(request, now, &view, &directives)
        case .giveBack(let lease): received(lease, sender, now, &directives)
        case .renew(let renewal):
            guard sender == .worker(renewal.submitter) else { return }
            received(renewal, now, &directives)
        case .reportReceived(let version): acknowledgedVersion = max(acknowledgedVersion, version)
        case .views(let batch):
            nextViewPull = now + configuration.viewSilence
            noteControlStore(batch.incarnation)
            if let pull = view.apply(batch) { directives.append(.send(.pullViews(pull), to: .controlStore)) }
            if batch.hasDeaths {
                for report in batch.reports where report.condition == .dead && report.node != id {
                    submittersDied(&directives) { $0.node == report.node }
                }
            }
            reconsider(now, &view, &directives)
        case .bundles(let request): received(request, sender, &directives)
        case .answer, .gaveBack, .renewed, .push, .cancelTask, .taskReport, .report, .pullViews, .bundlesAnswer: return
        }
    }

    /// A control store that has restarted knows nothing of this node until it is told again, though nothing has
    /// changed.
    private mutating func noteControlStore(_ incarnation: UInt32) {
        guard incarnation > controlStoreIncarnation else { return }
        controlStoreIncarnation = incarnation
        // That publishes a new version: what the one before has received does not count.
        hasChanged = true
    }

    /// What every event ends with: room is granted, answers are sent, the node's state is published when due.
    private mutating func finish(
        _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        dispatch(now, &directives)
        sendAnswers(now, &view, &directives)
        publish(now, &directives)
        if own.condition == .draining, !isDrained, leaseSlots.used == 0 {
            isDrained = true
            directives.append(.drained)
        }
    }

    private mutating func sendAnswers(
        _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        while let index = requests.nextTouched() {
            let reason = requests[index].waiting > 0 ? reason(of: index, now, view) : nil
            directives.append(
                .send(.answer(requests.answer(index, reason: reason)), to: .worker(requests[index].id.submitter)))
        }
    }

    // MARK: Time

    /// When `tick` is due; `.never` if nothing waits for time.
    public var nextDeadline: Timestamp {
        let report = hasChanged || acknowledgedVersion < own.version ? nextReport : .never
        let extra = waitingToLend.isEmpty ? Timestamp.never : nextExtraWorker
        return min(min(min(report, extra), min(nextLeaseSweep, nextViewPull)), min(nextIdleWorker, nextLook))
    }

    /// Does what time has made due. Calling it early or often is harmless.
    public mutating func tick(now: Timestamp, view: inout ClusterView, into directives: inout [NodeDirective]) {
        if now >= nextViewPull {
            nextViewPull = now + configuration.viewSilence
            directives.append(.send(.pullViews(view.pull), to: .controlStore))
        }
        if now >= nextLeaseSweep { sweepLeases(now, &directives) }
        if now >= nextIdleWorker { stopIdleWorkers(now, &directives) }
        lendMore(now)
        if now >= nextLook { lookAgain(now, &view, &directives) }
        finish(now, &view, &directives)
    }

    /// Publishes the state when it has changed, and again until the control store has it.
    private mutating func publish(_ now: Timestamp, _ directives: inout [NodeDirective]) {
        guard hasChanged || acknowledgedVersion < own.version, now >= nextReport else { return }
        if hasChanged {
            hasChanged = false
            own.version += 1
            refreshOwn()
        }
        nextReport = now + configuration.report
        directives.append(.send(.report(own), to: .controlStore))
    }

    /// Takes over what is free and what waits into the node's own state.
    mutating func refreshOwn() {
        own.available = pool.free
        own.available.cpu = max(.zero, own.available.cpu)
        own.queued = UInt32(clamping: requests.waitingSlots)
    }

    // MARK: For those who watch

    /// Slots that wait in the queues of this node.
    public var queuedSlots: Int { requests.waitingSlots }
    /// Leases that hold resources.
    public var leaseCount: Int { leaseSlots.used }
    public var workerCount: Int { workerSlots.used }
    /// What can be granted outside of bundles. CPU is below zero while workers go on whose CPUs were lent.
    public var available: ResourceVector { pool.free }
    public var total: ResourceVector { pool.total }
    /// CPUs in use beyond those that the node has.
    public var oversubscribed: ResourceAmount { max(.zero, .zero - pool.free.cpu) }
    /// Leases whose worker's CPUs are lent to others, since it waits.
    public var lendingCount: Int { lending }
    public var bundleCount: Int { bundleSlots.used }
}
