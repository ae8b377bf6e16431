// Where results go: tables to the terminal, JSON and CSV where the options say.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Prints and writes the results of one command.
struct Output {
    let json: String?
    let csv: String?
    private let environment = Environment()

    init(_ options: CommonOptions) {
        json = options.json
        csv = options.csv
    }

    /// Whether standard output belongs to JSON or CSV.
    private var isQuiet: Bool { json == "-" || csv == "-" }

    func announce(_ plan: RunPlan, for cases: [TransportCase]) {
        announce(plan, processes: TransportCase.processes(cases), transports: cases.map(\.transport))
    }

    /// Says how it will be measured.
    func announce(
        _ plan: RunPlan, processes: String = "two processes", transports: [TransportKind] = []
    ) {
        guard !isQuiet else { return }
        let pair = plan.localCPU.flatMap { local in plan.remoteCPU.map { "CPUs \(local) and \($0)" } }
        let place = plan.server.map { "the other end at \($0)" } ?? processes
        var text = "\(place), \(pair ?? "no CPUs chosen"), \(wait(plan, transports))\(plan.repeats) repeats of "
        text += seconds(plan.duration) + " s after " + seconds(plan.warmup) + " s of warm-up"
        if plan.verify { text += ", every byte verified (the figures pay for it)" }
        print(text + "\n")
    }

    /// How the ends wait, and which transports differ; nothing where ends do not wait for one another.
    private func wait(_ plan: RunPlan, _ transports: [TransportKind]) -> String {
        guard let first = transports.first.map({ plan.wait($0) }) else { return "" }
        let others = Set(transports.filter { plan.wait($0) != first })
        let exceptions = others.map { " (\($0.rawValue): \(plan.wait($0).name))" }.sorted().joined()
        return "wait \(first.name)\(exceptions), "
    }

    func note(_ text: String) { if !isQuiet { print(text) } }

    private func seconds(_ duration: Duration) -> String { short(Double(duration.saturatedNanoseconds) / 1e9) }

    /// - Returns: whether all payloads were right.
    func finish(_ results: [BenchmarkResult], comparisons: [Comparison] = []) throws(FabricError) -> Bool {
        if !isQuiet { print(BenchmarkResult.tables(results) + Comparison.table(comparisons), terminator: "") }
        var members: [(String, JSON)] = [
            ("schema", .integer(1)), ("environment", environment.json), ("results", .array(results.map(\.json))),
        ]
        if !comparisons.isEmpty { members.append(("comparisons", .array(comparisons.map(\.json)))) }
        try write(JSON.object(members).text() + "\n", to: json)
        try write(BenchmarkResult.csv(results), to: csv)
        try flushOutput()
        let corrupted = results.reduce(0) { $0 + $1.corrupted }
        if corrupted > 0 { printError("fabricbench: \(corrupted) payloads arrived with wrong bytes") }
        return corrupted == 0
    }

    private func write(_ text: String, to path: String?) throws(FabricError) {
        guard let path else { return }
        if path == "-" {
            print(text, terminator: "")
            return
        }
        let number = unsafe rf_create_empty(path)
        guard number >= 0 else { throw systemError("write \(path)") }
        let file = FileDescriptor(owning: number)
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe CLinux.write(file.number, $0.baseAddress, $0.count) }
            guard count > 0 else { throw systemError("write \(path)") }
            rest = rest.dropFirst(count)
        }
    }
}
