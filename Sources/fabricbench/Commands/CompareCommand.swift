// `fabricbench compare`: the same work by peers that are installed here, in turn with ours.

internal import ArgumentParser
internal import RayFabric

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Measure the same work by peers found on PATH, in turn with ours: ucx_perftest, iperf3.")

    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp("Payload bytes of latency: 8, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var latSize = SizeList([8])

    @Option(
        help: ArgumentHelp("Payload bytes of throughput: 64,1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([64, 1 << 20])

    func run() throws {
        let output = Output(common)
        var plan = try common.plan()
        plan.measuresRoof = false
        output.announce(plan)
        var bench = try Bench(plan, largest: max(size.largest, latSize.largest))
        let peers = PeerTool.found
        for tool in PeerTool.allCases where !peers.contains(tool) { output.note("\(tool.rawValue) is not on PATH") }
        var results: [BenchmarkResult] = []
        var comparisons: [Comparison] = []
        for kind in TransportCatalog.betweenProcesses {
            for item in cases(kind) {
                let (result, found) = try bench.compare(item, with: peers)
                results.append(result)
                comparisons += found
            }
        }
        guard try output.finish(results, comparisons: comparisons) else { throw verificationFailed }
    }

    private func cases(_ kind: TransportKind) -> [TransportCase] {
        latSize.bytes.map { TransportCase(kind: .lat, transport: kind, size: $0) }
            + size.bytes.map { TransportCase(kind: .bw, transport: kind, size: $0) }
    }
}
