// Scenarios of placement: hybrid, spread, affinity, labels, accelerators, bundles.

import RayCore
import RayScheduler
import Testing

private func report(
    _ value: UInt64, cpu: Int64 = 10, free: Int64? = nil, gpus: Int64 = 0, labels: NodeLabels = .none,
    version: UInt64 = 1
) -> NodeReport {
    let others: [ResourceVector.Entry] = gpus > 0 ? [.init(.gpu, ResourceAmount(gpus))] : []
    return NodeReport(
        node: nodeID(value), version: version, total: ResourceVector(cpu: ResourceAmount(cpu), others: others),
        available: ResourceVector(cpu: ResourceAmount(free ?? cpu), others: others), labels: labels)
}

@Suite struct HybridPolicyTests {
    /// This node with so many of its ten CPUs in use, and others.
    private func bed(used: Int, _ others: [NodeReport], seed: UInt64 = 1) -> NodeBed {
        var bed = NodeBed(capacity(10), seed: seed)
        bed.addWorkers(10)
        if used > 0 { bed.request(cpus(1, constraint: .node(here)), slots: UInt32(used)) }
        for other in others { bed.view.apply(other) }
        return bed
    }

    @Test func belowTheThresholdTheNearNodeIsAsGoodAsAny() {
        var bed = bed(used: 4, [report(2), report(3)])
        let result1 = bed.lease(oneCPU)
        #expect(result1.count == 1)
    }

    @Test func aboveTheThresholdABetterNodeIsNamed() {
        var bed = bed(used: 6, [report(2, free: 8), report(3, free: 1)])
        let request = bed.request(oneCPU)
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
        #expect(bed.elsewhere(request).map(\.mode) == [.grantOrReject])
    }

    @Test func aboveTheThresholdTheNearNodeStaysWithoutABetterOne() {
        var bed = bed(used: 6, [report(2, free: 1)])
        let result2 = bed.lease(oneCPU)
        #expect(result2.count == 1)
    }

    @Test func aNodeWithRoomComesBeforeOneThatIsOnlyFeasible() {
        var bed = bed(used: 10, [report(2, free: 0), report(3, free: 1)])
        let request = bed.request(oneCPU)
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(3)])
    }

    @Test func withoutRoomAnywhereItWaitsHere() {
        var bed = bed(used: 10, [report(2, free: 0)])
        let request = bed.request(oneCPU)
        #expect(bed.parts(request).isEmpty)
        #expect(bed.reason(request) == .resource(.cpu, needed: 1, available: 0, total: 10))
        bed.feed(
            .received(
                .views(ViewBatch(incarnation: 1, from: 0, to: 1, reports: [report(2, free: 5, version: 2)])),
                from: .controlStore))
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
    }

    @Test func equallyGoodNodesAreDrawnAtRandom() {
        var chosen: Set<NodeID> = []
        for seed in 1...40 as ClosedRange<UInt64> {
            var bed = bed(used: 10, (2...6).map { report($0) }, seed: seed)
            let request = bed.request(oneCPU)
            chosen.formUnion(bed.elsewhere(request).map(\.node))
        }
        #expect(chosen == Set((2...6).map { nodeID($0) }))
    }

    @Test func aFifthOfThoseWithRoomIsDrawnFrom() {
        // Ten nodes, each a step more used than the one before: two of them are drawn from.
        var chosen: Set<NodeID> = []
        for seed in 1...40 as ClosedRange<UInt64> {
            var bed = bed(
                used: 10, (2...11).map { report($0, cpu: 1000, free: Int64(480 - 40 * ($0 - 2))) }, seed: seed)
            let request = bed.request(oneCPU)
            chosen.formUnion(bed.elsewhere(request).map(\.node))
        }
        #expect(chosen == [nodeID(2), nodeID(3)])
    }

    @Test func manySlotsAreSpreadInOneAnswer() {
        var bed = bed(used: 0, (2...5).map { report($0) })
        let request = bed.request(oneCPU, slots: 40)
        let elsewhere = bed.elsewhere(request)
        #expect(Set(elsewhere.map(\.node)) == Set((2...5).map { nodeID($0) }))
        #expect(elsewhere.map { Int($0.slots) }.reduce(0, +) == 40 - bed.grants(request).count)
        #expect(bed.grants(request).count >= 5)
    }

    @Test func aNodeFilledByWhatWasSentIsAskedAgainUntilItSaysNo() {
        var bed = bed(used: 10, [report(2, cpu: 2)])
        let first = bed.spilled(2)
        #expect(first == 2)
        let doubtful = bed.request(oneCPU)
        #expect(bed.elsewhere(doubtful).map(\.mode) == [.grantOrReject], "it may have room again by now")
        bed.view.apply(report(2, cpu: 2, free: 0, version: 2))
        let waiting = bed.request(oneCPU)
        #expect(bed.elsewhere(waiting).isEmpty, "it has said no")
        bed.view.apply(report(2, cpu: 2, version: 3))
        bed.feed(.viewChanged)
        #expect(bed.elsewhere(waiting).map(\.node) == [nodeID(2)])
    }

    @Test func whatWasSentAndNeverArrivedCountsForASecondOnly() {
        var bed = bed(used: 10, [report(2, cpu: 1)])
        let result6 = bed.spilled(1)
        #expect(result6 == 1)
        bed.now = bed.now + .seconds(1)
        let result7 = bed.spilled(1)
        #expect(result7 == 1)
    }

    @Test func plainTasksLeaveAcceleratorsAlone() {
        var bed = bed(used: 10, [report(2, gpus: 4), report(3, free: 1)])
        let plain = bed.request(oneCPU)
        #expect(bed.elsewhere(plain).map(\.node) == [nodeID(3)], "though it is fuller")
        let next = bed.request(oneCPU)
        #expect(bed.elsewhere(next).map(\.node) == [nodeID(2)], "better than nothing")
        let gpu = bed.request(SchedulingClass(demand: ResourceVector(cpu: 1, others: [.init(.gpu, 1)])))
        #expect(bed.elsewhere(gpu).map(\.node) == [nodeID(2)])
    }

    @Test func aSpilledRequestIsGrantedOrRejected() {
        var bed = bed(used: 9, [report(2)])
        let lease = bed.lease(oneCPU, mode: .grantOrReject)
        #expect(lease.count == 1, "though another node would be better")
        let rejected = bed.request(oneCPU, mode: .grantOrReject)
        #expect(bed.rejected(rejected) == 1)
        #expect(bed.elsewhere(rejected).isEmpty)
    }

    @Test func aTwiceRejectedRequestIsNotSpilledAgainAtOnce() {
        var bed = bed(used: 10, [report(2)])
        let request = bed.request(oneCPU, rejections: 2)
        bed.advance(.milliseconds(19))
        #expect(bed.parts(request).isEmpty)
        bed.feed(.viewChanged)
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
    }

    /// All nodes are full, by a view that may be old.
    @Test func whatFindsNoRoomAsksAround() {
        var bed = bed(used: 10, (2..<66 as Range<UInt64>).map { report($0, free: 0) })
        let request = bed.request(oneCPU, slots: 100)
        func asked() -> UInt32 { bed.elsewhere(request).reduce(0) { $0 + $1.slots } }
        bed.advance(.milliseconds(19))
        #expect(asked() == 0)
        bed.advance(.milliseconds(1))
        #expect(asked() == 4, "a sixteenth of those that could run it, one slot each")
        #expect(bed.elsewhere(request).allSatisfy { $0.mode == .grantOrReject })
        for _ in 0..<4 { bed.request(oneCPU, rejections: 1) }
        bed.advance(.milliseconds(20))
        #expect(asked() == 6, "half as many, since all came back")
        bed.advance(.milliseconds(20))
        #expect(asked() == 10, "twice as many, since none came back")
        bed.advance(.milliseconds(20))
        #expect(asked() == 14)
    }

    @Test func theNodeOfTheDataPrefersItself() {
        var bed = bed(used: 8, [report(2)])
        let request = bed.request(oneCPU, isLocalityChoice: true)
        #expect(bed.grants(request).count == 1)
    }
}

@Suite struct ConstraintTests {
    @Test func spreadGoesRound() {
        var bed = NodeBed(capacity(10))
        bed.addWorkers(10)
        for value in 1...4 as ClosedRange<UInt64> { bed.view.apply(report(value)) }
        var nodes: [NodeID] = []
        for _ in 0..<8 {
            let request = bed.request(cpus(1, constraint: .spread))
            nodes += bed.elsewhere(request).map(\.node) + bed.grants(request).map(\.lease.node)
        }
        for value in 1...4 as ClosedRange<UInt64> { #expect(nodes.count { $0 == nodeID(value) } == 2) }
    }

    @Test func spreadPassesByThoseWithoutRoom() {
        var bed = NodeBed(capacity(1))
        bed.view.apply(report(2, free: 0))
        bed.view.apply(report(3))
        let request = bed.request(cpus(1, constraint: .spread), slots: 4)
        #expect(Set(bed.elsewhere(request).map(\.node)) == [nodeID(3)])
    }

    @Test func hardAffinityWaitsForItsNode() {
        var bed = NodeBed(capacity(1))
        bed.view.apply(report(2, free: 0))
        bed.view.apply(report(3))
        let known = bed.request(cpus(1, constraint: .node(nodeID(2))))
        #expect(bed.elsewhere(known).map(\.node) == [nodeID(2)])
        #expect(bed.elsewhere(known).map(\.mode) == [.queue])
        let unknown = bed.request(cpus(1, constraint: .node(nodeID(9))))
        #expect(bed.reason(unknown) == .nodeAbsent(nodeID(9)))
        bed.feed(
            .received(.views(ViewBatch(incarnation: 1, from: 0, to: 1, reports: [report(9)])), from: .controlStore))
        #expect(bed.elsewhere(unknown).map(\.node) == [nodeID(9)])
    }

    @Test func softAffinityTakesAnotherWhenItsNodeCanNot() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        bed.view.apply(report(2, free: 0))
        let known = bed.request(cpus(1, constraint: .preferredNode(nodeID(2))))
        #expect(bed.elsewhere(known).map(\.node) == [nodeID(2)])
        let absent = bed.lease(cpus(1, constraint: .preferredNode(nodeID(9))))
        #expect(absent.count == 1)
    }

    @Test func labelsSelectNodes() {
        func labelled(_ condition: LabelSelector.Condition) -> SchedulingClass {
            SchedulingClass(demand: ResourceVector(cpu: 1), labels: LabelSelector([condition]))
        }
        var bed = NodeBed(capacity(4), labels: ["zone": "a"])
        bed.addWorkers(4)
        bed.view.apply(report(2, labels: ["zone": "b"]))
        bed.view.apply(report(3, labels: ["zone": "c", "spot": "yes"]))
        let near = bed.lease(labelled(.isIn(key: "zone", values: ["a", "b"])))
        #expect(near.count == 1)
        let second = bed.request(labelled(.isIn(key: "zone", values: ["b"])))
        #expect(bed.elsewhere(second).map(\.node) == [nodeID(2)])
        let spot = bed.request(labelled(.exists(key: "spot")))
        #expect(bed.elsewhere(spot).map(\.node) == [nodeID(3)])
        let none = bed.request(labelled(.isIn(key: "zone", values: ["z"])))
        #expect(bed.reason(none)?.description == "no node with zone in (z) has the resources")
        bed.view.apply(report(3, labels: ["zone": "z"], version: 2))
        bed.feed(.viewChanged)
        #expect(bed.elsewhere(none).map(\.node) == [nodeID(3)])
    }

    @Test func whatThisNodeCanNotRunWaitsWhereItCanBeRun() {
        var bed = NodeBed(capacity(1))
        bed.view.apply(report(2, cpu: 8, free: 0))
        let request = bed.request(cpus(8))
        #expect(bed.elsewhere(request).map(\.node) == [nodeID(2)])
        #expect(bed.elsewhere(request).map(\.mode) == [.queue])
    }
}

@Suite struct AcceleratorTests {
    private func gpus(_ amount: Double) -> SchedulingClass {
        SchedulingClass(demand: ResourceVector(others: [.init(.gpu, ResourceAmount(fraction: amount))]))
    }

    @Test func wholeOnesHaveIndices() {
        var bed = NodeBed(capacity(4, gpus: 4))
        bed.addWorkers(4)
        let two = bed.lease(gpus(2))
        #expect(two[0].shares.map(\.index) == [0, 1])
        let one = bed.lease(gpus(1))
        #expect(one[0].shares.map(\.index) == [2])
        bed.giveBack(two[0])
        let again = bed.lease(gpus(2))
        #expect(again[0].shares.map(\.index) == [0, 1])
    }

    @Test func fractionsShareOneAndLeaveOthersWhole() {
        var bed = NodeBed(capacity(8, gpus: 2))
        bed.addWorkers(8)
        let fractions = [0.3, 0.3, 0.4].map { bed.lease(gpus($0))[0] }
        #expect(fractions.flatMap(\.shares).map(\.index) == [0, 0, 0])
        #expect(bed.node.available[.gpu] == 1)
        bed.giveBack(fractions[1])
        #expect(bed.node.available[.gpu] == ResourceAmount(fraction: 1.3))
        let small = bed.lease(gpus(0.2))
        #expect(small[0].shares.map(\.index) == [0], "the smallest piece that does")
    }

    @Test func twoHalvesAreNotAWhole() {
        var bed = NodeBed(capacity(8, gpus: 2))
        bed.addWorkers(8)
        let halves = (0..<2).map { _ in bed.lease(gpus(0.6))[0] }
        let half = bed.request(gpus(0.5))
        #expect(bed.grants(half).isEmpty)
        #expect(bed.node.available[.gpu] == ResourceAmount(fraction: 0.4), "what a request can have of it")
        bed.giveBack(halves[0])
        #expect(bed.grants(half).count == 1)
    }
}

extension NodeBed {
    /// Asks for slots and tells how many were sent elsewhere.
    mutating func spilled(_ slots: UInt32) -> Int {
        let request = request(oneCPU, slots: slots, by: WorkerID(node: here, number: UInt32(900 + spills)))
        spills += 1
        return elsewhere(request).map { Int($0.slots) }.reduce(0, +)
    }
}

@Suite struct StrangeMessageTests {
    /// Whatever a node says of itself, nobody traps.
    @Test(arguments: [Int64.min, -1, 0, 1, .max], [Int64.min, -1, 0, 1, .max])
    func reportsMaySayAnything(total: Int64, available: Int64) {
        var bed = NodeBed(capacity(1))
        func vector(_ units: Int64) -> ResourceVector {
            let amount = ResourceAmount(units: units)
            return ResourceVector(cpu: amount, memory: amount, others: [.init(.gpu, amount)])
        }
        bed.view.apply(
            NodeReport(
                node: nodeID(2), total: vector(total), available: vector(available), queued: .max, isPullLimited: false)
        )
        let gpu = SchedulingClass(demand: ResourceVector(cpu: 1, others: [.init(.gpu, ResourceAmount(units: 1))]))
        for schedulingClass in [oneCPU, gpu, cpus(1, constraint: .spread)] {
            bed.request(schedulingClass, slots: 1000)
            bed.request(schedulingClass, slots: .max)
        }
        bed.feed(.viewChanged)
        #expect(bed.node.queuedSlots <= 4_000_000)
    }

    @Test func argumentsMayBeOfAnySize() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        let arguments = (1...3).map { TaskArgument(object: object(UInt64($0)), bytes: .max) }
        bed.request(oneCPU, arguments: arguments + arguments)
        bed.request(oneCPU, arguments: arguments)
        for argument in arguments { bed.feed(.argumentLocal(argument.object)) }
        #expect(bed.node.leaseCount == 2)
    }

    @Test func answersMaySayAnything() {
        var bed = SubmitterBed()
        bed.submit(1...1)
        let grant = bed.grant()
        bed.answer(0, [.cancelled(slots: 0), .granted(grant)])
        bed.answer(0, [.cancelled(slots: .max)])
        bed.answer(0, [.elsewhere(here, slots: 7, mode: .queue)], first: 9)
        #expect(bed.submitter.taskCount == 1)
        bed.answer(0, [.granted(grant)])
        #expect(bed.pushes.count == 1)
    }

    @Test func aDemandIsCheckedBeforeItIsReserved() {
        var bed = NodeBed(capacity(4, gpus: 4))
        let group = GroupID(creator: driver, number: 1)
        for demand in [
            ResourceVector(others: [.init(.gpu, ResourceAmount(fraction: 1.5))]), ResourceVector(cpu: -1),
        ] {
            let bundle = BundleDemand(id: BundleID(group: group, index: 0), demand: demand)
            bed.feed(
                .received(
                    .bundles(BundleRequest(group: group, attempt: 1, step: .prepare([bundle]))), from: .controlStore))
        }
        #expect(bed.node.available == bed.node.total)
    }
}
