// What the tools of perftest print, as version 4.5 did on Soft-RoCE.

import RayCore
import RayFabric
import Testing

@testable import fabricbench

@Suite struct PerftestTests {
    /// The lines before the figures are the same for all but their title.
    private static let head = """
        Device not recognized to implement inline feature. Disabling it
        ---------------------------------------------------------------------------------------
                            Send Latency Test
         Dual-port       : OFF\t\tDevice         : rxe0
         Number of qps   : 1\t\tTransport type : IB
         Connection type : RC\t\tUsing SRQ      : OFF
         TX depth        : 1
         Mtu             : 1024[B]
         Max inline data : 0[B]
        ---------------------------------------------------------------------------------------
         local address: LID 0000 QPN 0x0012 PSN 0xb12449
         GID: 00:00:00:00:00:00:00:00:00:00:255:255:10:00:00:01
        ---------------------------------------------------------------------------------------

        """
    private static let line =
        "\n---------------------------------------------------------------------------------------\n"

    private static let latency =
        head
        + " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]"
        + "   99% percentile[usec]   99.9% percentile[usec] \n"
        + " 8       500          8.60           4269.30      10.47    \t       1754.30     \t1891.18\t\t4108.83 \t\t4269.30"
        + line
    private static let messages =
        head + " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n"
        + " 64         1000             3.61               1.82   \t\t   0.029883" + line
    private static let reads =
        head + " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n"
        + " 1048576    20               71.41              69.54  \t\t   0.000070" + line
    private static let writesInGigabits =
        head + " #bytes     #iterations    BW peak[Gb/sec]    BW average[Gb/sec]   MsgRate[Mpps]\n"
        + " 1048576    20               0.57               0.54   \t\t   0.000065" + line

    @Test func latencyIsTheTypicalOne() throws {
        let figure = try #require(PeerRun.parsePerftest(Self.latency))
        #expect(figure.latencyP50 == 10.47 && figure.bytesPerSecond == nil)
        // Round trips.
        #expect(figure.operationsPerSecond == 1e6 / 3508.60)
    }

    @Test func bandwidthIsTheAverage() throws {
        let reads = try #require(PeerRun.parsePerftest(Self.reads))
        #expect(reads.bytesPerSecond == 69.54 * 1_048_576 && reads.operationsPerSecond == 69.54)
        let writes = try #require(PeerRun.parsePerftest(Self.writesInGigabits))
        #expect(writes.bytesPerSecond == 0.54 * 1e9 / 8)
        let messages = try #require(PeerRun.parsePerftest(Self.messages))
        #expect(messages.operationsPerSecond == 29_883 && messages.latencyP50 == nil)
    }

    @Test func headingsWithoutFiguresAreNone() {
        let cut = Self.reads.prefix { $0 != "#" } + "#bytes #iterations BW average[MB/sec]\n"
        for output in ["", "Couldn't connect to 10.0.0.1:18515\n", String(cut)] {
            #expect(PeerRun.parsePerftest(output) == nil)
        }
    }

    /// As ucx_perftest of UCX 1.13 printed it with `-x rc_verbs`.
    @Test func theTransportLayerOfUCXIsUnderstood() throws {
        let output = """
            iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr
              20,25939.000,28462.398,28462.398,35.13,35.13,37,37
            """
        #expect(PeerRun.parseUCX(output, .bw)?.bytesPerSecond == 35.13 * 1_048_576)
        #expect(PeerRun.parseUCX(output, .lat)?.latencyP50 == 25939)
    }
}

@Suite struct PeerChoiceTests {
    private func names(_ kind: TransportCase.Kind, _ transport: TransportKind, _ size: Int) -> [String] {
        PeerTool.allCases.compactMap { $0.name(for: TransportCase(kind: kind, transport: transport, size: size)) }
    }

    @Test func peersDoTheSameWork() {
        #expect(names(.lat, .verbs, 8) == ["ucx rc", "ib_send_lat"])
        #expect(names(.bw, .verbs, 64) == ["ucx rc", "ib_send_bw"])
        #expect(names(.bw, .verbs, 1 << 20) == ["ucx rc", "ib_read_bw", "ib_write_bw"])
        #expect(names(.bw, .verbs, 32 << 10) == ["ib_send_bw"])
        #expect(names(.bw, .uring, 1 << 20) == ["ucx tcp", "iperf3"])
        #expect(names(.lat, .shm, 8) == ["ucx posix"])
        #expect(names(.lat, .loopback, 8) == [])
    }
}

@Suite struct ComparisonTests {
    private func comparison(_ measure: Comparison.Measure, theirs: PeerFigure) -> Comparison {
        var ours = RepeatFigure(bytesPerSecond: 2e9, operationsPerSecond: 10, samples: 1)
        ours.latency = LatencySummary(minimum: 1, mean: 2, p50: 4, p90: 5, p99: 6, p999: 7, maximum: 8)
        ours.remoteCPUPerGiB = 0.5
        let result = BenchmarkResult(
            benchmark: "pull", goal: .throughput, transport: "verbs", size: 1 << 20, streams: 1, lanes: 2,
            roofName: nil, repeats: [ours], corrupted: 0, touched: false, verified: false)
        return Comparison(peer: "peer", measure: measure, repeats: [theirs], ours: result)
    }

    @Test func moreThanOneIsBetter() {
        let theirs = PeerFigure(latencyP50: 8, bytesPerSecond: 1e9, operationsPerSecond: 40, sourceCPUPerGiB: 5)
        #expect(comparison(.latency, theirs: theirs).ratio == 2)
        #expect(comparison(.throughput, theirs: theirs).ratio == 2)
        #expect(comparison(.rate, theirs: theirs).ratio == 0.25)
        #expect(comparison(.sourceCPU, theirs: theirs).ratio == 10)
        #expect(comparison(.sourceCPU, theirs: PeerFigure()).ratio == nil)
    }
}
