// `fabricbench compare`: the same work by peers that are installed here, in turn with ours.

internal import ArgumentParser
internal import RayFabric

/// The benchmarks that peers have something like.
enum ComparedBenchmark: String, CaseIterable, ExpressibleByArgument { case lat, bw, pull }

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Measure the same work by peers found on PATH, in turn with ours: ucx_perftest, iperf3, perftest.",
        discussion: """
            Beside verbs: ucx_perftest over rc, ib_send_lat and ib_send_bw for messages, ib_read_bw and ib_write_bw
            for one-sided operations, all on the first active port that has an IPv4 address. A pull over verbs is
            measured in turn with one over uring, and with ib_read_bw of 1 MiB.
            """)

    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp(
            "shm, uring, verbs, nio, or several with commas (default: all that work here; nio in place of uring).",
            valueName: "t"),
        transform: TransportList.init(parsing:))
    var transport: TransportList?

    @Option(help: ArgumentHelp("lat, bw or pull: one of them, not all.", valueName: "name"))
    var only: ComparedBenchmark?

    @Option(
        help: ArgumentHelp("Payload bytes of latency: 8, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var latSize = SizeList([8])

    @Option(
        help: ArgumentHelp("Payload bytes of throughput: 64,1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([64, 1 << 20])

    @Option(
        help: ArgumentHelp("Payload bytes of pulls over verbs: 64MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var pullSize = SizeList([64 << 20])

    func validate() throws {
        let kinds = try kinds()
        guard only != .pull || kinds.contains(.verbs) else {
            let reason = TransportCatalog.entry(.verbs).obstacle ?? "--transport leaves it out"
            throw ValidationError("--only pull compares verbs: \(reason)")
        }
    }

    /// The transports to compare, each of them usable here.
    private func kinds() throws -> [TransportKind] {
        let usable = TransportCatalog.betweenProcesses
        guard let transport else {
            return usable.filter { $0 != .nio || !usable.contains(.uring) }
        }
        for kind in transport.kinds where !usable.contains(kind) {
            let names = usable.map(\.rawValue).joined(separator: ", ")
            let reason = TransportCatalog.entry(kind).obstacle.map { " (\($0))" } ?? ""
            throw ValidationError("--transport takes \(names) here, not \(kind.rawValue)\(reason)")
        }
        return transport.kinds
    }

    func run() throws {
        let output = Output(common)
        var plan = try common.plan()
        plan.measuresRoof = false
        let kinds = try kinds()
        let cases = kinds.flatMap(cases)
        let pulls = kinds.contains(.verbs) && (only ?? .pull) == .pull ? pullSize.bytes : []
        output.announce(plan, transports: kinds)
        sayWhatIsMissing(kinds, output)
        var bench = try Bench(plan, largest: max(size.largest, latSize.largest))
        var results: [BenchmarkResult] = []
        var comparisons: [Comparison] = []
        var number = 0
        func step() -> String {
            number += 1
            return "[\(number)/\(cases.count + pulls.count)] "
        }
        for item in cases {
            let (result, found) = try bench.compare(item, with: PeerTool.found, step: step())
            results.append(result)
            comparisons += found
        }
        for size in pulls {
            let (found, beside) = try bench.comparePull(size: size, with: PeerTool.found, step: step())
            results += found
            comparisons += beside
        }
        guard try output.finish(results, comparisons: comparisons) else { throw verificationFailed }
        guard comparisons.allSatisfy({ $0.obstacle == nil }) else { throw peerFailed }
    }

    private func sayWhatIsMissing(_ kinds: [TransportKind], _ output: Output) {
        let wanted = PeerTool.allCases.filter { kinds.contains(.verbs) || !$0.isForRDMA }
        for tool in wanted where !PeerTool.found.contains(tool) { output.note("\(tool.rawValue) is not on PATH") }
        if transport == nil, let obstacle = TransportCatalog.entry(.verbs).obstacle {
            let tools = PeerTool.allCases.filter(\.isForRDMA).map(\.rawValue).joined(separator: ", ")
            output.note("verbs is left out, and with it ucx rc, \(tools): \(obstacle)")
        }
    }

    private func cases(_ transport: TransportKind) -> [TransportCase] {
        let lat = (only ?? .lat) == .lat ? latSize.bytes : []
        let bw = (only ?? .bw) == .bw ? size.bytes : []
        return lat.map { TransportCase(kind: .lat, transport: transport, size: $0) }
            + bw.map { TransportCase(kind: .bw, transport: transport, size: $0) }
    }
}
