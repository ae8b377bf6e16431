// From samples to figures, and from figures to tables, JSON and CSV.

import Foundation
import RayCore
import RayFabric
import Testing

@testable import fabricbench

private func result(_ repeats: [RepeatFigure], goal: BenchmarkResult.Goal = .latency) -> BenchmarkResult {
    BenchmarkResult(
        benchmark: goal == .latency ? "lat" : "bw", goal: goal, transport: "shm", size: 8, streams: 1, lanes: 2,
        roofName: "two shared words", repeats: repeats, corrupted: 0, touched: false, verified: false)
}

private func repeated(p50: Double, bytes: Double, roof: RoofFigure) -> RepeatFigure {
    let latency = LatencySummary(minimum: 1, mean: 2, p50: p50, p90: 4, p99: 5, p999: 6, maximum: 7)
    return RepeatFigure(latency: latency, bytesPerSecond: bytes, operationsPerSecond: 10, samples: 3, roof: roof)
}

@Suite struct HistogramTests {
    @Test func percentilesAreThoseOfTheSamples() throws {
        var histogram = LatencyHistogram()
        for cycles in UInt64(1)...1000 { histogram.record(cycles: cycles * 1000) }
        let summary = try #require(histogram.summary(dividedBy: 2))
        for (figure, cycles) in [
            (summary.minimum, 1e3), (summary.p50, 500e3), (summary.p90, 900e3), (summary.p999, 999e3),
            (summary.maximum, 1e6),
        ] {
            let expected = cycles * CycleClock.shared.nanosecondsPerCycle / 2000
            #expect(abs(figure / expected - 1) < 0.01)
        }
    }

    @Test func nothingHasNoSummary() { #expect(LatencyHistogram().summary(dividedBy: 1) == nil) }

    @Test func mediansLieInTheMiddle() {
        #expect(median([3, 1, 2]) == 2)
        #expect(median([4, 1, 2, 3]) == 2.5)
        #expect(median([]) == 0)
    }
}

@Suite struct ResultTests {
    private let slow = repeated(p50: 4, bytes: 100, roof: RoofFigure(bytesPerSecond: 200, latencyP50: 2))
    private let fast = repeated(p50: 2, bytes: 300, roof: RoofFigure(bytesPerSecond: 400, latencyP50: 1))

    @Test func oneIsTheRoof() {
        #expect(result([slow, fast, fast]).ratioToRoof == 0.5)
        #expect(result([slow, slow, fast], goal: .throughput).ratioToRoof == 0.5)
    }

    /// The names that scripts rely on.
    @Test func jsonHasTheNamesOfTheContract() throws {
        let text = JSON.object([("results", .array([result([slow]).json]))]).text()
        let parsed = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: [[String: Any]]]
        let line = try #require(parsed?["results"]?.first)
        let names = [
            "benchmark", "transport", "size_bytes", "streams", "lanes", "op", "latency_us", "bytes_per_s", "ops_per_s",
            "cpu_s_per_gib", "samples", "repeats", "roof", "ratio_to_roof",
        ]
        for name in names { #expect(line[name] != nil, "\(name)") }
        let latency = try #require(line["latency_us"] as? [String: Any])
        #expect(Set(latency.keys) == ["min", "mean", "p50", "p90", "p99", "p999", "max"])
        let roof = try #require(line["roof"] as? [String: Any])
        #expect(Set(roof.keys) == ["name", "bytes_per_s", "latency_us_p50"])
        #expect(Set(try #require(line["cpu_s_per_gib"] as? [String: Any]).keys) == ["local", "remote"])
        // What only some benchmarks have is left out elsewhere.
        #expect(line["cpu_percent"] == nil && line["overhead_bytes_per_object"] == nil)
    }

    @Test func textIsQuoted() throws {
        let text = "a \"b\" \\ \n\t\u{1} é"
        let parsed = try JSONSerialization.jsonObject(with: Data(JSON.object([("x", .string(text))]).text().utf8))
        #expect((parsed as? [String: String]) == ["x": text])
        #expect(JSON.figure(.nan).text() == "null")
    }

    @Test func csvHasAsManyCellsAsNames() {
        let lines = BenchmarkResult.csv([result([slow])]).split(separator: "\n")
        let cells = lines.map { $0.split(separator: ",", omittingEmptySubsequences: false).count }
        #expect(cells.count == 2 && cells[0] == cells[1])
    }

    @Test func columnsAreAligned() {
        var table = Table(["name", "n"], leftColumns: 1)
        table.add(["a", "1000"])
        table.add(["long name", "1"])
        #expect(table.text == "  name          n\n  a          1000\n  long name     1\n")
    }

    @Test(arguments: ["lat", "bw", "object", "pull", "idle"])
    func everyBenchmarkHasATable(benchmark: String) {
        var line = result([slow])
        line.benchmark = benchmark
        #expect(BenchmarkResult.tables([line]).hasPrefix(benchmark + ": "))
    }
}
