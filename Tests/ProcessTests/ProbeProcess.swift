// A second process under the control of a test: see Tests/FabricProbe.

import CLinux
import Glibc
import RayCore
import RayFabric
import Testing

/// The probe failed, or a test waited in vain for it.
struct ProbeFailure: Error, CustomStringConvertible {
    let description: String
}

/// A probe that runs until it is killed, at the latest when this object goes. One thread uses it at a time.
final class ProbeProcess {
    let identifier: pid_t
    private let socket: FileDescriptor
    private var isRunning = true
    private var tags = 0
    private var received: [UInt8] = []
    private var replies: [String: [String]] = [:]

    init() throws {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe socketpair(
                AF_UNIX, RF_SOCK_STREAM | RF_SOCK_CLOEXEC, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress)
        }
        guard result == 0 else { throw ProbeFailure(description: "no socket pair") }
        socket = FileDescriptor(owning: ends.0)
        let theirs = FileDescriptor(owning: ends.1)
        identifier = try Self.spawn(talkingOver: theirs.number)
    }

    /// A process of its own that hosts a store at `path`.
    static func host(_ path: String, mebibytes: Int = 64, _ options: String = "") throws -> ProbeProcess {
        let probe = try ProbeProcess()
        _ = try probe.ask("host \(path) \(mebibytes) \(options)")
        return probe
    }

    /// A process of its own that is attached to the store at `path`.
    static func client(_ path: String) throws -> ProbeProcess {
        let probe = try ProbeProcess()
        _ = try probe.ask("attach \(path)")
        return probe
    }

    deinit { kill() }

    private static func spawn(talkingOver socket: Int32) throws -> pid_t {
        var program = [CChar](repeating: 0, count: 4096)
        let length = unsafe readlink("/proc/self/exe", &program, program.count)
        guard length > 0 else { throw ProbeFailure(description: "where is this program?") }
        let folder = program[..<length].map { UInt8(bitPattern: $0) }.split(separator: UInt8(ascii: "/")).dropLast()
        let path = "/" + folder.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/") + "/FabricProbe"
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe _ = posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        for number: Int32 in 0...1 { unsafe _ = posix_spawn_file_actions_adddup2(&actions, socket, number) }
        var child: pid_t = 0
        let status = unsafe path.withCString { name in
            var arguments: [UnsafeMutablePointer<CChar>?] = unsafe [UnsafeMutablePointer(mutating: name), nil]
            return unsafe posix_spawn(&child, name, &actions, nil, &arguments, rf_environment())
        }
        guard status == 0 else { throw ProbeFailure(description: "\(path) does not start: errno \(status)") }
        return child
    }

    // MARK: Talking

    /// Runs a command to its end.
    func ask(_ command: String, within limit: Duration = .seconds(30)) throws -> String {
        let tag = try send(command, inBackground: false)
        return try reply(to: tag, within: limit)
    }

    /// Runs a command that fails.
    /// - Returns: the name of the error's code.
    func failure(of command: String) throws -> String {
        let tag = try send(command, inBackground: false)
        return try failure(of: tag, within: .seconds(30))
    }

    /// Begins a command on a thread of its own.
    /// - Returns: its tag, once the thread has begun.
    func begin(_ command: String) throws -> String {
        let tag = try send(command, inBackground: true)
        guard try next(tag, within: .seconds(30)) == "begun" else { throw ProbeFailure(description: "not begun") }
        return tag
    }

    /// The result of a command that was begun.
    func reply(to tag: String, within limit: Duration) throws -> String {
        let text = try next(tag, within: limit)
        if text.hasPrefix("error ") { throw ProbeFailure(description: text) }
        return text
    }

    func failure(of tag: String, within limit: Duration) throws -> String {
        let text = try next(tag, within: limit)
        let words = text.split(separator: " ")
        guard words.first == "error", let code = words.dropFirst().first else {
            throw ProbeFailure(description: "did not fail but said \(text)")
        }
        return String(code.prefix { $0 != ":" && $0 != ";" })
    }

    /// Sends a command to a process that may be stopped.
    func send(_ command: String, inBackground: Bool) throws -> String {
        tags += 1
        let line = Array("\(tags)\(inBackground ? "&" : "") \(command)\n".utf8)
        guard unsafe rf_send(socket.number, line, line.count) == line.count else {
            throw ProbeFailure(description: "the probe is gone, not told: \(command)")
        }
        return "\(tags)"
    }

    private func next(_ tag: String, within limit: Duration) throws -> String {
        let deadline = Timestamp.now + limit
        while true {
            if let text = replies[tag]?.first {
                replies[tag]?.removeFirst()
                return text
            }
            guard rf_wait_readable(socket.number, max(0, (deadline - .now).saturatedNanoseconds)) > 0 else {
                throw ProbeFailure(description: "no reply to \(tag) within \(limit)")
            }
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = unsafe rf_receive(socket.number, &bytes, bytes.count)
            guard count > 0 else { throw ProbeFailure(description: "the probe has ended") }
            received += bytes[..<count]
            while let end = received.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: received[..<end], as: UTF8.self)
                received.removeSubrange(...end)
                let words = line.split(separator: " ", maxSplits: 1)
                replies[String(words[0]), default: []].append(words.count > 1 ? String(words[1]) : "")
            }
        }
    }

    // MARK: Signals

    /// Ends the process at once, wherever it is.
    /// - Returns: when it was dead.
    @discardableResult
    func kill() -> Timestamp {
        guard isRunning else { return .now }
        isRunning = false
        _ = CLinux.kill(identifier, SIGKILL)
        var status: Int32 = 0
        while unsafe waitpid(identifier, &status, 0) < 0, rf_errno() == EINTR {}
        return .now
    }

    /// Stops the process; returns when it stands.
    func stop() {
        _ = CLinux.kill(identifier, SIGSTOP)
        var status: Int32 = 0
        while unsafe waitpid(identifier, &status, WUNTRACED) < 0, rf_errno() == EINTR {}
    }

    /// Waits until the process has stopped itself.
    func awaitStop() throws {
        var status: Int32 = 0
        try waitUntil("the process stops", within: .seconds(20)) {
            unsafe waitpid(identifier, &status, WUNTRACED | WNOHANG) == identifier
        }
    }

    func resume() { _ = CLinux.kill(identifier, SIGCONT) }

    /// Whether the thread that runs a command sleeps in the kernel.
    func isAsleep(_ tag: String) -> Bool {
        let tasks = "/proc/\(identifier)/task"
        guard let directory = unsafe opendir(tasks) else { return false }
        defer { unsafe _ = closedir(directory) }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let status = TextFile.read("\(tasks)/\(name)/status") else { continue }
            let lines = status.split(separator: "\n")
            if lines.contains("Name:\tprobe-\(tag)"), lines.contains(where: { $0.hasPrefix("State:\tS") }) {
                return true
            }
        }
        return false
    }
}

/// Waits until a condition holds; looks often, for what takes longer than 100 ms is worth knowing.
/// - Returns: how long it took from `start` on.
@discardableResult
func waitUntil(
    _ what: String, since start: Timestamp = .now, within limit: Duration = .seconds(10), _ condition: () throws -> Bool
) throws -> Duration {
    while true {
        if try condition() { return .now - start }
        guard Timestamp.now - start < limit else { throw ProbeFailure(description: "waited in vain: \(what)") }
        var pause = timespec(tv_sec: 0, tv_nsec: 1_000_000)
        unsafe _ = nanosleep(&pause, nil)
    }
}

/// A path in /tmp for one test; what is left there goes with it.
final class StorePath: CustomStringConvertible {
    let description: String

    init() { description = "/tmp/fabric-process-\(getpid())-\(UInt32.random(in: 0 ... .max))" }

    deinit {
        unsafe _ = unlink(description)
        unsafe _ = unlink(description + ".lock")
    }
}
