// Single machines under test: events go in, what comes out is sorted.

import RayCore
import RayScheduler

func nodeID(_ value: UInt64) -> NodeID { NodeID(value: value, incarnation: 1) }
let here = nodeID(1)
let driver = WorkerID(node: here, number: 1)
let otherDriver = WorkerID(node: here, number: 2)

func task(_ sequence: UInt64) -> TaskID { TaskID(owner: driver, sequence: sequence) }
func object(_ sequence: UInt64) -> ObjectID { ObjectID(owner: driver, sequence: sequence) }

func cpus(_ count: Int64, function: UInt64 = 0, constraint: PlacementConstraint = .hybrid) -> SchedulingClass {
    SchedulingClass(demand: ResourceVector(cpu: ResourceAmount(count)), constraint: constraint, function: function)
}

/// A node and what it said.
struct NodeBed {
    private let held: Held<NodeMachine>
    var node: NodeMachine {
        _read { yield held.machine }
        nonmutating _modify { yield &held.machine }
    }
    var view = ClusterView()
    var now = Timestamp(nanoseconds: 1_000_000)
    private var nextSequence: [WorkerID: UInt64] = [:]
    private var nextWorker: UInt32 = 100

    var answers: [LeaseAnswer] = []
    var starts: [UInt64] = []
    var stops: [(worker: WorkerID, isIdle: Bool)] = []
    var pulls: [ObjectID] = []
    var releases: [ObjectID] = []
    var others: [SchedulerMessage] = []
    var isDrained = false
    var spills = 0

    init(
        _ capacity: NodeCapacity, labels: NodeLabels = .none, configuration: NodeConfiguration = NodeConfiguration(),
        seed: UInt64 = 1
    ) {
        held = Held(
            NodeMachine(id: here, capacity: capacity, labels: labels, configuration: configuration, seed: seed))
    }

    mutating func feed(_ event: NodeEvent) {
        var directives: [NodeDirective] = []
        node.handle(event, now: now, view: &view, into: &directives)
        take(directives)
    }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        var directives: [NodeDirective] = []
        node.tick(now: now, view: &view, into: &directives)
        take(directives)
    }

    private mutating func take(_ directives: [NodeDirective]) {
        for directive in directives {
            switch directive {
            case .send(.answer(let answer), to: _): answers.append(answer)
            case .send(let message, to: _): others.append(message)
            case .startWorker(let environment): starts.append(environment)
            case .stopWorker(let worker, let isIdle): stops.append((worker, isIdle))
            case .pull(let object): pulls.append(object)
            case .release(let object): releases.append(object)
            case .drained: isDrained = true
            }
        }
    }

    /// A worker comes up.
    @discardableResult
    mutating func addWorker(environment: UInt64 = 0) -> WorkerID {
        nextWorker += 1
        let id = WorkerID(node: here, number: nextWorker)
        feed(.workerReady(id, environment: environment))
        return id
    }

    mutating func addWorkers(_ count: Int) { for _ in 0..<count { addWorker() } }

    @discardableResult
    mutating func request(
        _ schedulingClass: SchedulingClass, slots: UInt32 = 1, by submitter: WorkerID = driver,
        arguments: [TaskArgument] = [], mode: RequestMode = .place, rejections: UInt8 = 0,
        isLocalityChoice: Bool = false
    ) -> LeaseRequest {
        nextSequence[submitter, default: 0] += 1
        let request = LeaseRequest(
            id: LeaseRequestID(submitter: submitter, sequence: nextSequence[submitter] ?? 0),
            schedulingClass: schedulingClass, slots: slots, arguments: arguments, mode: mode, rejections: rejections,
            isLocalityChoice: isLocalityChoice)
        send(request)
        return request
    }

    /// What is granted at once of a new request.
    mutating func lease(
        _ schedulingClass: SchedulingClass, by submitter: WorkerID = driver, mode: RequestMode = .place
    ) -> [LeaseGrant] {
        let request = request(schedulingClass, by: submitter, mode: mode)
        return grants(request)
    }

    mutating func send(_ request: LeaseRequest) {
        feed(.received(.request(request), from: .worker(request.id.submitter)))
    }

    mutating func giveBack(_ grant: LeaseGrant, by submitter: WorkerID = driver) {
        feed(.received(.giveBack(LeaseReturn(lease: grant.lease)), from: .worker(submitter)))
    }

    /// All parts of the answer to a request, in order.
    func parts(_ request: LeaseRequest) -> [AnswerPart] {
        var parts: [AnswerPart] = []
        for answer in answers where answer.id == request.id {
            parts.removeLast(max(0, parts.count - Int(answer.first)))
            parts += answer.parts
        }
        return parts
    }

    func grants(_ request: LeaseRequest) -> [LeaseGrant] {
        parts(request).compactMap { if case .granted(let grant) = $0 { grant } else { nil } }
    }

    func elsewhere(_ request: LeaseRequest) -> [(node: NodeID, slots: UInt32, mode: RequestMode)] {
        parts(request).compactMap {
            if case .elsewhere(let node, let slots, let mode) = $0 { (node, slots, mode) } else { nil }
        }
    }

    func rejected(_ request: LeaseRequest) -> UInt32 {
        parts(request).reduce(0) { if case .rejected(let slots, _) = $1 { $0 + slots } else { $0 } }
    }

    func reason(_ request: LeaseRequest) -> WaitReason? { node.waitReason(of: request.id, now: now, view: view) }
}

/// A submitter and what it said.
struct SubmitterBed {
    private let held: Held<SubmitterMachine>
    var submitter: SubmitterMachine {
        _read { yield held.machine }
        nonmutating _modify { yield &held.machine }
    }
    var now = Timestamp(nanoseconds: 1_000_000)
    private var nextLease: UInt64 = 0

    var requests: [(request: LeaseRequest, party: Party)] = []
    var returns: [LeaseReturn] = []
    var renewals: [LeaseRenewal] = []
    var pushes: [TaskPush] = []
    var cancels: [TaskCancel] = []
    var resolves: [ObjectID] = []
    var located: [GroupID] = []
    var ended: [TaskID: TaskEnd] = [:]

    init(_ configuration: SubmitterConfiguration = SubmitterConfiguration()) {
        held = Held(SubmitterMachine(id: driver, configuration: configuration))
    }

    mutating func feed(_ event: SubmitterEvent) {
        var directives: [SubmitterDirective] = []
        submitter.handle(event, now: now, into: &directives)
        take(directives)
    }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        var directives: [SubmitterDirective] = []
        submitter.tick(now: now, into: &directives)
        take(directives)
    }

    private mutating func take(_ directives: [SubmitterDirective]) {
        for directive in directives {
            switch directive {
            case .send(.request(let request), to: let party): requests.append((request, party))
            case .send(.giveBack(let message), to: _): returns.append(message)
            case .send(.renew(let renewal), to: _): renewals.append(renewal)
            case .send(.push(let push), to: _): pushes.append(push)
            case .send(.cancelTask(let cancel), to: _): cancels.append(cancel)
            case .send: break
            case .resolve(let object): resolves.append(object)
            case .locate(let group): located.append(group)
            case .ended(let task, let end): ended[task] = end
            }
        }
    }

    mutating func submit(_ sequences: ClosedRange<UInt64>, _ schedulingClass: SchedulingClass = oneCPU) {
        for sequence in sequences {
            feed(.submit(TaskSubmission(id: task(sequence), schedulingClass: schedulingClass)))
        }
    }

    /// Answers a request with these parts, from the node or store that was asked.
    mutating func answer(_ index: Int, _ parts: [AnswerPart], first: UInt32 = 0, reason: WaitReason? = nil) {
        let (request, party) = requests[index]
        let settled = parts.reduce(0) { $0 + $1.slots }
        let answer = LeaseAnswer(
            id: request.id, attempt: request.attempt, first: first, parts: parts,
            waiting: request.slots - min(settled, request.slots), reason: reason)
        feed(.received(.answer(answer), from: party))
    }

    /// A grant of a new lease on a new worker.
    mutating func grant(on node: NodeID = here) -> LeaseGrant {
        nextLease += 1
        return LeaseGrant(
            lease: LeaseID(node: node, number: nextLease), worker: WorkerID(node: node, number: UInt32(100 + nextLease))
        )
    }

    mutating func report(_ push: TaskPush, _ progress: TaskProgress, by worker: WorkerID) {
        let report = TaskReport(lease: push.lease, number: push.number, progress: progress)
        feed(.received(.taskReport(report), from: .worker(worker)))
    }
}
