// The sweep of every build, past failures, planted bugs, and that one seed is one run.

import RaySimulation
import Testing

@Suite struct SweepTests {
    /// 2,000 seeds of mixed workloads, policies and faults, in parts that run side by side.
    static let seeds: UInt64 = 2_000
    static let parts: UInt64 = 8

    @Test func noSeedBreaksAPromiseAndAllRarePathsAreReached() async {
        let size = Self.seeds / Self.parts
        let reports = await withTaskGroup(of: SweepReport.self) { group in
            for part in 0..<Self.parts {
                group.addTask { Simulation.sweep(part * size + 1..<(part + 1) * size + 1) }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        var coverage = Coverage<Mark>()
        for report in reports {
            coverage.add(report.coverage)
            if let failure = report.failure {
                let least = Simulation.shrink(failure)
                Issue.record(
                    "\(failure.violation)\nreplay: \(failure.options.command)\nsmaller: \(least.options.command)")
            }
        }
        #expect(coverage.missing.filter { !Mark.rarest.contains($0) } == [], "the sweep does not reach these")
    }

    @Test func oneSeedIsOneRun() {
        for seed in 1...5 as ClosedRange<UInt64> {
            let (first, second) = (Simulation.run(RunOptions(seed: seed)), Simulation.run(RunOptions(seed: seed)))
            #expect(first.digest == second.digest && first.events == second.events)
        }
        #expect(Simulation.run(RunOptions(seed: 1)).digest != Simulation.run(RunOptions(seed: 2)).digest)
    }

    /// The same fault at the same place, whatever else is left out: what shrinking relies on.
    @Test func leavingAFaultOutLeavesTheOthers() {
        var options = RunOptions(seed: 3)
        options.faults = .all
        let all = Settings(options).plan.faults
        options.withoutFaults = [0]
        #expect(Settings(options).plan.faults.map(\.time) == all.dropFirst().map(\.time))
    }
}

@Suite struct PlantedBugTests {
    /// Each planted bug is found within 1,000 seeds, and it is the bug that was found: without it the seed passes.
    @Test(arguments: PlantedBug.allCases)
    func isFound(bug: PlantedBug) throws {
        let report = Simulation.sweep(1..<1_001) { $0.bug = bug }
        let failure = try #require(report.failure, "not found in \(report.runs) seeds")
        var healthy = failure.options
        healthy.bug = nil
        #expect(Simulation.run(healthy).violation == nil)
    }

    @Test func aFailureIsShrunkAndItsCommandIsWhole() throws {
        let failure = try #require(Simulation.sweep(1..<1_001) { $0.bug = .pullCorrupted }.failure)
        let least = Simulation.shrink(failure)
        #expect(least.violation.rule == failure.violation.rule)
        #expect(Simulation.run(least.options).violation?.rule == failure.violation.rule)
        #expect(try #require(least.options.tasks) <= Settings(failure.options).tasks)
        #expect(least.options.command.hasPrefix("fabricbench sim --seed \(failure.options.seed) --nodes "))
        #expect(least.options.command.hasSuffix("--bug pull-corrupted"))
    }
}
