// Ray's published scenarios of streaming generators (task_manager_test.cc, reference_counter_test.cc,
// test_streaming_generator.py, test_reconstruction.py), on our machines.

import RayCore
import RayOwnership
import Testing

@Suite struct StreamTests {
    let cluster = Cluster()
    let owner: WorkerID
    let near: NodeID
    let far: NodeID
    let worker: WorkerID
    let helper: WorkerID

    init() {
        near = cluster.node(1)
        far = cluster.node(2)
        owner = cluster.worker(on: near)
        worker = cluster.worker(on: far)
        helper = cluster.worker(on: cluster.node(3))
        cluster.run(for: .seconds(1))
    }

    /// Takes a handle of an item, as a loop over the stream does.
    private func read(_ task: TaskID, _ index: Int) -> ObjectID {
        cluster.take(owner, task.returnID(index))
        return task.returnID(index)
    }

    private func dropAll(_ task: TaskID, _ indices: ClosedRange<Int>) {
        for index in indices { cluster.drop(owner, task.returnID(index)) }
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func itemsAreReadBeforeTheStreamEnds_thenItsEnd() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let early = cluster.get(owner, read(task, 1))
        #expect(cluster.delivered[early] == nil)
        cluster.produce(task, on: worker, 1)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[early] == .inline([1]))
        let (second, beyond) = (cluster.get(owner, read(task, 2)), cluster.get(owner, read(task, 3)))
        cluster.produce(task, on: worker, 2)
        cluster.endStream(task, on: worker, items: 2)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[second] == .inline([2]))
        #expect(cluster.failure(beyond) == .endOfStream)
        #expect(cluster.delivered[cluster.get(owner, task.returnID(0))] == .inline([2, 0, 0, 0, 0, 0, 0, 0]))
        #expect(cluster.failure(cluster.get(owner, read(task, 4))) == .endOfStream, "also when it has ended")
        dropAll(task, 0...4)
    }

    @Test func itemsAreReportedOutOfOrder() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let first = cluster.get(owner, read(task, 1))
        cluster.produce(task, on: worker, 3)
        cluster.produce(task, on: worker, 2)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[first] == nil)
        #expect(cluster.delivered[cluster.get(owner, read(task, 3))] == .inline([3]))
        cluster.produce(task, on: worker, 1)
        cluster.endStream(task, on: worker, items: 3)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[first] == .inline([1]))
        dropAll(task, 0...3)
    }

    @Test(arguments: [false, true])
    func itemsArriveOutOfOrder_andTheEndBeforeThem(reversed: Bool) {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let worker = worker
        cluster.fate = { $0.sender == worker ? .hold : .deliver }
        for index in 1...5 as ClosedRange<UInt32> { cluster.produce(task, on: worker, index, stored: index % 2 == 0) }
        cluster.endStream(task, on: worker, items: 5)
        cluster.release(reversed: reversed)
        cluster.run(for: .seconds(10))
        for index in 1...5 {
            let item = read(task, index)
            #expect(cluster.failure(cluster.get(owner, item)) == nil)
            #expect(cluster.summary(item, at: owner)?.state == (index % 2 == 0 ? .stored : .inline))
        }
        dropAll(task, 0...5)
    }

    @Test func copiesThatAreReportedBeforeTheirItem_areKept() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let worker = worker
        cluster.fate = { $0.sender == worker ? .hold : .deliver }
        cluster.produce(task, on: worker, 1, stored: true)
        cluster.run(for: .seconds(10))
        #expect(cluster.stores[far] == [CopyID(object: task.returnID(1), attempt: 1)])
        cluster.release()
        cluster.run(for: .seconds(5))
        #expect(cluster.summary(read(task, 1), at: owner)?.locations == [far])
        cluster.endStream(task, on: worker, items: 1)
        dropAll(task, 0...1)
    }

    @Test func unreadItemsEndWithTheStream_readOnesStay() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        for index in 1...3 as ClosedRange<UInt32> { cluster.produce(task, on: worker, index, stored: true) }
        cluster.run(for: .seconds(1))
        let item = read(task, 2)
        cluster.drop(owner, task.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.stores[far] == [CopyID(object: item, attempt: 1)])
        // What comes later finds nobody.
        cluster.produce(task, on: worker, 4, stored: true)
        cluster.endStream(task, on: worker, items: 4)
        cluster.run(for: .seconds(1))
        #expect(cluster.stores[far] == [CopyID(object: item, attempt: 1)])
        cluster.drop(owner, item)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func readItemsAreFreedWhileTheStreamGoesOn() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        for index in 1...3 as ClosedRange<UInt32> {
            cluster.produce(task, on: worker, index, stored: true)
            cluster.run(for: .seconds(1))
            cluster.drop(owner, read(task, Int(index)))
            cluster.run(for: .seconds(1))
            #expect(cluster.stores[far] == [])
        }
        #expect(cluster.workers[owner]?.machine.objectCount == 1, "the stream alone")
        cluster.take(owner, task.returnID(1))
        #expect(!cluster.knows(owner, task.returnID(1)), "it was read, and is gone")
        cluster.endStream(task, on: worker, items: 3)
        dropAll(task, 0...0)
    }

    @Test func references_insideOfItemsAreHeldByTheWorkerUntilTheyAreSafe() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let (worker, owner) = (worker, owner)
        cluster.fate = { $0.sender == worker && $0.receiver == owner ? .hold : .deliver }
        let inner = cluster.put(worker)
        cluster.produce(task, on: worker, 1, contents: [inner])
        cluster.drop(worker, inner)
        cluster.run(for: .milliseconds(100))
        #expect(cluster.summary(inner, at: worker)?.loans == 1)
        cluster.release()
        cluster.run(for: .seconds(5))
        #expect(cluster.summary(inner, at: worker)?.loans == 0)
        #expect(cluster.summary(inner, at: worker)?.borrowers == [owner])
        cluster.endStream(task, on: worker, items: 1)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func reexecution_afterTheWorkerDied_makesOnlyWhatIsMissing() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        cluster.produce(task, on: worker, 1)
        cluster.produce(task, on: worker, 2, stored: true)
        cluster.run(for: .seconds(1))
        let (first, second) = (read(task, 1), read(task, 2))
        cluster.drop(owner, first)
        let waiter = cluster.get(owner, read(task, 3))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(second, at: owner)?.state == .recovering)
        cluster.start(task, on: helper)
        for index in 1...3 as ClosedRange<UInt32> {
            cluster.produce(task, on: helper, attempt: 2, index, stored: index > 1)
        }
        cluster.run(for: .seconds(1))
        #expect(!cluster.knows(owner, first), "it was read and dropped: it is not made again")
        #expect(cluster.summary(second, at: owner)?.attempt == 2)
        if case .located = cluster.delivered[waiter] {} else { Issue.record("the third has not come") }
        cluster.endStream(task, on: helper, attempt: 2, items: 3)
        cluster.run(for: .seconds(1))
        dropAll(task, 0...3)
    }

    @Test(arguments: [false, true])
    func reexecution_afterTheStreamHasEnded(streamIsHeld: Bool) {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        for index in 1...3 as ClosedRange<UInt32> { cluster.produce(task, on: worker, index, stored: index != 2) }
        cluster.endStream(task, on: worker, items: 3)
        cluster.run(for: .seconds(1))
        for index in 1...3 { _ = read(task, index) }
        #expect(cluster.failure(cluster.get(owner, read(task, 4))) == .endOfStream)
        cluster.drop(owner, task.returnID(4))
        if !streamIsHeld { cluster.drop(owner, task.returnID(0)) }
        #expect(!cluster.forgotten.contains(task), "items keep the lineage, without the stream")
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == 2)
        cluster.start(task, on: helper)
        for index in 1...4 as ClosedRange<UInt32> {
            cluster.produce(task, on: helper, attempt: 2, index, stored: index != 2)
        }
        cluster.endStream(task, on: helper, attempt: 2, items: 4)
        cluster.run(for: .seconds(1))
        #expect((1...3).map { cluster.summary(task.returnID($0), at: owner)?.attempt } == [2, 1, 2])
        #expect(cluster.stores[helper.node]?.count == 2, "the fourth is nobody's")
        cluster.drop(owner, task.returnID(1))
        cluster.drop(owner, task.returnID(3))
        cluster.run(for: .seconds(1))
        #expect(cluster.workers[owner]?.machine.lineageBytes == 100, "an item is left")
        cluster.drop(owner, task.returnID(2))
        if streamIsHeld { cluster.drop(owner, task.returnID(0)) }
        cluster.run()
        #expect(cluster.forgotten.contains(task))
        cluster.expectEmpty()
    }

    @Test func itemLostBeforeTheStreamEnds_isMadeAgainAfterIt() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        cluster.produce(task, on: worker, 1, stored: true)
        cluster.run(for: .seconds(1))
        let waiter = cluster.get(owner, read(task, 1))
        cluster.evict(CopyID(object: task.returnID(1), attempt: 1), at: far)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(task.returnID(1), at: owner)?.state == .recovering)
        #expect(cluster.offers.isEmpty)
        cluster.endStream(task, on: worker, items: 1)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == 2)
        cluster.start(task, on: helper)
        cluster.produce(task, on: helper, attempt: 2, 1, stored: true)
        cluster.endStream(task, on: helper, attempt: 2, items: 1)
        cluster.run(for: .seconds(1))
        if case .located = cluster.delivered[waiter] {} else { Issue.record("it was not made again") }
        dropAll(task, 0...1)
    }

    @Test func failure_endsWhatHasNotCome_andNotWhatHas() {
        let task = cluster.submitStream(owner, retries: 0)
        cluster.start(task, on: worker)
        cluster.produce(task, on: worker, 1)
        cluster.run(for: .seconds(1))
        let second = cluster.get(owner, read(task, 2))
        cluster.kill(worker)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(second) == .workerDied(worker, .crashed))
        #expect(cluster.delivered[cluster.get(owner, read(task, 1))] == .inline([1]))
        #expect(cluster.failure(cluster.get(owner, read(task, 3))) == .workerDied(worker, .crashed))
        dropAll(task, 0...3)
    }

    @Test func aCancelledStreamEndsWithThat() {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        cluster.produce(task, on: worker, 1)
        let second = cluster.get(owner, read(task, 2))
        cluster.feed(owner, .cancel(task))
        cluster.feed(worker, .taskFinished(task, attempt: 1, .cancelled))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(second) == .cancelled)
        #expect(cluster.delivered[cluster.get(owner, read(task, 1))] == .inline([1]))
        dropAll(task, 0...2)
    }

    @Test func anAnswerThatIsNoStreamsIsTriedAgain() {
        let task = cluster.submitStream(owner, retries: 1)
        cluster.start(task, on: worker)
        cluster.finish(task, on: worker)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == 2)
        let plain = cluster.submit(owner, retries: 0)
        cluster.start(plain, on: worker)
        cluster.endStream(plain, on: worker, items: 0)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, plain.returnID(0))) == .taskFailed(.refused))
    }

    @Test(arguments: [false, true])
    func aLateItemOfAnEarlierAttemptIsDeclined(onTheSameWorker: Bool) {
        let task = cluster.submitStream(owner)
        cluster.start(task, on: worker)
        let (worker, owner) = (worker, owner)
        cluster.fate = { $0.sender == worker && $0.receiver == owner ? .hold : .deliver }
        let inner = cluster.put(helper)
        cluster.feed(helper, .exported(inner))
        cluster.take(worker, inner)
        cluster.produce(task, on: worker, 1, contents: [inner], stored: true)
        cluster.feed(owner, .attemptRejected(task, attempt: 1, .refused))
        let next = onTheSameWorker ? worker : helper
        cluster.offers = [:]
        cluster.feed(owner, .taskAssigned(task, attempt: 2, to: next))
        cluster.release()
        cluster.run(for: .seconds(5))
        #expect(cluster.summary(task.returnID(1), at: owner) == nil)
        #expect(cluster.stores[far] == [], "its copy is freed")
        #expect(cluster.summary(inner, at: worker)?.loans == 0, "and what was in it is given back")
        cluster.feed(worker, .taskFinished(task, attempt: 1, .cancelled))
        cluster.drop(worker, inner)
        cluster.feed(helper, .exportRevoked(inner))
        cluster.drop(helper, inner)
        cluster.feed(next, .taskStarted(task, attempt: 2, arguments: []))
        cluster.endStream(task, on: next, attempt: 2, items: 0)
        dropAll(task, 0...0)
    }
}
