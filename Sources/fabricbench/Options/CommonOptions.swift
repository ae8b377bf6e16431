// The options that all measuring commands share.

internal import ArgumentParser
internal import RayCore
internal import RayFabric

extension WaitMode: ExpressibleByArgument {
    init?(argument: String) {
        switch argument {
        case "spin": self = .spin
        case "adaptive": self = .adaptive
        case "sleep": self = .sleep
        case _: return nil
        }
    }

    var defaultValueDescription: String { name }
    static var allValueStrings: [String] { allCases.map(\.name) }

    var name: String {
        switch self {
        case .spin: "spin"
        case .adaptive: "adaptive"
        case .sleep: "sleep"
        }
    }
}

struct CommonOptions: ParsableArguments {
    @Option(help: "Measured seconds of each repeat (default: \(Defaults.duration)).")
    var duration: Double?

    @Option(help: "Seconds before each repeat that do not count (default: \(Defaults.warmup)).")
    var warmup: Double?

    @Option(name: .customLong("repeat"), help: "Repeats; medians are shown (default: \(Defaults.repeats)).")
    var repeats: Int?

    @Option(help: ArgumentHelp("Write the results as JSON to a file, or to standard output for -.", valueName: "file"))
    var json: String?

    @Option(help: ArgumentHelp("Write the results as CSV to a file, or to standard output for -.", valueName: "file"))
    var csv: String?

    @Option(
        help: ArgumentHelp(
            "CPUs of this process and of the other one (default: the first two, if there are two).",
            valueName: "a,b"))
    var cpu: String?

    @Flag(help: "Fill payloads with a pattern and check every byte; exit status 1 if one is wrong.")
    var verify = false

    @Flag(inversion: .prefixedNo, help: "Receivers read every cache line (default: with bw over shm and loopback).")
    var touch: Bool?

    @Option(
        help: "How both ends wait: spin, adaptive (spin a little, then sleep) or sleep (default: spin, nio adaptive).")
    var wait: WaitMode?

    @Flag(help: "Leave the roofs out.")
    var noRoof = false

    @Flag(help: .hidden)
    var injectCorruption = false

    enum Defaults {
        static let duration = 0.5
        static let warmup = 0.2
        static let repeats = 5
        /// Seconds and repeats beyond these are mistakes.
        static let seconds = 0.001...600.0
        static let warmupSeconds = 0.0...600.0
        static let repeatRange = 1...1000
    }

    func validate() throws {
        if let duration, !Defaults.seconds.contains(duration) {
            throw ValidationError("--duration takes 0.001 to 600 seconds, not \(duration)")
        }
        if let warmup, !Defaults.warmupSeconds.contains(warmup) {
            throw ValidationError("--warmup takes 0 to 600 seconds, not \(warmup)")
        }
        if let repeats, !Defaults.repeatRange.contains(repeats) {
            throw ValidationError("--repeat takes 1 to 1000, not \(repeats)")
        }
        _ = try processors()
        if json == "-", csv == "-" { throw ValidationError("only one of --json and --csv can be -") }
    }

    /// The CPUs of the two ends.
    private func processors() throws -> (Int?, Int?) {
        let allowed = Processors.allowed
        guard let cpu else { return allowed.count >= 2 ? (allowed[0], allowed[1]) : (nil, nil) }
        let numbers = cpu.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
        guard numbers.count == 2, let first = numbers[0], let second = numbers[1],
            allowed.contains(first), allowed.contains(second)
        else {
            let choice = allowed.map(String.init).joined(separator: ", ")
            throw ValidationError("--cpu takes two of the CPUs \(choice), with a comma between them, not \(cpu)")
        }
        return (first, second)
    }

    /// - Parameters:
    ///   - seconds: the default of --duration.
    ///   - warmupSeconds: the default of --warmup.
    func plan(
        seconds: Double = Defaults.duration, warmupSeconds: Double = Defaults.warmup, server: Address? = nil
    ) throws -> RunPlan {
        let (local, remote) = try processors()
        return RunPlan(
            duration: .seconds(duration ?? seconds), warmup: .seconds(warmup ?? warmupSeconds),
            repeats: repeats ?? Defaults.repeats, localCPU: local, remoteCPU: remote, wait: wait,
            verify: verify, touch: touch, measuresRoof: !noRoof, server: server,
            injectsCorruption: injectCorruption)
    }
}
