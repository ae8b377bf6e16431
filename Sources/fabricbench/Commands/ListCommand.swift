// `fabricbench list`: the transports of this machine.

internal import ArgumentParser
internal import RayFabric

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the transports, available here or why not, and the RDMA ports.")

    func run() {
        var table = Table(["transport", "here", ""], leftColumns: 3)
        for entry in TransportCatalog.all {
            table.add([entry.kind.rawValue, entry.obstacle == nil ? "yes" : "no", entry.obstacle ?? entry.purpose])
        }
        print(table.text, terminator: "")
        print("\nrecommended for " + TransportCatalog.recommendation)
        print("\n" + RDMAReport.ports, terminator: "")
    }
}
