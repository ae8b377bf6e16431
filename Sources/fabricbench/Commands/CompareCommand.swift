// `fabricbench compare`: the same work by peers that are installed here, in turn with ours.

internal import ArgumentParser
internal import RayFabric

extension TransportCase.Kind: ExpressibleByArgument {}

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Measure the same work by peers found on PATH, in turn with ours: ucx_perftest, iperf3.")

    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp(
            "shm, uring, nio, or several with commas (default: shm, and uring where it works).", valueName: "t"),
        transform: TransportList.init(parsing:))
    var transport: TransportList?

    @Option(help: ArgumentHelp("lat or bw: one of the two, not both.", valueName: "name"))
    var only: TransportCase.Kind?

    @Option(
        help: ArgumentHelp("Payload bytes of latency: 8, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var latSize = SizeList([8])

    @Option(
        help: ArgumentHelp("Payload bytes of throughput: 64,1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([64, 1 << 20])

    func validate() throws { _ = try kinds() }

    /// The transports to compare, each of them usable here.
    private func kinds() throws -> [TransportKind] {
        let usable = TransportCatalog.betweenProcesses
        guard let transport else {
            return usable.filter { $0 != .nio || !usable.contains(.uring) }
        }
        for kind in transport.kinds where !usable.contains(kind) {
            let names = usable.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--transport takes \(names) here, not \(kind.rawValue)")
        }
        return transport.kinds
    }

    func run() throws {
        let output = Output(common)
        var plan = try common.plan()
        plan.measuresRoof = false
        let cases = try kinds().flatMap(cases)
        output.announce(plan, for: cases)
        var bench = try Bench(plan, largest: max(size.largest, latSize.largest))
        let peers = PeerTool.found
        for tool in PeerTool.allCases where !peers.contains(tool) { output.note("\(tool.rawValue) is not on PATH") }
        var results: [BenchmarkResult] = []
        var comparisons: [Comparison] = []
        for (index, item) in cases.enumerated() {
            let (result, found) = try bench.compare(item, with: peers, step: "[\(index + 1)/\(cases.count)] ")
            results.append(result)
            comparisons += found
        }
        guard try output.finish(results, comparisons: comparisons) else { throw verificationFailed }
        guard comparisons.allSatisfy({ $0.obstacle == nil }) else { throw peerFailed }
    }

    private func cases(_ kind: TransportKind) -> [TransportCase] {
        let lat = only == .bw ? [] : latSize.bytes.map { TransportCase(kind: .lat, transport: kind, size: $0) }
        let bw = only == .lat ? [] : size.bytes.map { TransportCase(kind: .bw, transport: kind, size: $0) }
        return lat + bw
    }
}
