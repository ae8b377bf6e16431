// Ray's published scenarios of reference counting between processes (reference_counter_test.cc), on our machines.

import RayCore
import RayOwnership
import Testing

@Suite struct BorrowingTests {
    let cluster = Cluster()
    let node: NodeID
    let owner: WorkerID
    let borrower: WorkerID
    let other: WorkerID

    init() {
        node = cluster.node(1)
        owner = cluster.worker(on: node)
        borrower = cluster.worker(on: node)
        other = cluster.worker(on: cluster.node(2))
        cluster.run(for: .seconds(1))
    }

    /// The owner drops its handles: of the objects, and of what the task returns.
    func drop(_ worker: WorkerID, _ objects: ObjectID...) { for object in objects { cluster.drop(worker, object) } }

    @Test func noBorrow_theExecutorNeverDeserialisesTheInnerReference() {
        let inner = cluster.put(owner)
        let outer = cluster.put(owner, contents: [inner])
        let task = cluster.submit(owner, [outer])
        cluster.start(task, on: borrower, [outer])
        drop(owner, inner, outer)
        cluster.run(for: .seconds(1))
        #expect(!cluster.isFreed(inner))
        cluster.finish(task, on: borrower)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(outer))
        #expect(cluster.isFreed(inner))
        drop(owner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func simpleBorrower_keepsTheInnerAfterTheTask_theOwnerWaits() {
        let inner = cluster.put(owner)
        let outer = cluster.put(owner, contents: [inner])
        let task = cluster.submit(owner, [outer])
        cluster.start(task, on: borrower, [outer])
        drop(owner, inner, outer, task.returnID(0))
        cluster.take(borrower, inner, .inside(outer))
        cluster.finish(task, on: borrower)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(outer))
        #expect(cluster.summary(inner, at: owner)?.borrowers == [borrower])
        drop(borrower, inner)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func borrowerFails_theOwnerFrees() {
        let inner = cluster.put(owner)
        let task = cluster.submit(owner, [inner])
        cluster.start(task, on: borrower, [inner])
        cluster.take(borrower, inner, .task(task))
        cluster.finish(task, on: borrower)
        drop(owner, inner, task.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(!cluster.isFreed(inner))
        cluster.kill(borrower)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func borrowerDropsBeforeTheOwnerKnowsIt() {
        let inner = cluster.put(owner)
        let task = cluster.submit(owner, [inner])
        cluster.start(task, on: borrower, [inner])
        cluster.take(borrower, inner, .task(task))
        cluster.finish(task, on: borrower)
        drop(borrower, inner)
        drop(owner, inner, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test(arguments: [true, false])
    func borrowerTree_repliesInEitherOrder(innerRepliesFirst: Bool) {
        let object = cluster.put(owner)
        let task = cluster.submit(owner, [object])
        cluster.start(task, on: borrower, [object])
        cluster.take(borrower, object, .task(task))
        let nested = cluster.submit(borrower, [object])
        cluster.start(nested, on: other, [object])
        cluster.take(other, object, .task(nested))
        drop(owner, object, task.returnID(0))
        drop(borrower, object)
        if innerRepliesFirst {
            cluster.finish(nested, on: other)
            cluster.run(for: .seconds(1))
            cluster.finish(task, on: borrower)
        } else {
            cluster.finish(task, on: borrower)
            cluster.run(for: .seconds(1))
            cluster.finish(nested, on: other)
        }
        drop(borrower, nested.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: owner)?.borrowers == [other])
        drop(other, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func borrowerDies_itsOwnBorrowerKeepsTheObject() {
        // Ray's accepted hole: a borrower that dies before it has reported whom it lent to.
        let object = cluster.put(owner)
        let task = cluster.submit(owner, [object], retries: 0)
        cluster.start(task, on: borrower, [object])
        cluster.take(borrower, object, .task(task))
        let nested = cluster.submit(borrower, [object])
        cluster.start(nested, on: other, [object])
        cluster.take(other, object, .task(nested))
        drop(owner, object, task.returnID(0))
        cluster.kill(borrower)
        cluster.run()
        #expect(cluster.summary(object, at: owner)?.borrowers == [other])
        let waiter = cluster.get(other, object)
        cluster.run()
        #expect(cluster.delivered[waiter] == .inline([1]))
        drop(other, object)
        cluster.feed(other, .taskFinished(nested, attempt: 1, .cancelled))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func pingPong_betweenTwoWorkers() {
        let object = cluster.put(owner)
        var (here, there) = (borrower, other)
        let first = cluster.submit(owner, [object])
        cluster.start(first, on: here, [object])
        cluster.take(here, object, .task(first))
        cluster.finish(first, on: here)
        drop(owner, object, first.returnID(0))
        for _ in 0..<6 {
            let task = cluster.submit(here, [object])
            cluster.start(task, on: there, [object])
            cluster.take(there, object, .task(task))
            drop(here, object)
            cluster.finish(task, on: there)
            drop(here, task.returnID(0))
            cluster.run(for: .seconds(1))
            #expect(cluster.summary(object, at: owner)?.borrowers == [there])
            swap(&here, &there)
        }
        drop(here, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func duplicateBorrower_twoTasksWithTheSameArgument() {
        let object = cluster.put(owner)
        let tasks = [cluster.submit(owner, [object, object]), cluster.submit(owner, [object])]
        for task in tasks {
            cluster.start(task, on: borrower, [object])
            cluster.take(borrower, object, .task(task))
        }
        drop(owner, object)
        for task in tasks {
            cluster.finish(task, on: borrower)
            drop(owner, task.returnID(0))
        }
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: owner)?.borrowers == [borrower])
        drop(borrower, object)
        cluster.run(for: .seconds(1))
        #expect(!cluster.isFreed(object))
        drop(borrower, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func outerAndInner_withDifferentOwners() {
        let inner = cluster.put(owner)
        let giving = cluster.submit(owner, [inner])
        cluster.start(giving, on: borrower, [inner])
        cluster.take(borrower, inner, .task(giving))
        let outer = cluster.put(borrower, contents: [inner])
        drop(borrower, inner)
        cluster.finish(giving, on: borrower)
        drop(owner, inner, giving.returnID(0))
        let task = cluster.submit(borrower, [outer])
        cluster.start(task, on: other, [outer])
        cluster.take(other, inner, .inside(outer))
        drop(borrower, outer, task.returnID(0))
        cluster.finish(task, on: other)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(outer))
        #expect(cluster.summary(inner, at: owner)?.borrowers == [other])
        drop(other, inner)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test(arguments: [2, 3, 5])
    func nestedReferences_severalLevels(levels: Int) {
        var objects = [cluster.put(owner)]
        for _ in 1..<levels { objects.append(cluster.put(owner, contents: [objects[objects.count - 1]])) }
        let task = cluster.submit(owner, [objects[levels - 1]])
        cluster.start(task, on: borrower, [objects[levels - 1]])
        for object in objects { drop(owner, object) }
        drop(owner, task.returnID(0))
        for level in stride(from: levels - 2, through: 0, by: -1) {
            cluster.take(borrower, objects[level], .inside(objects[level + 1]))
            if level > 0 { drop(borrower, objects[level]) }
            if level > 0 { cluster.take(borrower, objects[level], .inside(objects[level + 1])) }
        }
        for level in stride(from: levels - 2, to: 0, by: -1) { drop(borrower, objects[level]) }
        cluster.finish(task, on: borrower)
        cluster.run(for: .seconds(2))
        for level in 1..<levels { #expect(cluster.isFreed(objects[level])) }
        #expect(cluster.summary(objects[0], at: owner)?.borrowers == [borrower])
        drop(borrower, objects[0])
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func sameWorkerIsOwnerAndBorrower() {
        let object = cluster.put(owner)
        let task = cluster.submit(owner, [object])
        cluster.start(task, on: borrower, [object])
        cluster.take(borrower, object, .task(task))
        let back = cluster.submit(borrower, [object])
        cluster.start(back, on: owner, [object])
        cluster.take(owner, object, .task(back))
        drop(owner, object, task.returnID(0))
        cluster.finish(back, on: owner, contents: [[object]])
        cluster.finish(task, on: borrower)
        drop(borrower, object, back.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: owner)?.handles == 1)
        #expect(cluster.summary(object, at: owner)?.borrowers == [])
        drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func outOfBand_theImporterIsRegistered_orToldThatItIsTooLate() {
        let object = cluster.put(owner)
        cluster.feed(owner, .exported(object))
        drop(owner, object)
        cluster.run(for: .seconds(1))
        cluster.take(other, object, .outOfBand)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: owner)?.borrowers == [other])
        cluster.feed(owner, .exportRevoked(object))
        drop(other, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(object))
        cluster.take(other, object, .outOfBand)
        let waiter = cluster.get(other, object)
        cluster.run()
        #expect(cluster.failure(waiter) == .outOfScope)
        drop(other, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func workerExitsWhileHolding() {
        let object = cluster.put(owner)
        cluster.feed(owner, .exported(object))
        cluster.take(borrower, object, .outOfBand)
        cluster.take(other, object, .outOfBand)
        cluster.run(for: .seconds(1))
        cluster.feed(owner, .exportRevoked(object))
        drop(owner, object)
        cluster.kill(borrower, .exited)
        cluster.run()
        #expect(cluster.summary(object, at: owner)?.borrowers == [other])
        cluster.kill(other, .exited)
        cluster.run()
        cluster.expectEmpty()
    }
}
