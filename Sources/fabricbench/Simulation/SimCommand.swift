// `fabricbench sim`: whole clusters of the ownership and scheduling machines under virtual time and faults.

internal import ArgumentParser
internal import RayScheduler
internal import RaySimulation

struct SimCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sim",
        abstract: "Simulate clusters under virtual time and faults, and judge them.",
        discussion: """
            One seed is one run, bit for bit. What is not given is drawn from the seed. A run that breaks a promise
            is made smaller, and the command that replays it is printed; exit status 1.
            """,
        subcommands: [SimRunCommand.self, SimLoadCommand.self, SimTableCommand.self],
        defaultSubcommand: SimRunCommand.self)
}

struct SimRunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run a seed, or seeds one after the other until one fails (the default).")

    @Option(help: ArgumentHelp("The seed, or the first of --seeds.", valueName: "n"))
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("So many seeds, one after the other.", valueName: "n"))
    var seeds: UInt64 = 1

    @Option(help: ArgumentHelp("Nodes (drawn: 1 to 5).", valueName: "n"))
    var nodes: Int?

    @Option(help: ArgumentHelp("About so many tasks (drawn: 4 to 43).", valueName: "n"))
    var tasks: Int?

    @Option(help: ArgumentHelp("local-first, bottom-up, central or power-of-two.", valueName: "p"))
    var policy: String?

    @Option(help: ArgumentHelp("What programs do: \(Self.workloads).", valueName: "w"))
    var workload: String?

    @Option(help: ArgumentHelp("none, all, or some of \(Self.faultNames), with commas.", valueName: "list"))
    var faults: String?

    @Option(
        help: ArgumentHelp("Faults of the plan that do not happen, by their place, with commas.", valueName: "list"))
    var without: String?

    @Option(help: ArgumentHelp("Plants a bug, to see it found: \(Self.bugs).", valueName: "b"))
    var bug: String?

    @Flag(help: "Print each seed before it runs, so that a crash can be told.")
    var verbose = false

    @Flag(help: "Print each event and directive of one run.")
    var trace = false

    private static let workloads = WorkloadKind.allCases.map(\.rawValue).joined(separator: ", ")
    private static let faultNames = FaultKinds.named.map(\.name).joined(separator: ", ")
    private static let bugs = PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")
    private static let nodeLimit = 10_000
    private static let taskLimit = 10_000_000

    func validate() throws { _ = try options() }

    /// The options of the first seed.
    private func options() throws -> RunOptions {
        var options = RunOptions(seed: seed)
        if let nodes, !(1...Self.nodeLimit).contains(nodes) {
            throw ValidationError("--nodes takes 1 to \(Self.nodeLimit), not \(nodes)")
        }
        if let tasks, !(1...Self.taskLimit).contains(tasks) {
            throw ValidationError("--tasks takes 1 to \(Self.taskLimit), not \(tasks)")
        }
        guard seeds > 0 else { throw ValidationError("--seeds takes 1 or more") }
        (options.nodes, options.tasks) = (nodes, tasks)
        options.policy = try parsed(policy, "--policy takes local-first, bottom-up, central or power-of-two") {
            SchedulingPolicy(name: $0)
        }
        options.workload = try parsed(workload, "--workload takes one of \(Self.workloads)") {
            WorkloadKind(rawValue: $0)
        }
        options.faults = try parsed(faults, "--faults takes none, all, or some of \(Self.faultNames), with commas") {
            FaultKinds($0)
        }
        options.bug = try parsed(bug, "--bug takes one of \(Self.bugs)") { PlantedBug(rawValue: $0) }
        options.withoutFaults =
            try parsed(without, "--without takes numbers with commas") { text in
                let places = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
                return places.contains(nil) ? nil : places.compactMap(\.self)
            } ?? []
        return options
    }

    private func parsed<Value>(_ text: String?, _ usage: String, _ parse: (String) -> Value?) throws -> Value? {
        guard let text else { return nil }
        guard let value = parse(text) else { throw ValidationError("\(usage), not \(text)") }
        return value
    }

    func run() throws {
        let first = try options()
        if seeds == 1 { return try runOne(first) }
        let start = ContinuousClock.now
        let report = Simulation.sweep(seed..<seed + seeds) { options in
            let seed = options.seed
            options = first
            options.seed = seed
            if verbose { printError(options.command) }
        }
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print("\(report.runs) seeds, \(report.events) events in \(fixed(seconds, 1)) s")
        for mark in Mark.allCases { print("  \(report.coverage.count(of: mark)) \(mark)") }
        if let failure = report.failure { try fail(failure) }
        print("no violation")
    }

    private func runOne(_ options: RunOptions) throws {
        let settings = Settings(options)
        print(
            """
            seed \(settings.seed): \(settings.nodes) nodes, \(settings.tasks) tasks, \(settings.workload.rawValue), \
            \(settings.policy.name), faults \(settings.faults.text)
            """)
        for (place, fault) in settings.plan.faults.enumerated() { print("  fault \(place): \(fault)") }
        let start = ContinuousClock.now
        let outcome = Simulation.run(options, trace: trace ? { print($0) } : nil)
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print(
            """
            \(outcome.events) events, \(fixed(Double(outcome.duration) / 1e9, 3)) virtual seconds in \
            \(fixed(seconds, 3)) s, digest \(String(outcome.digest, radix: 16))
            """)
        guard let violation = outcome.violation else { return print("no violation") }
        try fail(Failure(options: options, violation: violation))
    }

    private func fail(_ failure: Failure) throws {
        printError("seed \(failure.options.seed): \(failure.violation)")
        let least = Simulation.shrink(failure)
        printError("replay: \(failure.options.command)\nsmaller: \(least.options.command)\n  \(least.violation)")
        throw verificationFailed
    }
}
