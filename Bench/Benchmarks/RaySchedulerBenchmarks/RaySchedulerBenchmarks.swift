// What scheduling costs: decisions, views, and the machines' whole work for a task.

import Benchmark
import RayCore
import RayScheduler

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.cpuUser, .wallClock, .throughput], scalingFactor: .kilo, maxDuration: .seconds(3))
    decisionBenchmarks()
    viewBenchmarks()
    taskBenchmarks()
}

/// Requests before the measurement: tables have grown by then.
private let warmUp = 100_000
private let here = NodeID(value: 1, incarnation: 1)
private let submitter = WorkerID(node: here, number: 1)
private let plain = SchedulingClass(demand: ResourceVector(cpu: 1))
private let start = Timestamp(nanoseconds: 1)

private func node(_ index: Int) -> NodeID {
    NodeID(value: UInt64(index) &* 0x9e37_79b9_7f4a_7c15 | 2, incarnation: 1)
}

/// Nodes of 16 CPUs, more or less used.
private func reports(_ count: Int, version: UInt64 = 1, seed: UInt64 = 1) -> [NodeReport] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map {
        NodeReport(
            node: node($0), version: version, total: ResourceVector(cpu: 16, memory: ResourceAmount(1 << 36)),
            available: ResourceVector(
                cpu: ResourceAmount(.random(in: 0...16, using: &random)), memory: ResourceAmount(1 << 36)))
    }
}

private func view(_ count: Int) -> ClusterView {
    var view = ClusterView()
    for report in reports(count) { view.apply(report) }
    return view
}

/// A node without room of its own, with so many requests in its queue.
private func fullNode(queue: Int) -> NodeMachine {
    var node = NodeMachine(id: here, capacity: NodeCapacity(cpu: 1), seed: 1)
    var (none, directives) = (ClusterView(), [NodeDirective]())
    let waiting = SchedulingClass(demand: ResourceVector(cpu: 1), constraint: .node(here), function: 1)
    for sequence in 1...max(1, queue) {
        let owner = WorkerID(node: here, number: 2)
        let request = LeaseRequest(
            id: LeaseRequestID(submitter: owner, sequence: UInt64(sequence)), schedulingClass: waiting)
        node.handle(.received(.request(request), from: .worker(owner)), now: start, view: &none, into: &directives)
        directives.removeAll(keepingCapacity: true)
    }
    return node
}

/// A whole request: taken in, placed on another node, answered. The decision is the larger part of it.
private func decisionBenchmarks() {
    for (nodes, queue) in [(100, 1), (10_000, 1), (10_000, 1_000_000)] {
        Benchmark("Request placed on one of \(nodes) nodes, \(queue) in the queue") { benchmark in
            var machine = fullNode(queue: queue)
            var (known, directives) = (view(nodes), [NodeDirective]())
            var (sequence, version): (UInt64, UInt64) = (0, 1)
            let states = reports(nodes)
            for round in 0..<(warmUp + benchmark.scaledIterations.count) {
                if round == warmUp { benchmark.startMeasurement() }
                sequence += 1
                let request = LeaseRequest(
                    id: LeaseRequestID(submitter: submitter, sequence: sequence), settledBelow: sequence,
                    schedulingClass: plain)
                machine.handle(
                    .received(.request(request), from: .worker(submitter)), now: start, view: &known, into: &directives)
                directives.removeAll(keepingCapacity: true)
                // What was placed would fill the nodes in the end: one of them reports anew.
                var state = states[Int(sequence % UInt64(nodes))]
                version += 1
                state.version = version
                known.apply(state)
            }
            // Not what it takes to free a million requests.
            benchmark.stopMeasurement()
            blackHole((machine.queuedSlots, known))
        }
    }
}

private func viewBenchmarks() {
    Benchmark("View of 10,000 nodes with one shape: apply a report") { benchmark in
        var machine = fullNode(queue: 1)
        var (known, directives) = (view(10_000), [NodeDirective]())
        let request = LeaseRequest(id: LeaseRequestID(submitter: submitter, sequence: 1), schedulingClass: plain)
        machine.handle(
            .received(.request(request), from: .worker(submitter)), now: start, view: &known, into: &directives)
        var states = [reports(10_000, seed: 2), reports(10_000, seed: 3)]
        var version: UInt64 = 1
        benchmark.startMeasurement()
        for iteration in benchmark.scaledIterations {
            version += 1
            let (set, slot) = (iteration / 10_000 % 2, iteration % 10_000)
            states[set][slot].version = version
            blackHole(known.apply(states[set][slot]))
        }
        benchmark.stopMeasurement()
        blackHole((machine.queuedSlots, known))
    }
}

/// One submitter, one node with 16 workers, tasks of 5 ms; messages are handed over at once.
private struct OneNode: ~Copyable {
    var view = ClusterView()
    var node = NodeMachine(id: here, capacity: NodeCapacity(cpu: 16), seed: 1)
    var driver = SubmitterMachine(id: submitter)
    var workers: [ExecutorMachine] = []
    var now = start
    var running: [(worker: WorkerID, task: TaskID)] = []
    var ended = 0
    private var messages: [(message: SchedulerMessage, from: Party, to: Party)] = []
    private var nodeDirectives: [NodeDirective] = []
    private var driverDirectives: [SubmitterDirective] = []
    private var workerDirectives: [ExecutorDirective] = []

    mutating func submit(_ sequence: Int) {
        let task = TaskSubmission(id: TaskID(owner: submitter, sequence: UInt64(sequence)), schedulingClass: plain)
        driver.handle(.submit(task), now: now, into: &driverDirectives)
        runDriver()
    }

    /// Lets the tasks that run end, and hands over messages until there are none.
    mutating func step() {
        deliver()
        now = now + .milliseconds(5)
        let ending = running
        running.removeAll(keepingCapacity: true)
        for (worker, task) in ending {
            workers[Int(worker.number) - 100].handle(
                .finished(task, isCancelled: false), now: now, into: &workerDirectives)
            runWorker(worker)
        }
        if driver.nextDeadline <= now { driver.tick(now: now, into: &driverDirectives) }
        if node.nextDeadline <= now { node.tick(now: now, view: &view, into: &nodeDirectives) }
        runDriver()
        runNode()
        deliver()
    }

    private mutating func deliver() {
        while let (message, sender, receiver) = messages.popLast() {
            switch receiver {
            case .controlStore: break
            case .node:
                node.handle(.received(message, from: sender), now: now, view: &view, into: &nodeDirectives)
                runNode()
            case .worker(submitter):
                driver.handle(.received(message, from: sender), now: now, into: &driverDirectives)
                runDriver()
            case .worker(let worker):
                workers[Int(worker.number) - 100].handle(
                    .received(message, from: sender), now: now, into: &workerDirectives)
                runWorker(worker)
            }
        }
    }

    private mutating func runNode() {
        var next = 0
        while next < nodeDirectives.count {
            switch nodeDirectives[next] {
            case .send(let message, let party): messages.append((message, .node(here), party))
            case .startWorker(let environment):
                let worker = WorkerID(node: here, number: UInt32(100 + workers.count))
                workers.append(ExecutorMachine(id: worker))
                node.handle(
                    .workerReady(worker, environment: environment), now: now, view: &view, into: &nodeDirectives)
            case .stopWorker, .pull, .release, .drained: break
            }
            next += 1
        }
        nodeDirectives.removeAll(keepingCapacity: true)
    }

    private mutating func runDriver() {
        for directive in driverDirectives {
            switch directive {
            case .send(let message, let party): messages.append((message, .worker(submitter), party))
            case .ended: ended += 1
            case .resolve, .locate: break
            }
        }
        driverDirectives.removeAll(keepingCapacity: true)
    }

    private mutating func runWorker(_ worker: WorkerID) {
        for directive in workerDirectives {
            switch directive {
            case .run(let task, _): running.append((worker, task))
            case .send(let message, let party): messages.append((message, .worker(worker), party))
            case .interrupt: break
            }
        }
        workerDirectives.removeAll(keepingCapacity: true)
    }
}

private func taskBenchmarks() {
    Benchmark("Task: all machines, submission to end, on 16 CPUs") { benchmark in
        var cluster = OneNode()
        var submitted = 0
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            submitted += 1
            cluster.submit(submitted)
            while cluster.ended + 1000 <= submitted { cluster.step() }
        }
        while cluster.ended < submitted { cluster.step() }
        blackHole(cluster.ended)
    }
}
