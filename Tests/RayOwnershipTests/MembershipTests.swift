// Links, deaths and epochs.

import RayCore
import RayOwnership
import Testing

@Suite struct MembershipTests {
    let cluster = Cluster()
    let near: NodeID
    let far: NodeID
    let owner: WorkerID
    let borrower: WorkerID

    init() {
        near = cluster.node(1)
        far = cluster.node(2)
        owner = cluster.worker(on: near)
        borrower = cluster.worker(on: far)
        cluster.run(for: .seconds(1))
    }

    /// The borrower holds an object of the owner.
    private func lend() -> ObjectID {
        let object = cluster.put(owner)
        cluster.take(borrower, object, .outOfBand)
        cluster.run(for: .seconds(1))
        cluster.drop(owner, object)
        return object
    }

    @Test func unreachableIsNotDead() {
        let object = lend()
        let near = near
        cluster.fate = { $0.receiver.node == near ? .lose : .deliver }
        let waiter = cluster.get(borrower, object)
        cluster.run(for: .seconds(600))
        #expect(cluster.delivered[waiter] == nil)
        #expect(cluster.controlStore.epoch == 0)
        cluster.fate = { _ in .deliver }
        cluster.run(for: .seconds(10))
        #expect(cluster.delivered[waiter] == .inline([1]))
        cluster.drop(borrower, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func deadIsWhatTheControlStoreSays_andTheErrorNamesIt() {
        let object = lend()
        cluster.silence(near)
        let waiter = cluster.get(borrower, object)
        cluster.run(for: .seconds(60))
        #expect(cluster.delivered[waiter] == nil)
        cluster.declareDead(near)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[waiter] == .failed(ObjectError(object, .ownerDied(.nodeLost))))
        cluster.drop(borrower, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func aNodeThatWasDeclaredDeadByMistakeIsFenced() {
        let object = lend()
        // The fence that is sent at once is lost; when the node asks about others it is told.
        let far = far
        cluster.fate = { $0.receiver.node == far ? .lose : .deliver }
        cluster.declareDeadByMistake(far)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(object))
        #expect(cluster.isAlive(borrower))
        cluster.fate = { _ in .deliver }
        _ = cluster.get(borrower, object)
        cluster.run(for: .seconds(30))
        #expect(!cluster.isAlive(borrower))
    }

    @Test func aProcessThatWasDeclaredDeadByMistakeHoldsUpNoEpoch() {
        cluster.feed(controlStore: .declareDead(.worker(borrower), .killed))
        cluster.run(for: .seconds(1))
        cluster.kill(owner)
        cluster.run(for: .seconds(10))
        #expect(cluster.controlStore.epoch == 2)
        #expect(cluster.controlStore.settledEpoch == 2)
    }

    @Test func aRestartedNodeReplacesTheOneBefore() {
        let object = lend()
        let again = cluster.node(1, incarnation: 2)
        cluster.run(for: .seconds(1))
        #expect(cluster.controlStore.death(of: owner)?.cause == .replaced)
        let waiter = cluster.get(borrower, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .ownerDied(.replaced))
        let fresh = cluster.worker(on: again)
        let other = cluster.put(fresh)
        cluster.take(borrower, other, .outOfBand)
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(other, at: fresh)?.borrowers == [borrower])
    }

    @Test func whoWasTakenForDeadIsToldByWhateverItSays() {
        let far = far
        cluster.fate = { $0.receiver.node == far ? .lose : .deliver }
        cluster.declareDeadByMistake(far)
        cluster.run(for: .seconds(1))
        cluster.fate = { _ in .deliver }
        cluster.feed(controlStore: .heard(.raylet(of: near)))
        cluster.run(for: .milliseconds(1))
        #expect(cluster.terminated.isEmpty)
        cluster.feed(controlStore: .heard(.raylet(of: far)))
        cluster.run(for: .milliseconds(1))
        #expect(cluster.terminated == [.raylet(of: far)])
    }

    @Test func anEpochIsSettledOnlyWhenAllHaveRegistered() {
        // The borrower has an argument from a caller that dies; its registration is slow.
        let middle = cluster.worker(on: cluster.node(3))
        let object = cluster.put(owner)
        let task = cluster.submit(owner, [object], retries: 0)
        cluster.start(task, on: middle, [object])
        cluster.take(middle, object, .task(task))
        let nested = cluster.submit(middle, [object])
        cluster.start(nested, on: borrower, [object])
        cluster.take(borrower, object, .task(nested))
        cluster.drop(owner, object)
        let (borrower, owner) = (borrower, owner)
        cluster.fate = { $0.sender == borrower && $0.receiver == owner ? .hold : .deliver }
        cluster.kill(middle)
        cluster.run(for: .seconds(5))
        #expect(cluster.controlStore.epoch == 1)
        #expect(cluster.controlStore.settledEpoch == 0)
        #expect(cluster.summary(object, at: owner)?.loans == 1)
        cluster.release()
        cluster.run(for: .seconds(10))
        #expect(cluster.controlStore.settledEpoch == 1)
        #expect(cluster.summary(object, at: owner)?.loans == 0)
        #expect(cluster.summary(object, at: owner)?.borrowers == [borrower])
    }

    @Test func aDeadOwnerIsKnownToWhoStartsLater() {
        cluster.kill(owner)
        cluster.run(for: .seconds(1))
        let late = cluster.worker(on: far)
        cluster.run(for: .seconds(1))
        let object = ObjectID(owner: owner, sequence: 1)
        cluster.take(late, object, .outOfBand)
        let waiter = cluster.get(late, object)
        #expect(cluster.failure(waiter) == .ownerDied(.crashed))
    }

    @Test func aTaskWhoseSubmitterIsDead_protectsNothingNew() {
        let object = cluster.put(owner)
        let other = cluster.worker(on: cluster.node(3))
        let task = cluster.submit(other)
        cluster.start(task, on: borrower)
        cluster.kill(other)
        cluster.run(for: .seconds(1))
        #expect(cluster.abandoned == [task])
        cluster.take(borrower, object, .task(task))
        cluster.run(for: .seconds(1))
        #expect(cluster.summary(object, at: owner)?.borrowers == [borrower])
        cluster.feed(borrower, .taskFinished(task, attempt: 1, .cancelled))
        cluster.drop(borrower, object)
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func theDeathOfANodeCostsWhatItHeld() {
        // 2000 objects on one node, one on the other: its death is dealt with by one recovery.
        cluster.checksEachStep = false
        for _ in 0..<2000 { _ = cluster.put(owner, stored: true) }
        let third = cluster.node(3)
        let worker = cluster.worker(on: third)
        let task = cluster.make(owner, on: worker)
        cluster.declareDead(third)
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [task: 2])
        #expect(cluster.workers[owner]?.machine.statistics.recoveredByTask == 1)
    }

    @Test func messagesAreTakenInOnceAndInOrder_whateverTheNetworkDoes() {
        var random = SeededRandom(seed: 3)
        cluster.fate = { _ in random.chance(0.3) ? .lose : random.chance(0.3) ? .duplicate : .deliver }
        var delays = SeededRandom(seed: 4)
        cluster.jitter = { .milliseconds(Int64.random(in: 0..<50, using: &delays)) }
        let object = cluster.put(owner)
        for _ in 0..<300 {
            cluster.take(borrower, object, .outOfBand)
            cluster.run(for: .milliseconds(1))
            cluster.drop(borrower, object)
            cluster.run(for: .milliseconds(1))
        }
        cluster.take(borrower, object, .outOfBand)
        cluster.run(for: .seconds(120))
        #expect(cluster.summary(object, at: owner)?.borrowers == [borrower])
        cluster.drop(borrower, object)
        cluster.drop(owner, object)
        cluster.run(for: .seconds(120))
        cluster.expectEmpty()
    }
}
