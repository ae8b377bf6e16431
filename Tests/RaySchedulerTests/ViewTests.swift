// Scenarios of view synchronisation.

import RayCore
import RayScheduler
import Testing

private func state(_ value: UInt64, version: UInt64, free: Int64 = 4) -> NodeReport {
    NodeReport(
        node: nodeID(value), version: version, total: ResourceVector(cpu: 4),
        available: ResourceVector(cpu: ResourceAmount(free)))
}

/// A hub and what it said.
private struct HubBed {
    private let held: Held<ViewHub>
    var hub: ViewHub {
        _read { yield held.machine }
        nonmutating _modify { yield &held.machine }
    }
    var now = Timestamp(nanoseconds: 1_000_000)
    var batches: [ViewBatch] = []
    var answers: [ViewBatch] = []
    var received: [UInt64] = []

    init(incarnation: UInt32 = 1, reportsPerBatch: Int = 2048) {
        var configuration = HubConfiguration()
        configuration.reportsPerBatch = reportsPerBatch
        held = Held(ViewHub(incarnation: incarnation, configuration: configuration))
    }

    mutating func feed(_ event: HubEvent) {
        var directives: [HubDirective] = []
        hub.handle(event, now: now, into: &directives)
        take(directives)
    }

    mutating func publish(_ report: NodeReport) { feed(.received(.report(report), from: .node(report.node))) }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        var directives: [HubDirective] = []
        hub.tick(now: now, into: &directives)
        take(directives)
    }

    private mutating func take(_ directives: [HubDirective]) {
        for directive in directives {
            switch directive {
            case .broadcast(let batch): batches.append(batch)
            case .send(.views(let batch), to: _): answers.append(batch)
            case .send(.reportReceived(let version), to: _): received.append(version)
            case .send: break
            }
        }
    }
}

@Suite struct ViewTests {
    @Test func theNewestVersionWins() {
        var view = ClusterView()
        let result1 = view.apply(state(1, version: 2))
        #expect(result1)
        let result2 = view.apply(state(1, version: 1, free: 0))
        #expect(!result2)
        let result3 = view.apply(state(1, version: 2, free: 0))
        #expect(!result3)
        #expect(view.report(of: nodeID(1))?.available.cpu == 4)
        let result4 = view.apply(state(1, version: 3, free: 0))
        #expect(result4)
        #expect(view.report(of: nodeID(1))?.available.cpu == 0)
    }

    @Test func theDeadStayDead() {
        var view = ClusterView()
        view.apply(state(1, version: 2))
        view.nodeDied(nodeID(1))
        view.nodeDied(nodeID(2))
        let result5 = view.apply(state(1, version: 9))
        #expect(!result5)
        let result6 = view.apply(state(2, version: 9))
        #expect(!result6)
        #expect(view.nodeCount == 0)
    }

    @Test func changesAreBroadcastOnceEachTenthOfASecond() {
        var bed = HubBed()
        bed.publish(state(1, version: 1))
        #expect(bed.batches.count == 1, "the first at once")
        bed.publish(state(1, version: 2))
        bed.publish(state(1, version: 3, free: 1))
        bed.publish(state(2, version: 1))
        #expect(bed.batches.count == 1)
        bed.advance(.milliseconds(100))
        #expect(bed.batches.count == 2)
        #expect(
            bed.batches[1].reports == [state(1, version: 3, free: 1), state(2, version: 1)], "only the newest of each")
        #expect(bed.hub.nextDeadline == .never, "nothing is sent while nothing changes")
        #expect(bed.received == [1, 2, 3, 1])
    }

    @Test func oldReportsAreNotBroadcast() {
        var bed = HubBed()
        bed.publish(state(1, version: 5))
        bed.publish(state(1, version: 4, free: 0))
        #expect(bed.hub.nextDeadline == .never)
        #expect(bed.received == [5, 5])
    }

    @Test func nobodyReportsForAnother() {
        var bed = HubBed()
        bed.feed(.received(.report(state(1, version: 1)), from: .node(nodeID(2))))
        #expect(bed.batches.isEmpty && bed.received.isEmpty)
    }

    @Test func aMissedBroadcastIsAskedFor() {
        var (bed, view) = (HubBed(), ClusterView())
        for version in 1...3 as ClosedRange<UInt64> {
            bed.publish(state(version, version: 1))
            bed.advance(.milliseconds(100))
        }
        let result7 = view.apply(bed.batches[0])
        #expect(result7 == nil)
        let pull = view.apply(bed.batches[2])
        #expect(pull == ViewPull(incarnation: 1, since: 1))
        #expect(view.nodeCount == 2, "what came is used all the same")
        bed.feed(.received(.pullViews(pull ?? view.pull), from: .node(here)))
        let result8 = view.apply(bed.answers[0])
        #expect(result8 == nil)
        #expect(view.nodeCount == 3)
        let result9 = view.apply(bed.batches[1])
        #expect(result9 == nil, "late, and harmless")
        #expect(view.pull == ViewPull(incarnation: 1, since: 3))
    }

    @Test func broadcastsAreBoundedAndNobodyIsLeftOut() {
        var (bed, view) = (HubBed(reportsPerBatch: 10), ClusterView())
        var version: UInt64 = 0
        for _ in 0..<10 {
            version += 1
            for value in 1...50 as ClosedRange<UInt64> { bed.publish(state(value, version: version)) }
            bed.advance(.milliseconds(100))
        }
        for batch in bed.batches {
            #expect(batch.reports.count <= 10)
            let result10 = view.apply(batch)
            #expect(result10 == nil)
        }
        #expect(view.nodeCount == 50, "though the same nodes report first each time")
    }

    @Test func aPullIsAnsweredInBoundedParts() {
        var (bed, view) = (HubBed(reportsPerBatch: 10), ClusterView())
        for value in 1...25 as ClosedRange<UInt64> { bed.publish(state(value, version: 1)) }
        for _ in 0..<5 { bed.advance(.milliseconds(100)) }
        var rounds = 0
        while view.nodeCount < 25, rounds < 5 {
            bed.feed(.received(.pullViews(view.pull), from: .node(here)))
            if let answer = bed.answers.last { _ = view.apply(answer) }
            rounds += 1
        }
        #expect(rounds == 3)
    }

    @Test func aRestartedControlStoreIsBelieved() {
        var (old, new, view) = (HubBed(), HubBed(incarnation: 2), ClusterView())
        old.publish(state(1, version: 5))
        _ = view.apply(old.batches[0])
        new.publish(state(1, version: 6, free: 0))
        let result11 = view.apply(new.batches[0])
        #expect(result11 == nil)
        #expect(view.report(of: nodeID(1))?.version == 6)
        let result12 = view.apply(old.batches[0])
        #expect(result12 == nil, "the old one is not")
    }

    @Test func deathIsBroadcast() {
        var (bed, view) = (HubBed(), ClusterView())
        bed.publish(state(1, version: 5))
        bed.feed(.nodeDied(nodeID(1)))
        bed.publish(state(1, version: 6))
        bed.advance(.milliseconds(100))
        for batch in bed.batches { _ = view.apply(batch) }
        #expect(view.report(of: nodeID(1))?.condition == .dead)
    }

    @Test func aNodePublishesWhatHasChangedUntilItIsReceived() {
        var bed = NodeBed(capacity(4))
        func versions(_ bed: NodeBed) -> [UInt64] {
            bed.others.compactMap { if case .report(let report) = $0 { report.version } else { nil } }
        }
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1])
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1, 1], "nobody has received it")
        bed.feed(.received(.reportReceived(version: 1), from: .controlStore))
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1, 1])
        bed.addWorker()
        bed.request(oneCPU)
        bed.request(oneCPU)
        bed.advance(.milliseconds(100))
        #expect(versions(bed).last == 2 || versions(bed).last == 3)
        #expect(versions(bed).count <= 4, "at most one each tenth of a second")
    }

    @Test func aRestartedControlStoreIsToldAgainWhatHasNotChanged() {
        var bed = NodeBed(capacity(4))
        func versions(_ bed: NodeBed) -> [UInt64] {
            bed.others.compactMap { if case .report(let report) = $0 { report.version } else { nil } }
        }
        func hear(_ incarnation: UInt32) {
            let batch = ViewBatch(incarnation: incarnation, from: 0, to: 0, reports: [])
            bed.feed(.received(.views(batch), from: .controlStore))
        }
        bed.advance(.milliseconds(100))
        bed.feed(.received(.reportReceived(version: 1), from: .controlStore))
        hear(1)
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1])
        hear(2)
        #expect(versions(bed) == [1, 2])
        bed.feed(.received(.reportReceived(version: 1), from: .controlStore))
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1, 2, 2], "the old one's word does not count")
        bed.feed(.received(.reportReceived(version: 2), from: .controlStore))
        hear(2)
        hear(1)
        bed.advance(.milliseconds(100))
        #expect(versions(bed) == [1, 2, 2])
    }

    @Test func aNodeThatHearsNothingAsks() {
        var bed = NodeBed(capacity(4))
        bed.advance(.zero)
        bed.advance(.seconds(3))
        let pulls = bed.others.count { if case .pullViews = $0 { true } else { false } }
        #expect(pulls == 2)
    }
}
