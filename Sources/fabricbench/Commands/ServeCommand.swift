// `fabricbench serve`: the other end, on another machine.

internal import ArgumentParser
internal import CLinux
internal import RayCore
internal import RayFabric

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Be the other end for lat, bw and pull with --connect on another machine.",
        discussion: """
            Each connection gets a process of its own. Anybody who can reach the address can measure with it, so
            use it in trusted networks only.
            """)

    /// Connections at a time; more are closed at once.
    private static let mostWorkers = 16

    @Argument(help: ArgumentHelp("Where to listen: HOST:PORT; port 0 lets the system choose.", valueName: "addr"))
    var address: String

    func run() throws {
        let listener = try Listener(at: try parsedAddress())
        guard case .tcp(let host, _) = listener.address else { return }
        print("fabricbench serves at \(listener.address); Ctrl-C ends it")
        try flushOutput()
        var workers: [ServedWorker] = []
        while true {
            let socket = try listener.accept(by: .never)
            workers.removeAll { $0.hasEnded }
            guard workers.count < Self.mostWorkers else { continue }
            workers.append(try ServedWorker(socket, host: host))
        }
    }

    func validate() throws { _ = try parsedAddress() }

    private func parsedAddress() throws -> Address {
        do throws(FabricError) {
            let parsed = try Address(parsing: address)
            guard case .tcp = parsed else { throw FabricError(.addressInvalid, "\(address) is not HOST:PORT") }
            return parsed
        } catch {
            throw ValidationError("serve takes HOST:PORT: \(error.context)")
        }
    }
}

/// The worker of one connection.
private final class ServedWorker {
    private let child: ChildProcess

    init(_ socket: consuming FileDescriptor, host: String) throws(FabricError) {
        let arguments = ["worker", "--parent", String(getpid()), "--host", host]
        child = try ChildProcess("/proc/self/exe", arguments: arguments, descriptors: [socket.number])
    }

    var hasEnded: Bool { child.ends(within: 0) }
}
