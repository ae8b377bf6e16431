// Scenarios of the worker pool, and of the tasks on one worker.

import RayCore
import RayScheduler
import Testing

@Suite struct WorkerPoolTests {
    @Test func startsAreLimited() {
        var bed = NodeBed(capacity(2))
        bed.request(SchedulingClass(demand: ResourceVector(cpu: ResourceAmount(fraction: 0.1))), slots: 10)
        #expect(bed.starts.count == 2)
        bed.addWorker()
        #expect(bed.starts.count == 3)
    }

    @Test func workersServeTheirEnvironmentOnly() {
        var bed = NodeBed(capacity(4))
        bed.addWorker(environment: 7)
        let plain = bed.request(oneCPU)
        #expect(bed.grants(plain).isEmpty)
        #expect(bed.starts == [0])
        let special = bed.request(SchedulingClass(demand: ResourceVector(cpu: 1), environment: 7))
        #expect(bed.grants(special).count == 1)
    }

    @Test func aReturnedWorkerGoesToTheFirstLeaseThatWaits() {
        var bed = NodeBed(capacity(2))
        let worker = bed.addWorker()
        let first = bed.lease(oneCPU)[0]
        let second = bed.request(oneCPU)
        #expect(bed.starts.count == 1)
        bed.giveBack(first)
        #expect(bed.grants(second).map(\.worker) == [worker])
    }

    @Test func aFailingEnvironmentFailsItsRequests() {
        var bed = NodeBed(capacity(2))
        let request = bed.request(oneCPU)
        for _ in 0..<5 {
            #expect(bed.parts(request).isEmpty)
            bed.feed(.workerStartFailed(environment: 0))
        }
        guard case .failed(slots: 1, .workerStartFailed)? = bed.parts(request).first else {
            return #expect(Bool(false), "\(bed.parts(request))")
        }
        #expect(bed.starts.count == 5)
        #expect(bed.node.available == bed.node.total)
    }

    @Test func theColdestIdleWorkersEndFirst() {
        var bed = NodeBed(capacity(1))
        let workers = (0..<3).map { _ in
            bed.now = bed.now + .milliseconds(10)
            return bed.addWorker()
        }
        bed.advance(.milliseconds(900))
        #expect(bed.stops.isEmpty)
        bed.advance(.milliseconds(200))
        #expect(bed.stops.map(\.worker) == [workers[0], workers[1]])
        #expect(bed.stops.allSatisfy { $0.isIdle })
    }

    @Test func aWorkerThatOwnsSomethingMayStay() {
        var bed = NodeBed(capacity(1))
        let workers = (0..<2).map { _ in bed.addWorker() }
        bed.advance(.seconds(2))
        #expect(bed.stops.map(\.worker) == [workers[0]])
        let first = bed.request(oneCPU)
        #expect(bed.grants(first).map(\.worker) == [workers[1]], "the other is ending")
        bed.feed(.workerReady(workers[0], environment: 0))
        bed.giveBack(bed.grants(first)[0])
        bed.feed(.workerDied(workers[1]))
        let second = bed.lease(oneCPU)
        #expect(second.map(\.worker) == [workers[0]])
    }

    @Test func aWorkerThatDiesFreesItsLease() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        let lease = bed.lease(oneCPU)[0]
        bed.feed(.workerDied(worker))
        #expect(bed.node.available == bed.node.total)
        bed.giveBack(lease)
        #expect(bed.node.leaseCount == 0)
    }

    @Test func aBadWorkerIsNotUsedAgain() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        let lease = bed.lease(oneCPU)[0]
        let next = bed.request(oneCPU)
        bed.feed(.received(.giveBack(LeaseReturn(lease: lease.lease, isWorkerBad: true)), from: .worker(driver)))
        #expect(bed.stops.map(\.worker) == [worker])
        #expect(bed.grants(next).isEmpty)
        bed.feed(.workerDied(worker))
        let replacement = bed.addWorker()
        #expect(bed.grants(next).map(\.worker) == [replacement])
    }
}

/// A worker and what it said.
private struct ExecutorBed {
    let id = WorkerID(node: here, number: 100)
    var executor = ExecutorMachine(id: WorkerID(node: here, number: 100))
    var runs: [TaskID] = []
    var interrupts: [TaskID] = []
    var reports: [TaskReport] = []

    mutating func feed(_ event: ExecutorEvent) {
        var directives: [ExecutorDirective] = []
        executor.handle(event, now: .zero, into: &directives)
        for directive in directives {
            switch directive {
            case .run(let task, _): runs.append(task)
            case .interrupt(let task): interrupts.append(task)
            case .send(.taskReport(let report), to: _): reports.append(report)
            case .send: break
            }
        }
    }

    mutating func push(_ number: UInt32, lease: UInt64 = 1, settledBelow: UInt32 = 1, by submitter: WorkerID = driver) {
        let push = TaskPush(
            task: task(UInt64(number) + lease * 100), execution: 1, lease: LeaseID(node: here, number: lease),
            number: number, settledBelow: settledBelow)
        feed(.received(.push(push), from: .worker(submitter)))
    }

    mutating func cancel(_ number: UInt32, lease: UInt64 = 1) {
        feed(
            .received(
                .cancelTask(TaskCancel(lease: LeaseID(node: here, number: lease), number: number)),
                from: .worker(driver)))
    }

    mutating func finish() { if let last = runs.last { feed(.finished(last, isCancelled: false)) } }
}

@Suite struct ExecutorTests {
    @Test func tasksRunOneAfterTheOther() {
        var bed = ExecutorBed()
        bed.push(1)
        bed.push(2)
        #expect(bed.runs == [task(101)])
        bed.finish()
        #expect(bed.runs == [task(101), task(102)])
        #expect(bed.reports.map(\.progress) == [.finished])
    }

    @Test func aRepeatedPushRunsOnce() {
        var bed = ExecutorBed()
        for _ in 0..<2 { bed.push(1) }
        #expect(bed.reports.map(\.progress) == [.accepted])
        bed.finish()
        bed.push(1)
        #expect(bed.reports.map(\.progress) == [.accepted, .finished, .finished])
        bed.push(2, settledBelow: 2)
        bed.push(1)
        #expect(bed.reports.count == 3, "the submitter knows: it is a straggler")
        #expect(bed.runs == [task(101), task(102)])
    }

    @Test func anOlderLeaseIsRefused() {
        var bed = ExecutorBed()
        bed.push(1, lease: 2, by: otherDriver)
        bed.push(1, lease: 1)
        #expect(bed.reports.map(\.progress) == [.refused])
        #expect(bed.runs == [task(201)])
    }

    @Test func strangersOnALeaseAreIgnored() {
        var bed = ExecutorBed()
        bed.push(1)
        bed.push(2, by: otherDriver)
        #expect(bed.executor.taskCount == 1)
    }

    @Test func behindABlockedTaskNothingWaits() {
        var bed = ExecutorBed()
        bed.push(1)
        bed.push(2)
        bed.feed(.blocked)
        #expect(bed.reports == [TaskReport(lease: LeaseID(node: here, number: 1), number: 2, progress: .returned)])
        bed.push(3)
        #expect(bed.reports.last?.progress == .returned)
        bed.feed(.unblocked)
        bed.finish()
        bed.push(2)
        #expect(bed.runs == [task(101)], "what was returned is never run under that push")
        bed.push(4)
        #expect(bed.runs == [task(101), task(104)])
    }

    @Test func tasksAreCancelled() {
        var bed = ExecutorBed()
        bed.push(1)
        bed.push(2)
        bed.cancel(2)
        #expect(bed.reports.map(\.progress) == [.cancelled])
        bed.cancel(1)
        #expect(bed.interrupts == [task(101)])
        bed.feed(.finished(task(101), isCancelled: true))
        #expect(bed.reports.map(\.progress) == [.cancelled, .cancelled])
        bed.cancel(3)
        bed.push(3)
        #expect(bed.runs == [task(101)], "the cancellation came first")
        #expect(bed.reports.last == TaskReport(lease: LeaseID(node: here, number: 1), number: 3, progress: .cancelled))
    }
}
