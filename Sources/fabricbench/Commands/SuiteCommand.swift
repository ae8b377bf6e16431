// `fabricbench` without a command: the default suite.

internal import ArgumentParser
internal import RayCore
internal import RayFabric

struct SuiteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suite",
        abstract: "Run the default suite: at most two minutes (what runs without a command).")

    /// Shorter than elsewhere, so that the whole suite stays within two minutes.
    private static let seconds = 0.25
    private static let warmupSeconds = 0.1
    private static let idleDuration = Duration.seconds(1)

    @OptionGroup var common: CommonOptions

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(seconds: Self.seconds, warmupSeconds: Self.warmupSeconds)
        let cases = Self.cases
        output.announce(plan, for: cases)
        let networks = TransportCatalog.betweenNodes
        let pulls = networks.map { PullCase(transport: $0, size: 1 << 20) }
        let count = cases.count + Self.objects.count + pulls.count + networks.prefix(1).count

        var bench = try Bench(plan, largest: 1 << 20)
        var results: [BenchmarkResult] = []
        func step() -> String { "[\(results.count + 1)/\(count)] " }
        for item in cases { results.append(try bench.measure(item, step: step())) }
        for item in Self.objects { results.append(try bench.measure(item, step: step())) }
        for item in pulls { results.append(try bench.measure(item, step: step())) }
        if let network = networks.first {
            var idlePlan = plan
            if common.duration == nil { idlePlan.duration = Self.idleDuration }
            var idle = try Bench(idlePlan, largest: 8)
            results.append(try idle.measure(IdleCase(transport: network), step: step()))
        }
        guard try output.finish(results) else { throw verificationFailed }
    }

    private static var cases: [TransportCase] {
        ([.loopback] + TransportCatalog.betweenProcesses).flatMap { kind in
            [
                TransportCase(kind: .lat, transport: kind, size: 8),
                TransportCase(kind: .lat, transport: kind, size: 64 << 10),
                TransportCase(kind: .bw, transport: kind, size: 64),
                TransportCase(kind: .bw, transport: kind, size: 1 << 20),
            ]
        }
    }

    private static let objects = [
        ObjectCase(operation: .get, size: 1 << 20), ObjectCase(operation: .put, size: 1 << 20),
        ObjectCase(operation: .createSeal, size: 1 << 10),
    ]
}
