// Measures the store and the pull between nodes.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A benchmark of the store on one node.
struct ObjectCase: CustomStringConvertible {
    var operation: ObjectWork.Operation
    var size: Int
    var clients = 1
    /// Objects that live at a time; nil for a working set of 64 MiB.
    var objects: Int?

    var count: Int { objects ?? Self.workingSet(size: size, atMost: operation == .get ? 1000 : 1 << 16) }
    var description: String { "object \(operation.rawValue) \(sizeText(size))" }

    /// Bytes of the host's memory for each object beside its payload; nil where the host makes none, or so
    /// few that what it touches in whole pages would be most of it.
    func overhead(_ host: Report) -> Double? {
        guard operation == .get, count >= Self.leastForOverhead else { return nil }
        return Double(host.memoryGrown) / Double(count) - Double(size)
    }

    private static let leastForOverhead = 100_000

    static func workingSet(size: Int, atMost limit: Int) -> Int { min(max((64 << 20) / size, 4), limit) }
}

/// A benchmark of the whole path between two nodes.
struct PullCase: CustomStringConvertible {
    var transport: TransportKind
    var size: Int
    var lanes = 2
    var objects: Int?

    var count: Int { objects ?? min(max((64 << 20) / size, 2), 64) }
    var description: String { "pull \(transport.rawValue) \(sizeText(size))" }
}

extension Bench {
    mutating func measure(_ item: ObjectCase, step: String = "") throws(FabricError) -> BenchmarkResult {
        var settings = baseSettings(size: item.size)
        settings.touch = plan.touch ?? false
        let hasRoof = plan.measuresRoof && item.operation == .put
        var repeats: [RepeatFigure] = []
        var corrupted: UInt64 = 0
        for number in 1...plan.repeats {
            progress.show("\(step)\(item), repeat \(number) of \(plan.repeats)")
            let roof = hasRoof ? try copyRoof(size: item.size, slots: item.count, sourceSlots: 1, settings) : nil
            let (reports, host) = try run(item, settings)
            corrupted += reports.reduce(0) { $0 + $1.corrupted }
            var figure = Self.figure(reports, roof)
            figure.overheadPerObject = item.overhead(host)
            repeats.append(figure)
        }
        progress.clear()
        return BenchmarkResult(
            benchmark: "object", goal: item.operation == .put ? .throughput : .latency, transport: nil,
            size: item.size, streams: 1, lanes: 1, operation: item.operation.rawValue, clients: item.clients,
            objects: item.count, roofName: hasRoof ? Roof.memcpy.rawValue : nil, repeats: repeats, corrupted: corrupted,
            touched: settings.touch, verified: settings.verify)
    }

    /// One run: the host in a process of its own, this process the first client, others beside it.
    private mutating func run(
        _ item: ObjectCase, _ settings: WorkSettings
    ) throws(FabricError) -> (clients: [Report], host: Report) {
        let directory = try TemporaryDirectory()
        var job = Job(
            work: .storeHost, transport: .shm, settings: settings, lanes: 1, key: Self.randomKey(),
            cpu: plan.remoteCPU)
        job.objects.operation = item.operation
        job.objects.count = item.count
        job.objects.clients = item.clients
        job.objects.path = directory.path + "/store"
        let host = try otherEnd()
        job.objects.first = try host.begin(job).first
        let fabric = try Fabric(attachingTo: job.objects.path, name: "fabricbench")
        var clientJob = job
        clientJob.work = .storeClient
        var others: [Worker] = []
        for number in 1..<max(item.clients, 1) {
            clientJob.cpu = number % 2 == 0 ? plan.localCPU : plan.remoteCPU
            let other = try makeWorker()
            try other.begin(clientJob)
            others.append(other)
        }
        var reports = [try ObjectClient(fabric, job).run()]
        for other in others { reports.append(try other.finish(clientJob)) }
        fabric.close()
        return (reports, try host.end(job))
    }

    mutating func measure(_ item: PullCase, step: String = "") throws(FabricError) -> BenchmarkResult {
        try measure([item], step: step)[0]
    }

    /// Measures several pulls in turn.
    mutating func measure(
        _ items: [PullCase], step: String, afterRepeat: () throws(FabricError) -> Void = {}
    ) throws(FabricError) -> [BenchmarkResult] {
        var results = items.map { item in
            BenchmarkResult(
                benchmark: "pull", goal: .throughput, transport: item.transport.rawValue, size: item.size, streams: 1,
                lanes: item.lanes, roofName: plan.measuresRoof ? Roof.rawSocket.rawValue : nil, repeats: [],
                corrupted: 0, touched: plan.touch ?? false, verified: plan.verify)
        }
        for number in 1...plan.repeats {
            for (index, item) in items.enumerated() {
                progress.show("\(step)\(item), repeat \(number) of \(plan.repeats)")
                let (figure, corrupted) = try measureOnce(item)
                results[index].repeats.append(figure)
                results[index].corrupted += corrupted
            }
            try afterRepeat()
        }
        progress.clear()
        return results
    }

    private mutating func measureOnce(
        _ item: PullCase
    ) throws(FabricError) -> (figure: RepeatFigure, corrupted: UInt64) {
        var settings = baseSettings(size: item.size)
        settings.touch = plan.touch ?? false
        let roof = plan.measuresRoof ? try socketRoof(settings) : nil
        let (pulls, source) = try run(item, settings)
        var figure = Self.figure([pulls.report], roof)
        let moved = Double(pulls.count) * Double(item.size) / Double(1 << 30)
        figure.remoteCPUPerGiB = source.processorNanoseconds / 1e9 / moved
        return (figure, pulls.report.corrupted + source.corrupted)
    }

    private mutating func run(
        _ item: PullCase, _ settings: WorkSettings
    ) throws(FabricError) -> (pulls: PullRun.Pulls, source: Report) {
        var job = Job(
            work: .pullSource, transport: item.transport, settings: settings, lanes: item.lanes,
            key: Self.randomKey(), cpu: plan.remoteCPU)
        job.objects.count = item.count
        let source = try otherEnd()
        let (address, first) = try source.begin(job)
        guard let first else { throw FabricError(.protocolViolation, "the source has no objects") }
        let pulls = try PullRun.pull(job, from: address, first: first)
        return (pulls, try source.end(job))
    }

    /// The figure of one repeat: all clients together, every sample of each.
    private static func figure(_ reports: [Report], _ roof: RoofFigure?) -> RepeatFigure {
        var histogram = LatencyHistogram()
        for report in reports { if let samples = report.latency { histogram.add(samples) } }
        let bytes = reports.reduce(0) { $0 + (perSecond($1.bytes, $1) ?? 0) }
        let operations = reports.reduce(0) { $0 + (perSecond($1.operations, $1) ?? 0) }
        return RepeatFigure(
            latency: histogram.summary(dividedBy: 1), bytesPerSecond: bytes > 0 ? bytes : nil,
            operationsPerSecond: operations,
            localCPUPerGiB: reports.first.flatMap { cpuPerGiB($0, bytesPerSecond: bytes) }, remoteCPUPerGiB: nil,
            samples: histogram.count, roof: roof)
    }
}

/// Seconds of CPU time that `report`'s process used for each GiB of the whole.
func cpuPerGiB(_ report: Report, bytesPerSecond: Double) -> Double? {
    guard report.nanoseconds > 0, bytesPerSecond > 0 else { return nil }
    return report.processorNanoseconds / report.nanoseconds / (bytesPerSecond / Double(1 << 30))
}
