// Where copies are: reports, followers, orders to free, and the sweep.

import RayCore
import RayOwnership
import Testing

@Suite struct DirectoryTests {
    let cluster = Cluster()
    let near: NodeID
    let far: NodeID
    let owner: WorkerID
    let worker: WorkerID

    init() {
        near = cluster.node(1)
        far = cluster.node(2)
        owner = cluster.worker(on: near)
        worker = cluster.worker(on: far)
        cluster.run(for: .seconds(1))
    }

    private func locations(_ object: ObjectID) -> [ObjectLocation]? {
        guard case .located(let located) = cluster.statuses[object]?.last else { return nil }
        return located.locations
    }

    @Test func aFollowerIsToldOfPartialAndCompleteCopies() {
        let object = cluster.make(owner, on: worker).returnID(0)
        cluster.feed(near, .follow(object))
        cluster.run(for: .seconds(1))
        #expect(locations(object) == [ObjectLocation(node: far, chunks: nil)])
        let third = cluster.node(3)
        var chunks = ChunkBitmap(count: 8)
        chunks.insert(2)
        let copy = CopyID(object: object, attempt: 1)
        cluster.feed(third, .partial(copy, size: 1 << 20, chunks))
        cluster.run(for: .seconds(1))
        #expect(locations(object)?.last == ObjectLocation(node: third, chunks: chunks))
        cluster.pull(copy, to: third)
        cluster.run(for: .seconds(1))
        #expect(locations(object)?.last == ObjectLocation(node: third, chunks: nil))
        cluster.feed(near, .unfollow(object))
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func aRemovalThatIsToldBeforeTheValueIsToldAgain() {
        let task = cluster.submit(owner)
        cluster.start(task, on: worker)
        let (owner, worker) = (owner, worker)
        cluster.fate = { $0.sender == worker && $0.receiver == owner ? .hold : .deliver }
        cluster.finish(task, on: worker, stored: true)
        cluster.evict(CopyID(object: task.returnID(0), attempt: 1), at: far)
        cluster.run(for: .seconds(1))
        cluster.release()
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == nil, "the owner takes the node for a holder")
        cluster.feed(far, .follow(task.returnID(0)))
        cluster.run(for: .seconds(1))
        #expect(cluster.offers[task] == 2)
        #expect(cluster.statuses[task.returnID(0)]?.last == .pending)
    }

    @Test func whoFollowsAValueThatIsFreedIsTold() {
        let object = cluster.make(owner, on: worker).returnID(0)
        // The record stays, for this task may run again.
        _ = cluster.make(owner, on: worker, [object])
        cluster.feed(near, .follow(object))
        cluster.run(for: .seconds(1))
        #expect(locations(object)?.count == 1)
        cluster.drop(owner, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.statuses[object]?.last == .failed(ObjectError(object, .outOfScope)))
    }

    @Test func changesAreGathered_theLastStateCounts() {
        let object = cluster.make(owner, on: worker).returnID(0)
        let third = cluster.node(3)
        cluster.run(for: .seconds(1))
        var reports: [[CopyReport]] = []
        cluster.fate = { envelope in
            if case .copies(let sent) = envelope.message { reports.append(sent) }
            return .deliver
        }
        let copy = CopyID(object: object, attempt: 1)
        for chunk in 0..<8 {
            var chunks = ChunkBitmap(count: 9)
            for arrived in 0...chunk { chunks.insert(arrived) }
            cluster.feed(third, .partial(copy, size: 1 << 20, chunks))
        }
        cluster.pull(copy, to: third)
        cluster.run(for: .seconds(1))
        #expect(reports == [[CopyReport(copy: copy, size: 1 << 20, state: .complete)]])
    }

    @Test func aCopyThatCouldNotBeReadIsLookedAfter() {
        let object = cluster.make(owner, on: worker).returnID(0)
        let copy = CopyID(object: object, attempt: 1)
        // It is there: the owner asks, and gives it out again.
        cluster.feed(owner, .copyMissing(copy, at: far))
        let waiter = cluster.get(owner, object)
        #expect(cluster.delivered[waiter] == nil)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[waiter] != nil)
        // It is not: the task runs again.
        cluster.stores[far] = []
        cluster.feed(far, .removed(object))
        cluster.feed(owner, .copyMissing(copy, at: far))
        cluster.run(for: .seconds(1))
        #expect(cluster.offers == [TaskID(owner: owner, sequence: object.sequence): 2])
    }

    @Test func aCopyThatComesAfterTheFreeIsFreed() {
        let object = cluster.make(owner, on: worker).returnID(0)
        let third = cluster.node(3)
        cluster.drop(owner, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.isFreed(object))
        cluster.pull(CopyID(object: object, attempt: 1), to: third)
        #expect(cluster.stores[third]?.count == 1)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func theSweepFindsALostFree() {
        // Two machines by themselves: the holder has a copy of which the owner knows nothing (any more).
        let controlStore = Cluster.controlStoreID
        var holder = HolderMachine(node: far, configuration: HolderConfiguration(controlStore: controlStore))
        var owning = WorkerMachine(
            id: owner,
            configuration: WorkerConfiguration(
                controlStore: controlStore, detachedOwner: cluster.detachedOwner, relay: .raylet(of: near)))
        let copy = CopyID(object: ObjectID(owner: owner, sequence: 77), attempt: 1)
        var now = Timestamp(nanoseconds: 1)
        var orders: [HolderDirective] = []
        holder.handle(.sealed(copy, size: 1), now: now, into: &orders)
        var swept = false
        while holder.copyCount > 0, now < Timestamp.zero + .seconds(60) {
            now = max(now, min(holder.nextDeadline, owning.nextDeadline))
            orders.removeAll()
            holder.handle(.timer, now: now, into: &orders)
            for case .send(var envelope) in orders {
                switch envelope.message {
                // What the owner learns from the report is lost, as if it had crashed into an older state.
                case .copies: envelope.message = .copies([])
                case .reconcile(let copies):
                    swept = true
                    #expect(copies == [copy])
                default: break
                }
                var replies: [WorkerDirective] = []
                owning.handle(.received(envelope), now: now, into: &replies)
                owning.handle(.timer, now: now + .milliseconds(20), into: &replies)
                for case .send(let reply) in replies { holder.handle(.received(reply), now: now, into: &orders) }
            }
        }
        #expect(swept)
        #expect(holder.copyCount == 0)
    }

    @Test func aCopyThatWasRemovedAndCameBackIsKnown() {
        let object = cluster.make(owner, on: worker).returnID(0)
        let copy = CopyID(object: object, attempt: 1)
        cluster.feed(far, .removed(object))
        cluster.feed(far, .pulled(copy, size: 1 << 20))
        cluster.run()
        #expect(cluster.summary(object, at: owner)?.locations == [far])
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func copiesOfAnEarlierMakingAreNotMixedWithLaterOnes() {
        let task = cluster.make(owner, on: worker)
        let object = task.returnID(0)
        cluster.evict(CopyID(object: object, attempt: 1), at: far)
        cluster.run(for: .seconds(1))
        let third = cluster.node(3)
        let helper = cluster.worker(on: third)
        cluster.start(task, on: helper)
        cluster.finish(task, on: helper, attempt: 2, stored: true)
        cluster.run(for: .seconds(1))
        cluster.pull(CopyID(object: object, attempt: 1), to: near)
        cluster.run(for: .seconds(1))
        #expect(cluster.stores[near] == [])
        #expect(cluster.summary(object, at: owner)?.locations == [third])
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func manyFollowersAreSentToDifferentCopies() {
        let object = cluster.make(owner, on: worker).returnID(0)
        let copy = CopyID(object: object, attempt: 1)
        var nodes = [far]
        for value in UInt64(10)..<50 {
            let node = cluster.node(value)
            nodes.append(node)
            cluster.pull(copy, to: node)
        }
        cluster.run(for: .seconds(1))
        var firsts: Set<NodeID> = []
        for node in nodes {
            cluster.feed(node, .follow(object))
            cluster.run(for: .milliseconds(100))
            guard let told = locations(object) else { continue }
            #expect(told.count == 16)
            firsts.insert(told[0].node)
        }
        #expect(firsts.count > 16)
    }

    @Test func detachedObject_survivesItsCreator() {
        cluster.feed(worker, .putDetached(request: 1))
        cluster.run(for: .seconds(1))
        guard let task = cluster.adoptions[1] else {
            Issue.record("nobody adopted it")
            return
        }
        let object = task.returnID(0)
        #expect(object.owner == cluster.detachedOwner)
        cluster.finish(task, on: worker)
        cluster.run(for: .seconds(1))
        cluster.take(owner, object, .outOfBand)
        cluster.run(for: .seconds(1))
        cluster.kill(worker)
        cluster.drop(owner, object)
        cluster.run(for: .seconds(1))
        cluster.take(owner, object, .outOfBand)
        let waiter = cluster.get(owner, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.delivered[waiter] == .inline([2]))
        cluster.feed(owner, .disown(object))
        cluster.run(for: .seconds(1))
        #expect(!cluster.isFreed(object))
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }

    @Test func detachedObject_whoseCreatorDiesBeforeItIsMade() {
        cluster.feed(worker, .putDetached(request: 1))
        cluster.run(for: .seconds(1))
        guard let object = cluster.adoptions[1]?.returnID(0) else {
            Issue.record("nobody adopted it")
            return
        }
        cluster.take(owner, object, .outOfBand)
        cluster.kill(worker, .killed)
        let waiter = cluster.get(owner, object)
        cluster.run(for: .seconds(1))
        #expect(cluster.failure(waiter) == .workerDied(worker, .killed))
        cluster.feed(owner, .disown(object))
        cluster.drop(owner, object)
        cluster.run()
        cluster.expectEmpty()
    }
}
