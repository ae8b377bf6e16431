// `fabricbench explain`: which path data takes, from which size on, and why.

internal import ArgumentParser
internal import RayCore
internal import RayFabric

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Show which path data takes, the thresholds, and why.")

    @Option(
        help: ArgumentHelp("Payload bytes to explain: 8, 64KiB, 1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([64, 64 << 10, 1 << 20, 256 << 20])

    @Option(help: ArgumentHelp("The other end: HOST:PORT, or unix:PATH on this node.", valueName: "addr"))
    var to: String?

    func validate() throws { _ = try target() }

    private func target() throws -> Address? {
        guard let to else { return nil }
        do throws(FabricError) {
            return try Address(parsing: to)
        } catch {
            throw ValidationError("--to takes HOST:PORT or unix:PATH: \(error.context)")
        }
    }

    func run() throws {
        let target = try target()
        for entry in TransportCatalog.all {
            print("\(entry.kind.rawValue): \(entry.obstacle.map { "not here: " + $0 } ?? entry.purpose)")
        }
        print("recommended for " + TransportCatalog.recommendation + "\n")
        var table = Table(["size", "on this node", "between nodes"], leftColumns: 3)
        for bytes in size.bytes {
            table.add([sizeText(bytes), local(bytes, target), remote(bytes, target)])
        }
        print(table.text, terminator: "")
        print("\nfabricbench sends payload as messages up to 256 KiB in lat and up to 64 KiB in bw, and larger")
        print("payload as one-sided writes with a notification.")
    }

    private func local(_ bytes: Int, _ target: Address?) -> String {
        if case .tcp = target { return "-" }
        return "object: put 1 copy, create and seal 0, get 0; message over shm: 1 copy; one-sided: 1 copy"
    }

    private func remote(_ bytes: Int, _ target: Address?) -> String {
        if let target, case .tcp = target {} else if target != nil { return "-" }
        guard let kind = TransportCatalog.betweenProcesses.first(where: { $0 != .shm }) else { return "no transport" }
        let limits = PullConfiguration()
        return bytes <= limits.inlineLimit
            ? "pull over \(kind.rawValue): inside the reply (up to \(sizeText(limits.inlineLimit)))"
            : "pull over \(kind.rawValue): one-sided reads of \(sizeText(limits.chunkBytes)) into the store, no staging copy"
    }
}
