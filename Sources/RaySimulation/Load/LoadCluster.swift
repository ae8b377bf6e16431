// A cluster of the scheduler's machines alone: tasks are durations, nothing fails, everything is counted.

internal import RayCore
internal import RayScheduler

/// One load run.
package final class LoadCluster {
    private enum Target {
        case control
        case node(Int)
        case worker(Int)
        case submitter(Int)
    }

    private enum Event {
        case message(Target, SchedulerMessage, from: Party)
        /// The same, when its turn has come at a busy process.
        case turn(Target, SchedulerMessage, from: Party)
        case wake(Target)
        case arrival(submitter: Int)
        case finished(worker: Int, TaskID)
        case workerReady(node: Int, environment: UInt64)
    }

    private struct Process {
        var wakeAt = UInt64.max
        var busyUntil: UInt64 = 0
    }

    // Objects, so that looking at one field of a process copies no machine.
    private final class Node {
        let id: NodeID
        var machine: NodeMachine
        /// Place of its view. Nodes without a driver never decide by it, and share one.
        let view: Int
        var process = Process()
        /// Places of its processes by their number less one: workers, or submitters as complements.
        var processes: [Int] = []

        init(id: NodeID, machine: consuming NodeMachine, view: Int) {
            (self.id, self.view) = (id, view)
            self.machine = machine
        }
    }

    private final class Submitter {
        let id: WorkerID
        let node: Int
        var machine: SubmitterMachine
        var process = Process()
        var remaining: Int
        var sequence: UInt64 = 0
        /// When each task was submitted, by its sequence less one.
        var submitted: [UInt64] = []

        init(id: WorkerID, node: Int, machine: consuming SubmitterMachine, remaining: Int) {
            (self.id, self.node, self.remaining) = (id, node, remaining)
            self.machine = machine
        }
    }

    private final class Worker {
        let id: WorkerID
        let node: Int
        var machine: ExecutorMachine
        var process = Process()

        init(id: WorkerID, node: Int, machine: ExecutorMachine) {
            (self.id, self.node) = (id, node)
            self.machine = machine
        }
    }

    private let options: LoadOptions
    private var now: UInt64 = 0
    private var queue = EventQueue<Event>()
    private var network: Network
    private var random: SeededRandom
    private var nodes: ContiguousArray<Node> = []
    private var views: ContiguousArray<ClusterView> = []
    private var submitters: ContiguousArray<Submitter> = []
    private var workers: ContiguousArray<Worker> = []
    private var hub: ViewHub
    private var global: GlobalScheduler?
    private var globalView = ClusterView()
    private var control = Process()
    private let classes: [SchedulingClass]
    private let meanDuration, messageCost, arrivalInterval, workerStart: UInt64

    private var digest = Digest()
    private var events = 0, messages = 0, spillbacks = 0, rejections = 0, finished = 0
    private var lastEnd: UInt64 = 0
    private var queueing: [UInt64] = []

    private var submitterDirectives: [SubmitterDirective] = []
    private var nodeDirectives: [NodeDirective] = []
    private var executorDirectives: [ExecutorDirective] = []

    package init(_ options: LoadOptions) {
        precondition(options.nodes > 0 && options.tasks > 0, "a load needs nodes and tasks")
        self.options = options
        var networkOptions = NetworkOptions()
        networkOptions.ordered = false
        network = Network(nodes: options.nodes + 1, options: networkOptions, seed: options.seed)
        random = SeededRandom(seed: options.seed, concern: .execution)
        var hubConfiguration = HubConfiguration()
        hubConfiguration.broadcast = options.viewAge
        hubConfiguration.reportsPerBatch = max(hubConfiguration.reportsPerBatch, options.nodes)
        hub = ViewHub(incarnation: 1, configuration: hubConfiguration)
        global = options.policy.hasGlobalScheduler ? GlobalScheduler(policy: options.policy, seed: options.seed) : nil
        classes = (0..<options.functions).map {
            SchedulingClass(demand: ResourceVector(cpu: .one), function: UInt64($0))
        }
        meanDuration = UInt64(options.taskDuration.saturatedNanoseconds)
        messageCost = UInt64(options.messageCost.saturatedNanoseconds)
        workerStart = UInt64(options.workerStart.saturatedNanoseconds)
        let cpus = Double(options.nodes * options.cpus)
        let (mean, drivers) = (Double(meanDuration), Double(options.drivers))
        arrivalInterval = options.utilization.map { UInt64(mean * drivers / (cpus * $0)) } ?? 0
        queueing.reserveCapacity(options.tasks)
        start()
    }

    private func start() {
        var seeds = SeededRandom(seed: options.seed, concern: .machines)
        let stride = options.nodes / options.drivers
        views = [ClusterView()]
        for index in 0..<options.nodes {
            let hasDriver = index % stride == 0 && index / stride < options.drivers
            if hasDriver { views.append(ClusterView()) }
            let id = NodeID(value: UInt64(index + 1), incarnation: 1)
            var configuration = NodeConfiguration()
            configuration.policy = options.policy
            configuration.report = options.viewAge
            configuration.idleWorker = .seconds(3600)
            // Nodes without a driver get no views, and do not miss them.
            if !hasDriver { configuration.viewSilence = .seconds(3600) }
            nodes.append(
                Node(
                    id: id,
                    machine: NodeMachine(
                        id: id, capacity: NodeCapacity(cpu: ResourceAmount(Int64(options.cpus))),
                        configuration: configuration, seed: seeds.next()),
                    view: hasDriver ? views.count - 1 : 0))
            for _ in 0..<options.cpus { addWorker(index, environment: 0) }
            arm(.node(index))
            if hasDriver { addSubmitter(index) }
        }
    }

    private func addSubmitter(_ node: Int) {
        let id = processID(node, place: ~submitters.count)
        var configuration = SubmitterConfiguration()
        configuration.policy = options.policy
        if !options.isReusingLeases {
            configuration.leaseWindow = .zero
            configuration.idleLease = .zero
            configuration.tasksInFlight = 1
        }
        let index = submitters.count
        let share = options.tasks / options.drivers + (index < options.tasks % options.drivers ? 1 : 0)
        submitters.append(
            Submitter(
                id: id, node: node, machine: SubmitterMachine(id: id, configuration: configuration),
                remaining: share))
        // Views are there before the load comes.
        queue.insert(.arrival(submitter: index), at: 2 * UInt64(options.viewAge.saturatedNanoseconds) + 100_000_000)
    }

    private func addWorker(_ node: Int, environment: UInt64) {
        let id = processID(node, place: workers.count)
        workers.append(Worker(id: id, node: node, machine: ExecutorMachine(id: id)))
        nodeMachine(node, .workerReady(id, environment: environment))
    }

    private func processID(_ node: Int, place: Int) -> WorkerID {
        nodes[node].processes.append(place)
        return WorkerID(node: nodes[node].id, number: UInt32(nodes[node].processes.count))
    }

    // MARK: The loop

    package func run() -> LoadReport {
        while finished < options.tasks, let (time, event) = queue.removeNext() {
            now = time
            events += 1
            digest.fold(time)
            handle(event)
        }
        queueing.sort()
        func percentile(_ share: Double) -> Duration {
            queueing.isEmpty ? .zero : .nanoseconds(Int64(queueing[Int(Double(queueing.count - 1) * share)]))
        }
        let first = 2 * UInt64(options.viewAge.saturatedNanoseconds) + 100_000_000
        let tasks = Double(options.tasks)
        return LoadReport(
            options: options, makespan: .nanoseconds(Int64(lastEnd - min(first, lastEnd))),
            queueingMedian: percentile(0.5), queueingP99: percentile(0.99),
            messagesPerTask: Double(messages) / tasks, spillbacksPerTask: Double(spillbacks) / tasks,
            rejectionsPerTask: Double(rejections) / tasks, finished: finished, events: events, digest: digest.value)
    }

    private func handle(_ event: Event) {
        switch event {
        case .message(let target, let message, let sender):
            let busyUntil = max(process(target).busyUntil, now)
            setBusy(target, until: busyUntil + messageCost)
            if busyUntil > now {
                queue.insert(.turn(target, message, from: sender), at: busyUntil)
            } else {
                deliver(message, from: sender, to: target)
            }
        case .turn(let target, let message, let sender): deliver(message, from: sender, to: target)
        case .wake(let target): wake(target)
        case .arrival(let submitter): arrive(submitter)
        case .finished(let worker, let task):
            lastEnd = now
            executor(worker, .finished(task, isCancelled: false))
        case .workerReady(let node, let environment): addWorker(node, environment: environment)
        }
    }

    private func arrive(_ index: Int) {
        let count = options.utilization == nil ? submitters[index].remaining : 1
        for _ in 0..<count {
            submitters[index].remaining -= 1
            submitters[index].sequence += 1
            submitters[index].submitted.append(now)
            let sequence = submitters[index].sequence
            submitter(
                index,
                .submit(
                    TaskSubmission(
                        id: TaskID(owner: submitters[index].id, sequence: sequence),
                        schedulingClass: classes[Int(sequence) % classes.count])))
        }
        if submitters[index].remaining > 0 {
            queue.insert(.arrival(submitter: index), at: now + random.exponential(mean: arrivalInterval))
        }
    }

    // MARK: Time

    private func process(_ target: Target) -> Process {
        switch target {
        case .control: control
        case .node(let index): nodes[index].process
        case .worker(let index): workers[index].process
        case .submitter(let index): submitters[index].process
        }
    }

    private func setBusy(_ target: Target, until time: UInt64) {
        switch target {
        case .control: control.busyUntil = time
        case .node(let index): nodes[index].process.busyUntil = time
        case .worker(let index): workers[index].process.busyUntil = time
        case .submitter(let index): submitters[index].process.busyUntil = time
        }
    }

    private func setWake(_ target: Target, at time: UInt64) {
        switch target {
        case .control: control.wakeAt = time
        case .node(let index): nodes[index].process.wakeAt = time
        case .worker: break
        case .submitter(let index): submitters[index].process.wakeAt = time
        }
    }

    private func arm(_ target: Target) {
        let deadline: Timestamp =
            switch target {
            case .control: min(hub.nextDeadline, global?.nextDeadline ?? .never)
            case .node(let index): nodes[index].machine.nextDeadline
            case .worker: .never
            case .submitter(let index): submitters[index].machine.nextDeadline
            }
        guard deadline != .never else { return }
        let time = max(deadline.nanoseconds, now)
        guard time < process(target).wakeAt else { return }
        setWake(target, at: time)
        queue.insert(.wake(target), at: time)
    }

    private func wake(_ target: Target) {
        guard process(target).wakeAt == now else { return }
        setWake(target, at: .max)
        switch target {
        case .control:
            if hub.nextDeadline.nanoseconds <= now { tickHub() }
            if let deadline = global?.nextDeadline, deadline.nanoseconds <= now { globally(nil) }
        case .node(let index): nodeMachine(index, nil)
        case .worker: break
        case .submitter(let index): submitter(index, nil)
        }
        arm(target)
    }

    // MARK: Messages

    private func target(_ party: Party) -> (target: Target, node: Int) {
        switch party {
        case .controlStore: return (.control, options.nodes)
        case .node(let id):
            let index = Int(id.value) - 1
            return (.node(index), index)
        case .worker(let id):
            let node = Int(id.node.value) - 1
            let place = nodes[node].processes[Int(id.number) - 1]
            return (place < 0 ? .submitter(~place) : .worker(place), node)
        }
    }

    private func send(_ message: SchedulerMessage, to party: Party, from sender: Party, at source: Int) {
        messages += 1
        let (target, node) = target(party)
        let arrivals = network.send(from: source, to: node, bytes: 200, at: now)
        guard let time = arrivals.first else { preconditionFailure("a healthy network lost a message") }
        queue.insert(.message(target, message, from: sender), at: time)
    }

    private func deliver(_ message: SchedulerMessage, from sender: Party, to target: Target) {
        switch target {
        case .control:
            if case .request = message {
                globally(.received(message, from: sender))
            } else {
                received(message, from: sender)
            }
        case .node(let index): nodeMachine(index, .received(message, from: sender))
        case .worker(let index): executor(index, .received(message, from: sender))
        case .submitter(let index): submitter(index, .received(message, from: sender))
        }
        arm(target)
    }

    // MARK: Machines

    private func submitter(_ index: Int, _ event: SubmitterEvent?) {
        let time = Timestamp(nanoseconds: now)
        if let event {
            submitters[index].machine.handle(event, now: time, into: &submitterDirectives)
        } else {
            submitters[index].machine.tick(now: time, into: &submitterDirectives)
        }
        for directive in submitterDirectives {
            switch directive {
            case .send(let message, let party):
                send(message, to: party, from: .worker(submitters[index].id), at: submitters[index].node)
            case .ended(_, let end):
                precondition(end == .finished, "a task of a healthy cluster ended: \(end)")
                finished += 1
            case .resolve, .locate: preconditionFailure("no task of a load has dependencies or a group")
            }
        }
        submitterDirectives.removeAll(keepingCapacity: true)
        arm(.submitter(index))
    }

    private func executor(_ index: Int, _ event: ExecutorEvent) {
        workers[index].machine.handle(event, now: Timestamp(nanoseconds: now), into: &executorDirectives)
        for directive in executorDirectives {
            switch directive {
            case .run(let task, _):
                guard case (.submitter(let submitter), _) = target(.worker(task.owner)) else {
                    preconditionFailure("\(task) has no submitter")
                }
                queueing.append(now - submitters[submitter].submitted[Int(task.sequence) - 1])
                queue.insert(.finished(worker: index, task), at: now + random.exponential(mean: meanDuration))
            case .interrupt: break
            case .send(let message, let party):
                send(message, to: party, from: .worker(workers[index].id), at: workers[index].node)
            }
        }
        executorDirectives.removeAll(keepingCapacity: true)
    }

    private func nodeMachine(_ index: Int, _ event: NodeEvent?) {
        let (time, view) = (Timestamp(nanoseconds: now), nodes[index].view)
        if let event {
            nodes[index].machine.handle(event, now: time, view: &views[view], into: &nodeDirectives)
        } else {
            nodes[index].machine.tick(now: time, view: &views[view], into: &nodeDirectives)
        }
        for directive in nodeDirectives {
            switch directive {
            case .send(let message, let party):
                if case .answer(let answer) = message { count(answer) }
                send(message, to: party, from: .node(nodes[index].id), at: index)
            case .startWorker(let environment):
                queue.insert(.workerReady(node: index, environment: environment), at: now + workerStart)
            case .stopWorker, .pull, .release, .drained: break
            }
        }
        nodeDirectives.removeAll(keepingCapacity: true)
        arm(.node(index))
    }

    private func count(_ answer: LeaseAnswer) {
        for part in answer.parts {
            switch part {
            case .elsewhere(_, let slots, _): spillbacks += Int(slots)
            case .rejected(let slots, _): rejections += Int(slots)
            case .granted, .cancelled, .failed: break
            }
        }
    }

    // MARK: Control store

    private func received(_ message: SchedulerMessage, from sender: Party) {
        var directives: [HubDirective] = []
        hub.handle(.received(message, from: sender), now: Timestamp(nanoseconds: now), into: &directives)
        run(directives)
    }

    private func tickHub() {
        var directives: [HubDirective] = []
        hub.tick(now: Timestamp(nanoseconds: now), into: &directives)
        run(directives)
    }

    private func run(_ directives: [HubDirective]) {
        for directive in directives {
            switch directive {
            case .broadcast(let batch):
                // A node without a driver needs no view: its message is counted and goes nowhere.
                messages += nodes.count - submitters.count
                for submitter in submitters {
                    send(.views(batch), to: .node(nodes[submitter.node].id), from: .controlStore, at: options.nodes)
                }
                _ = globalView.apply(batch)
                globally(.viewChanged)
            case .send(let message, let party):
                send(message, to: party, from: .controlStore, at: options.nodes)
            }
        }
        arm(.control)
    }

    private func globally(_ event: GlobalEvent?) {
        var directives: [GlobalDirective] = []
        let time = Timestamp(nanoseconds: now)
        if let event {
            global?.handle(event, now: time, view: &globalView, into: &directives)
        } else {
            global?.tick(now: time, view: &globalView, into: &directives)
        }
        for directive in directives {
            switch directive {
            case .send(let message, let party):
                if case .answer(let answer) = message { count(answer) }
                send(message, to: party, from: .controlStore, at: options.nodes)
            }
        }
    }
}
