// `fabricbench idle`: what a node costs that has nothing to do.

internal import ArgumentParser
internal import RayFabric

struct IdleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle",
        abstract: "Measure CPU and memory of a host that has nothing to do, with clients and connections.",
        discussion: """
            A host, clients that hold an object, and nodes that are connected to the host, all in processes of their
            own. CPU is in percent of one core; memory is that of the host beside the store (RssAnon + RssFile).
            """)

    @OptionGroup var common: CommonOptions

    @Option(help: ArgumentHelp("uring or nio (default: uring where it works).", valueName: "t"))
    var transport: String?

    @Option(help: ArgumentHelp("Processes that are attached to the store.", valueName: "n"))
    var clients = 2

    @Option(help: ArgumentHelp("Nodes that are connected to the host.", valueName: "n"))
    var connections = 10

    /// Long enough for heartbeats to count.
    private static let seconds = 3.0
    private static let connectionLimit = 100

    func validate() throws {
        _ = try kind()
        guard (0...ControlLimits.clients).contains(clients) else {
            throw ValidationError("--clients takes 0 to \(ControlLimits.clients), not \(clients)")
        }
        guard (0...Self.connectionLimit).contains(connections) else {
            throw ValidationError("--connections takes 0 to \(Self.connectionLimit), not \(connections)")
        }
    }

    private func kind() throws -> TransportKind {
        let usable = TransportCatalog.betweenNodes
        guard let transport else {
            guard let first = usable.first else { throw ValidationError("no transport between nodes works here") }
            return first
        }
        guard let kind = usable.first(where: { $0.rawValue == transport }) else {
            let names = usable.map(\.rawValue).joined(separator: " or ")
            throw ValidationError("--transport takes \(names) here, not \(transport)")
        }
        return kind
    }

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(seconds: Self.seconds)
        let item = IdleCase(transport: try kind(), clients: clients, connections: connections)
        output.announce(plan, processes: "a host, \(clients) clients, \(connections) connected nodes")
        var bench = try Bench(plan, largest: 8)
        guard try output.finish([try bench.measure(item)]) else { throw verificationFailed }
    }
}
