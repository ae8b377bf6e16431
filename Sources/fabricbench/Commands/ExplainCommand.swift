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
        var text = Explanation.transports + "\n"
        var table = Table(["size", "on this node", "between nodes"], leftColumns: 3)
        for bytes in size.bytes {
            table.add([
                sizeText(bytes), Explanation.local(bytes, target), Explanation.remote(bytes, target),
            ])
        }
        text += table.text + "\n" + Explanation.rdma(to: target)
        text += Explanation.thresholds + "\n" + Explanation.memory + "\n" + Explanation.limits
        print(text, terminator: "")
    }
}
