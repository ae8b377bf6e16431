// Ray's published scenarios of lineage and recovery (reference_counter_test.cc, object_recovery_manager_test.cc,
// test_reconstruction.py), on our machines.

import RayCore
import RayOwnership
import Testing

@Suite struct RecoveryTests {
    let cluster = Cluster()
    let owner: WorkerID
    let near: NodeID
    let far: NodeID
    let spare: NodeID
    let worker: WorkerID
    let helper: WorkerID

    init() {
        near = cluster.node(1)
        far = cluster.node(2)
        spare = cluster.node(3)
        owner = cluster.worker(on: near)
        worker = cluster.worker(on: far)
        helper = cluster.worker(on: spare)
        cluster.run(for: .seconds(1))
    }

    @Test func noRecoveryIfPinned() {
        let task = cluster.make(owner, on: worker)
        cluster.feed(owner, .recover(task.returnID(0)))
        cluster.run(for: .seconds(1))
        #expect(cluster.offers.isEmpty)
        #expect(cluster.workers[owner]?.machine.statistics == WorkerStatistics())
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func pinSecondary_whenTheNodeOfThePrimaryDies() {
        let task = cluster.make(owner, on: worker)
        cluster.pull(CopyID(object: task.returnID(0), attempt: 1), to: spare)
        cluster.run(for: .seconds(1))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.workers[owner]?.machine.statistics.recoveredByPin == 1)
        #expect(cluster.summary(task.returnID(0), at: owner)?.locations == [spare])
        #expect(cluster.offers.isEmpty)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func resubmit_whenNoCopyIsLeft() {
        let task = cluster.make(owner, on: worker)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == 2)
        let waiter = cluster.get(owner, task.returnID(0))
        cluster.start(task, on: helper)
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        guard case .located(let located) = cluster.delivered[waiter] else {
            Issue.record("\(String(describing: cluster.delivered[waiter]))")
            return
        }
        #expect(located.locations.map(\.node) == [spare])
        #expect(located.attempt == 2)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func recursiveDependencies_inputsAreRecoveredFirst() {
        var tasks = [cluster.make(owner, on: worker)]
        for _ in 0..<5 { tasks.append(cluster.make(owner, on: worker, [tasks[tasks.count - 1].returnID(0)])) }
        for task in tasks.dropLast() { cluster.drop(owner, task.returnID(0)) }
        cluster.run(for: .seconds(1))
        #expect(cluster.freed.count == 5)
        #expect(cluster.summary(tasks[0].returnID(0), at: owner)?.state == .released)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        for task in tasks {
            #expect(Array(cluster.offers.keys) == [task])
            cluster.start(task, on: helper)
            cluster.finish(task, on: helper, attempt: 2, stored: true)
            cluster.run(for: .seconds(1))
        }
        #expect(cluster.summary(tasks[5].returnID(0), at: owner)?.state == .stored)
        #expect(cluster.stores[spare]?.count == 1)
        cluster.drop(owner, tasks[5].returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func put_isNotRecoverable() {
        let object = cluster.put(owner, stored: true)
        cluster.evict(CopyID(object: object, attempt: 1), at: near)
        let waiter = cluster.get(owner, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == nil)
        let late = cluster.get(owner, object)
        #expect(cluster.failure(late) == .lostPut)
        #expect(cluster.refused[object]?.reason == .lostPut)
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func retriesDisabled() {
        let task = cluster.make(owner, on: worker, retries: 0)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, task.returnID(0))) == .lostRetriesDisabled)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func theInputOfAnOfferedTaskIsLost_itFailsWithTheErrorOfTheInput() {
        let input = cluster.make(owner, on: worker, retries: 0)
        let task = cluster.submit(owner, [input.returnID(0)], retries: 0)
        let waiter = cluster.get(owner, task.returnID(0))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == nil, "it was offered, so the scheduler has it")
        cluster.feed(owner, .attemptRejected(task, attempt: 1, .inputUnavailable))
        #expect(cluster.failure(waiter) == .lostRetriesDisabled)
        for object in [input.returnID(0), task.returnID(0)] { cluster.drop(owner, object) }
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func retriesExhausted() {
        let task = cluster.make(owner, on: worker, retries: 1)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        cluster.start(task, on: helper)
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        #expect(cluster.forgotten.contains(task))
        cluster.declareDead(spare)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, task.returnID(0))) == .lostRetriesExhausted)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func executorDies_retriesThenFails() {
        let task = cluster.submit(owner, retries: 1)
        let waiter = cluster.get(owner, task.returnID(0))
        cluster.start(task, on: worker)
        cluster.kill(worker, .outOfMemory)
        cluster.run(for: .seconds(1))
        cluster.start(task, on: helper)
        cluster.kill(helper)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .workerDied(helper, .crashed))
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func attemptThatHasNotBegun_movesToAnotherWorker() {
        let inner = cluster.put(owner)
        let task = cluster.submit(owner, [inner])
        cluster.feed(owner, .taskAssigned(task, attempt: 1, to: worker))
        cluster.start(task, on: helper, [inner])
        cluster.kill(worker)
        cluster.run(for: .seconds(1))
        cluster.finish(task, on: helper)
        cluster.drop(owner, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[cluster.get(owner, task.returnID(0))] == .inline([2]))
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func lineageEvicted_oldestFirst() {
        let small = Cluster()
        small.lineageBytes = 250
        let home = small.node(1)
        let away = small.node(2)
        let owner = small.worker(on: home)
        let worker = small.worker(on: away)
        small.run(for: .seconds(1))
        let tasks = (0..<3).map { _ in small.make(owner, on: worker) }
        #expect(small.workers[owner]?.machine.lineageBytes == 200)
        #expect(small.forgotten == [tasks[0]])
        small.declareDead(away)
        small.run(for: .seconds(1))
        #expect(small.failure(small.get(owner, tasks[0].returnID(0))) == .lostLineageEvicted)
        #expect(small.offers == [tasks[1]: 2, tasks[2]: 2])
        for task in tasks {
            small.feed(owner, .cancel(task))
            small.drop(owner, task.returnID(0))
        }
        small.run()
        small.expectEmpty()
    }

    @Test func borrowed_onlyTheOwnerRecovers() {
        let task = cluster.make(owner, on: worker)
        let asking = cluster.submit(owner, [task.returnID(0)])
        cluster.start(asking, on: helper, [task.returnID(0)])
        cluster.take(helper, task.returnID(0), .task(asking))
        cluster.feed(helper, .recover(task.returnID(0)))
        #expect(cluster.refused[task.returnID(0)]?.reason == .borrowed)
        // The way that helps: the borrower gets, and the owner recovers.
        cluster.declareDead(far)
        let waiter = cluster.get(helper, task.returnID(0))
        cluster.run(for: .seconds(1))
        let again = cluster.worker(on: near)
        cluster.start(task, on: again)
        cluster.finish(task, on: again, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        guard case .located = cluster.delivered[waiter] else {
            Issue.record("the borrower was not told")
            return
        }
        cluster.drop(helper, task.returnID(0))
        cluster.finish(asking, on: helper)
        cluster.drop(owner, task.returnID(0))
        cluster.drop(owner, asking.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func cancelled_beforeAndAfterItIsDone() {
        let waiting = cluster.submit(owner, [cluster.submit(owner).returnID(0)])
        cluster.feed(owner, .cancel(waiting))
        #expect(cluster.failure(cluster.get(owner, waiting.returnID(0))) == .cancelled)
        let running = cluster.submit(owner)
        cluster.start(running, on: worker)
        cluster.feed(owner, .cancel(running))
        #expect(cluster.stopped == [running])
        let waiter = cluster.get(owner, running.returnID(0))
        cluster.feed(worker, .taskFinished(running, attempt: 1, .cancelled))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .cancelled)
        let done = cluster.make(owner, on: worker)
        cluster.feed(owner, .cancel(done))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, done.returnID(0))) == .lostCancelled)
    }

    @Test func ownerDead_itsObjectsEndAtEveryBorrowerAndHolder() {
        let task = cluster.make(owner, on: worker)
        let asking = cluster.submit(owner, [task.returnID(0)])
        cluster.start(asking, on: helper, [task.returnID(0)])
        cluster.take(helper, task.returnID(0), .task(asking))
        let dependent = cluster.submit(helper, [task.returnID(0)])
        cluster.run(for: .milliseconds(10))
        cluster.offers = [:]
        cluster.kill(owner, .outOfMemory)
        let waiter = cluster.get(helper, task.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .ownerDied(.outOfMemory))
        #expect(cluster.abandoned == [asking])
        #expect(cluster.stores[far] == [])
        guard case .failed(let error) = cluster.delivered[waiter] else { return }
        #expect(error.object.owner == owner)
        #expect(error.description.contains("\(owner.node)"))
        cluster.feed(helper, .cancel(dependent))
        cluster.feed(helper, .taskFinished(asking, attempt: 1, .cancelled))
        cluster.drop(helper, task.returnID(0))
        cluster.drop(helper, dependent.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func multipleDownstreamTasks_oneRecoveryServesAll() {
        let source = cluster.make(owner, on: worker)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        let tasks = (0..<4).map { _ in cluster.submit(owner, [source.returnID(0)]) }
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [source: 2])
        cluster.start(source, on: helper)
        cluster.finish(source, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers.count == 4)
        #expect(cluster.workers[owner]?.machine.statistics.recoveredByTask == 1)
        for task in tasks {
            cluster.start(task, on: helper, [source.returnID(0)])
            cluster.finish(task, on: helper)
            cluster.drop(owner, task.returnID(0))
        }
        cluster.drop(owner, source.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func nestedReferences_ofAValueMadeAgain() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        let first = cluster.put(helper)
        cluster.feed(helper, .exported(first))
        cluster.take(worker, first, .outOfBand)
        cluster.finish(task, on: worker, contents: [[first]], stored: true)
        cluster.run(for: .seconds(1))
        cluster.drop(helper, first)
        cluster.feed(helper, .exportRevoked(first))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        let again = cluster.worker(on: near)
        cluster.start(task, on: again)
        let second = cluster.put(again)
        cluster.finish(task, on: again, attempt: 2, contents: [[second]], stored: true)
        cluster.drop(again, second)
        cluster.run(for: .seconds(1))
        // Somebody may have read the first value, and rely on it for what was in it.
        #expect(!cluster.isFreed(first))
        #expect(!cluster.isFreed(second))
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func resubmittedTask_doesNotCountItsArgumentsTwice() {
        let argument = cluster.put(owner)
        let task = cluster.make(owner, on: worker, [argument])
        #expect(cluster.summary(argument, at: owner)?.tasks == 0)
        #expect(cluster.summary(argument, at: owner)?.lineage == 1)
        cluster.drop(owner, argument)
        #expect(!cluster.isFreed(argument), "a put that lineage needs can not be made again, so it stays")
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(argument, at: owner)?.tasks == 1)
        cluster.start(task, on: helper, [argument])
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(argument, at: owner)?.tasks == 0)
        #expect(cluster.summary(argument, at: owner)?.lineage == 1)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func oneOfTwoReturnsIsLost_theOtherIsKept() {
        let task = cluster.submit(owner, returns: 2)
        cluster.start(task, on: worker)
        cluster.finish(task, on: worker, contents: [[], []], stored: true)
        cluster.pull(CopyID(object: task.returnID(1), attempt: 1), to: near)
        cluster.run(for: .seconds(1))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        cluster.start(task, on: helper)
        cluster.finish(task, on: helper, attempt: 2, contents: [[], []], stored: true)
        cluster.run(for: .seconds(1))
        #expect(cluster.stores[spare] == [CopyID(object: task.returnID(0), attempt: 2)])
        #expect(cluster.stores[near] == [CopyID(object: task.returnID(1), attempt: 1)])
        for index in 0...1 { cluster.drop(owner, task.returnID(index)) }
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func free_thenUse() {
        let task = cluster.make(owner, on: worker)
        cluster.feed(owner, .free(task.returnID(0)))
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(cluster.get(owner, task.returnID(0))) == .freed)
        #expect(cluster.stores[far] == [])
        let dependent = cluster.submit(owner, [task.returnID(0)])
        #expect(cluster.failure(cluster.get(owner, dependent.returnID(0))) == .freed)
        cluster.drop(owner, task.returnID(0))
        cluster.drop(owner, dependent.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func failureOfAnInput_namesTheObjectWhereItArose() {
        cluster.checksEachStep = false
        let root = cluster.submit(owner, retries: 0)
        var last = root
        for _ in 0..<2000 { last = cluster.submit(owner, [last.returnID(0)]) }
        cluster.start(root, on: worker)
        let waiter = cluster.get(owner, last.returnID(0))
        cluster.feed(worker, .taskFinished(root, attempt: 1, .failed(.outOfDisk)))
        cluster.run(for: .seconds(1))
        #expect(
            cluster.delivered[waiter] == .failed(ObjectError(root.returnID(0), .taskFailed(.outOfDisk))))
    }

    /// What a task was given inside of an argument was freed since, for it can be made again: when the task runs again,
    /// it is.
    @Test func nestedArgument_isMadeAgainWithTheTask() {
        let inner = cluster.make(owner, on: worker).returnID(0)
        guard let task = cluster.workers[owner]?.machine.makeTaskID(returns: 1) else { return }
        cluster.feed(
            owner,
            .submit(
                TaskSubmission(
                    task: task, returns: 1, arguments: [], nested: [inner], maximumRetries: 3, lineageBytes: 100)))
        cluster.start(task, on: worker, [inner])
        cluster.finish(task, on: worker, stored: true)
        cluster.drop(owner, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(inner, at: owner)?.state == .released)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        cluster.start(task, on: helper, [inner])
        cluster.take(helper, inner, .task(task))
        let waiter = cluster.get(helper, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[waiter] == nil, "it is being made")
        let source = TaskID(owner: owner, sequence: inner.sequence)
        let maker = cluster.worker(on: near)
        cluster.start(source, on: maker)
        cluster.finish(source, on: maker, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == nil && cluster.delivered[waiter] != nil)
        cluster.drop(helper, inner)
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func concurrentRecoveries_areOne() {
        let task = cluster.make(owner, on: worker)
        cluster.declareDead(far)
        let waiters = (0..<3).map { _ in cluster.get(owner, task.returnID(0)) }
        for _ in 0..<3 { cluster.feed(owner, .recover(task.returnID(0))) }
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [task: 2])
        #expect(cluster.workers[owner]?.machine.statistics.recoveredByTask == 1)
        cluster.start(task, on: helper)
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        #expect(waiters.allSatisfy { cluster.failure($0) == nil && cluster.delivered[$0] != nil })
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func cachedCopy_servesWhoReadsWhileNothingRunsAgain() {
        let task = cluster.make(owner, on: worker)
        cluster.pull(CopyID(object: task.returnID(0), attempt: 1), to: near)
        cluster.run(for: .seconds(1))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        let waiter = cluster.get(owner, task.returnID(0))
        guard case .located(let located) = cluster.delivered[waiter] else {
            Issue.record("the copy is not offered")
            return
        }
        #expect(located.locations.map(\.node) == [near] && located.attempt == 1)
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    /// One task with a large specification pushes out several with small ones; the one that is too large for the limit
    /// alone goes itself.
    @Test func lineageEvicted_asManyAsTheBytesDemand() {
        let small = Cluster()
        small.lineageBytes = 300
        let home = small.node(1)
        let owner = small.worker(on: home)
        small.run(for: .seconds(1))
        func make(_ bytes: Int) -> TaskID {
            let task = small.submit(owner, bytes: bytes)
            small.start(task, on: owner)
            small.finish(task, on: owner, stored: true)
            small.run(for: .seconds(1))
            return task
        }
        let tasks = [100, 100, 50].map(make)
        #expect(small.workers[owner]?.machine.lineageBytes == 250)
        let large = make(200)
        #expect(small.forgotten == [tasks[0], tasks[1]], "the oldest, and no more than needed")
        #expect(small.workers[owner]?.machine.lineageBytes == 250)
        let tooLarge = make(301)
        #expect(small.forgotten == [tasks[0], tasks[1], tasks[2], large, tooLarge])
        #expect(small.workers[owner]?.machine.statistics.lineageEvictions == 5)
        for task in tasks + [large, tooLarge] { small.drop(owner, task.returnID(0)) }
        small.run()
        small.expectEmpty()
    }

    @Test(arguments: [false, true])
    func retry_mayReturnInlineWhatWasStored(wasStored: Bool) {
        let task = cluster.submit(owner, returns: 2)
        cluster.start(task, on: worker)
        // The second return lies in the store in any case, and is what is lost.
        for index in 0...1 where wasStored || index == 1 {
            cluster.store(CopyID(object: task.returnID(index), attempt: 1), at: far)
        }
        let stored = ReturnedValue(.stored(size: 1 << 20))
        let inline = ReturnedValue(.inline([5]))
        cluster.feed(worker, .taskFinished(task, attempt: 1, .succeeded([wasStored ? stored : inline, stored])))
        cluster.run(for: .seconds(1))
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        cluster.start(task, on: helper)
        cluster.feed(helper, .taskFinished(task, attempt: 2, .succeeded([inline, inline])))
        cluster.run(for: .seconds(1))
        for index in 0...1 {
            #expect(cluster.delivered[cluster.get(owner, task.returnID(index))] == .inline([5]))
            cluster.drop(owner, task.returnID(index))
        }
        #expect(cluster.forgotten == [task], "what travels in messages needs no lineage")
        cluster.run()
        cluster.expectEmpty()
    }

    /// Calls of an actor are tasks that run in one process: with retries what they returned is made again by the next
    /// incarnation, without them it is lost.
    @Test(arguments: [0, 1])
    func actorTask_isMadeAgainOnlyWithRetries(retries: Int) {
        let calls = (0..<2).map { _ in cluster.make(owner, on: worker, retries: retries) }
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        guard retries > 0 else {
            for call in calls {
                #expect(cluster.failure(cluster.get(owner, call.returnID(0))) == .lostRetriesDisabled)
            }
            return
        }
        #expect(cluster.offers == [calls[0]: 2, calls[1]: 2])
        for call in calls {
            cluster.start(call, on: helper)
            cluster.finish(call, on: helper, attempt: 2, stored: true)
            cluster.drop(owner, call.returnID(0))
        }
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func copyOnDisk_endsWithItsNodeAsOneInMemory() {
        let task = cluster.make(owner, on: worker)
        // Spilling is the node's own affair: the copy stays complete, and the owner hears nothing.
        let sent = cluster.sent
        cluster.feed(far, .sealed(CopyID(object: task.returnID(0), attempt: 1), size: 1 << 20))
        cluster.run(for: .milliseconds(100))
        #expect(cluster.sent == sent)
        cluster.declareDead(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [task: 2])
        cluster.feed(owner, .cancel(task))
        cluster.drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func ownerGone_aReferenceFoundLaterHasItsError() {
        let object = cluster.put(helper)
        cluster.kill(helper, .killed)
        cluster.run(for: .seconds(1))
        cluster.take(worker, object)
        #expect(cluster.failure(cluster.get(worker, object)) == .ownerDied(.killed))
        let dependent = cluster.submit(worker, [object])
        #expect(cluster.failure(cluster.get(worker, dependent.returnID(0))) == .ownerDied(.killed))
        cluster.drop(worker, object)
        cluster.drop(worker, dependent.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }
}
