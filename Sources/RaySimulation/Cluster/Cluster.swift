// A whole cluster under virtual time: the state, the loop, and the processes' timers.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// One run. Everything in it follows from its settings.
package final class Cluster {
    let settings: Settings
    let workload: Workload
    let classes: [SchedulingClass]
    var now: UInt64 = 0
    var queue = EventQueue<Event>()
    var network: Network
    var execution: SeededRandom
    var machineSeeds: SeededRandom
    var nodes: ContiguousArray<SimulatedNode> = []
    var workers: ContiguousArray<SimulatedWorker> = []
    var control: ControlStore
    /// The global scheduler's, apart from it because it is given both at once.
    var globalView = ClusterView()
    var judge: Judge
    var specifications: [TaskID: TaskSpecification] = [:]
    var serial: UInt64 = 0
    /// Broadcasts of the states of nodes, and answers to those who ask for them.
    var broadcasts: UInt64 = 0
    var lastViewAnswer: ViewBroadcast?
    var lastFault: UInt64 = 0
    package internal(set) var coverage = Coverage<Mark>()
    package internal(set) var digest = Digest()
    package internal(set) var events = 0
    /// Is told each event and directive, for a person to read.
    package var trace: ((String) -> Void)?

    // Buffers of directives, reused. A stack of each: handling one may lead to another.
    var workerBuffers: [[WorkerDirective]] = []
    var submitterBuffers: [[SubmitterDirective]] = []
    var executorBuffers: [[ExecutorDirective]] = []
    var nodeBuffers: [[NodeDirective]] = []
    var holderBuffers: [[HolderDirective]] = []

    /// The control store has a node of its own in the network, after all others.
    var controlNode: Int { settings.nodes }
    /// No node's identity, however many there are.
    static let controlID = NodeID(value: 0xc0 << 32, incarnation: 1)

    package init(_ settings: Settings) {
        self.settings = settings
        var workloadRandom = SeededRandom(seed: settings.seed, concern: .workload)
        workload = Workload(
            settings.workload, tasks: settings.tasks, drivers: settings.drivers, random: &workloadRandom)
        classes = workload.recipes.enumerated().map { index, recipe in
            SchedulingClass(
                demand: ResourceVector(cpu: ResourceAmount(units: Int64(recipe.milliCPU) * 10)),
                function: UInt64(index))
        }
        network = Network(nodes: settings.nodes + 1, options: settings.network, seed: settings.seed)
        execution = SeededRandom(seed: settings.seed, concern: .execution)
        machineSeeds = SeededRandom(seed: settings.seed, concern: .machines)
        judge = Judge(settings)
        var configuration = WorkerConfiguration(
            controlStore: Self.address(0), detachedOwner: Self.address(1), relay: Self.address(0))
        configuration.controlStore = Self.address(0)
        control = ControlStore(
            members: ControlStoreMachine(id: Self.address(0), configuration: ControlStoreConfiguration()),
            owner: WorkerMachine(id: Self.address(1), configuration: configuration),
            hub: ViewHub(incarnation: 1),
            global: settings.policy.hasGlobalScheduler
                ? GlobalScheduler(policy: settings.policy, seed: machineSeeds.next()) : nil)
        start()
    }

    /// A process of the control store: 0 keeps membership, 1 owns detached objects.
    static func address(_ number: UInt32) -> WorkerID { WorkerID(node: controlID, number: number) }

    private func start() {
        arm(.control)
        for index in 0..<settings.nodes { addNode(index, incarnation: 1) }
        for index in 0..<settings.drivers {
            let worker = addWorker(node: index % settings.nodes, isDriver: true)
            startProgram(worker, recipe: workload.drivers[index])
        }
        for (index, fault) in settings.plan.faults.enumerated() {
            queue.insert(.fault(index), at: fault.time)
            lastFault = max(lastFault, fault.time)
        }
        queue.insert(.inspect, at: Self.inspectionInterval)
    }

    // MARK: The loop

    static let inspectionInterval: UInt64 = 1_000_000_000
    /// A run that is not quiet by then hangs.
    static let limit: UInt64 = 400_000_000_000

    /// Runs until all is quiet, or something is wrong.
    package func run() -> Outcome {
        while judge.violation == nil, !isQuiet, let (time, event) = queue.removeNext() {
            now = time
            judge.now = time
            events += 1
            digest.fold(time)
            handle(event)
            if now > Self.limit { blameUnrest() }
        }
        return Outcome(
            violation: judge.violation, events: events, duration: now, digest: digest.value, coverage: coverage)
    }

    /// Set by an inspection that found nothing left to do and nothing left behind.
    var isQuiet = false

    func handle(_ event: Event) {
        trace?("\(now) \(event)")
        switch event {
        case .message(let target, let message): deliver(message, to: target)
        case .resend(let source, let target, let message, let bytes):
            sendSurely(message, to: target, from: source, bytes: bytes)
        case .wake(let target): wake(target)
        case .resume(let worker, let frame): resume(worker, frame: frame)
        case .workerStarted(let node, let incarnation, let environment):
            workerStarted(node, incarnation: incarnation, environment: environment)
        case .getAgain(let worker, let waiter): getAgain(worker, waiter)
        case .pullTimeout(let node, let incarnation, let object, let request):
            pullTimedOut(node, incarnation, object, request: request)
        case .pullAgain(let node, let incarnation, let object):
            if isAlive(node, incarnation) { requestPull(node, object) }
        case .evict(let node, let incarnation, let copy): evict(copy, node, incarnation)
        case .stays(let worker): stays(worker)
        case .fault(let index): strike(settings.plan.faults[index].kind)
        case .declareDead(let node, let incarnation): declareDead(node, incarnation)
        case .restart(let node): restart(node)
        case .inspect: inspect()
        }
    }

    // MARK: Time

    /// The clock of the node with this place in the network.
    func reading(_ node: Int) -> Timestamp {
        node == controlNode ? Timestamp(nanoseconds: now) : nodes[node].clock.reading(at: now)
    }

    func node(of target: Target) -> Int {
        switch target {
        case .control: controlNode
        case .raylet(let node, _): node
        case .worker(let worker): workers[worker].node
        }
    }

    func isAlive(_ node: Int, _ incarnation: UInt32) -> Bool {
        nodes[node].isAlive && nodes[node].id.incarnation == incarnation
    }

    func isAlive(_ target: Target) -> Bool {
        switch target {
        case .control: true
        case .raylet(let node, let incarnation): isAlive(node, incarnation)
        case .worker(let worker): workers[worker].isAlive
        }
    }

    func raylet(_ node: Int) -> Target { .raylet(node, incarnation: nodes[node].id.incarnation) }

    /// Sees to it that the process is woken at the next deadline of its machines.
    func arm(_ target: Target) {
        let deadline =
            switch target {
            case .control:
                min(
                    control.members.nextDeadline, control.owner.nextDeadline, control.hub.nextDeadline,
                    control.global?.nextDeadline ?? .never)
            case .raylet(let node, _): min(nodes[node].scheduler.nextDeadline, nodes[node].holder.nextDeadline)
            case .worker(let worker):
                min(
                    workers[worker].owner.nextDeadline, workers[worker].submitter.nextDeadline,
                    workers[worker].calls.machine.nextDeadline)
            }
        guard deadline != .never else { return }
        let node = node(of: target)
        let time = max(node == controlNode ? deadline.nanoseconds : nodes[node].clock.time(of: deadline), now)
        guard time < wakeTime(target) else { return }
        setWakeTime(target, time)
        queue.insert(.wake(target), at: time)
    }

    private func wakeTime(_ target: Target) -> UInt64 {
        switch target {
        case .control: control.wakeAt
        case .raylet(let node, _): nodes[node].wakeAt
        case .worker(let worker): workers[worker].wakeAt
        }
    }

    private func setWakeTime(_ target: Target, _ time: UInt64) {
        switch target {
        case .control: control.wakeAt = time
        case .raylet(let node, _): nodes[node].wakeAt = time
        case .worker(let worker): workers[worker].wakeAt = time
        }
    }

    private func wake(_ target: Target) {
        // Only the event that was inserted last counts: an earlier deadline has made the others stale.
        guard isAlive(target), wakeTime(target) == now else { return }
        if delayed(.wake(target), target) { return setWakeTime(target, nodes[node(of: target)].busyUntil) }
        setWakeTime(target, .max)
        let reading = reading(node(of: target))
        switch target {
        case .control:
            if control.members.nextDeadline <= reading { members(.timer) }
            if control.owner.nextDeadline <= reading { detachedOwner(.timer) }
            if control.hub.nextDeadline <= reading { hub(nil) }
            if let deadline = control.global?.nextDeadline, deadline <= reading { global(nil) }
        case .raylet(let node, _):
            if nodes[node].scheduler.nextDeadline <= reading { nodeScheduler(node, nil) }
            if isAlive(target), nodes[node].holder.nextDeadline <= reading { holder(node, .timer) }
        case .worker(let worker):
            if workers[worker].owner.nextDeadline <= reading { owner(worker, .timer) }
            if isAlive(target), workers[worker].submitter.nextDeadline <= reading { submitter(worker, nil) }
            if isAlive(target), workers[worker].calls.machine.nextDeadline <= reading { caller(worker, nil) }
        }
        if isAlive(target) { arm(target) }
    }

    /// Puts off an event for a process that is slow and busy.
    func delayed(_ event: @autoclosure () -> Event, _ target: Target) -> Bool {
        let node = node(of: target)
        guard node != controlNode, now < nodes[node].slowUntil else { return false }
        if now < nodes[node].busyUntil {
            queue.insert(event(), at: nodes[node].busyUntil)
            return true
        }
        nodes[node].busyUntil = now + UInt64(nodes[node].slowFactor) * Self.serviceTime
        return false
    }

    /// What a slow process takes for one event, times its factor.
    static let serviceTime: UInt64 = 10_000
}

/// How a run ended.
package struct Outcome: Sendable {
    package var violation: Violation?
    package var events: Int
    /// Virtual nanoseconds.
    package var duration: UInt64
    package var digest: UInt64
    package var coverage: Coverage<Mark>
}
