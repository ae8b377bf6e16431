// Scenarios of the node: queues, arguments, fairness, blocked workers, drain, repeated requests.

import RayCore
import RayScheduler
import Testing

@Suite struct NodeLeaseTests {
    @Test func aRequestIsGrantedWhenAWorkerIsThere() {
        var bed = NodeBed(capacity(2))
        let request = bed.request(oneCPU)
        #expect(bed.starts == [0])
        #expect(bed.reason(request) == .workerStart(starting: 1))
        let worker = bed.addWorker()
        #expect(bed.grants(request).map(\.worker) == [worker])
        #expect(bed.node.available.cpu == 1)
    }

    @Test func aRepeatedRequestGetsTheSameAnswer() {
        var bed = NodeBed(capacity(2))
        bed.addWorkers(2)
        var request = bed.request(oneCPU)
        let grants = bed.grants(request)
        #expect(grants.count == 1)
        for attempt in 2...4 as ClosedRange<UInt32> {
            request.attempt = attempt
            bed.send(request)
            #expect(bed.answers.last?.parts.count == 1, "the answer was lost: it is said again")
        }
        request.answered = 1
        request.attempt = 5
        bed.send(request)
        #expect(bed.answers.last?.parts.count == 0, "and not when it was not")
        #expect(bed.grants(request) == grants)
        #expect(bed.node.leaseCount == 1)
    }

    @Test func aRequestThatIsOverIsNotGrantedAgain() {
        var bed = NodeBed(capacity(2))
        bed.addWorkers(2)
        let first = bed.request(oneCPU)
        bed.giveBack(bed.grants(first)[0])
        var second = bed.request(oneCPU)
        second.settledBelow = 2
        second.attempt = 2
        bed.send(second)
        let answers = bed.answers.count
        bed.send(first)
        #expect(bed.answers.count == answers, "late, and ignored")
        #expect(bed.node.leaseCount == 1)
    }

    @Test func aReturnIsAcknowledgedEachTime() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let request = bed.request(oneCPU)
        let grant = bed.grants(request)[0]
        bed.giveBack(grant, by: otherDriver)
        #expect(bed.node.leaseCount == 1, "it is not theirs")
        for _ in 0..<2 { bed.giveBack(grant) }
        let acknowledged = bed.others.count { if case .gaveBack(grant.lease) = $0 { true } else { false } }
        #expect(acknowledged == 2)
        #expect(bed.node.available == bed.node.total)
    }

    @Test func aLowerWantCancels() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let first = bed.request(oneCPU)
        var second = bed.request(oneCPU, slots: 10)
        #expect(bed.node.queuedSlots == 10)
        second.wanted = 4
        second.attempt = 2
        bed.send(second)
        #expect(bed.node.queuedSlots == 4)
        second.wanted = 10
        bed.send(second)
        #expect(bed.node.queuedSlots == 4, "an old message raises nothing")
        second.wanted = 0
        second.attempt = 3
        bed.send(second)
        #expect(bed.node.queuedSlots == 0)
        #expect(bed.answers.last?.waiting == 0)
        bed.giveBack(bed.grants(first)[0])
        #expect(bed.grants(second).isEmpty)
    }

    @Test func aCancellationThatOvertakesItsRequestCancelsIt() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let original = LeaseRequest(id: LeaseRequestID(submitter: driver, sequence: 1), schedulingClass: oneCPU)
        var cancellation = original
        cancellation.attempt = 2
        cancellation.wanted = 0
        bed.send(cancellation)
        bed.send(original)
        #expect(bed.node.leaseCount == 0)
        #expect(bed.node.queuedSlots == 0)
    }

    @Test func aDeadOwnersLeasesAndRequestsAreTakenBack() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        bed.request(oneCPU)
        bed.request(oneCPU, slots: 3)
        let other = bed.request(oneCPU, by: otherDriver)
        bed.feed(.workerDied(driver))
        #expect(bed.stops.map(\.worker) == [worker])
        #expect(bed.stops.map(\.isIdle) == [false])
        #expect(bed.node.available.cpu == .zero, "it may be at work still")
        bed.feed(.workerDied(worker))
        #expect(bed.node.queuedSlots == 1)
        bed.addWorker()
        #expect(bed.grants(other).count == 1)
    }

    @Test func aLeaseThatIsNotRenewedIsTakenBack() {
        var bed = NodeBed(capacity(2))
        bed.addWorkers(2)
        let kept = bed.lease(oneCPU)[0]
        let lost = bed.lease(oneCPU, by: otherDriver)[0]
        for _ in 0..<6 {
            bed.advance(.seconds(3))
            bed.feed(.received(.renew(LeaseRenewal(submitter: driver, leases: [kept.lease])), from: .worker(driver)))
        }
        #expect(bed.stops.map(\.worker) == [lost.worker])
        bed.feed(
            .received(.renew(LeaseRenewal(submitter: otherDriver, leases: [lost.lease])), from: .worker(otherDriver)))
        guard case .renewed(let answer)? = bed.others.last else { return #expect(Bool(false), "no answer") }
        #expect(answer.lost == [lost.lease])
    }

    @Test func aNodesDeathTakesBackWhatItsSubmittersHad() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        bed.request(oneCPU, by: WorkerID(node: nodeID(2), number: 1))
        bed.feed(.nodeDied(nodeID(2)))
        #expect(bed.stops.map(\.worker) == [worker])
    }
}

@Suite struct NodeQueueTests {
    @Test func aClassThatDoesNotFitHoldsUpNoOther() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        bed.request(cpus(2, function: 1))
        let large = bed.request(cpus(4, function: 2))
        let small = bed.request(cpus(1, function: 3))
        #expect(bed.grants(large).isEmpty)
        #expect(bed.grants(small).count == 1)
        #expect(bed.reason(large) == .resource(.cpu, needed: 4, available: 1, total: 4))
    }

    @Test func whatHasWaitedTooLongGetsTheNextRoom() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        let first = (0..<4).map { _ in bed.lease(cpus(1, function: 1))[0] }
        let large = bed.request(cpus(4, function: 2))
        bed.now = bed.now + .seconds(6)
        let small = bed.request(cpus(1, function: 1))
        for grant in first.dropLast() { bed.giveBack(grant) }
        #expect(bed.grants(small).isEmpty)
        #expect(bed.reason(small) == .olderRequest(large.id))
        bed.giveBack(first[3])
        #expect(bed.grants(large).count == 1)
        bed.giveBack(bed.grants(large)[0])
        #expect(bed.grants(small).count == 1)
    }

    @Test func oversubscribedClassesAreServedFairly() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        let greedy = bed.request(cpus(1, function: 1), slots: 100)
        let modest = bed.request(cpus(1, function: 2), slots: 100)
        #expect(bed.grants(greedy).count == 4)
        for grant in bed.grants(greedy) { bed.giveBack(grant) }
        // Each return is granted at once to the class with fewer leases.
        #expect(bed.grants(greedy).count - 4 + bed.grants(modest).count == 4)
        #expect(bed.grants(modest).count == 2)
    }

    @Test func manyClassesOfOneDemandAllGetTheirTurn() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let requests = (0..<100).map { bed.request(cpus(1, function: $0)) }
        for _ in 0..<99 {
            let running = requests.flatMap { bed.grants($0) }.last { bed.isActive($0) }
            if let running { bed.giveBack(running) }
        }
        #expect(requests.allSatisfy { bed.grants($0).count == 1 })
    }

    @Test func theInfeasibleWaitsForANodeThatCanRunIt() {
        var bed = NodeBed(capacity(2))
        let request = bed.request(cpus(8))
        #expect(bed.reason(request) == .infeasibleResource(.cpu, needed: 8, largest: 0))
        let large = NodeReport(node: nodeID(2), total: ResourceVector(cpu: 8))
        bed.feed(.received(.views(ViewBatch(incarnation: 1, from: 0, to: 1, reports: [large])), from: .controlStore))
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
    }

    @Test func theInfeasibleDoesNotHoldUpTheFeasible() {
        var bed = NodeBed(capacity(2))
        bed.addWorker()
        bed.request(cpus(8))
        let feasible = bed.lease(cpus(1))
        #expect(feasible.count == 1)
    }

    @Test func waitingSlotsAreInTheReport() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        bed.request(oneCPU, slots: 8)
        bed.advance(.milliseconds(100))
        let report = bed.others.compactMap { if case .report(let report) = $0 { report } else { nil } }.last
        #expect(report?.queued == 7)
        #expect(report?.available.cpu == .zero)
    }

    @Test func aFullQueueSaysSo() {
        var configuration = NodeConfiguration()
        configuration.queueLimit = 10
        var bed = NodeBed(capacity(1), configuration: configuration)
        bed.request(oneCPU, slots: 8)
        let request = bed.request(oneCPU, slots: 8)
        guard case .failed(slots: 8, .tooManyRequests)? = bed.parts(request).first else {
            return #expect(Bool(false), "\(bed.parts(request))")
        }
    }
}

@Suite struct NodeArgumentTests {
    private func argument(_ sequence: UInt64, _ bytes: UInt64 = 100) -> TaskArgument {
        TaskArgument(object: object(sequence), bytes: bytes)
    }

    @Test func argumentsAreLocalBeforeTheGrant() {
        var bed = NodeBed(capacity(2))
        bed.addWorkers(2)
        let request = bed.request(oneCPU, arguments: [argument(1), argument(2)])
        #expect(bed.pulls == [object(1), object(2)])
        bed.feed(.argumentLocal(object(1)))
        #expect(bed.reason(request) == .arguments(missing: 1, first: object(2)))
        let other = bed.request(oneCPU)
        #expect(bed.grants(other).count == 1, "what waits for arguments holds up nobody")
        bed.feed(.argumentLocal(object(2)))
        let grant = bed.grants(request)[0]
        #expect(bed.releases.isEmpty)
        bed.giveBack(grant)
        #expect(bed.releases.count == 2)
    }

    @Test func anEvictedArgumentIsAskedForAgain() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let running = bed.lease(oneCPU)[0]
        let request = bed.request(oneCPU, arguments: [argument(1)])
        bed.feed(.argumentLocal(object(1)))
        bed.feed(.argumentLost(object(1)))
        #expect(bed.pulls == [object(1), object(1)])
        bed.giveBack(running)
        #expect(bed.grants(request).isEmpty)
        bed.feed(.argumentLocal(object(1)))
        #expect(bed.grants(request).count == 1)
    }

    @Test func nothingWaitsForAnArgumentThatIsNowhere() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let waiting = bed.request(oneCPU, arguments: [argument(1), argument(2), argument(1)])
        let other = bed.request(oneCPU, arguments: [argument(2)])
        bed.feed(.argumentGone(object(1)))
        guard case .failed(slots: 1, .argumentGone(object(1)))? = bed.parts(waiting).first else {
            return #expect(Bool(false), "\(bed.parts(waiting))")
        }
        #expect(bed.releases == [object(1)], "the other argument has another use")
        bed.feed(.argumentLocal(object(2)))
        #expect(bed.grants(other).count == 1)
        #expect(bed.node.queuedSlots == 0)
    }

    @Test func anArgumentThatWasNowhereIsAskedForAgain() {
        var bed = NodeBed(capacity(2))
        bed.addWorkers(2)
        let running = bed.request(oneCPU, arguments: [argument(1)])
        bed.feed(.argumentLocal(object(1)))
        #expect(bed.grants(running).count == 1)
        bed.feed(.argumentLost(object(1)))
        bed.feed(.argumentGone(object(1)))
        #expect(bed.releases.isEmpty, "a lease has it")
        let request = bed.request(oneCPU, arguments: [argument(1)])
        #expect(bed.pulls == [object(1), object(1), object(1)], "who comes later has news")
        #expect(bed.reason(request) == .arguments(missing: 1, first: object(1)))
        bed.feed(.argumentLocal(object(1)))
        #expect(bed.grants(request).count == 1)
        bed.feed(.argumentGone(object(1)))
        #expect(bed.pulls.count == 3, "old news of what is here")
    }

    @Test func pinnedBytesAreBounded() {
        var configuration = NodeConfiguration()
        configuration.argumentBytes = 250
        var bed = NodeBed(capacity(8), configuration: configuration)
        bed.addWorkers(8)
        let requests = (1...4).map { bed.request(oneCPU, arguments: [argument(UInt64($0))]) }
        for sequence in 1...4 as ClosedRange<UInt64> { bed.feed(.argumentLocal(object(sequence))) }
        #expect(requests.map { bed.grants($0).count } == [1, 1, 0, 0])
        #expect(bed.reason(requests[2]) == .argumentMemory(needed: 100, pinned: 200, limit: 250))
        let shared = bed.request(cpus(1, function: 2), arguments: [argument(1)])
        #expect(bed.grants(shared).count == 1, "what is pinned already costs nothing")
        bed.giveBack(bed.grants(requests[1])[0])
        #expect(bed.grants(requests[2]).count == 1)
    }

    @Test func oneOversizedRequestRunsAlone() {
        var configuration = NodeConfiguration()
        configuration.argumentBytes = 50
        var bed = NodeBed(capacity(8), configuration: configuration)
        bed.addWorkers(8)
        let requests = (1...2).map { bed.request(oneCPU, arguments: [argument(UInt64($0))]) }
        for sequence in 1...2 as ClosedRange<UInt64> { bed.feed(.argumentLocal(object(sequence))) }
        #expect(requests.map { bed.grants($0).count } == [1, 0])
        bed.giveBack(bed.grants(requests[0])[0])
        #expect(bed.grants(requests[1]).count == 1)
    }

    @Test func blockedPullsSpillFromTheTail() {
        var bed = NodeBed(capacity(8))
        bed.view.apply(NodeReport(node: nodeID(2), total: ResourceVector(cpu: 1)))
        let requests = (1...3).map { bed.request(oneCPU, arguments: [argument(UInt64($0))]) }
        bed.feed(.pullLimit(true))
        #expect(requests.map { bed.elsewhere($0).count } == [0, 0, 1], "one has room elsewhere: the newest goes")
        #expect(bed.releases == [object(3)])
    }

    @Test func aNodeAtItsPullLimitTakesNothingFromOthers() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        bed.request(oneCPU)
        bed.view.apply(NodeReport(node: nodeID(2), total: ResourceVector(cpu: 8), isPullLimited: true))
        let request = bed.request(oneCPU)
        #expect(bed.elsewhere(request).isEmpty)
    }

    @Test func aCancelledRequestReleasesItsArguments() {
        var bed = NodeBed(capacity(1))
        var request = bed.request(oneCPU, arguments: [argument(1)])
        request.wanted = 0
        request.attempt = 2
        bed.send(request)
        #expect(bed.releases == [object(1)])
    }
}

@Suite struct BlockedWorkerTests {
    @Test func aBlockedWorkerLendsItsCPUs() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        bed.request(oneCPU)
        let child = bed.request(oneCPU)
        bed.feed(.workerBlocked(worker))
        let second = bed.addWorker()
        #expect(bed.grants(child).map(\.worker) == [second])
        bed.feed(.workerUnblocked(worker))
        #expect(bed.node.available.cpu == -1, "it goes on at once, though its CPU is lent")
        #expect(bed.node.oversubscribed == 1)
        let third = bed.request(oneCPU)
        bed.giveBack(bed.grants(child)[0])
        #expect(bed.grants(third).isEmpty, "until the debt is paid")
        #expect(bed.node.available.cpu == 0)
    }

    @Test func acceleratorsAreNotLent() {
        var bed = NodeBed(capacity(4, gpus: 1))
        let worker = bed.addWorker()
        let gpu = SchedulingClass(demand: ResourceVector(cpu: 1, others: [.init(.gpu, 1)]))
        bed.request(gpu)
        let second = bed.request(gpu)
        bed.feed(.workerBlocked(worker))
        bed.addWorker()
        #expect(bed.grants(second).isEmpty)
        #expect(bed.reason(second) == .resource(.gpu, needed: 1, available: 0, total: 1))
    }

    /// A chain of tasks, each waiting for the next, ends on any number of CPUs; but workers beyond the limit come
    /// slowly.
    @Test func extraWorkersAreBoundedAndComeEverMoreSlowly() {
        var configuration = NodeConfiguration()
        configuration.extraWorkers = 2
        var bed = NodeBed(capacity(1), configuration: configuration)
        let chain = bed.request(oneCPU, slots: 100)
        func deepen(_ bed: inout NodeBed) {
            for _ in 0..<10 {
                bed.addWorker()
                if let last = bed.grants(chain).last { bed.feed(.workerBlocked(last.worker)) }
            }
        }
        deepen(&bed)
        #expect(bed.grants(chain).count == 3)
        bed.advance(.seconds(1))
        deepen(&bed)
        #expect(bed.grants(chain).count == 4)
        bed.advance(.seconds(1))
        deepen(&bed)
        #expect(bed.grants(chain).count == 4, "the next takes two seconds")
        bed.advance(.seconds(1))
        deepen(&bed)
        #expect(bed.grants(chain).count == 5)
    }

    @Test func aBlockedWorkerThatDiesOwesNothing() {
        var bed = NodeBed(capacity(1))
        let worker = bed.addWorker()
        bed.request(oneCPU)
        bed.feed(.workerBlocked(worker))
        bed.feed(.workerDied(worker))
        #expect(bed.node.available == bed.node.total)
        #expect(bed.node.lendingCount == 0)
    }
}

@Suite struct DrainTests {
    @Test func aDrainingNodeFinishesWhatItHasAndTakesNoMore() {
        var bed = NodeBed(capacity(1))
        bed.addWorker()
        let running = bed.request(oneCPU)
        let queued = bed.request(oneCPU)
        bed.view.apply(NodeReport(node: nodeID(2), total: ResourceVector(cpu: 1), available: .zero))
        bed.feed(.drain)
        #expect(bed.elsewhere(queued).map(\.node) == [nodeID(2)])
        #expect(bed.elsewhere(queued).map(\.mode) == [.place])
        let spilled = bed.request(oneCPU, mode: .grantOrReject)
        #expect(bed.rejected(spilled) == 1)
        #expect(!bed.isDrained)
        bed.giveBack(bed.grants(running)[0])
        #expect(bed.isDrained)
    }

    @Test func withoutAnotherNodeItWaitsWithTheReason() {
        var bed = NodeBed(capacity(1))
        bed.feed(.drain)
        let request = bed.request(oneCPU)
        #expect(bed.reason(request) == .draining)
        #expect(bed.grants(request).isEmpty)
        let other = NodeReport(node: nodeID(2), total: ResourceVector(cpu: 1))
        bed.feed(.received(.views(ViewBatch(incarnation: 1, from: 0, to: 1, reports: [other])), from: .controlStore))
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
    }

    @Test func drainingNodesAreChosenByNobody() {
        var bed = NodeBed(capacity(1))
        bed.view.apply(NodeReport(node: nodeID(2), condition: .draining, total: ResourceVector(cpu: 8)))
        let request = bed.request(cpus(8))
        #expect(bed.elsewhere(request).isEmpty)
    }
}

extension NodeBed {
    /// Whether a lease was not given back.
    func isActive(_ grant: LeaseGrant) -> Bool {
        !others.contains { if case .gaveBack(grant.lease) = $0 { true } else { false } }
    }
}
