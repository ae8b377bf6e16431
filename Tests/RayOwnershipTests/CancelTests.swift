// Ray's published scenarios of cancellation, on our machines.

import RayCore
import RayOwnership
import Testing

/// Ways in which a task is cancelled (after test_cancel.py).
@Suite struct CancelTests {
    let cluster = Cluster()
    let owner: WorkerID
    let worker: WorkerID

    init() {
        owner = cluster.worker(on: cluster.node(1))
        worker = cluster.worker(on: cluster.node(2))
        cluster.run(for: .seconds(1))
    }

    private func expectNothingLeft(_ tasks: [TaskID]) {
        for task in tasks { cluster.drop(owner, task.returnID(0)) }
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func cancel_whileItsInputsAreMade() {
        let source = cluster.submit(owner)
        let task = cluster.submit(owner, [source.returnID(0)])
        let waiter = cluster.get(owner, task.returnID(0))
        cluster.feed(owner, .cancel(task))
        #expect(cluster.failure(waiter) == .cancelled)
        #expect(cluster.offers == [source: 1], "its input is made all the same")
        cluster.start(source, on: worker)
        cluster.finish(source, on: worker)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers.isEmpty)
        expectNothingLeft([source, task])
    }

    @Test func cancel_itsDependentsFailWithIt() {
        let task = cluster.submit(owner)
        let dependent = cluster.submit(owner, [task.returnID(0)])
        let last = cluster.submit(owner, [dependent.returnID(0)])
        let waiter = cluster.get(owner, last.returnID(0))
        cluster.feed(owner, .cancel(task))
        #expect(cluster.delivered[waiter] == .failed(ObjectError(task.returnID(0), .cancelled)))
        expectNothingLeft([task, dependent, last])
    }

    @Test func cancel_tooLate_theValueCounts() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        cluster.finish(task, on: worker)
        cluster.feed(owner, .cancel(task))
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[cluster.get(owner, task.returnID(0))] == .inline([2]))
        cluster.feed(owner, .cancel(task))
        #expect(cluster.delivered[cluster.get(owner, task.returnID(0))] == .inline([2]))
        expectNothingLeft([task])
    }

    @Test func cancel_twice_andForce() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        for _ in 0..<2 { cluster.feed(owner, .cancel(task)) }
        let waiter = cluster.get(owner, task.returnID(0))
        // Force is the end of its worker, with no retry although it has some.
        cluster.kill(worker, .killed)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .cancelled)
        #expect(cluster.offers.isEmpty)
        expectNothingLeft([task])
    }

    @Test func cancel_whileItWaitsToRunAgain() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        cluster.kill(worker)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [task: 2])
        cluster.feed(owner, .cancel(task))
        #expect(cluster.failure(cluster.get(owner, task.returnID(0))) == .cancelled)
        #expect(cluster.stopped == [task])
        expectNothingLeft([task])
    }

    /// Recursive cancellation: a task that is given up has its own tasks given up by the process that runs it.
    @Test func cancel_itsChildren() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        let child = cluster.submit(worker)
        cluster.start(child, on: owner)
        cluster.feed(owner, .cancel(task))
        cluster.feed(worker, .cancel(child))
        cluster.feed(owner, .taskFinished(child, attempt: 1, .cancelled))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(worker, child.returnID(0))) == .cancelled)
        cluster.drop(worker, child.returnID(0))
        cluster.feed(worker, .taskFinished(task, attempt: 1, .cancelled))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, task.returnID(0))) == .cancelled)
        expectNothingLeft([task])
    }

    @Test func cancel_byWhoIsNotTheOwner_doesNothing() {
        // Its own first task has the same number.
        let other = cluster.submit(worker)
        let task = cluster.submit(owner)
        #expect(other.sequence == task.sequence)
        cluster.start(task, on: worker)
        cluster.feed(worker, .cancel(task))
        #expect(cluster.stopped.isEmpty)
        #expect(cluster.summary(other.returnID(0), at: worker)?.state == .pending)
        cluster.finish(task, on: worker)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[cluster.get(owner, task.returnID(0))] == .inline([2]))
        cluster.feed(worker, .cancel(other))
        cluster.drop(worker, other.returnID(0))
        expectNothingLeft([task])
    }
}
