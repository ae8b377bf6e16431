// `fabricbench object`: the store of one node.

internal import ArgumentParser

extension ObjectWork.Operation: ExpressibleByArgument {}

struct ObjectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "object",
        abstract: "Measure the object store: one process hosts it, others use it.",
        discussion: """
            put copies bytes into a new object. get pins and releases an object that another process has sealed.
            create-seal makes an object without filling it. churn deletes one, puts one and gets it. Deleting does
            not count in put and create-seal; with several clients the rates are sums.
            """)

    @OptionGroup var common: CommonOptions

    @Option(name: .customLong("op"), help: "put, get, create-seal or churn.")
    var operation = ObjectWork.Operation.get

    @Option(
        help: ArgumentHelp("Payload bytes: 64, 64KiB, 1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([1 << 20])

    @Option(help: ArgumentHelp("Processes that use the store at the same time.", valueName: "n"))
    var clients = 1

    @Option(
        help: ArgumentHelp(
            "Objects that live at a time, for each client (default: as many as fit into 64 MiB, for get at most 1000).",
            valueName: "n"))
    var objects: Int?

    func validate() throws {
        guard (1...ControlLimits.clients).contains(clients) else {
            throw ValidationError("--clients takes 1 to \(ControlLimits.clients), not \(clients)")
        }
        guard let objects else { return }
        guard (1...ControlLimits.objects).contains(objects) else {
            throw ValidationError("--objects takes 1 to \(ControlLimits.objects), not \(objects)")
        }
    }

    func run() throws {
        let output = Output(common)
        let plan = try common.plan()
        output.announce(plan, processes: "\(clients + 1) processes")
        var bench = try Bench(plan, largest: 8)
        var results: [BenchmarkResult] = []
        for size in size.bytes {
            let item = ObjectCase(operation: operation, size: size, clients: clients, objects: objects)
            results.append(try bench.measure(item))
        }
        guard try output.finish(results) else { throw verificationFailed }
    }
}
