// A process for tests: hosts or uses a store as it is told, line by line, until it is killed.
//
// A request is `TAG COMMAND ARGUMENT...`, its reply `TAG RESULT`. With `&` behind the tag the command
// runs on a thread of its own named `probe-TAG`, which says `TAG begun` first: so a test can kill the
// process in the middle of any call. Every failure is the reply `error CODE: what happened`. It uses
// the fabric through its public interface only.

import Glibc
import RayCore
import RayFabric
import Synchronization

@main enum FabricProbe {
    static func main() {
        let probe = Probe()
        while let line = readLine() {
            let words = line.split(separator: " ").map(String.init)
            guard words.count >= 2 else { continue }
            let command = Command(name: words[1], arguments: Array(words.dropFirst(2)))
            guard words[0].hasSuffix("&") else {
                reply(words[0], result(of: command, by: probe))
                continue
            }
            let tag = String(words[0].dropLast())
            if command.name == "countCosts" {
                inBackground("probe-" + tag) {
                    do throws(FabricError) {
                        reply(tag, "begun")
                        try probe.countCosts(command, tag: tag)
                        reply(tag, "impossible")
                    } catch {
                        reply(tag, "error \(error)")
                    }
                }
            } else if command.name == "getAsynchronously" {
                Task.detached {
                    reply(tag, "begun")
                    reply(tag, await asynchronousResult(of: command, by: probe))
                }
            } else {
                inBackground("probe-" + tag) {
                    reply(tag, "begun")
                    reply(tag, result(of: command, by: probe))
                }
            }
        }
        exit(0)
    }

    private static func result(of command: Command, by probe: Probe) -> String {
        do throws(FabricError) { return try probe.run(command) } catch { return "error \(error)" }
    }

    private static func asynchronousResult(of command: Command, by probe: Probe) async -> String {
        do throws(FabricError) { return try await probe.getAsynchronously(command) } catch { return "error \(error)" }
    }

    /// One line in one write: threads do not mix.
    private static func reply(_ tag: String, _ text: String) {
        let line = Array("\(tag) \(text.replacing("\n", with: " "))\n".utf8)
        unsafe _ = write(1, line, line.count)
    }
}

private let threads = Mutex<[SystemThread]>([])

/// Starts a thread that nobody waits for.
func inBackground(_ name: String, _ body: @escaping @Sendable () -> Void) {
    do throws(FabricError) {
        let thread = try SystemThread(name: name, body)
        threads.withLock { $0.append(thread) }
    } catch {
        preconditionFailure("\(error)")
    }
}

/// One request.
struct Command {
    let name: String
    let arguments: [String]

    func text(_ index: Int) throws(FabricError) -> String {
        guard arguments.indices.contains(index) else {
            throw FabricError(.invalidArgument, "\(name) lacks argument \(index)")
        }
        return arguments[index]
    }

    func number(_ index: Int) throws(FabricError) -> Int {
        let text = try text(index)
        guard let number = Int(text) else { throw FabricError(.invalidArgument, "\(name): \(text) is no number") }
        return number
    }

    func object(_ index: Int) throws(FabricError) -> ObjectID {
        let text = try text(index)
        guard let id = ObjectID(text) else { throw FabricError(.invalidArgument, "\(name): \(text) is no object") }
        return id
    }

    func milliseconds(_ index: Int) throws(FabricError) -> Duration { .milliseconds(try number(index)) }

    /// The value of an argument `KEY=VALUE`.
    func option(_ key: String) -> String? {
        arguments.first { $0.hasPrefix(key + "=") }.map { String($0.dropFirst(key.count + 1)) }
    }
}
