// Ray's published scenarios of counting, shown by what is freed and when (reference_counter_test.cc,
// test_reference_counting.py): a copy stays in its store exactly as long as somebody can reach it.

import RayCore
import RayOwnership
import Testing

@Suite struct FreeingTests {
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
        helper = cluster.worker(on: far)
        cluster.run(for: .seconds(1))
    }

    private func copy(_ object: ObjectID) -> CopyID { CopyID(object: object, attempt: 1) }

    /// Whether its copy is in the store of the owner's node, a moment later.
    private func isStored(_ object: ObjectID) -> Bool {
        cluster.run(for: .seconds(1))
        return cluster.stores[near]?.contains(copy(object)) ?? false
    }

    private func expectNothingLeft() {
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func localAndSubmittedCounts_endWithTheLast() {
        let object = cluster.put(owner)
        cluster.take(owner, object, .inside(object))
        let tasks = (0..<2).map { _ in cluster.submit(owner, [object], retries: 0) }
        #expect(cluster.summary(object, at: owner)?.handles == 2)
        #expect(cluster.summary(object, at: owner)?.tasks == 2)
        for _ in 0..<2 { cluster.drop(owner, object) }
        #expect(cluster.summary(object, at: owner)?.handles == 0)
        for (index, task) in tasks.enumerated() {
            #expect(cluster.summary(object, at: owner)?.tasks == 2 - index)
            cluster.start(task, on: worker, [object])
            cluster.finish(task, on: worker)
            cluster.run(for: .seconds(1))
            cluster.drop(owner, task.returnID(0))
        }
        #expect(cluster.freed == [tasks[0].returnID(0), object, tasks[1].returnID(0)])
        expectNothingLeft()
    }

    @Test func unreconstructableObject_staysUntilLineageIsGone() {
        let object = cluster.put(owner, stored: true)
        let task = cluster.make(owner, on: worker, [object])
        cluster.drop(owner, object)
        #expect(isStored(object), "its task may run again, and needs it as it is")
        #expect(cluster.summary(object, at: owner)?.lineage == 1)
        cluster.drop(owner, task.returnID(0))
        #expect(!isStored(object))
        expectNothingLeft()
    }

    @Test func reconstructableObject_isFreedAndItsRecordStays() {
        let first = cluster.make(owner, on: worker)
        let second = cluster.make(owner, on: worker, [first.returnID(0)])
        cluster.drop(owner, first.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.stores[far]?.map(\.object) == [second.returnID(0)])
        #expect(cluster.summary(first.returnID(0), at: owner)?.state == .released)
        cluster.drop(owner, second.returnID(0))
        expectNothingLeft()
    }

    @Test func counts_showWhatIsThere() {
        let object = cluster.put(owner)
        let outer = cluster.put(owner, contents: [object], stored: true)
        let task = cluster.submit(owner, [object])
        cluster.start(task, on: worker, [object])
        let summary = cluster.summary(object, at: owner)
        #expect(summary.map { [$0.handles, $0.tasks, $0.containers, $0.lineage, $0.loans] } == [1, 1, 1, 1, 0])
        #expect(cluster.summary(outer, at: owner)?.state == .stored)
        #expect(cluster.summary(task.returnID(0), at: owner)?.state == .pending)
        let held = cluster.workers[owner]
        #expect(held?.machine.objectCount == 3 && held?.machine.taskCount == 1)
        #expect(cluster.workers[worker]?.machine.executionCount == 1)
        cluster.finish(task, on: worker)
        cluster.run(for: .seconds(1))
        for gone in [object, outer, task.returnID(0)] { cluster.drop(owner, gone) }
        expectNothingLeft()
    }

    @Test func local_freedWithTheLastHandle() {
        let object = cluster.put(owner, stored: true)
        cluster.take(owner, object, .inside(object))
        cluster.drop(owner, object)
        #expect(isStored(object))
        cluster.drop(owner, object)
        #expect(!isStored(object))
        expectNothingLeft()
    }

    @Test func dependency_freedWhenTheTaskHasEnded() {
        let object = cluster.put(owner, stored: true)
        let task = cluster.submit(owner, [object], retries: 0)
        cluster.drop(owner, object)
        #expect(isStored(object), "submitted")
        cluster.start(task, on: worker, [object])
        #expect(isStored(object), "running")
        cluster.finish(task, on: worker)
        #expect(!isStored(object))
        cluster.drop(owner, task.returnID(0))
        expectNothingLeft()
    }

    @Test func dependency_ofATaskThatFails() {
        let object = cluster.put(owner, stored: true)
        let task = cluster.submit(owner, [object], retries: 1)
        cluster.drop(owner, object)
        cluster.start(task, on: worker, [object])
        cluster.feed(worker, .taskFinished(task, attempt: 1, .failed(.outOfMemory)))
        #expect(isStored(object), "it is tried again")
        cluster.start(task, on: helper, [object])
        cluster.feed(helper, .taskFinished(task, attempt: 2, .failed(.outOfMemory)))
        #expect(!isStored(object))
        cluster.drop(owner, task.returnID(0))
        expectNothingLeft()
    }

    @Test func putInsideOfAList_freedWithTheList() {
        let inner = cluster.put(owner, stored: true)
        let list = cluster.put(owner, contents: [inner], stored: true)
        cluster.drop(owner, inner)
        #expect(isStored(inner))
        cluster.drop(owner, list)
        #expect(!isStored(inner))
        #expect(cluster.freed == [list, inner], "the outer first")
        expectNothingLeft()
    }

    @Test func returnedNested_freedWithTheReturn() {
        let task = cluster.submit(owner, retries: 0)
        cluster.start(task, on: worker)
        let inner = cluster.put(worker, stored: true)
        cluster.finish(task, on: worker, contents: [[inner]])
        cluster.drop(worker, inner)
        cluster.run(for: .seconds(5))
        #expect(cluster.stores[far] == [copy(inner)])
        cluster.drop(owner, task.returnID(0))
        cluster.run(for: .seconds(5))
        #expect(cluster.stores[far] == [])
        expectNothingLeft()
    }

    /// An object that `worker` keeps from one call to the next, and the call that gave it.
    private func keptByAnActor() -> (object: ObjectID, call: TaskID) {
        let object = cluster.put(owner, stored: true)
        let keeping = cluster.submit(owner, [object], retries: 0)
        cluster.start(keeping, on: worker, [object])
        cluster.take(worker, object, .task(keeping))
        cluster.finish(keeping, on: worker)
        cluster.drop(owner, object)
        #expect(isStored(object))
        return (object, keeping)
    }

    @Test func heldByAnActor_freedWhenItLetsGo() {
        let (object, keeping) = keptByAnActor()
        let dropping = cluster.submit(owner, retries: 0)
        cluster.start(dropping, on: worker)
        cluster.drop(worker, object)
        cluster.finish(dropping, on: worker)
        #expect(!isStored(object))
        for task in [keeping, dropping] { cluster.drop(owner, task.returnID(0)) }
        expectNothingLeft()
    }

    @Test func heldByAnActor_freedWhenItDies() {
        let (object, keeping) = keptByAnActor()
        cluster.kill(worker)
        cluster.run(for: .seconds(5))
        #expect(!isStored(object))
        cluster.drop(owner, keeping.returnID(0))
        expectNothingLeft()
    }

    /// Each task is given the reference inside of a value and passes it on in the same way, deeper and deeper.
    @Test(arguments: [1, 2, 5])
    func recursiveSerialisation_freedWhenTheDeepestHasEnded(depth: Int) {
        let object = cluster.put(owner, stored: true)
        var boxes = [cluster.put(owner, contents: [object])]
        var runs: [(task: TaskID, worker: WorkerID)] = []
        var holder = owner
        for level in 0..<depth {
            let next = cluster.worker(on: level % 2 == 0 ? far : near)
            let box = boxes[boxes.count - 1]
            let task = cluster.submit(holder, [box], retries: 0)
            cluster.start(task, on: next, [box])
            cluster.take(next, box, .task(task))
            cluster.take(next, object, .inside(box))
            boxes.append(cluster.put(next, contents: [object]))
            runs.append((task, next))
            holder = next
        }
        cluster.drop(owner, object)
        cluster.drop(owner, boxes[0])
        #expect(isStored(object))
        // Each lets go of what it has, but for the box that the next one took.
        for (level, run) in runs.enumerated().reversed() {
            #expect(isStored(object), "level \(level)")
            for gone in [object, boxes[level], boxes[level + 1]] { cluster.drop(run.worker, gone) }
            cluster.finish(run.task, on: run.worker)
            cluster.run(for: .seconds(1))
            cluster.drop(run.task.owner, run.task.returnID(0))
        }
        #expect(!isStored(object))
        expectNothingLeft()
    }

    @Test func outOfBand_staysUntilTheExportIsRevoked() {
        let object = cluster.put(owner, stored: true)
        cluster.feed(owner, .exported(object))
        cluster.drop(owner, object)
        #expect(isStored(object))
        cluster.feed(owner, .exportRevoked(object))
        #expect(!isStored(object))
        expectNothingLeft()
    }

    /// A reference is taken out of a value when the task that had it has ended: its process holds the value still, so
    /// it is safe whatever the owner of the task has dropped meanwhile.
    @Test func asynchronousDeserialisation_afterTheTaskHasEnded() {
        let inner = cluster.put(owner, stored: true)
        let outer = cluster.put(owner, contents: [inner])
        let task = cluster.submit(owner, [outer], retries: 0)
        cluster.start(task, on: worker, [outer])
        cluster.take(worker, outer, .task(task))
        cluster.finish(task, on: worker)
        for object in [inner, outer, task.returnID(0)] { cluster.drop(owner, object) }
        #expect(isStored(inner))
        cluster.take(worker, inner, .inside(outer))
        cluster.drop(worker, outer)
        #expect(isStored(inner))
        #expect(cluster.summary(inner, at: owner)?.borrowers == [worker])
        cluster.drop(worker, inner)
        #expect(!isStored(inner))
        expectNothingLeft()
    }

    /// The worst case: the value went with the task, and bytes of it are read afterwards all the same. The owner says
    /// whether it is too late; nothing is taken for alive that is not.
    @Test func asynchronousDeserialisation_ofAValueThatIsGone() {
        let inner = cluster.put(owner, stored: true)
        let task = cluster.submit(owner, [inner], retries: 0)
        cluster.start(task, on: worker, [inner])
        cluster.finish(task, on: worker)
        cluster.run(for: .seconds(1))
        cluster.take(worker, inner, .task(task))
        let inTime = cluster.get(worker, inner)
        cluster.run(for: .seconds(1))
        if case .located = cluster.delivered[inTime] {} else { Issue.record("the owner has it still") }
        cluster.drop(worker, inner)
        cluster.drop(owner, inner)
        cluster.run(for: .seconds(1))
        cluster.take(worker, inner, .task(task))
        let late = cluster.get(worker, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(late) == .outOfScope)
        cluster.drop(worker, inner)
        cluster.drop(owner, task.returnID(0))
        expectNothingLeft()
    }

    /// A wait for some of several: it has what it wants, and gives up the rest.
    @Test func waitForTheFirstOfSeveral_leavesNothingBehind() {
        let tasks = (0..<3).map { _ in cluster.submit(owner, retries: 0) }
        let waiters = tasks.map { cluster.get(owner, $0.returnID(0)) }
        cluster.start(tasks[1], on: worker)
        cluster.finish(tasks[1], on: worker)
        cluster.run(for: .seconds(1))
        #expect(waiters.map { cluster.delivered[$0] } == [nil, .inline([2]), nil])
        for index in [0, 2] { cluster.feed(owner, .cancelGet(waiter: waiters[index])) }
        #expect([0, 2].map { cluster.failure(waiters[$0]) } == [.cancelled, .cancelled])
        for task in tasks {
            cluster.feed(owner, .cancel(task))
            cluster.drop(owner, task.returnID(0))
        }
        expectNothingLeft()
    }
}
