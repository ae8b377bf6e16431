// A small cluster of the machines on a virtual clock, with faults from a seed. The large one is RaySimulation.

import RayCore
import RayScheduler

/// What can go wrong with a message.
struct Faults {
    var loss = 0.0
    var duplication = 0.0
    var latency = 100_000...100_000 as ClosedRange<UInt64>

    static let none = Faults()
    static let rough = Faults(loss: 0.1, duplication: 0.1, latency: 50_000...5_000_000)
}

/// What the network does to one message.
enum Fate {
    case deliver
    case lose
    /// Once more, a tenth of a second later.
    case repeatLate
}

/// Nodes, submitters, the workers that nodes start, and a control store.
struct Cluster {
    enum Step {
        case deliver(SchedulerMessage, from: Party, to: Party)
        case startWorker(NodeID, UInt64)
        case stopWorker(WorkerID)
        case finishTask(WorkerID, TaskID)
        case argument(NodeID, ObjectID)
        case tick
    }

    struct Entry: Comparable {
        let time: UInt64
        let order: UInt64
        let step: Step
        static func < (left: Entry, right: Entry) -> Bool { (left.time, left.order) < (right.time, right.order) }
        static func == (left: Entry, right: Entry) -> Bool { left.order == right.order }
    }

    var random: SeededRandom
    var faults: Faults
    /// Decides about each message, before `faults` do.
    var fate: (_ message: SchedulerMessage, _ from: Party, _ to: Party, _ now: Timestamp) -> Fate = { _, _, _, _ in
        .deliver
    }
    var now = Timestamp(nanoseconds: 1)
    private var entries: [Entry] = []
    private var order: UInt64 = 0

    var nodes: [NodeID: Held<NodeMachine>] = [:]
    var views: [NodeID: ClusterView] = [:]
    var nodeIDs: [NodeID] = []
    var submitters: [WorkerID: Held<SubmitterMachine>] = [:]
    var submitterIDs: [WorkerID] = []
    var executors: [WorkerID: ExecutorMachine] = [:]
    let hub = Held(ViewHub(incarnation: 1))
    var storeView = ClusterView()
    var groups = GroupCoordinator(incarnation: 1, seed: 7)
    var global: GlobalScheduler?
    var deadWorkers: Set<WorkerID> = []
    private var lastWorker: UInt32 = 1000

    /// What happened.
    var ended: [TaskID: TaskEnd] = [:]
    var endedTwice: [TaskID] = []
    var ranTwice: [TaskID] = []
    var ran: [TaskID: WorkerID] = [:]
    var groupNodes: [GroupID: [NodeID]] = [:]
    var groupsRemoved: [GroupID] = []
    var groupWaits: [GroupWait] = []
    var messages = 0
    var runTime: UInt64 = 1_000_000
    /// Tasks that take longer than `runTime`.
    var runTimes: [TaskID: UInt64] = [:]
    var resolutions: [ObjectID: Resolution] = [:]

    init(
        nodes capacities: [NodeCapacity], labels: [NodeLabels] = [],
        configuration: NodeConfiguration = NodeConfiguration(), seed: UInt64 = 1, faults: Faults = .none
    ) {
        random = SeededRandom(seed: seed)
        self.faults = faults
        if configuration.policy == .central || configuration.policy == .bottomUp {
            global = GlobalScheduler(policy: configuration.policy, seed: seed)
        }
        for (index, capacity) in capacities.enumerated() {
            let id = NodeID(value: UInt64(index + 1), incarnation: 1)
            nodeIDs.append(id)
            nodes[id] = Held(
                NodeMachine(
                    id: id, capacity: capacity, labels: index < labels.count ? labels[index] : .none,
                    configuration: configuration, seed: seed &+ UInt64(index)))
            views[id] = ClusterView()
        }
    }

    @discardableResult
    mutating func addSubmitter(
        on node: Int, configuration: SubmitterConfiguration = SubmitterConfiguration()
    ) -> WorkerID {
        let id = WorkerID(node: nodeIDs[node], number: UInt32(submitterIDs.count + 1))
        submitterIDs.append(id)
        submitters[id] = Held(SubmitterMachine(id: id, configuration: configuration))
        return id
    }

    // MARK: Inputs

    mutating func submit(
        _ count: Int, of schedulingClass: SchedulingClass, by submitter: WorkerID, from first: Int = 0,
        dependencies: [ObjectID] = []
    ) {
        for sequence in first..<(first + count) {
            let task = TaskSubmission(
                id: TaskID(owner: submitter, sequence: UInt64(sequence)), schedulingClass: schedulingClass,
                dependencies: dependencies)
            handle(.submit(task), submitter)
        }
    }

    mutating func handle(_ event: SubmitterEvent, _ id: WorkerID) {
        guard let held = submitters[id] else { return }
        var directives: [SubmitterDirective] = []
        held.machine.handle(event, now: now, into: &directives)
        run(directives, id)
    }

    mutating func handle(_ event: NodeEvent, _ id: NodeID) {
        guard let held = nodes[id] else { return }
        var directives: [NodeDirective] = []
        held.machine.handle(event, now: now, view: &views[id]!, into: &directives)
        run(directives, id)
    }

    mutating func handle(_ event: ExecutorEvent, _ id: WorkerID) {
        guard var machine = executors.removeValue(forKey: id) else { return }
        var directives: [ExecutorDirective] = []
        machine.handle(event, now: now, into: &directives)
        executors[id] = machine
        run(directives, id)
    }

    mutating func handle(_ event: GroupEvent) {
        var directives: [GroupDirective] = []
        groups.handle(event, now: now, view: &storeView, into: &directives)
        run(directives)
    }

    private mutating func handle(_ event: GlobalEvent) {
        var directives: [GlobalDirective] = []
        global?.handle(event, now: now, view: &storeView, into: &directives)
        for case .send(let message, let party) in directives { send(message, from: .controlStore, to: party) }
    }

    private mutating func handle(_ event: HubEvent) {
        var directives: [HubDirective] = []
        hub.machine.handle(event, now: now, into: &directives)
        run(directives)
    }

    // MARK: Deaths

    mutating func kill(worker: WorkerID) {
        deadWorkers.insert(worker)
        executors[worker] = nil
        submitters[worker] = nil
        for node in nodeIDs { handle(NodeEvent.workerDied(worker), node) }
        for submitter in submitterIDs { handle(SubmitterEvent.workerDied(worker), submitter) }
        handle(GlobalEvent.workerDied(worker))
    }

    mutating func kill(node: NodeID) {
        nodes[node] = nil
        nodeIDs.removeAll { $0 == node }
        for worker in executors.keys.sorted() where worker.node == node { executors[worker] = nil }
        for submitter in submitterIDs where submitter.node == node { submitters[submitter] = nil }
        handle(HubEvent.nodeDied(node))
        for other in nodeIDs { handle(NodeEvent.nodeDied(node), other) }
        for submitter in submitterIDs { handle(SubmitterEvent.nodeDied(node), submitter) }
        handle(GroupEvent.nodeDied(node))
        handle(GlobalEvent.nodeDied(node))
    }

    // MARK: Directives

    private mutating func run(_ directives: [SubmitterDirective], _ id: WorkerID) {
        for directive in directives {
            switch directive {
            case .resolve(let object):
                if let resolution = resolutions[object] { handle(.resolved(object, resolution), id) }
            case .locate(let group):
                if let nodes = groupNodes[group] { handle(.groupPlaced(group, nodes: nodes), id) }
            case .send(let message, let party): send(message, from: .worker(id), to: party)
            case .ended(let task, let end):
                if ended[task] != nil { endedTwice.append(task) }
                ended[task] = end
            }
        }
    }

    private mutating func run(_ directives: [NodeDirective], _ id: NodeID) {
        for directive in directives {
            switch directive {
            case .send(let message, let party): send(message, from: .node(id), to: party)
            case .startWorker(let environment): schedule(.startWorker(id, environment), after: 10_000_000)
            case .stopWorker(let worker, _): schedule(.stopWorker(worker), after: 1_000_000)
            case .pull(let object): schedule(.argument(id, object), after: 5_000_000)
            case .release, .drained: break
            }
        }
    }

    private mutating func run(_ directives: [ExecutorDirective], _ id: WorkerID) {
        for directive in directives {
            switch directive {
            case .run(let task, _):
                if ran[task] != nil { ranTwice.append(task) }
                ran[task] = id
                schedule(.finishTask(id, task), after: runTimes[task] ?? runTime)
            case .interrupt(let task): handle(.finished(task, isCancelled: true), id)
            case .send(let message, let party): send(message, from: .worker(id), to: party)
            }
        }
    }

    private mutating func run(_ directives: [GroupDirective]) {
        for directive in directives {
            switch directive {
            case .send(let message, let party): send(message, from: .controlStore, to: party)
            case .placed(let group, let nodes):
                groupNodes[group] = nodes
                for submitter in submitterIDs { handle(.groupPlaced(group, nodes: nodes), submitter) }
            case .waiting(_, let reason): groupWaits.append(reason)
            case .removed(let group):
                groupNodes[group] = nil
                groupsRemoved.append(group)
                for submitter in submitterIDs { handle(.groupRemoved(group), submitter) }
            }
        }
    }

    private mutating func run(_ directives: [HubDirective]) {
        for directive in directives {
            switch directive {
            case .broadcast(let batch):
                _ = storeView.apply(batch)
                for node in nodeIDs { send(.views(batch), from: .controlStore, to: .node(node)) }
                handle(GlobalEvent.viewChanged)
            case .send(let message, let party): send(message, from: .controlStore, to: party)
            }
        }
    }

    // MARK: Network and time

    private mutating func schedule(_ step: Step, after delay: UInt64) {
        order += 1
        let entry = Entry(time: now.nanoseconds + delay, order: order, step: step)
        entries.append(entry)
        var index = entries.count - 1
        while index > 0, entries[index] < entries[(index - 1) / 2] {
            entries.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func popEntry() -> Entry? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        guard !entries.isEmpty else { return first }
        entries[0] = last
        var index = 0
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < entries.count && entries[child] < entries[smallest] {
                smallest = child
            }
            if smallest == index { return first }
            entries.swapAt(index, smallest)
            index = smallest
        }
    }

    private mutating func send(_ message: SchedulerMessage, from sender: Party, to party: Party) {
        messages += 1
        switch fate(message, sender, party, now) {
        case .deliver: break
        case .lose: return
        case .repeatLate: schedule(.deliver(message, from: sender, to: party), after: 100_000_000)
        }
        for copy in 0..<2 {
            if copy == 1, !random.chance(faults.duplication) { return }
            if random.chance(faults.loss) { continue }
            schedule(
                .deliver(message, from: sender, to: party), after: UInt64.random(in: faults.latency, using: &random))
        }
    }

    private mutating func perform(_ step: Step) {
        switch step {
        case .deliver(let message, let sender, .worker(let worker)):
            switch message {
            case .push, .cancelTask: handle(ExecutorEvent.received(message, from: sender), worker)
            default: handle(SubmitterEvent.received(message, from: sender), worker)
            }
        case .deliver(let message, let sender, .node(let node)): handle(NodeEvent.received(message, from: sender), node)
        case .deliver(let message, let sender, .controlStore):
            switch message {
            case .request: handle(GlobalEvent.received(message, from: sender))
            case .bundlesAnswer: handle(GroupEvent.received(message, from: sender))
            default: handle(HubEvent.received(message, from: sender))
            }
        case .startWorker(let node, let environment):
            guard nodes[node] != nil else { return }
            lastWorker += 1
            let id = WorkerID(node: node, number: lastWorker)
            executors[id] = ExecutorMachine(id: id)
            handle(NodeEvent.workerReady(id, environment: environment), node)
        case .stopWorker(let worker): if executors[worker] != nil { kill(worker: worker) }
        case .finishTask(let worker, let task): handle(ExecutorEvent.finished(task, isCancelled: false), worker)
        case .argument(let node, let object):
            handle(random.chance(faults.loss) ? NodeEvent.argumentGone(object) : .argumentLocal(object), node)
        case .tick: break
        }
    }

    private mutating func tickAll() {
        for id in nodeIDs where nodes[id].map({ $0.machine.nextDeadline <= now }) ?? false {
            var directives: [NodeDirective] = []
            nodes[id]?.machine.tick(now: now, view: &views[id]!, into: &directives)
            run(directives, id)
        }
        for id in submitterIDs where submitters[id].map({ $0.machine.nextDeadline <= now }) ?? false {
            var directives: [SubmitterDirective] = []
            submitters[id]?.machine.tick(now: now, into: &directives)
            run(directives, id)
        }
        if hub.machine.nextDeadline <= now {
            var directives: [HubDirective] = []
            hub.machine.tick(now: now, into: &directives)
            run(directives)
        }
        if let deadline = global?.nextDeadline, deadline <= now {
            var directives: [GlobalDirective] = []
            global?.tick(now: now, view: &storeView, into: &directives)
            for case .send(let message, let party) in directives { send(message, from: .controlStore, to: party) }
        }
        if groups.nextDeadline <= now {
            var directives: [GroupDirective] = []
            groups.tick(now: now, view: &storeView, into: &directives)
            run(directives)
        }
    }

    private var nextDeadline: Timestamp {
        var next = min(min(hub.machine.nextDeadline, groups.nextDeadline), global?.nextDeadline ?? .never)
        for id in nodeIDs { next = min(next, nodes[id]?.machine.nextDeadline ?? .never) }
        for id in submitterIDs { next = min(next, submitters[id]?.machine.nextDeadline ?? .never) }
        return next
    }

    /// Runs until the condition holds or the time is over.
    /// - Returns: whether the condition holds.
    @discardableResult
    mutating func run(for duration: Duration, until condition: (Cluster) -> Bool = { _ in false }) -> Bool {
        let end = now + duration
        while !condition(self) {
            let next = min(Timestamp(nanoseconds: entries.first?.time ?? .max), nextDeadline)
            guard next <= end else {
                now = end
                return condition(self)
            }
            now = max(now, next)
            if let first = entries.first, first.time <= now.nanoseconds, let entry = popEntry() {
                perform(entry.step)
            } else {
                tickAll()
            }
            checkInvariants()
        }
        return true
    }

    /// What is wrong at any time.
    var violations: [String] = []

    private mutating func checkInvariants() {
        for id in nodeIDs {
            guard let node = nodes[id] else { continue }
            if node.machine.available.memory < .zero
                || node.machine.available.others.contains(where: { $0.amount < .zero })
            {
                violations.append("\(id) granted twice: \(node.machine.available)")
            }
            if node.machine.available.cpu < .zero, node.machine.lendingCount == 0,
                node.machine.oversubscribed > node.machine.total.cpu
            {
                violations.append("\(id) oversubscribed by \(node.machine.oversubscribed)")
            }
        }
        violations += endedTwice.map { "\($0) ended twice" } + ranTwice.map { "\($0) ran twice" }
    }

    /// What is left although all is done.
    var leftovers: [String] {
        var left: [String] = []
        for id in nodeIDs {
            guard let node = nodes[id] else { continue }
            if node.machine.queuedSlots > 0 { left.append("\(id) has \(node.machine.queuedSlots) slots queued") }
            if node.machine.leaseCount > 0 { left.append("\(id) has \(node.machine.leaseCount) leases") }
            if node.machine.bundleCount == 0, node.machine.available != node.machine.total {
                left.append("\(id) has \(node.machine.available) of \(node.machine.total)")
            }
        }
        for id in submitterIDs {
            guard let submitter = submitters[id] else { continue }
            if submitter.machine.taskCount > 0 { left.append("\(id) has \(submitter.machine.taskCount) tasks") }
            if submitter.machine.leaseCount > 0 { left.append("\(id) has \(submitter.machine.leaseCount) leases") }
            if submitter.machine.requestCount > 0 {
                left.append("\(id) has \(submitter.machine.requestCount) requests")
            }
        }
        return left
    }
}

func capacity(_ cpu: Int64, gpus: UInt32 = 0) -> NodeCapacity {
    NodeCapacity(cpu: ResourceAmount(cpu), memory: ResourceAmount(1 << 34), indexed: gpus > 0 ? [(.gpu, gpus)] : [])
}

let oneCPU = SchedulingClass(demand: ResourceVector(cpu: 1))
