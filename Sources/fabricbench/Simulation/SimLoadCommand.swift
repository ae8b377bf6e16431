// `fabricbench sim load` and `sim table`: designs of scheduling compared, under virtual time.

internal import ArgumentParser
internal import RayScheduler
internal import RaySimulation

struct SimLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Run the scheduler's machines alone under a load, and show how they did.")

    @Option(help: ArgumentHelp("Nodes, of 4 CPUs each.", valueName: "n"))
    var nodes = 1_000

    @Option(help: ArgumentHelp("Tasks, of one CPU each, 100 ms on average.", valueName: "n"))
    var tasks = 1_000_000

    @Option(help: ArgumentHelp("local-first, bottom-up, central or power-of-two.", valueName: "p"))
    var policy = "local-first"

    @Option(help: ArgumentHelp("Milliseconds between reports of nodes, and between broadcasts.", valueName: "ms"))
    var viewAge = 100

    @Option(help: ArgumentHelp("Share of the CPUs that the load takes; 0: all tasks come at once.", valueName: "x"))
    var utilization = 0.8

    @Flag(help: "One task a lease.")
    var withoutLeaseReuse = false

    @Option(help: ArgumentHelp("The seed.", valueName: "n"))
    var seed: UInt64 = 1

    func validate() throws { _ = try options() }

    private func options() throws -> LoadOptions {
        guard (1...100_000).contains(nodes), (1...10_000_000).contains(tasks) else {
            throw ValidationError("--nodes takes 1 to 100000, --tasks 1 to 10000000")
        }
        guard let policy = SchedulingPolicy(name: policy) else {
            throw ValidationError("--policy takes local-first, bottom-up, central or power-of-two, not \(policy)")
        }
        guard (1...60_000).contains(viewAge), (0...2).contains(utilization) else {
            throw ValidationError("--view-age takes 1 to 60000, --utilization 0 to 2")
        }
        var options = LoadOptions()
        options.seed = seed
        options.nodes = nodes
        options.tasks = tasks
        options.policy = policy
        options.viewAge = .milliseconds(viewAge)
        options.utilization = utilization > 0 ? utilization : nil
        options.isReusingLeases = !withoutLeaseReuse
        return options
    }

    func run() throws {
        let options = try options()
        let start = ContinuousClock.now
        let report = LoadCluster(options).run()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        print(SimTableCommand.headings.joined(separator: " | "))
        print(SimTableCommand.cells(report).joined(separator: " | "))
        print(
            """
            \(report.events) events in \(fixed(seconds, 1)) s: \
            \(fixed(seconds / Double(report.finished) * 1e6, 1)) us a task, digest \(String(report.digest, radix: 16))
            """)
        guard report.finished == options.tasks else { throw verificationFailed }
    }
}

struct SimTableCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "table", abstract: "Compare the policies: the table of docs/scheduling-policies.md.")

    @Option(help: ArgumentHelp("Sizes of clusters, with commas.", valueName: "list"))
    var nodes = "10,100,1000,10000"

    func validate() throws { _ = try sizes() }

    private func sizes() throws -> [Int] {
        try nodes.split(separator: ",", omittingEmptySubsequences: false).map {
            guard let size = Int($0), (1...100_000).contains(size) else {
                throw ValidationError("--nodes takes numbers from 1 to 100000, with commas")
            }
            return size
        }
    }

    static let headings = [
        "nodes", "policy", "views", "leases", "makespan s", "queueing p50 ms", "p99 ms", "spillbacks/task",
        "rejected/task", "messages/task",
    ]

    static func cells(_ report: LoadReport) -> [String] {
        let options = report.options
        return [
            "\(options.nodes)", options.policy.name, "\(options.viewAge / .milliseconds(1)) ms",
            options.isReusingLeases ? "reused" : "one task",
            fixed(report.makespan / .seconds(1), 2),
            fixed(report.queueingMedian / .milliseconds(1), 2), fixed(report.queueingP99 / .milliseconds(1), 1),
            fixed(report.spillbacksPerTask, 3), fixed(report.rejectionsPerTask, 3),
            fixed(report.messagesPerTask, 1),
        ]
    }

    /// So many tasks that the load lasts for some seconds; the largest clusters have fewer a node.
    static func tasks(nodes: Int) -> Int { nodes * (nodes > 1_000 ? 40 : 100) }

    func run() throws {
        func row(_ cells: [String]) { print("| " + cells.joined(separator: " | ") + " |") }
        row(Self.headings)
        row(Self.headings.map { _ in "---" })
        for nodes in try sizes() {
            for policy in SchedulingPolicy.allCases {
                for age in [10, 100, 1_000] {
                    for isReusing in [true, false] {
                        var options = LoadOptions()
                        options.nodes = nodes
                        options.tasks = Self.tasks(nodes: nodes)
                        options.policy = policy
                        options.viewAge = .milliseconds(age)
                        options.isReusingLeases = isReusing
                        row(Self.cells(LoadCluster(options).run()))
                    }
                }
            }
        }
    }
}
