// Ray's published scenarios of references inside of returns, and of messages that come late.

import RayCore
import RayOwnership
import Testing

@Suite struct ReturnTests {
    let cluster = Cluster()
    let caller: WorkerID
    let executor: WorkerID
    let other: WorkerID

    init() {
        let node = cluster.node(1)
        caller = cluster.worker(on: node)
        executor = cluster.worker(on: node)
        other = cluster.worker(on: cluster.node(2))
        cluster.run(for: .seconds(1))
    }

    @Test(arguments: [false, true])
    func returnOwnReference_theCallerNeverOrEverDeserialises(deserialises: Bool) {
        let task = cluster.submit(caller)
        cluster.start(task, on: executor)
        let inner = cluster.put(executor)
        cluster.finish(task, on: executor, contents: [[inner]])
        cluster.drop(executor, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(inner, at: executor)?.borrowers == [caller])
        if deserialises { cluster.take(caller, inner, .inside(task.returnID(0))) }
        cluster.drop(caller, task.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(inner) == !deserialises)
        cluster.drop(caller, inner)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func returnBorrowedReference() {
        let inner = cluster.put(other)
        let giving = cluster.submit(other, [inner])
        cluster.start(giving, on: executor, [inner])
        cluster.take(executor, inner, .task(giving))
        cluster.finish(giving, on: executor)
        cluster.drop(other, inner)
        cluster.drop(other, giving.returnID(0))
        let task = cluster.submit(caller)
        cluster.start(task, on: executor)
        cluster.finish(task, on: executor, contents: [[inner]])
        cluster.drop(executor, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(inner, at: other)?.borrowers == [caller])
        cluster.drop(caller, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func returnToACallerWhoIsTheOwner() {
        let inner = cluster.put(caller)
        let task = cluster.submit(caller, [inner])
        cluster.start(task, on: executor, [inner])
        cluster.take(executor, inner, .task(task))
        cluster.finish(task, on: executor, contents: [[inner]])
        cluster.drop(executor, inner)
        cluster.drop(caller, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(inner, at: caller)?.containers == 1)
        cluster.drop(caller, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test(arguments: [false, true])
    func chainOfReturns_repliesOutOfOrder(reversed: Bool) {
        // other puts, returns it to executor, which returns it inside of its own return to caller.
        let outer = cluster.submit(caller)
        cluster.start(outer, on: executor)
        let nested = cluster.submit(executor)
        cluster.start(nested, on: other)
        cluster.fate = { _ in .hold }
        let inner = cluster.put(other)
        cluster.finish(nested, on: other, contents: [[inner]])
        cluster.drop(other, inner)
        cluster.finish(outer, on: executor, contents: [[nested.returnID(0)]])
        cluster.drop(executor, nested.returnID(0))
        cluster.run(for: .milliseconds(100))
        cluster.release(reversed: reversed)
        cluster.run(for: .seconds(5))
        #expect(!cluster.isFreed(inner))
        #expect(cluster.summary(nested.returnID(0), at: executor)?.borrowers == [caller])
        cluster.take(caller, nested.returnID(0), .inside(outer.returnID(0)))
        cluster.take(caller, inner, .inside(nested.returnID(0)))
        cluster.drop(caller, outer.returnID(0))
        cluster.drop(caller, nested.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(nested.returnID(0)))
        #expect(cluster.summary(inner, at: other)?.borrowers == [caller])
        cluster.drop(caller, inner)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func referenceStoredInAnActor() {
        let inner = cluster.put(caller)
        let first = cluster.submit(caller, [inner])
        cluster.start(first, on: executor, [inner])
        cluster.take(executor, inner, .task(first))
        cluster.finish(first, on: executor)
        cluster.drop(caller, inner)
        // A later call of the actor hands it out.
        let second = cluster.submit(other)
        cluster.start(second, on: executor)
        cluster.finish(second, on: executor, contents: [[inner]])
        cluster.run(for: .seconds(1))
        cluster.drop(executor, inner)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(inner, at: caller)?.borrowers == [other])
        cluster.drop(other, second.returnID(0))
        cluster.drop(caller, first.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func statusComesAfterTheOuterIsFreed() {
        let inner = cluster.put(caller)
        let outer = cluster.put(caller, contents: [inner])
        let task = cluster.submit(caller, [outer])
        cluster.start(task, on: executor, [outer])
        cluster.take(executor, outer, .task(task))
        cluster.finish(task, on: executor)
        for object in [inner, outer, task.returnID(0)] { cluster.drop(caller, object) }
        cluster.run(for: .seconds(1))
        let caller = caller
        cluster.fate = { $0.sender == caller ? .hold : .deliver }
        let waiter = cluster.get(executor, outer)
        cluster.run(for: .milliseconds(50))
        cluster.feed(executor, .cancelGet(waiter: waiter))
        cluster.drop(executor, outer)
        cluster.run(for: .milliseconds(50))
        #expect(cluster.isFreed(outer))
        cluster.release()
        cluster.run()
        #expect(cluster.failure(waiter) == .cancelled)
        cluster.expectEmpty()
    }

    @Test func delayedRegistration_theLenderHolds() {
        // The executor keeps an argument of somebody else: while the owner does not answer, the caller holds it.
        let object = cluster.put(other)
        let giving = cluster.submit(other, [object])
        cluster.start(giving, on: caller, [object])
        cluster.take(caller, object, .task(giving))
        cluster.finish(giving, on: caller)
        cluster.drop(other, object)
        cluster.drop(other, giving.returnID(0))
        cluster.run(for: .seconds(1))
        let task = cluster.submit(caller, [object])
        cluster.start(task, on: executor, [object])
        cluster.take(executor, object, .task(task))
        let (executor, other) = (executor, other)
        cluster.fate = { $0.sender == executor && $0.receiver == other ? .hold : .deliver }
        cluster.finish(task, on: executor)
        cluster.drop(caller, object)
        cluster.drop(caller, task.returnID(0))
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: caller)?.loans == 1)
        #expect(cluster.summary(object, at: other)?.borrowers == [caller])
        cluster.release()
        cluster.run(for: .seconds(10))
        #expect(!cluster.knows(caller, object))
        #expect(cluster.summary(object, at: other)?.borrowers == [executor])
        cluster.drop(executor, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func getsAreServedByTheOwner_alsoBeforeThereIsAValue() {
        let task = cluster.submit(caller)
        let asking = cluster.submit(caller, [])
        cluster.start(asking, on: executor, [task.returnID(0)])
        cluster.take(executor, task.returnID(0), .task(asking))
        let early = cluster.get(executor, task.returnID(0))
        let local = cluster.get(caller, task.returnID(0))
        let short = cluster.get(executor, task.returnID(0), within: .seconds(1))
        cluster.run(for: .seconds(5))
        #expect(cluster.failure(short) == .deadlineExceeded)
        #expect(cluster.delivered[early] == nil)
        cluster.start(task, on: other)
        cluster.finish(task, on: other, stored: true)
        cluster.run(for: .seconds(5))
        for waiter in [early, local] {
            guard case .located(let located) = cluster.delivered[waiter] else {
                Issue.record("no locations")
                continue
            }
            #expect(located.locations.map(\.node) == [other.node])
        }
        cluster.finish(asking, on: executor)
        for object in [task.returnID(0), asking.returnID(0)] { cluster.drop(caller, object) }
        cluster.drop(executor, task.returnID(0))
        cluster.run()
        cluster.expectEmpty()
    }
}
