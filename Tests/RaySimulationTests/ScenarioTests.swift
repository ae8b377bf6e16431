// Ray's published scenarios that need a cluster (docs/scenarios.md): seeds of the simulator, with what they are about
// given.

import RaySimulation
import Testing

@Suite struct ScenarioTests {
    /// Runs seeds, and sees that none breaks a promise and that the marks are reached.
    private func expectSound(
        _ seeds: Range<UInt64>, reaching marks: [Mark], sourceLocation: SourceLocation = #_sourceLocation,
        _ change: (inout RunOptions) -> Void
    ) {
        let report = Simulation.sweep(seeds, change)
        if let failure = report.failure {
            Issue.record(
                "\(failure.violation)\nreplay: \(failure.options.command)", sourceLocation: sourceLocation)
        }
        for mark in marks {
            #expect(report.coverage.count(of: mark) > 0, "\(mark) is not reached", sourceLocation: sourceLocation)
        }
    }

    /// Chains of tasks, whose nodes die and whose copies vanish, those that were made again as well.
    @Test func lineageUnderStress_nodesAndCopiesAreLost() {
        expectSound(1..<41, reaching: [.taskRunsAgain, .nodeRestarted, .copyLost]) {
            $0.nodes = 4
            $0.workload = .chain
            $0.faults = [.nodes, .copies, .disks]
        }
    }

    @Test func packetsBetweenTheHeadAndANodeAreLost() {
        expectSound(1..<41, reaching: [.suspected, .pulled, .spilledBack]) {
            $0.nodes = 3
            $0.faults = [.loss, .cuts, .reordering]
        }
    }

    @Test func theControlStoreRestarts() {
        expectSound(1..<41, reaching: [.controlStoreRestarted, .nodeRestarted, .spilledBack]) {
            $0.nodes = 4
            $0.faults = [.restarts, .nodes, .workers]
        }
    }

    @Test func nodesAreDrained() {
        expectSound(1..<41, reaching: [.nodeDrained, .nodeRestarted, .spilledBack]) {
            $0.nodes = 4
            $0.faults = [.drains]
        }
    }

    @Test func detachedObjectsOutliveTheirCreators() {
        expectSound(1..<41, reaching: [.detachedPut, .detachedOutlived, .nodeRestarted]) {
            $0.workload = .detached
            $0.faults = [.nodes, .workers, .copies, .loss]
        }
    }
}
