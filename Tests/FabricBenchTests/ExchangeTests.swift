// What the two processes tell each other, and what the tools of others print.

import RayCore
import RayFabric
import Testing

@testable import fabricbench

private func encoded(_ message: ControlMessage) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var count = 0
    do {
        var span = bytes.mutableSpan
        // SAFETY: any bytes are valid UInt8 values.
        var writer = unsafe WireWriter(span.mutableBytes)
        message.encode(into: &writer)
        count = writer.count
    }
    return Array(bytes[..<count])
}

private func decoded(_ bytes: [UInt8]) throws(WireError) -> ControlMessage {
    // SAFETY: any bytes are valid UInt8 values.
    var reader = unsafe WireReader(bytes.span.bytes)
    return try ControlMessage(from: &reader)
}

@Suite struct ControlMessageTests {
    private static var job: Job {
        var job = Job(
            work: .pullSource, transport: .nio, settings: WorkSettings(), lanes: 3,
            key: [UInt8](repeating: 7, count: 32), cpu: 1)
        job.settings.size = 12345
        job.settings.verify = true
        job.objects.count = 77
        job.objects.path = "/tmp/x"
        return job
    }

    private static var report: Report {
        var histogram = LatencyHistogram()
        histogram.record(cycles: 100, count: 5)
        return Report(operations: 5, bytes: 50, nanoseconds: 1.5, memoryGrown: 9, latency: histogram)
    }

    @Test func jobsAndReportsArriveAsTheyWere() throws {
        guard case .begin(let job) = try decoded(encoded(.begin(Self.job))) else {
            Issue.record("not a job")
            return
        }
        #expect(job.work == .pullSource && job.transport == .nio && job.lanes == 3 && job.cpu == 1)
        #expect(job.settings.size == 12345 && job.settings.verify && !job.settings.touch)
        #expect(job.objects.count == 77 && job.objects.path == "/tmp/x" && job.objects.first == nil)
        guard case .report(let report) = try decoded(encoded(.report(Self.report))) else {
            Issue.record("not a report")
            return
        }
        #expect(report.operations == 5 && report.bytes == 50 && report.nanoseconds == 1.5 && report.memoryGrown == 9)
        #expect(report.latency?.count == 5)
    }

    @Test func whatIsCutOffIsRefused() {
        for message in [ControlMessage.begin(Self.job), .report(Self.report), .hello(version: 2)] {
            let bytes = encoded(message)
            for count in bytes.indices {
                #expect(throws: WireError.self) { try decoded(Array(bytes[..<count])) }
            }
            #expect(throws: WireError.self) { try decoded(bytes + [0]) }
        }
    }
}

@Suite struct PeerOutputTests {
    private static let ucx = """
        iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr
        1000,0.040,0.044,0.044,1300.00,1300.00,23000000,23000000
        2000,0.041,0.043,0.043,1406.59,1406.50,23045626,23045600
        """

    @Test func ucxIsUnderstood() throws {
        let latency = try #require(PeerRun.parseUCX(Self.ucx, .lat))
        #expect(latency.latencyP50 == 0.041)
        let bandwidth = try #require(PeerRun.parseUCX(Self.ucx, .bw))
        #expect(bandwidth.bytesPerSecond == 1406.50 * 1_048_576 && bandwidth.operationsPerSecond == 23_045_600)
        #expect(bandwidth.latencyP50 == nil)
    }

    @Test func iperfIsUnderstood() {
        let output = #"{"end": {"sum_sent": {"bits_per_second": 9}, "sum_received": {"bits_per_second": 8e9}}}"#
        #expect(PeerRun.parseIperf(output)?.bytesPerSecond == 1e9)
    }

    @Test(arguments: ["", "boom", "iterations,overall_mr", "\"sum_received\""])
    func otherOutputHasNoFigures(output: String) {
        #expect(PeerRun.parseUCX(output, .bw) == nil)
        #expect(PeerRun.parseIperf(output) == nil)
    }
}
