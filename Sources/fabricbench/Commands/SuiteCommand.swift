// `fabricbench` without a command: the default suite.

internal import ArgumentParser
internal import RayFabric

struct SuiteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "suite", abstract: "Run the default suite: at most two minutes (what runs without a command).")

    /// Shorter than elsewhere, so that the whole suite stays within two minutes.
    private static let seconds = 0.3

    @OptionGroup var common: CommonOptions

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(seconds: Self.seconds)
        var cases: [TransportCase] = []
        for kind in [.loopback] + TransportCatalog.betweenProcesses {
            cases.append(TransportCase(kind: .lat, transport: kind, size: 8))
            cases.append(TransportCase(kind: .lat, transport: kind, size: 64 << 10))
            cases.append(TransportCase(kind: .bw, transport: kind, size: 64))
            cases.append(TransportCase(kind: .bw, transport: kind, size: 1 << 20))
        }
        output.announce(plan, processes: TransportCase.processes(cases))
        var bench = try Bench(plan, largest: 1 << 20)
        guard try output.finish(try bench.measureAll(cases)) else { throw verificationFailed }
    }
}
