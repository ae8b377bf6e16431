// Scenarios of the submitter: requests, leases, spillback, cancellation, deaths.

import RayCore
import RayScheduler
import Testing

@Suite struct SubmitterLeaseTests {
    @Test func noLeaseIsAskedForWithoutTasks() {
        var bed = SubmitterBed()
        bed.advance(.seconds(10))
        #expect(bed.requests.isEmpty)
        #expect(bed.submitter.nextDeadline == .never)
    }

    @Test func manyTasksAreOneRequestForManySlots() {
        var bed = SubmitterBed()
        bed.submit(1...500)
        #expect(bed.requests.map(\.request.slots) == [1], "the others wait until something is heard")
        bed.answer(0, [.granted(bed.grant())])
        #expect(bed.requests.map(\.request.slots) == [1, 499])
        bed.submit(501...3000)
        bed.answer(1, [.granted(bed.grant())])
        #expect(bed.requests.map(\.request.slots) == [1, 499, 1024])
    }

    @Test func requestsOfAClassAreBounded() {
        var bed = SubmitterBed()
        bed.submit(1...100_000)
        let reason = WaitReason.placing
        for index in 0..<20 where index < bed.requests.count { bed.answer(index, [], reason: reason) }
        #expect(bed.requests.count == 16)
    }

    @Test func eachClassHasItsOwnLeases() {
        var bed = SubmitterBed()
        bed.submit(1...1, cpus(1, function: 1))
        bed.submit(2...2, cpus(1, function: 2))
        #expect(bed.requests.count == 2)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        #expect(bed.pushes.map(\.task) == [task(1)])
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        bed.advance(.milliseconds(2))
        #expect(bed.pushes.count == 1, "the other class does not reuse the lease")
        #expect(bed.returns.map(\.lease) == [grant.lease])
    }

    @Test func aLeaseIsReusedByItsClassWithinTheWindow() {
        var bed = SubmitterBed()
        bed.submit(1...3)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.now = bed.now + .milliseconds(300)
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.map(\.task) == [task(1), task(2)])
        bed.now = bed.now + .milliseconds(300)
        bed.report(bed.pushes[1], .finished, by: grant.worker)
        #expect(bed.pushes.count == 2, "the window is over")
        #expect(bed.returns.map(\.lease) == [grant.lease])
    }

    @Test func oneTaskALeaseWithoutReuse() {
        var configuration = SubmitterConfiguration()
        configuration.leaseWindow = .zero
        configuration.idleLease = .zero
        configuration.tasksInFlight = 1
        var bed = SubmitterBed(configuration)
        bed.submit(1...2)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.count == 1)
        #expect(bed.returns.count == 1)
    }

    @Test func shortTasksAreTwoOnAWorker() {
        var bed = SubmitterBed()
        bed.submit(1...6)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        #expect(bed.pushes.count == 1, "nobody knows yet that they are short")
        bed.now = bed.now + .milliseconds(1)
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.count == 3)
        let second = bed.grant()
        bed.answer(1, [.granted(second)])
        #expect(bed.pushes.count == 5)
        #expect(bed.pushes[3].lease == second.lease, "an idle worker comes before a second task on a busy one")
    }

    @Test func longTasksAreOneOnAWorker() {
        var bed = SubmitterBed()
        bed.submit(1...3)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.now = bed.now + .milliseconds(100)
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.count == 2)
    }

    @Test func aLeaseGoesBackUntilThatIsAcknowledged() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        bed.advance(.milliseconds(1))
        #expect(bed.returns.count == 1)
        bed.advance(.milliseconds(200))
        #expect(bed.returns.count == 2)
        bed.feed(.received(.gaveBack(grant.lease), from: .node(here)))
        bed.advance(.seconds(100))
        #expect(bed.returns.count == 2)
        #expect(bed.submitter.leaseCount == 0)
    }

    @Test func aLeaseThatComesTooLateForItsTaskGoesBack() {
        var bed = SubmitterBed()
        bed.submit(1...3)
        let first = bed.grant()
        bed.answer(0, [.granted(first)])
        bed.now = bed.now + .milliseconds(100)
        bed.report(bed.pushes[0], .finished, by: first.worker)
        // Two come for the one task that is left.
        let (used, unused) = (bed.grant(), bed.grant())
        bed.answer(1, [.granted(used), .granted(unused)])
        #expect(bed.pushes.map(\.lease) == [first.lease, first.lease, used.lease])
        bed.advance(.milliseconds(1))
        #expect(bed.returns.map(\.lease) == [unused.lease])
    }

    @Test func leasesInUseAreRenewed() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.advance(.seconds(3))
        #expect(bed.renewals.map(\.leases) == [[grant.lease]])
        bed.feed(.received(.renewed(LeaseRenewed(lost: [grant.lease])), from: .node(here)))
        #expect(bed.ended[task(1)] == .leaseLost(grant.lease))
        #expect(bed.submitter.leaseCount == 0)
    }

    @Test func aGrantThatComesTooLateGoesBack() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let (first, late) = (bed.grant(), bed.grant())
        bed.answer(0, [.granted(first)])
        let request = bed.requests[0].request
        for _ in 0..<2 {
            let answer = LeaseAnswer(
                id: request.id, attempt: 1, first: 0, parts: [.granted(first), .granted(late)], waiting: 0, reason: nil)
            bed.feed(.received(.answer(answer), from: .node(here)))
        }
        #expect(bed.returns.map(\.lease) == [late.lease, late.lease], "each time, for the first may be lost")
        #expect(bed.pushes.count == 1)
    }
}

@Suite struct SubmitterRequestTests {
    @Test func anUnansweredRequestIsRepeated() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.advance(.milliseconds(200))
        bed.advance(.milliseconds(400))
        #expect(bed.requests.map(\.request.attempt) == [1, 2, 3])
        #expect(Set(bed.requests.map(\.request.id)).count == 1)
    }

    @Test func aRequestThatWaitsIsAskedAfterNowAndThen() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let reason = WaitReason.resource(.cpu, needed: 1, available: 0, total: 4)
        bed.answer(0, [], reason: reason)
        bed.advance(.seconds(1))
        #expect(bed.requests.count == 1)
        bed.advance(.seconds(1))
        #expect(bed.requests.count == 2)
        #expect(bed.submitter.wait(of: task(1)) == .lease(reason, at: .node(here)))
        #expect(bed.submitter.wait(of: task(1))?.description == "\(here): needs 1 CPU; 0 of 4 is free")
    }

    @Test func spillbackThenGrant() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.elsewhere(nodeID(2), slots: 1, mode: .grantOrReject)])
        #expect(bed.requests.count == 2)
        #expect(bed.requests[1].party == .node(nodeID(2)))
        #expect(bed.requests[1].request.mode == .grantOrReject)
        let grant = bed.grant(on: nodeID(2))
        bed.answer(1, [.granted(grant)])
        #expect(bed.pushes.map(\.lease) == [grant.lease])
    }

    @Test func aRejectionGoesBackToTheFirstNodeWithWhatTheOtherSaid() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.elsewhere(nodeID(2), slots: 1, mode: .grantOrReject)])
        let state = NodeReport(node: nodeID(2), version: 9, total: ResourceVector(cpu: 4), available: .zero)
        bed.answer(1, [.rejected(slots: 1, state)])
        #expect(bed.requests[2].party == .node(here))
        #expect(bed.requests[2].request.rejections == 1)
        #expect(bed.requests[2].request.refusal == [state])
        #expect(bed.requests[2].request.mode == .place)
    }

    @Test func pendingRequestsAreCancelledWithoutNeedUntilThatSticks() {
        var bed = SubmitterBed()
        bed.submit(1...2)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.count == 2)
        let cancellation = bed.requests[2].request
        #expect(cancellation.id == bed.requests[1].request.id)
        #expect(cancellation.wanted == 0)
        bed.advance(.milliseconds(200))
        #expect(bed.requests.count == 4, "it may be lost")
        bed.answer(1, [.cancelled(slots: 1)])
        bed.report(bed.pushes[1], .finished, by: grant.worker)
        bed.advance(.milliseconds(1))
        bed.feed(.received(.gaveBack(grant.lease), from: .node(here)))
        #expect(bed.submitter.nextDeadline == .never)
    }

    @Test func aRepeatedAnswerCountsOnce() {
        var bed = SubmitterBed()
        bed.submit(1...2)
        let grant = bed.grant()
        for _ in 0..<3 { bed.answer(0, [.granted(grant)]) }
        #expect(bed.pushes.count == 1)
        #expect(bed.submitter.leaseCount == 1)
    }

    @Test func aMissingPartIsAskedForAtOnce() {
        var bed = SubmitterBed()
        bed.submit(1...20)
        bed.answer(0, [.granted(bed.grant())])
        bed.answer(1, [.granted(bed.grant())], first: 1)
        #expect(bed.requests.count == 3)
        #expect(bed.requests.last?.request.id == bed.requests[1].request.id)
        #expect(bed.requests.last?.request.answered == 0)
        #expect(bed.submitter.leaseCount == 1)
    }

    @Test func aDrainedNodeHandsOnWhatComesNext() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.elsewhere(nodeID(2), slots: 1, mode: .place)])
        bed.submit(2...2)
        #expect(bed.requests.map(\.party) == [.node(here), .node(nodeID(2)), .node(nodeID(2))])
    }

    @Test func anUnreachableNodeIsReplacedWhenItIsDead() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.elsewhere(nodeID(2), slots: 1, mode: .grantOrReject)])
        bed.advance(.seconds(5))
        #expect(bed.requests.allSatisfy { $0.party == .node(nodeID(2)) || $0.request.id.sequence == 1 })
        bed.feed(.nodeDied(nodeID(2)))
        #expect(bed.requests.last?.party == .node(here))
    }

    @Test func aFailedEnvironmentFailsItsQueue() {
        var bed = SubmitterBed()
        bed.submit(1...3)
        bed.answer(0, [.failed(slots: 1, .workerStartFailed)])
        #expect(bed.ended.count == 3)
        #expect(bed.ended[task(2)] == .unschedulable(.workerStartFailed))
    }

    @Test func aRemovedGroupFailsItsQueue() {
        let group = GroupID(creator: driver, number: 1)
        var bed = SubmitterBed()
        bed.submit(1...2, cpus(1, constraint: .group(group, bundle: 1)))
        #expect(bed.located == [group])
        #expect(bed.submitter.wait(of: task(1)) == .group(group))
        bed.feed(.groupPlaced(group, nodes: [nodeID(2), nodeID(3)]))
        #expect(bed.requests.map(\.party) == [.node(nodeID(3))])
        bed.answer(0, [.failed(slots: 2, .groupGone(group))])
        #expect(bed.ended.isEmpty, "it may have moved")
        #expect(bed.located.count == 2)
        bed.feed(.groupRemoved(group))
        #expect(bed.ended.values.allSatisfy { $0 == .unschedulable(.groupGone(group)) } && bed.ended.count == 2)
    }

    /// The lane of the group is given up before the group is; giving it up twice would mix the next two lanes.
    @Test func aGroupThatIsRemovedAfterItsTasks_leavesLanesApart() {
        let group = GroupID(creator: driver, number: 1)
        var bed = SubmitterBed()
        bed.feed(.groupPlaced(group, nodes: [nodeID(2)]))
        bed.submit(1...1, cpus(1, constraint: .group(group, bundle: 0)))
        bed.feed(.cancel(task(1)))
        bed.answer(bed.requests.count - 1, [.cancelled(slots: 1)])
        #expect(bed.submitter.requestCount == 0)
        bed.feed(.groupRemoved(group))
        bed.submit(2...2, cpus(1, function: 5))
        bed.submit(3...3, cpus(1, function: 6))
        let count = bed.requests.count
        bed.answer(count - 2, [.granted(bed.grant())])
        bed.answer(count - 1, [.granted(bed.grant())])
        #expect(bed.pushes.map(\.task) == [task(2), task(3)])
    }
}

@Suite struct SubmitterTaskTests {
    @Test func aQueuedTaskIsCancelled() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.feed(.cancel(task(1)))
        #expect(bed.ended == [task(1): .cancelled])
        #expect(bed.requests.last?.request.wanted == 0)
    }

    @Test func aRunningTaskIsCancelledByItsWorker() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.feed(.cancel(task(1)))
        bed.advance(.milliseconds(200))
        #expect(bed.cancels.count == 2, "repeated until answered")
        #expect(bed.ended.isEmpty)
        bed.report(bed.pushes[0], .cancelled, by: grant.worker)
        #expect(bed.ended == [task(1): .cancelled])
    }

    @Test func aResolvingTaskIsDropped() {
        var bed = SubmitterBed()
        bed.feed(.submit(TaskSubmission(id: task(1), schedulingClass: oneCPU, dependencies: [object(1), object(2)])))
        #expect(bed.submitter.wait(of: task(1)) == .dependencies(2))
        bed.feed(.cancel(task(1)))
        #expect(bed.ended == [task(1): .cancelled])
        bed.feed(.resolved(object(1), .inline))
        bed.feed(.resolved(object(2), .inline))
        #expect(bed.requests.isEmpty)
        #expect(bed.submitter.taskCount == 0)
    }

    @Test func aWorkerThatDiesEndsItsTasks() {
        var bed = SubmitterBed()
        bed.submit(1...2)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.feed(.workerDied(grant.worker))
        #expect(bed.ended == [task(1): .workerDied(grant.worker)])
        #expect(bed.returns.isEmpty, "its node knows")
    }

    @Test func aNodeThatDiesEndsWhatItHad() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.elsewhere(nodeID(2), slots: 1, mode: .grantOrReject)])
        bed.answer(1, [.granted(bed.grant(on: nodeID(2)))])
        bed.feed(.nodeDied(nodeID(2)))
        #expect(bed.ended == [task(1): .nodeDied(nodeID(2))])
    }

    @Test func aWorkerThatLeavesGivesItsTaskBack() {
        var bed = SubmitterBed()
        bed.submit(1...3)
        let grant = bed.grant()
        bed.answer(0, [.granted(grant)])
        bed.now = bed.now + .milliseconds(1)
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.map(\.task) == [task(1), task(2), task(3)])
        bed.report(bed.pushes[2], .returned, by: grant.worker)
        let second = bed.grant()
        let open = bed.requests.last { $0.request.wanted > 0 }?.request.id
        let index = bed.requests.firstIndex { $0.request.id == open } ?? 0
        bed.answer(index, [.granted(second)])
        #expect(bed.pushes.last?.task == task(3))
        #expect(bed.pushes.last?.lease == second.lease)
    }

    @Test func anUnansweredPushIsRepeated() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        bed.answer(0, [.granted(bed.grant())])
        bed.advance(.milliseconds(200))
        #expect(bed.pushes.count == 2)
        #expect(bed.pushes[0] == bed.pushes[1])
    }
}

@Suite struct DependencyTests {
    @Test func inlineValuesNeedNoPlace() {
        var bed = SubmitterBed()
        bed.feed(.submit(TaskSubmission(id: task(1), schedulingClass: oneCPU, dependencies: [object(1)])))
        #expect(bed.requests.isEmpty)
        bed.feed(.resolved(object(1), .inline))
        #expect(bed.requests.map(\.request.arguments) == [[]])
    }

    @Test func allDependenciesAreWaitedFor() {
        var bed = SubmitterBed()
        for sequence in 1...2 as ClosedRange<UInt64> {
            bed.feed(
                .submit(
                    TaskSubmission(
                        id: task(sequence), schedulingClass: oneCPU, dependencies: [object(1), object(sequence + 1)])))
        }
        #expect(bed.resolves == [object(1), object(2), object(3)], "each is asked for once")
        bed.feed(.resolved(object(1), .inline))
        #expect(bed.requests.isEmpty)
        bed.feed(.resolved(object(3), .inline))
        #expect(bed.requests.count == 1)
    }

    @Test func aFailedDependencyFailsTheTask() {
        var bed = SubmitterBed()
        bed.feed(.submit(TaskSubmission(id: task(1), schedulingClass: oneCPU, dependencies: [object(1), object(2)])))
        bed.feed(.resolved(object(1), .failed))
        #expect(bed.ended == [task(1): .dependencyFailed(object(1))])
        bed.feed(.resolved(object(2), .inline))
        #expect(bed.requests.isEmpty)
    }

    @Test func dependenciesAreNotPartOfTheClass() {
        var bed = SubmitterBed()
        for sequence in 1...2 as ClosedRange<UInt64> {
            bed.feed(
                .submit(
                    TaskSubmission(id: task(sequence), schedulingClass: oneCPU, dependencies: [object(sequence)])))
            bed.feed(.resolved(object(sequence), .stored(bytes: 1 << 20, nodes: [nodeID(2)])))
        }
        let grant = bed.grant(on: nodeID(2))
        bed.answer(0, [.granted(grant)])
        bed.now = bed.now + .milliseconds(20)
        bed.report(bed.pushes[0], .finished, by: grant.worker)
        #expect(bed.pushes.map(\.task) == [task(1), task(2)])
    }

    /// Tasks of one lane, each with an argument on another node, and a request for each.
    private func lane(of count: UInt64 = 2) -> SubmitterBed {
        var bed = SubmitterBed()
        for sequence in 1...count {
            bed.feed(
                .submit(
                    TaskSubmission(id: task(sequence), schedulingClass: oneCPU, dependencies: [object(sequence)])))
            bed.feed(.resolved(object(sequence), .stored(bytes: 1 << 20, nodes: [nodeID(2)])))
        }
        return bed
    }

    @Test func aTaskWhoseArgumentIsNowhereWaitsForItAnew() {
        var bed = lane()
        bed.answer(0, [.failed(slots: 1, .argumentGone(object(1)))])
        #expect(bed.resolves == [object(1), object(2), object(1)])
        #expect(bed.submitter.wait(of: task(1)) == .dependencies(1))
        #expect(bed.requests.count == 2)
        bed.answer(1, [.granted(bed.grant(on: nodeID(2)))])
        #expect(bed.pushes.map(\.task) == [task(2)], "the first of the lane is there no more")
        bed.feed(.resolved(object(1), .stored(bytes: 1 << 20, nodes: [nodeID(3)])))
        #expect(bed.requests.last?.party == .node(nodeID(3)))
        #expect(bed.requests.last?.request.arguments.map(\.object) == [object(1)])
        #expect(bed.ended.isEmpty)
    }

    /// What a task that runs takes is made again by one that would wait for it, in the request that the first one left.
    @Test func aRequestThatItsTaskHasLeftKeepsNoOtherFromALease() {
        var bed = lane()
        bed.answer(1, [.granted(bed.grant(on: nodeID(2)))])
        #expect(bed.pushes.map(\.task) == [task(1)], "on the lease that was asked for with the other's argument")
        bed.answer(0, [.failed(slots: 1, .argumentGone(object(1)))])
        #expect(bed.requests.count == 3)
        #expect(bed.requests.last?.request.arguments.map(\.object) == [object(2)])
        #expect(bed.resolves == [object(1), object(2)])
    }

    @Test func asManyAsALaneMayAskForLeaveRoomForWhoMakesTheirArguments() {
        var bed = lane(of: 17)
        #expect(bed.requests.count == 16)
        for index in 0..<15 { bed.answer(index, [.failed(slots: 1, .argumentGone(object(UInt64(index + 1))))]) }
        #expect(bed.requests.map { $0.request.arguments[0].object } == (1...17).map(object))
    }

    @Test func allArgumentsCountWhenOneIsMadeAnew() {
        var bed = SubmitterBed()
        bed.feed(.submit(TaskSubmission(id: task(1), schedulingClass: oneCPU, dependencies: [object(1), object(2)])))
        for (index, bytes) in [10, 15].enumerated() as EnumeratedSequence<[UInt64]> {
            bed.feed(.resolved(object(UInt64(index + 1)), .stored(bytes: bytes, nodes: [nodeID(UInt64(index + 2))])))
        }
        bed.answer(0, [.failed(slots: 1, .argumentGone(object(1)))])
        #expect(bed.resolves == [object(1), object(2), object(1), object(2)])
        #expect(bed.requests.count == 1)
        bed.feed(.resolved(object(2), .stored(bytes: 15, nodes: [nodeID(3)])))
        bed.feed(.resolved(object(1), .stored(bytes: 10, nodes: [nodeID(4)])))
        #expect(bed.requests.map(\.party) == [.node(nodeID(3)), .node(nodeID(3))])
        #expect(bed.requests.map(\.request.arguments.count) == [2, 2])
    }

    @Test func whatWaitsAnewCanBeCancelled() {
        var bed = lane()
        bed.answer(0, [.failed(slots: 1, .argumentGone(object(1)))])
        bed.feed(.cancel(task(1)))
        bed.feed(.resolved(object(1), .failed))
        #expect(bed.ended == [task(1): .cancelled])
        bed.feed(.cancel(task(2)))
        bed.answer(1, [.cancelled(slots: 1)])
        #expect(bed.submitter.taskCount == 0 && bed.submitter.requestCount == 0)
    }
}

@Suite struct LocalityTests {
    private func firstNode(
        _ objects: [(bytes: UInt64, nodes: [NodeID])], _ constraint: PlacementConstraint = .hybrid
    ) -> Party? {
        var bed = SubmitterBed()
        let dependencies = objects.indices.map { object(UInt64($0 + 1)) }
        bed.feed(
            .submit(
                TaskSubmission(
                    id: task(1), schedulingClass: cpus(1, constraint: constraint), dependencies: dependencies)))
        for (dependency, place) in zip(dependencies, objects) {
            bed.feed(.resolved(dependency, .stored(bytes: place.bytes, nodes: place.nodes)))
        }
        return bed.requests.first?.party
    }

    @Test func mostBytesWin() {
        #expect(firstNode([(10, [nodeID(2)]), (15, [nodeID(3)]), (10, [nodeID(2)])]) == .node(nodeID(2)))
    }

    @Test func theNearNodeWinsATie() {
        #expect(firstNode([(10, [nodeID(2)]), (10, [here])]) == .node(here))
        #expect(firstNode([(10, [nodeID(3)]), (10, [nodeID(2)])]) == .node(nodeID(3)), "else the one named first")
    }

    @Test func withoutLocationsTheNearNodeIsAsked() {
        #expect(firstNode([(10, [])]) == .node(here))
        #expect(firstNode([]) == .node(here))
    }

    @Test func spreadAndAffinityOverride() {
        #expect(firstNode([(10, [nodeID(2)])], .spread) == .node(here))
        #expect(firstNode([(10, [nodeID(2)])], .node(nodeID(3))) == .node(nodeID(3)))
        #expect(firstNode([(10, [nodeID(2)])], .preferredNode(nodeID(3))) == .node(nodeID(3)))
    }
}
