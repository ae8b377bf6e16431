// The entry of the tool: parsing, and the exit status that scripts rely on.

internal import ArgumentParser
internal import RayCore

@main
struct FabricBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fabricbench",
        abstract: "Measures the object fabric against the floor of the machine.",
        discussion: """
            Without a command the default suite runs: at most two minutes, a table with roofs beside the figures.
            A roof is the least that the machine allows for the work, measured in the same run. Exit status: 0 ok,
            1 the measurement failed or --verify found bad bytes, 2 usage.
            """,
        version: toolVersion,
        subcommands: [
            SuiteCommand.self, ListCommand.self, LatCommand.self, BwCommand.self, ObjectCommand.self,
            PullCommand.self, IdleCommand.self, SimCommand.self,
            ExplainCommand.self, ServeCommand.self, CompareCommand.self, WorkerCommand.self, PeerCommand.self,
        ],
        defaultSubcommand: SuiteCommand.self)

    /// Exit statuses that scripts rely on.
    private enum Status {
        static let failed = ExitCode(1)
        static let usage = ExitCode(2)
    }

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error as FabricError {
            printError("fabricbench: \(error)")
            exit(withError: Status.failed)
        } catch let code as ExitCode {
            exit(withError: code)
        } catch {
            end(with: error)
        }
    }

    /// Help and version go to standard output; everything else is a usage error of one line.
    private static func end(with error: any Error) -> Never {
        if exitCode(for: error) == .success {
            print(fullMessage(for: error))
            exit()
        }
        var line = message(for: error).split(whereSeparator: \.isNewline).joined(separator: " ")
        if line.hasPrefix("Unexpected argument") || line.hasPrefix("Unknown option") {
            line += "; fabricbench --help shows the commands, fabricbench COMMAND --help their options"
        } else if line.hasPrefix("Missing") || line.hasSuffix(">'") {
            // The parser does not say what would be right.
            line += "; fabricbench COMMAND --help says what it takes"
        }
        printError("fabricbench: " + line)
        exit(withError: Status.usage)
    }
}

/// Ends a command whose payloads did not arrive as they were sent.
let verificationFailed = ExitCode(1)

/// Ends a comparison in which a peer's tool did not give a figure.
let peerFailed = ExitCode(1)
