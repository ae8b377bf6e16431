// The options of commands that measure between two ends.

internal import ArgumentParser
internal import RayCore
internal import RayFabric

struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "loopback, shm, uring, verbs, nio, or several with commas (default: all but loopback that work here).",
            valueName: "t"),
        transform: TransportList.init(parsing:))
    var transport: TransportList?

    @Option(help: ArgumentHelp("The other end is the `fabricbench serve` at HOST:PORT.", valueName: "addr"))
    var connect: String?

    func validate() throws {
        let kinds = try kinds()
        guard let server = try server() else { return }
        guard case .tcp = server else { throw ValidationError("--connect takes HOST:PORT, not \(server)") }
        for kind in kinds where kind == .loopback || kind == .shm {
            throw ValidationError(
                "--transport \(kind.rawValue) stays on one machine: with --connect use uring, verbs or nio")
        }
    }

    func server() throws -> Address? {
        guard let connect else { return nil }
        do throws(FabricError) {
            return try Address(parsing: connect)
        } catch {
            throw ValidationError("--connect takes HOST:PORT: \(error.context)")
        }
    }

    /// The transports to measure, each of them usable here.
    func kinds() throws -> [TransportKind] {
        guard let transport else {
            let usable = TransportCatalog.betweenProcesses.filter { connect == nil || $0 != .shm }
            guard !usable.isEmpty else {
                throw ValidationError("no transport between processes works here; see fabricbench list")
            }
            return usable
        }
        for kind in transport.kinds {
            if let obstacle = TransportCatalog.entry(kind).obstacle {
                throw ValidationError("--transport \(kind.rawValue) does not work here: \(obstacle)")
            }
        }
        return transport.kinds
    }
}
