// A cluster in memory for tests: machines, a virtual clock, a network that does as it is told, and shells that do
// what the machines say.

import RayCore
import RayOwnership
import Testing

final class Cluster {
    /// What the network does to an envelope.
    enum Fate {
        case deliver
        case lose
        case duplicate
        /// Kept back until `release`.
        case hold
    }

    struct Push: Equatable {
        var task: TaskID
        var attempt: UInt32
    }

    private(set) var now = Timestamp(nanoseconds: 1)
    var workers: [WorkerID: Held<WorkerMachine>] = [:]
    var holders: [NodeID: Held<HolderMachine>] = [:]
    var controlStore: ControlStoreMachine
    /// Machines in the order in which they were made.
    private(set) var order: [WorkerID] = []
    private var dead: Set<WorkerID> = []
    private var nextNumber: [NodeID: UInt32] = [:]

    static let controlNode = NodeID(value: 0xc0, incarnation: 1)
    static let controlStoreID = WorkerID(node: controlNode, number: 0)
    let detachedOwner = WorkerID(node: controlNode, number: 1)

    // Network.
    private var network: [(time: Timestamp, number: Int, envelope: Envelope)] = []
    private var lastNumber = 0
    var latency = Duration.microseconds(100)
    var fate: (Envelope) -> Fate = { _ in .deliver }
    private var held: [Envelope] = []
    /// Adds to the latency of each envelope.
    var jitter: () -> Duration = { .zero }
    private(set) var sent = 0

    // What the shells did.
    var stores: [NodeID: Set<CopyID>] = [:]
    var offers: [TaskID: UInt32] = [:]
    var delivered: [UInt64: GetOutcome] = [:]
    private(set) var freed: [ObjectID] = []
    private(set) var forgotten: Set<TaskID> = []
    private(set) var refused: [ObjectID: ObjectError] = [:]
    private(set) var abandoned: [TaskID] = []
    private(set) var stopped: [TaskID] = []
    private(set) var adoptions: [UInt64: TaskID] = [:]
    private(set) var terminated: Set<WorkerID> = []
    private(set) var statuses: [ObjectID: [ObjectStatus]] = [:]
    private var lastWaiter: UInt64 = 0
    var lineageBytes = 1 << 30
    /// Whether each machine checks itself after each event, which costs as much as its state is large.
    var checksEachStep = true

    init() {
        controlStore = ControlStoreMachine(id: Self.controlStoreID, configuration: ControlStoreConfiguration())
        order.append(Self.controlStoreID)
        add(detachedOwner, relay: Self.controlStoreID)
    }

    // MARK: Members

    func node(_ value: UInt64, incarnation: UInt32 = 1) -> NodeID {
        let node = NodeID(value: value, incarnation: incarnation)
        var configuration = HolderConfiguration(controlStore: Self.controlStoreID)
        configuration.sweepInterval = .seconds(5)
        holders[node] = Held(HolderMachine(node: node, configuration: configuration))
        stores[node] = []
        order.append(.raylet(of: node))
        feed(node, .start)
        return node
    }

    func worker(on node: NodeID) -> WorkerID {
        nextNumber[node, default: 0] += 1
        let worker = WorkerID(node: node, number: nextNumber[node, default: 1])
        feed(node, .workerStarted(worker))
        add(worker, relay: .raylet(of: node))
        return worker
    }

    private func add(_ worker: WorkerID, relay: WorkerID) {
        var configuration = WorkerConfiguration(
            controlStore: Self.controlStoreID, detachedOwner: detachedOwner, relay: relay)
        configuration.lineageBytes = lineageBytes
        workers[worker] = Held(WorkerMachine(id: worker, configuration: configuration))
        order.append(worker)
    }

    func isAlive(_ worker: WorkerID) -> Bool { !dead.contains(worker) && !dead.contains(.raylet(of: worker.node)) }

    /// The process ends; its raylet sees that.
    func kill(_ worker: WorkerID, _ cause: DeathCause = .crashed) {
        dead.insert(worker)
        feed(worker.node, .workerExited(worker, cause))
    }

    /// The node falls silent; nobody knows yet.
    func silence(_ node: NodeID) { dead.insert(.raylet(of: node)) }

    func declareDead(_ node: NodeID, _ cause: DeathCause = .nodeLost) {
        dead.insert(.raylet(of: node))
        feed(controlStore: .declareDead(.node(node), cause))
    }

    /// The node is declared dead, and goes on until it hears of that.
    func declareDeadByMistake(_ node: NodeID) { feed(controlStore: .declareDead(.node(node), .nodeLost)) }

    /// Alive, and not declared dead.
    func counts(_ worker: WorkerID) -> Bool { isAlive(worker) && controlStore.death(of: worker) == nil }

    // MARK: Feeding

    func feed(_ worker: WorkerID, _ event: WorkerEvent) {
        guard isAlive(worker), workers[worker] != nil else { return }
        var directives: [WorkerDirective] = []
        workers[worker]?.machine.handle(event, now: now, into: &directives)
        for directive in directives { run(directive, at: worker) }
        expectSound(worker)
    }

    func feed(_ node: NodeID, _ event: HolderEvent) {
        guard !dead.contains(.raylet(of: node)), holders[node] != nil else { return }
        var directives: [HolderDirective] = []
        holders[node]?.machine.handle(event, now: now, into: &directives)
        for directive in directives { run(directive, at: node) }
        let violations = holders[node]?.machine.violations() ?? []
        #expect(violations == [])
    }

    func feed(controlStore event: ControlStoreEvent) {
        var directives: [ControlStoreDirective] = []
        controlStore.handle(event, now: now, into: &directives)
        for directive in directives {
            switch directive {
            case .send(let envelope): send(envelope)
            case .joined, .suspected, .died: break
            }
        }
    }

    private func expectSound(_ worker: WorkerID) {
        guard checksEachStep else { return }
        let violations = workers[worker]?.machine.violations() ?? []
        #expect(violations == [])
    }

    private func run(_ directive: WorkerDirective, at worker: WorkerID) {
        switch directive {
        case .send(let envelope): send(envelope)
        case .runTask(let task, let attempt): offers[task] = attempt
        case .stopTask(let task, _, _): stopped.append(task)
        case .forgetTask(let task): forgotten.insert(task)
        case .abandonTask(let task, _): abandoned.append(task)
        case .deliver(let waiter, let outcome):
            #expect(delivered[waiter] == nil, "waiter \(waiter) was answered twice")
            delivered[waiter] = outcome
        case .freed(let object): freed.append(object)
        case .recoveryRefused(let object, let error): refused[object] = error
        case .adopted(let request, let task): adoptions[request] = task
        case .died: break
        case .terminate:
            terminated.insert(worker)
            dead.insert(worker)
        }
    }

    private func run(_ directive: HolderDirective, at node: NodeID) {
        switch directive {
        case .send(let envelope): send(envelope)
        case .free(let copy): stores[node]?.remove(copy)
        case .pin: break
        case .statusChanged(let object, let status): statuses[object, default: []].append(status)
        case .died: break
        case .terminate:
            terminated.insert(.raylet(of: node))
            dead.insert(.raylet(of: node))
        }
    }

    // MARK: Network

    private func send(_ envelope: Envelope) {
        sent += 1
        switch fate(envelope) {
        case .deliver: schedule(envelope)
        case .lose: break
        case .duplicate:
            schedule(envelope)
            schedule(envelope)
        case .hold: held.append(envelope)
        }
    }

    private func schedule(_ envelope: Envelope) {
        lastNumber += 1
        let entry = (time: now + latency + jitter(), number: lastNumber, envelope: envelope)
        let place = network.lastIndex { $0.time <= entry.time }.map { $0 + 1 } ?? 0
        network.insert(entry, at: place)
    }

    /// Lets go what was held, in reverse order if asked.
    func release(reversed: Bool = false) {
        fate = { _ in .deliver }
        let envelopes = reversed ? held.reversed() : held
        held = []
        for envelope in envelopes { schedule(envelope) }
    }

    private func arrive(_ envelope: Envelope) {
        guard isAlive(envelope.receiver) || envelope.receiver.node == Self.controlNode else { return }
        if envelope.receiver == Self.controlStoreID { return feed(controlStore: .received(envelope)) }
        if envelope.receiver == .raylet(of: envelope.receiver.node) {
            return feed(envelope.receiver.node, .received(envelope))
        }
        feed(envelope.receiver, .received(envelope))
    }

    private func nextDeadline(_ machine: WorkerID) -> Timestamp {
        if machine == Self.controlStoreID { return controlStore.nextDeadline }
        guard isAlive(machine) else { return .never }
        return workers[machine]?.machine.nextDeadline ?? holders[machine.node]?.machine.nextDeadline ?? .never
    }

    /// Lets time pass, with all that happens in it.
    func run(for duration: Duration = .seconds(30)) {
        let end = now + duration
        while true {
            let due = order.map { (nextDeadline($0), $0) }.min { $0.0 < $1.0 }
            let timer = due?.0 ?? .never
            let packet = network.first?.time ?? .never
            guard min(timer, packet) <= end else { break }
            now = max(now, min(timer, packet))
            if packet <= timer {
                arrive(network.removeFirst().envelope)
            } else if let machine = due?.1 {
                if machine == Self.controlStoreID {
                    feed(controlStore: .timer)
                } else if workers[machine] != nil {
                    feed(machine, .timer)
                } else {
                    feed(machine.node, .timer)
                }
            }
        }
        now = end
    }

    // MARK: What programs do

    func put(_ worker: WorkerID, contents: [ObjectID] = [], stored: Bool = false) -> ObjectID {
        guard let object = workers[worker]?.machine.makeObjectID() else { fatalError("no worker \(worker)") }
        if stored {
            store(CopyID(object: object, attempt: 1), at: worker.node)
            feed(worker, .put(object, .stored(size: 1 << 20), contents: contents))
        } else {
            feed(worker, .put(object, .inline([1]), contents: contents))
        }
        return object
    }

    /// A local process has made a copy; it takes the place of another making.
    func store(_ copy: CopyID, at node: NodeID) {
        stores[node] = stores[node]?.filter { $0.object != copy.object }
        stores[node]?.insert(copy)
        feed(node, .sealed(copy, size: 1 << 20))
    }

    /// A copy was pulled from elsewhere.
    func pull(_ copy: CopyID, to node: NodeID) {
        stores[node]?.insert(copy)
        feed(node, .pulled(copy, size: 1 << 20))
    }

    /// A node's store has lost a copy.
    func evict(_ copy: CopyID, at node: NodeID) {
        stores[node]?.remove(copy)
        feed(node, .removed(copy.object))
    }

    func submit(
        _ worker: WorkerID, _ arguments: [ObjectID] = [], returns: Int = 1, retries: Int? = 3, bytes: Int = 100
    ) -> TaskID {
        guard let task = workers[worker]?.machine.makeTaskID(returns: returns) else {
            fatalError("no worker \(worker)")
        }
        feed(
            worker,
            .submit(
                TaskSubmission(
                    task: task, returns: returns, arguments: arguments, maximumRetries: retries, lineageBytes: bytes)))
        return task
    }

    func submitStream(_ worker: WorkerID, retries: Int? = 3) -> TaskID {
        guard let task = workers[worker]?.machine.makeStreamID() else { fatalError("no worker \(worker)") }
        feed(
            worker,
            .submit(
                TaskSubmission(
                    task: task, returns: 1, isStream: true, arguments: [], maximumRetries: retries, lineageBytes: 100)))
        return task
    }

    /// An item of a stream is made where it runs.
    func produce(
        _ task: TaskID, on worker: WorkerID, attempt: UInt32 = 1, _ index: UInt32, contents: [ObjectID] = [],
        stored: Bool = false
    ) {
        if stored { store(CopyID(object: task.returnID(Int(index)), attempt: attempt), at: worker.node) }
        let value = stored ? ObjectValue.stored(size: 1 << 20) : .inline([UInt8(index)])
        feed(worker, .itemProduced(task, attempt: attempt, index: index, ReturnedValue(value, contents: contents)))
    }

    func endStream(_ task: TaskID, on worker: WorkerID, attempt: UInt32 = 1, items: UInt32) {
        feed(worker, .taskFinished(task, attempt: attempt, .streamed(items: items)))
    }

    /// Pushes a task to a worker, which starts it, once the owner says that the inputs are there.
    func start(_ task: TaskID, on worker: WorkerID, _ arguments: [ObjectID] = []) {
        if offers[task] == nil { run(for: .milliseconds(100)) }
        guard let attempt = offers.removeValue(forKey: task) else {
            Issue.record("\(task) is not offered")
            return
        }
        feed(task.owner, .taskAssigned(task, attempt: attempt, to: worker))
        feed(worker, .taskStarted(task, attempt: attempt, arguments: arguments))
    }

    func finish(
        _ task: TaskID, on worker: WorkerID, attempt: UInt32 = 1, contents: [[ObjectID]] = [[]], stored: Bool = false
    ) {
        if stored {
            for index in contents.indices {
                store(CopyID(object: task.returnID(index), attempt: attempt), at: worker.node)
            }
        }
        let value = stored ? ObjectValue.stored(size: 1 << 20) : .inline([2])
        let returns = contents.map { ReturnedValue(value, contents: $0) }
        feed(worker, .taskFinished(task, attempt: attempt, .succeeded(returns)))
    }

    /// Submits a task, runs it and takes its stored return.
    func make(_ owner: WorkerID, on worker: WorkerID, _ arguments: [ObjectID] = [], retries: Int? = 3) -> TaskID {
        let task = submit(owner, arguments, retries: retries)
        run(for: .seconds(1))
        start(task, on: worker, arguments)
        finish(task, on: worker, stored: true)
        run(for: .seconds(1))
        return task
    }

    func take(_ worker: WorkerID, _ object: ObjectID, _ provenance: Provenance = .outOfBand) {
        feed(worker, .handleCreated(object, provenance))
    }

    func drop(_ worker: WorkerID, _ object: ObjectID) { feed(worker, .handleReleased(object)) }

    func get(_ worker: WorkerID, _ object: ObjectID, within limit: Duration = .seconds(3600)) -> UInt64 {
        lastWaiter += 1
        feed(worker, .get(object, waiter: lastWaiter, deadline: now + limit))
        return lastWaiter
    }

    // MARK: What tests ask

    func knows(_ worker: WorkerID, _ object: ObjectID) -> Bool { workers[worker]?.machine.knows(object) ?? false }

    func summary(_ object: ObjectID, at worker: WorkerID) -> ObjectSummary? {
        workers[worker]?.machine.summary(of: object)
    }

    func isFreed(_ object: ObjectID) -> Bool { !knows(object.owner, object) }

    func failure(_ waiter: UInt64) -> ObjectError.Reason? {
        guard case .failed(let error) = delivered[waiter] else { return nil }
        return error.reason
    }

    /// Nothing is left anywhere alive: no object, no task, no copy.
    func expectEmpty(sourceLocation: SourceLocation = #_sourceLocation) {
        for machine in order where counts(machine) {
            if let worker = workers[machine] {
                #expect(worker.machine.objectCount == 0, "objects at \(machine)", sourceLocation: sourceLocation)
                #expect(worker.machine.taskCount == 0, "tasks at \(machine)", sourceLocation: sourceLocation)
                #expect(worker.machine.executionCount == 0, "executions at \(machine)", sourceLocation: sourceLocation)
            } else if let holder = holders[machine.node] {
                #expect(holder.machine.copyCount == 0, "copies at \(machine)", sourceLocation: sourceLocation)
                #expect(stores[machine.node] == [], "store at \(machine)", sourceLocation: sourceLocation)
            }
        }
    }
}
