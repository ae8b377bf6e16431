// `fabricbench peer`: becomes a peer's program that does not outlive us.

internal import ArgumentParser
internal import CLinux
internal import RayCore
internal import RayFabric

struct PeerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peer", abstract: "Run a peer's program; started by fabricbench itself.", shouldDisplay: false)

    @Option(help: "The process that started this one.")
    var parent: Int32

    @Option(help: "A variable of the program's environment, as NAME=VALUE.")
    var variable: [String] = []

    @Option(help: "The CPU to run on.")
    var cpu: Int?

    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var command: [String]

    func run() throws {
        _ = rf_signal_on_parent_death(SIGKILL)
        guard getppid() == parent else { return }
        let words = command.first == "--" ? Array(command.dropFirst()) : command
        guard let program = words.first else { throw ValidationError("peer takes a program") }
        if let cpu { try Processors.pin(to: cpu) }
        for setting in variable {
            let parts = setting.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { unsafe _ = setenv(String(parts[0]), String(parts[1]), 1) }
        }
        unsafe ChildProcess.withStrings(words) { arguments in unsafe _ = execvp(program, arguments) }
        throw systemError("run \(program)")
    }
}
