// What the ownership machines and handles cost. Each iteration does a thousand operations ("kilo").

import Benchmark
import RayCore
import RayOwnership

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock, .throughput], scalingFactor: .kilo, maxDuration: .seconds(2))
    handleBenchmarks()
    tableBenchmarks()
    taskBenchmarks()
}

private let node = NodeID(value: 1, incarnation: 1)
private let controlStore = WorkerID(node: NodeID(value: 9, incarnation: 1), number: 0)

private func machine(_ number: UInt32) -> WorkerMachine {
    WorkerMachine(
        id: WorkerID(node: node, number: number),
        configuration: WorkerConfiguration(
            controlStore: controlStore, detachedOwner: controlStore, relay: .raylet(of: node)))
}

private func handleBenchmarks() {
    Benchmark("Handle: copy and drop, one thread") { benchmark in
        let handle = ObjectHandle(ObjectID(owner: controlStore, sequence: 1), releases: ReleaseQueue {})
        var copies: [ObjectHandle?] = Array(repeating: nil, count: 1000)
        benchmark.startMeasurement()
        for index in benchmark.scaledIterations {
            copies[index % 1000] = handle
            copies[index % 1000] = nil
        }
        blackHole(copies)
    }
    Benchmark("Handle: make, and drop the last reference") { benchmark in
        let releases = ReleaseQueue {}
        benchmark.startMeasurement()
        for index in benchmark.scaledIterations {
            blackHole(ObjectHandle(ObjectID(owner: controlStore, sequence: UInt64(index)), releases: releases))
        }
    }
}

private func tableBenchmarks() {
    Benchmark("Worker: put and release, 100,000 objects beside it") { benchmark in
        var worker = machine(1)
        var directives: [WorkerDirective] = []
        func put() -> ObjectID {
            let object = worker.makeObjectID()
            worker.handle(.put(object, .inline([]), contents: []), now: .zero, into: &directives)
            return object
        }
        for _ in 0..<100_000 { _ = put() }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            worker.handle(.handleReleased(put()), now: .zero, into: &directives)
            directives.removeAll(keepingCapacity: true)
        }
        blackHole(worker.objectCount)
    }
    Benchmark("Worker: another handle of a known object") { benchmark in
        var worker = machine(1)
        var directives: [WorkerDirective] = []
        let object = worker.makeObjectID()
        worker.handle(.put(object, .inline([]), contents: []), now: .zero, into: &directives)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            worker.handle(.handleCreated(object, .outOfBand), now: .zero, into: &directives)
            worker.handle(.handleReleased(object), now: .zero, into: &directives)
        }
    }
}

private func taskBenchmarks() {
    Benchmark("Worker: a task, both sides, from submit to the release of its return") { benchmark in
        var owner = machine(1)
        var executor = machine(2)
        var ownerSays: [WorkerDirective] = []
        var executorSays: [WorkerDirective] = []
        benchmark.startMeasurement()
        for index in benchmark.scaledIterations {
            let now = Timestamp(nanoseconds: UInt64(index) * 1000)
            let task = owner.makeTaskID(returns: 1)
            let submission = TaskSubmission(
                task: task, returns: 1, arguments: [], maximumRetries: 3, lineageBytes: 100)
            owner.handle(.submit(submission), now: now, into: &ownerSays)
            owner.handle(.taskAssigned(task, attempt: 1, to: executor.id), now: now, into: &ownerSays)
            executor.handle(.taskStarted(task, attempt: 1, arguments: []), now: now, into: &executorSays)
            let outcome = TaskOutcome.succeeded([ReturnedValue(.inline([]))])
            executor.handle(.taskFinished(task, attempt: 1, outcome), now: now, into: &executorSays)
            for case .send(let envelope) in executorSays {
                owner.handle(.received(envelope), now: now, into: &ownerSays)
            }
            executorSays.removeAll(keepingCapacity: true)
            owner.handle(.handleReleased(task.returnID(0)), now: now, into: &ownerSays)
            for case .send(let envelope) in ownerSays where envelope.receiver == executor.id {
                executor.handle(.received(envelope), now: now, into: &executorSays)
            }
            ownerSays.removeAll(keepingCapacity: true)
        }
    }
}
