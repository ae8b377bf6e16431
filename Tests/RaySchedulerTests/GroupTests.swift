// Scenarios of placement groups: where bundles go, the two phases, and what is lost or late between them.

import RayCore
import RayScheduler
import Testing

private let group = GroupID(creator: driver, number: 1)

/// A coordinator, a view of nodes, and what was said.
private struct GroupBed {
    var coordinator = GroupCoordinator(incarnation: 1, seed: 1)
    var view = ClusterView()
    var now = Timestamp(nanoseconds: 1_000_000)
    var requests: [(request: BundleRequest, node: NodeID)] = []
    var placed: [[NodeID]] = []
    var waits: [GroupWait] = []
    var removed = 0

    /// - Parameter cpus: of the nodes, from 2 on.
    init(_ cpus: [Int64]) {
        for (index, count) in cpus.enumerated() {
            view.apply(
                NodeReport(
                    node: nodeID(UInt64(index + 2)), total: ResourceVector(cpu: ResourceAmount(count)),
                    labels: ["even": index % 2 == 0 ? "yes" : "no"]))
        }
    }

    mutating func feed(_ event: GroupEvent) {
        var directives: [GroupDirective] = []
        coordinator.handle(event, now: now, view: &view, into: &directives)
        take(directives)
    }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        var directives: [GroupDirective] = []
        coordinator.tick(now: now, view: &view, into: &directives)
        take(directives)
    }

    private mutating func take(_ directives: [GroupDirective]) {
        for directive in directives {
            switch directive {
            case .send(.bundles(let request), to: .node(let node)): requests.append((request, node))
            case .send: break
            case .placed(_, let nodes): placed.append(nodes)
            case .waiting(_, let reason): waits.append(reason)
            case .removed: removed += 1
            }
        }
    }

    mutating func create(_ strategy: GroupStrategy, _ cpus: [Int64], labels: LabelSelector = .any) {
        feed(
            .create(
                GroupSpecification(
                    id: group, strategy: strategy, bundles: cpus.map { ResourceVector(cpu: ResourceAmount($0)) },
                    labels: labels)))
    }

    /// Answers all requests that were not answered, as nodes with room would, until nothing is asked.
    mutating func answerAll(refusing: Set<NodeID> = []) {
        while !requests.isEmpty {
            let (request, node) = requests.removeFirst()
            let result: BundleResult
            switch request.step {
            case .prepare: result = refusing.contains(node) ? .refused : .prepared
            case .commit: result = .committed
            case .release: result = .released
            }
            feed(
                .received(
                    .bundlesAnswer(BundleAnswer(group: group, attempt: request.attempt, result: result)),
                    from: .node(node)))
        }
    }

    /// Where the bundles are after all answers.
    mutating func nodes(_ strategy: GroupStrategy, _ cpus: [Int64]) -> [UInt64]? {
        create(strategy, cpus)
        answerAll()
        return placed.last?.map(\.value)
    }
}

@Suite struct GroupPlacementTests {
    @Test func packTakesOneNodeIfItCan() {
        var bed = GroupBed([4, 8, 4])
        let nodes = bed.nodes(.pack, [2, 2, 2])
        #expect(nodes == [3, 3, 3])
    }

    @Test func packTakesFewNodes() {
        var bed = GroupBed([4, 4, 4, 4])
        let nodes = bed.nodes(.pack, [2, 2, 2, 2])
        #expect(nodes.map { Set($0).count } == 2)
    }

    @Test func strictPackTakesOneOrNone() {
        var bed = GroupBed([4, 8])
        let nodes = bed.nodes(.strictPack, [4, 4])
        #expect(nodes == [3, 3])
        var small = GroupBed([4, 4])
        let none = small.nodes(.strictPack, [4, 4])
        #expect(none == nil)
        #expect(small.waits == [.infeasible(bundle: 0, ResourceVector(cpu: 8))])
    }

    @Test func spreadTakesDifferentNodesIfItCan() {
        var bed = GroupBed([8, 8, 8])
        let nodes = bed.nodes(.spread, [1, 1, 1])
        #expect(nodes.map { Set($0).count } == 3)
        var few = GroupBed([8, 8])
        let doubled = few.nodes(.spread, [1, 1, 1])
        #expect(doubled.map { Set($0).count } == 2)
    }

    @Test func strictSpreadTakesDifferentNodesOrNone() {
        var bed = GroupBed([8, 8])
        let none = bed.nodes(.strictSpread, [1, 1, 1])
        #expect(none == nil)
        #expect(bed.waits == [.noRoom(bundle: 2, ResourceVector(cpu: 1))])
        bed.view.apply(NodeReport(node: nodeID(9), total: ResourceVector(cpu: 8)))
        bed.advance(.milliseconds(100))
        bed.answerAll()
        #expect(bed.placed.last.map { Set($0).count } == 3)
    }

    @Test func labelsBindBundles() {
        var bed = GroupBed([8, 8, 8, 8])
        bed.create(.spread, [1, 1], labels: LabelSelector([.isIn(key: "even", values: ["no"])]))
        bed.answerAll()
        #expect(bed.placed.last.map(Set.init) == [nodeID(3), nodeID(5)])
    }

    @Test func whatCouldNotBePlacedTakesNothingOffTheView() {
        var bed = GroupBed([4, 1])
        bed.create(.strictSpread, [4, 4])
        #expect(bed.view.report(of: nodeID(2))?.available.cpu == 4)
    }
}

@Suite struct GroupPhaseTests {
    @Test func allArePreparedBeforeAnyIsCommitted() {
        var bed = GroupBed([1, 1])
        bed.create(.strictSpread, [1, 1])
        #expect(bed.requests.count == 2)
        let (first, node) = bed.requests.removeFirst()
        bed.feed(
            .received(
                .bundlesAnswer(BundleAnswer(group: group, attempt: first.attempt, result: .prepared)), from: .node(node)
            ))
        #expect(bed.requests.count == 1, "the other has not answered")
        bed.answerAll()
        #expect(bed.placed.count == 1)
        #expect(bed.coordinator.nextDeadline == .never)
    }

    @Test func stepsAreRepeatedUntilAnswered() {
        var bed = GroupBed([1])
        bed.create(.pack, [1])
        bed.advance(.milliseconds(200))
        #expect(bed.requests.count == 2)
        bed.answerAll()
        #expect(bed.placed.count == 1, "a second answer is harmless")
    }

    @Test func aRefusalGivesBackWhatOthersReserved() {
        var bed = GroupBed([1, 1])
        bed.create(.strictSpread, [1, 1])
        let refusing = bed.requests[1].node
        let (first, second) = (bed.requests[0], bed.requests[1])
        bed.requests = []
        bed.feed(
            .received(
                .bundlesAnswer(BundleAnswer(group: group, attempt: first.request.attempt, result: .prepared)),
                from: .node(first.node)))
        bed.feed(
            .received(
                .bundlesAnswer(BundleAnswer(group: group, attempt: second.request.attempt, result: .refused)),
                from: .node(second.node)))
        #expect(bed.waits == [.refused(refusing)])
        #expect(bed.requests.count == 2)
        #expect(
            bed.requests.allSatisfy {
                if case .release = $0.request.step { $0.request.attempt > first.request.attempt } else { false }
            })
        bed.answerAll()
        bed.view.apply(NodeReport(node: nodeID(9), total: ResourceVector(cpu: 1)))
        bed.advance(.seconds(1))
        bed.advance(.seconds(1))
        bed.answerAll()
        #expect(bed.placed.count == 1)
    }

    @Test func aDeadNodesBundlesMoveAndTheOthersStay() {
        var bed = GroupBed([1, 1, 1])
        bed.create(.strictSpread, [1, 1])
        bed.answerAll()
        let before = bed.placed[0]
        bed.feed(.nodeDied(before[1]))
        bed.answerAll()
        #expect(bed.placed.count == 2)
        #expect(bed.placed[1][0] == before[0])
        #expect(!before.contains(bed.placed[1][1]))
    }

    @Test func aNodeThatDiesWhilePreparingIsReplaced() {
        var bed = GroupBed([1, 1, 1])
        bed.create(.strictSpread, [1, 1])
        let dead = bed.requests[1].node
        bed.requests.remove(at: 1)
        bed.answerAll()
        bed.feed(.nodeDied(dead))
        bed.answerAll()
        #expect(bed.placed.count == 1)
        #expect(!(bed.placed.last ?? [dead]).contains(dead))
    }

    @Test func aRemovedGroupGivesAllBack() {
        var bed = GroupBed([1, 1])
        bed.create(.strictSpread, [1, 1])
        bed.feed(.remove(group))
        #expect(bed.removed == 0)
        bed.answerAll()
        #expect(bed.removed == 1)
        #expect(bed.coordinator.groupCount == 0)
    }

    @Test func aGroupThatWaits_isRemovedAtOnce() {
        var bed = GroupBed([1])
        bed.create(.strictSpread, [1, 1])
        #expect(bed.waits.count == 1)
        bed.feed(.remove(group))
        #expect(bed.removed == 1)
        #expect(bed.coordinator.groupCount == 0 && bed.coordinator.nextDeadline == .never)
    }

    /// What an attempt that failed gives back is still reserved until its nodes have said so, also when the group goes.
    @Test func aGroupThatGivesBack_isRemovedWhenAllHaveAnswered() {
        var bed = GroupBed([1, 1])
        bed.create(.strictSpread, [1, 1])
        let (first, second) = (bed.requests[0], bed.requests[1])
        for (node, result) in [(first.node, BundleResult.prepared), (second.node, .refused)] {
            bed.feed(
                .received(
                    .bundlesAnswer(BundleAnswer(group: group, attempt: first.request.attempt, result: result)),
                    from: .node(node)))
        }
        bed.requests = []
        bed.feed(.remove(group))
        #expect(bed.removed == 0)
        #expect(Set(bed.requests.map(\.node)) == [first.node, second.node], "the orders before may be lost")
        bed.answerAll()
        #expect(bed.removed == 1 && bed.coordinator.groupCount == 0)
    }
}

@Suite struct NodeBundleTests {
    private let inGroup = cpus(1, constraint: .group(group, bundle: 0))

    private func step(_ bed: inout NodeBed, _ attempt: UInt64, _ step: BundleStep) -> BundleResult? {
        let count = bed.others.count
        bed.feed(.received(.bundles(BundleRequest(group: group, attempt: attempt, step: step)), from: .controlStore))
        guard bed.others.count > count, case .bundlesAnswer(let answer) = bed.others[count] else { return nil }
        return answer.result
    }

    private let bundle = BundleID(group: group, index: 0)
    private func prepare(_ cpus: Int64) -> BundleStep {
        .prepare([BundleDemand(id: bundle, demand: ResourceVector(cpu: ResourceAmount(cpus)))])
    }

    @Test func aBundleIsReservedThenUsed() {
        var bed = NodeBed(capacity(4))
        bed.addWorkers(4)
        #expect(step(&bed, 1, prepare(2)) == .prepared)
        #expect(bed.node.available.cpu == 2)
        let early = bed.request(inGroup)
        #expect(bed.grants(early).isEmpty, "not before it is committed")
        #expect(step(&bed, 1, .commit([bundle])) == .committed)
        #expect(bed.grants(early).count == 1)
        let more = bed.request(inGroup, slots: 2)
        #expect(bed.grants(more).count == 1)
        #expect(bed.reason(more) == .resource(.cpu, needed: 1, available: 0, total: 2), "of the bundle")
    }

    @Test func stepsMayBeRepeated() {
        var bed = NodeBed(capacity(4))
        for _ in 0..<2 { #expect(step(&bed, 1, prepare(2)) == .prepared) }
        for _ in 0..<2 { #expect(step(&bed, 1, .commit([bundle])) == .committed) }
        #expect(bed.node.available.cpu == 2)
        for _ in 0..<2 { #expect(step(&bed, 2, .release([bundle])) == .released) }
        #expect(bed.node.available.cpu == 4)
    }

    @Test func aLateStepUndoesNoNewerOne() {
        var bed = NodeBed(capacity(4))
        #expect(step(&bed, 1, prepare(2)) == .prepared)
        #expect(step(&bed, 2, .release([bundle])) == .released)
        #expect(step(&bed, 1, prepare(2)) == nil, "it was given up")
        #expect(bed.node.available.cpu == 4)
        #expect(step(&bed, 3, prepare(2)) == .prepared)
        #expect(step(&bed, 2, .release([bundle])) == .released)
        #expect(bed.node.available.cpu == 2, "that release was for an older one")
    }

    @Test func allBundlesOrNoneAreReserved() {
        var bed = NodeBed(capacity(4))
        let demands = (0..<3).map {
            BundleDemand(id: BundleID(group: group, index: $0), demand: ResourceVector(cpu: 2))
        }
        #expect(step(&bed, 1, .prepare(demands)) == .refused)
        #expect(bed.node.available.cpu == 4)
        #expect(step(&bed, 1, .commit([bundle])) == .unknown)
    }

    @Test func aReleasedBundleEndsItsLeases() {
        var bed = NodeBed(capacity(4))
        let worker = bed.addWorker()
        _ = step(&bed, 1, prepare(1))
        _ = step(&bed, 1, .commit([bundle]))
        bed.request(inGroup)
        let waiting = bed.request(inGroup)
        _ = step(&bed, 2, .release([bundle]))
        guard case .failed(slots: 1, .groupGone(group))? = bed.parts(waiting).first else {
            return #expect(Bool(false), "\(bed.parts(waiting))")
        }
        #expect(bed.stops.map(\.worker) == [worker])
        #expect(bed.node.available.cpu == 3, "its worker may be at work")
        bed.feed(.workerDied(worker))
        #expect(bed.node.available.cpu == 4)
        let late = bed.request(inGroup)
        guard case .failed(slots: 1, .groupGone(group))? = bed.parts(late).first else {
            return #expect(Bool(false), "\(bed.parts(late))")
        }
    }

    @Test func bundlesKeepTheirAccelerators() {
        var bed = NodeBed(capacity(4, gpus: 4))
        bed.addWorkers(4)
        let demand = ResourceVector(cpu: 1, others: [.init(.gpu, 2)])
        _ = step(&bed, 1, .prepare([BundleDemand(id: bundle, demand: demand)]))
        _ = step(&bed, 1, .commit([bundle]))
        let outside = bed.lease(SchedulingClass(demand: ResourceVector(others: [.init(.gpu, 2)])))
        let inside = bed.lease(
            SchedulingClass(demand: ResourceVector(others: [.init(.gpu, 2)]), constraint: .group(group, bundle: nil)))
        #expect(outside[0].shares.map(\.index) == [2, 3])
        #expect(inside[0].shares.map(\.index) == [0, 1])
    }
}
