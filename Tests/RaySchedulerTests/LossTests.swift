// Loss of each kind of message, of what follows from it, and repeats of it: every task ends once all the same (after
// test_raylet_fault_tolerance.py and the lease tests of node_manager_test.cc).

import RayCore
import RayScheduler
import Testing

/// A kind of message.
enum MessageKind: String, CaseIterable, Sendable {
    case request, giveBack, renew, answer, gaveBack, renewed, push, cancelTask, taskReport, report, reportReceived
    case pullViews, views, bundles, bundlesAnswer

    init(_ message: SchedulerMessage) {
        switch message {
        case .request: self = .request
        case .giveBack: self = .giveBack
        case .renew: self = .renew
        case .answer: self = .answer
        case .gaveBack: self = .gaveBack
        case .renewed: self = .renewed
        case .push: self = .push
        case .cancelTask: self = .cancelTask
        case .taskReport: self = .taskReport
        case .report: self = .report
        case .reportReceived: self = .reportReceived
        case .pullViews: self = .pullViews
        case .views: self = .views
        case .bundles: self = .bundles
        case .bundlesAnswer: self = .bundlesAnswer
        }
    }
}

@Suite struct LossTests {
    enum Harm: CaseIterable, Sendable {
        /// The first two messages of the kind are lost. Three renewals in a row would be the end of a lease.
        case request
        /// The first two arrive, and nothing that their receiver says within a tenth of a second does.
        case response
        /// Each comes again, a tenth of a second later.
        case repeated
    }

    /// What the network did, and until when it loses what a party says.
    private final class Network {
        var struck = 0
        var quiet: [Party: Timestamp] = [:]

        func fate(
            _ kind: MessageKind, _ harm: Harm, _ message: SchedulerMessage, _ from: Party, _ to: Party, _ now: Timestamp
        )
            -> Fate
        {
            if harm == .response, let end = quiet[from], now < end { return .lose }
            guard MessageKind(message) == kind else { return .deliver }
            struck += 1
            switch harm {
            case .request: return struck <= 2 ? .lose : .deliver
            case .response:
                if struck <= 2 { quiet[to] = now + .milliseconds(100) }
                return .deliver
            case .repeated: return .repeatLate
            }
        }
    }

    @Test(arguments: MessageKind.allCases, Harm.allCases)
    func eachKindOfMessage_isLostOrRepeated(kind: MessageKind, harm: Harm) {
        var cluster = Cluster(nodes: Array(repeating: capacity(2), count: 3))
        let network = Network()
        cluster.fate = { network.fate(kind, harm, $0, $1, $2, $3) }
        cluster.run(for: .seconds(5))
        let driver = cluster.addSubmitter(on: 0)
        let object = ObjectID(owner: driver, sequence: 1)
        cluster.resolutions[object] = .stored(bytes: 1 << 20, nodes: [cluster.nodeIDs[1]])
        let group = GroupID(creator: driver, number: 1)
        cluster.handle(
            .create(
                GroupSpecification(
                    id: group, strategy: .strictSpread, bundles: Array(repeating: ResourceVector(cpu: 1), count: 2))))
        let inGroup = SchedulingClass(
            demand: ResourceVector(cpu: 1), constraint: .group(group, bundle: nil), function: 3)
        // Long enough for renewals, and for what waits to be spilled.
        cluster.runTime = 400_000_000
        cluster.submit(20, of: oneCPU, by: driver)
        cluster.submit(4, of: oneCPU, by: driver, from: 100, dependencies: [object])
        cluster.submit(4, of: inGroup, by: driver, from: 200)
        let endless = TaskID(owner: driver, sequence: 0)
        cluster.runTimes[endless] = 20_000_000_000
        cluster.run(for: .seconds(12))
        cluster.handle(.cancel(endless), driver)
        let isDone = cluster.run(for: .seconds(120)) { $0.ended.count == 28 }
        #expect(isDone, "\(cluster.ended.count) of 28 ended")
        cluster.handle(.remove(group))
        cluster.run(for: .seconds(60))
        #expect(cluster.ended.filter { $0.value != .finished } == [endless: .cancelled])
        #expect(cluster.leftovers == [])
        #expect(cluster.violations.prefix(5) == [])
        #expect(network.struck > 0, "nobody says \(kind)")
    }
}
