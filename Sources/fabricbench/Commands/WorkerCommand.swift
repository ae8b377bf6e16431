// `fabricbench worker`: the other end, started by the tool itself.

internal import ArgumentParser
internal import CLinux
internal import RayCore
internal import RayFabric

struct WorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker", abstract: "The other end of a benchmark; started by fabricbench itself.",
        shouldDisplay: false)

    @Option(help: "The process that started this one.")
    var parent: Int32

    @Option(help: "Where to listen; without it the worker shares memory with its parent.")
    var host: String?

    func run() throws {
        // Whatever happens to the parent, this process does not outlive it.
        _ = rf_signal_on_parent_death(SIGKILL)
        guard getppid() == parent else { return }
        let control = FileDescriptor(owning: Worker.Descriptors.control)
        var memory: Mapping?
        if host == nil {
            let descriptor = FileDescriptor(owning: Worker.Descriptors.sharedMemory)
            memory = try Mapping(descriptor.number, byteCount: Self.size(of: descriptor), writable: true)
        }
        do throws(FabricError) {
            try WorkerLoop(ControlChannel(control), memory: memory, host: host ?? "127.0.0.1").run()
        } catch {
            // A control channel that closes is the normal end.
            guard error.code == .connectionLost else { throw error }
        }
    }

    private static func size(of descriptor: borrowing FileDescriptor) throws(FabricError) -> Int {
        let end = lseek(descriptor.number, 0, SEEK_END)
        guard end > 0 else { throw systemError("the worker command is for fabricbench itself") }
        return Int(end)
    }
}
