// Runs, sweeps over seeds, and the shrinking of a run that fails.

internal import RayCore
package import RayScheduler

/// What a sweep has seen.
package struct SweepReport: Sendable {
    package var runs = 0
    package var events = 0
    package var coverage = Coverage<Mark>()
    /// The first run that failed; the sweep ends with it.
    package var failure: Failure?
}

/// A run that failed.
package struct Failure: Sendable {
    package var options: RunOptions
    package var violation: Violation

    package init(options: RunOptions, violation: Violation) {
        (self.options, self.violation) = (options, violation)
    }
}

package enum Simulation {
    /// - Parameter trace: is told each event and directive, for a person to read.
    package static func run(_ options: RunOptions, trace: ((String) -> Void)? = nil) -> Outcome {
        let cluster = Cluster(Settings(options))
        cluster.trace = trace
        return cluster.run()
    }

    /// Runs seed after seed until one fails.
    /// - Parameter change: what differs from a run of the seed alone.
    package static func sweep(_ seeds: Range<UInt64>, _ change: (inout RunOptions) -> Void = { _ in }) -> SweepReport {
        var report = SweepReport()
        for seed in seeds {
            var options = RunOptions(seed: seed)
            change(&options)
            let outcome = run(options)
            report.runs += 1
            report.events += outcome.events
            report.coverage.add(outcome.coverage)
            if let violation = outcome.violation {
                report.failure = Failure(options: options, violation: violation)
                break
            }
        }
        return report
    }

    /// Makes a failing run smaller for as long as it breaks the same rule: fewer kinds of faults, fewer faults,
    /// fewer tasks, fewer nodes.
    package static func shrink(_ failure: Failure) -> Failure {
        var least = failure
        func attempt(_ change: (inout RunOptions) -> Void) -> Bool {
            var options = least.options
            change(&options)
            guard let violation = run(options).violation, violation.rule == least.violation.rule else { return false }
            least = Failure(options: options, violation: violation)
            return true
        }
        let settings = Settings(failure.options)
        // Named in full, so that the smaller run does not depend on what else the seed draws.
        _ = attempt {
            ($0.nodes, $0.tasks, $0.faults) = (settings.nodes, settings.tasks, settings.faults)
            ($0.policy, $0.workload) = (settings.policy, settings.workload)
        }
        for named in FaultKinds.named where least.options.faults?.contains(named.kind) == true {
            _ = attempt { $0.faults?.remove(named.kind) }
        }
        for place in Settings(least.options).plan.faults.indices { _ = attempt { $0.withoutFaults.append(place) } }
        while let tasks = least.options.tasks, tasks > 1, attempt({ $0.tasks = tasks / 2 }) {}
        while let tasks = least.options.tasks, tasks > 1, attempt({ $0.tasks = tasks - 1 }) {}
        while let nodes = least.options.nodes, nodes > 1, attempt({ $0.nodes = nodes - 1 }) {}
        return least
    }
}

extension RunOptions {
    /// The command that replays the run.
    package var command: String {
        var words = ["fabricbench sim --seed \(seed)"]
        if let nodes { words.append("--nodes \(nodes)") }
        if let tasks { words.append("--tasks \(tasks)") }
        if let policy { words.append("--policy \(policy.name)") }
        if let workload { words.append("--workload \(workload.rawValue)") }
        if let faults { words.append("--faults \(faults.text)") }
        if !withoutFaults.isEmpty { words.append("--without \(withoutFaults.map(String.init).joined(separator: ","))") }
        if let bug { words.append("--bug \(bug.rawValue)") }
        return words.joined(separator: " ")
    }
}

extension SchedulingPolicy {
    /// What `--policy` takes.
    package var name: String {
        switch self {
        case .localFirst: "local-first"
        case .bottomUp: "bottom-up"
        case .central: "central"
        case .powerOfTwo: "power-of-two"
        }
    }

    package init?(name: String) {
        guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = policy
    }
}
