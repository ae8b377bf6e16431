// `fabricbench lat`: latency of one message at a time.

internal import ArgumentParser

struct LatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lat",
        abstract: "Measure latency: ping-pong between two processes, one way is half of a round trip.",
        discussion: "Payloads above 256 KiB go as one-sided writes with a notification.")

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var common: CommonOptions

    @Option(
        help: ArgumentHelp("Payload bytes: 8, 64KiB, 1MiB, or several with commas.", valueName: "list"),
        transform: SizeList.init(parsing:))
    var size = SizeList([8])

    func run() throws {
        let output = Output(common)
        let plan = try common.plan(server: try connection.server())
        let cases = try connection.kinds().flatMap { kind in
            size.bytes.map { TransportCase(kind: .lat, transport: kind, size: $0) }
        }
        output.announce(plan, for: cases)
        var bench = try Bench(plan, largest: size.largest)
        guard try output.finish(try bench.measureAll(cases)) else { throw verificationFailed }
    }
}
