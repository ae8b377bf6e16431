// Runs benchmarks: repeats, roofs between them, and the figures that come out.

internal import CLinux
internal import RayCore
internal import RayFabric

/// How benchmarks are run; from the options that all commands share.
struct RunPlan {
    var duration = Duration.milliseconds(500)
    var warmup = Duration.milliseconds(200)
    var repeats = 5
    /// The CPUs of this process and of the other one; nil leaves the choice to the system.
    var localCPU: Int?
    var remoteCPU: Int?
    /// How ends wait; nil for what suits the transport.
    var wait: WaitMode?
    var verify = false
    /// Whether receivers read the payload; nil for the default of the transport.
    var touch: Bool?
    var measuresRoof = true
    /// The `fabricbench serve` that has the other end; nil for a second process here.
    var server: Address?
    var injectsCorruption = false

    /// How ends wait unless they are told. With one core, or with nio, whose event loop is a thread that
    /// shares the end's core, an end that spins keeps the other one from running.
    func wait(_ transport: TransportKind) -> WaitMode {
        wait ?? (Processors.allowed.count >= 2 && transport != .nio ? .spin : .adaptive)
    }
}

/// A benchmark over a transport at one size.
struct TransportCase: CustomStringConvertible {
    enum Kind: String, CaseIterable { case lat, bw }
    var kind: Kind
    var transport: TransportKind
    var size: Int
    var streams = 1
    var lanes = 2
    var bidirectional = false

    /// How many processes measure.
    static func processes(_ cases: [TransportCase]) -> String {
        if cases.allSatisfy({ $0.transport == .loopback }) { return "one process" }
        return cases.contains { $0.transport == .loopback } ? "two processes (loopback: one)" : "two processes"
    }

    /// Larger payloads go as one-sided writes.
    static let largestLatencyMessage = 256 << 10
    static let largestBandwidthMessage = 64 << 10

    var description: String { "\(kind.rawValue) \(transport.rawValue) \(sizeText(size))" }

    var usesWrites: Bool {
        size > (kind == .lat ? Self.largestLatencyMessage : Self.largestBandwidthMessage)
    }
}

struct Bench: ~Copyable {
    let plan: RunPlan
    private let sharedMemory: MemoryFile
    private let mapping: Mapping
    private var worker: Worker?
    let progress = Progress()

    /// - Parameter largest: the largest payload of all benchmarks to come.
    init(_ plan: RunPlan, largest: Int) throws(FabricError) {
        let memory = try MemoryFile(name: "fabricbench", byteCount: SharedWordsRoof.memoryBytes(size: largest))
        let mapping = try Mapping(memory.descriptor.number, byteCount: memory.byteCount, writable: true)
        _ = CycleClock.shared
        if let cpu = plan.localCPU { try Processors.pin(to: cpu) }
        self.plan = plan
        self.mapping = mapping
        sharedMemory = memory
    }

    /// Measures one case: the roof and the benchmark in turn, as often as the plan says.
    /// - Parameter step: which case of how many, for the progress line.
    ///   `afterRepeat` is called after each repeat.
    mutating func measure(
        _ item: TransportCase, step: String = "", afterRepeat: (Int) throws(FabricError) -> Void = { _ in }
    ) throws(FabricError) -> BenchmarkResult {
        let roof = plan.measuresRoof ? Roof(for: item, hasServer: plan.server != nil) : nil
        let settings = settings(item)
        var repeats: [RepeatFigure] = []
        var corrupted: UInt64 = 0
        for number in 1...plan.repeats {
            progress.show("\(step)\(item), repeat \(number) of \(plan.repeats)")
            let roofFigure = try roof.map { roof throws(FabricError) in try measure(roof, item, settings) }
            let (local, remote) = try run(item, settings)
            corrupted += local.corrupted + remote.corrupted
            repeats.append(figure(item, local, remote, roofFigure))
            try afterRepeat(number)
        }
        progress.clear()
        return BenchmarkResult(
            benchmark: item.kind.rawValue, goal: item.kind == .lat ? .latency : .throughput,
            transport: item.transport.rawValue, size: item.size, streams: item.streams, lanes: item.lanes,
            roofName: roof?.rawValue, repeats: repeats, corrupted: corrupted, touched: settings.touch,
            verified: settings.verify)
    }

    mutating func measureAll(_ cases: [TransportCase]) throws(FabricError) -> [BenchmarkResult] {
        var results: [BenchmarkResult] = []
        for (index, item) in cases.enumerated() {
            results.append(try measure(item, step: "[\(index + 1)/\(cases.count)] "))
        }
        return results
    }

    /// The settings of both ends that follow from the plan.
    func baseSettings(size: Int, transport: TransportKind = .shm) -> WorkSettings {
        var settings = WorkSettings()
        settings.size = size
        settings.verify = plan.verify
        settings.wait = plan.wait(transport)
        settings.warmup = plan.warmup
        settings.duration = plan.duration
        settings.seed = 0x5261_7946
        settings.injectsCorruption = plan.injectsCorruption
        return settings
    }

    private func settings(_ item: TransportCase) -> WorkSettings {
        var settings = baseSettings(size: item.size, transport: item.transport)
        settings.streams = item.streams
        settings.usesWrites = item.usesWrites
        settings.bidirectional = item.bidirectional
        // Payload that comes through shared memory was not seen by the receiver until it reads it.
        settings.touch = plan.touch ?? (item.kind == .bw && (item.transport == .shm || item.transport == .loopback))
        return settings
    }

    /// One run of both ends.
    private mutating func run(
        _ item: TransportCase, _ settings: WorkSettings
    ) throws(FabricError) -> (Report, Report) {
        var job = Job(
            work: item.kind == .lat ? .latency : .bandwidth, transport: item.transport, settings: settings,
            lanes: item.lanes, key: Self.randomKey(), cpu: plan.remoteCPU)
        if item.transport == .loopback {
            job.cpu = nil
            return try TransportRun.both(job)
        }
        let directory = try TemporaryDirectory()
        job.objects.path = directory.path + "/end"
        let reports = try withWorker(job) { _, address throws(FabricError) in
            try TransportRun.initiate(job, to: address)
        }
        _ = consume directory
        return reports
    }

    /// Hands `job` to the worker and runs `local` beside it.
    private mutating func withWorker(
        _ job: Job, _ local: (borrowing Mapping, Address) throws(FabricError) -> Report
    ) throws(FabricError) -> (Report, Report) {
        let worker = try otherEnd()
        let address = try worker.begin(job).address
        let here: Report
        do throws(FabricError) {
            here = try local(mapping, address)
        } catch {
            // What went wrong at the other end says more than that it went away.
            if error.code == .closed || error.code == .connectionLost { _ = try worker.finish(job) }
            throw error
        }
        return (here, try worker.finish(job))
    }

    /// The process that has the other end; started when it is first needed.
    mutating func otherEnd() throws(FabricError) -> Worker {
        if let worker { return worker }
        let made: Worker
        if let server = plan.server {
            made = try Worker(at: server)
        } else {
            made = try makeWorker()
        }
        worker = made
        return made
    }

    /// One more process on this machine.
    func makeWorker() throws(FabricError) -> Worker { try Worker(sharing: sharedMemory) }

    private mutating func measure(
        _ roof: Roof, _ item: TransportCase, _ settings: WorkSettings
    ) throws(FabricError) -> RoofFigure {
        switch roof {
        case .sharedWords:
            let settings = roofSettings(settings)
            let job = roofJob(.sharedWords, settings)
            SharedWordsRoof.reset(mapping)
            let (local, _) = try withWorker(job) { mapping, _ throws(FabricError) in
                try SharedWordsRoof(settings).ask(in: mapping)
            }
            return RoofFigure(latencyP50: local.latency?.summary(dividedBy: 2)?.p50)
        case .rawSocket where item.kind == .lat:
            let settings = roofSettings(settings)
            let job = roofJob(.socketLatency, settings)
            let (local, _) = try withWorker(job) { _, address throws(FabricError) in
                try SocketLatencyRoof(try StreamSocket.connect(to: address), settings).ask()
            }
            return RoofFigure(latencyP50: local.latency?.summary(dividedBy: 2)?.p50)
        case .rawSocket:
            return try socketRoof(settings)
        case .memcpy:
            let slots = settings.usesWrites ? settings.slots : max((1 << 20) / settings.slotBytes, 1)
            return try copyRoof(size: item.size, slots: slots, sourceSlots: slots, settings)
        }
    }

    /// A stream over a raw socket.
    mutating func socketRoof(_ settings: WorkSettings) throws(FabricError) -> RoofFigure {
        let settings = roofSettings(settings)
        let (_, remote) = try withWorker(roofJob(.socketBandwidth, settings)) { _, address throws(FabricError) in
            try SocketBandwidthRoof(try StreamSocket.connect(to: address), settings).send()
        }
        return RoofFigure(bytesPerSecond: perSecond(remote.bytes, remote))
    }

    /// A copy by this process.
    func copyRoof(
        size: Int, slots: Int, sourceSlots: Int, _ settings: WorkSettings
    ) throws(FabricError) -> RoofFigure {
        let settings = roofSettings(settings)
        let report = try MemoryCopyRoof(
            size: size, slots: slots, sourceSlots: sourceSlots, warmup: settings.warmup,
            duration: settings.duration
        ).measure()
        return RoofFigure(bytesPerSecond: perSecond(report.bytes, report))
    }

    private func roofSettings(_ settings: WorkSettings) -> WorkSettings {
        var settings = settings
        settings.verify = false
        settings.injectsCorruption = false
        settings.duration = min(settings.duration, .milliseconds(500))
        return settings
    }

    private func roofJob(_ work: Job.Work, _ settings: WorkSettings) -> Job {
        Job(work: work, transport: .uring, settings: settings, lanes: 1, key: Self.randomKey(), cpu: plan.remoteCPU)
    }

    private func figure(
        _ item: TransportCase, _ local: Report, _ remote: Report, _ roof: RoofFigure?
    ) -> RepeatFigure {
        let latency = local.latency?.summary(dividedBy: 2)
        switch item.kind {
        case .lat:
            return RepeatFigure(
                latency: latency, bytesPerSecond: perSecond(local.bytes, local),
                operationsPerSecond: perSecond(local.operations, local), localCPUPerGiB: nil, remoteCPUPerGiB: nil,
                samples: local.operations, roof: roof)
        case .bw:
            var bytes = perSecond(remote.bytes, remote) ?? 0
            var operations = perSecond(remote.operations, remote) ?? 0
            if item.bidirectional {
                bytes += perSecond(local.bytes, local) ?? 0
                operations += perSecond(local.operations, local) ?? 0
            }
            return RepeatFigure(
                latency: nil, bytesPerSecond: bytes, operationsPerSecond: operations,
                localCPUPerGiB: cpuPerGiB(local, bytesPerSecond: bytes),
                remoteCPUPerGiB: item.transport == .loopback ? nil : cpuPerGiB(remote, bytesPerSecond: bytes),
                samples: remote.operations + (item.bidirectional ? local.operations : 0), roof: roof)
        }
    }

    static func randomKey() -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        return (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
}

/// Amounts a second of the measured time.
func perSecond(_ amount: UInt64, _ report: Report) -> Double? {
    report.nanoseconds > 0 ? Double(amount) / report.nanoseconds * 1e9 : nil
}

/// The roofs that there are.
enum Roof: String {
    case rawSocket = "raw socket"
    case sharedWords = "two shared words"
    case memcpy

    /// The roof of a case; nil where there is none.
    init?(for item: TransportCase, hasServer: Bool) {
        switch (item.transport, item.kind) {
        case (.uring, _), (.nio, _), (.verbs, _): self = .rawSocket
        case (.shm, .lat): self = .sharedWords
        case (.shm, .bw), (.loopback, .bw): self = .memcpy
        case (.loopback, .lat): return nil
        }
        if item.bidirectional || (hasServer && self == .sharedWords) { return nil }
    }
}
