// `fabricbench bw`: throughput and message rate.

internal import ArgumentParser

struct BwCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bw",
        abstract: "Measure throughput: payload counted where it arrives.",
        discussion: """
            Payloads up to 64 KiB are messages, many in flight; larger ones are one-sided writes with a notification
            into a ring of the receiver's memory.
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp("Payload bytes: 64, 64KiB, 1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([64, 1 << 20])

    @Option(help: ArgumentHelp("Connections between the two ends.", valueName: "n"))
    var streams = 1

    @Option(
        help: ArgumentHelp(
            "Sockets that carry the bulk of one connection, where the transport has lanes.", valueName: "n"))
    var lanes = 2

    @Flag(help: "Both ends send; the figures are the sums.")
    var bidirectional = false

    func validate() throws {
        guard (1...ControlLimits.streams).contains(streams) else {
            throw ValidationError("--streams takes 1 to \(ControlLimits.streams), not \(streams)")
        }
        guard (1...ControlLimits.lanes).contains(lanes) else {
            throw ValidationError("--lanes takes 1 to \(ControlLimits.lanes), not \(lanes)")
        }
    }

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(server: try connection.server())
        let cases = try connection.kinds().flatMap { kind in
            size.bytes.map {
                TransportCase(
                    kind: .bw, transport: kind, size: $0, streams: streams, lanes: lanes, bidirectional: bidirectional)
            }
        }
        output.announce(plan, for: cases)
        var bench = try Bench(plan, largest: size.largest)
        guard try output.finish(try bench.measureAll(cases)) else { throw verificationFailed }
    }
}
