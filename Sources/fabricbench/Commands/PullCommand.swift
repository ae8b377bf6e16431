// `fabricbench pull`: objects from one node to another, the whole path.

internal import ArgumentParser
internal import RayFabric

struct PullCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Measure the pull between two nodes: from get to readable in the local store, one object at a time.")

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp("Payload bytes: 1MiB, 256MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([1 << 20])

    @Option(help: ArgumentHelp("Sockets that carry the bulk of the connection.", valueName: "n"))
    var lanes = 2

    @Option(
        help: ArgumentHelp(
            "Objects of the source, pulled in turn (default: as many as fit into 64 MiB).", valueName: "n"))
    var objects: Int?

    func validate() throws {
        guard (1...ControlLimits.lanes).contains(lanes) else {
            throw ValidationError("--lanes takes 1 to \(ControlLimits.lanes), not \(lanes)")
        }
        if let objects, !(1...ControlLimits.objects).contains(objects) {
            throw ValidationError("--objects takes 1 to \(ControlLimits.objects), not \(objects)")
        }
        for kind in connection.transport?.kinds ?? [] where kind == .loopback || kind == .shm {
            throw ValidationError("objects are pulled over uring, verbs or nio, not over \(kind.rawValue)")
        }
    }

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(server: try connection.server())
        output.announce(plan)
        var bench = try Bench(plan, largest: 8)
        var results: [BenchmarkResult] = []
        for kind in try connection.kinds() where kind == .uring || kind == .verbs || kind == .nio {
            for size in size.bytes {
                results.append(try bench.measure(PullCase(transport: kind, size: size, lanes: lanes, objects: objects)))
            }
        }
        guard try output.finish(results) else { throw verificationFailed }
    }
}
