// Measures what a node costs that has nothing to do.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A host with clients and connections, all of them idle.
struct IdleCase: CustomStringConvertible {
    var transport: TransportKind
    var clients = 2
    var connections = 10

    var description: String { "idle \(transport.rawValue)" }
}

/// What a host used over a stretch of time.
struct IdleFigure {
    /// CPU time in percent of one core.
    var processorPercent: Double
    /// Resident memory at its end, without and with what it shares: the store.
    var ownBytes: Int
    var sharedBytes: Int
}

extension Bench {
    /// Starts the host, its clients and its peers once, then watches the host as often as there are repeats.
    mutating func measure(_ item: IdleCase, step: String = "") throws(FabricError) -> BenchmarkResult {
        let directory = try TemporaryDirectory()
        var job = Job(
            work: .idleHost, transport: item.transport, settings: baseSettings(size: 4096), lanes: 2,
            key: Self.randomKey(), cpu: plan.remoteCPU)
        job.objects.path = directory.path + "/store"
        let host = try makeWorker()
        let (address, first) = try host.begin(job)
        var clientJob = job
        clientJob.work = .idleClient
        clientJob.cpu = plan.localCPU
        clientJob.objects.first = first
        var others: [Worker] = []
        for _ in 0..<item.clients {
            let client = try makeWorker()
            try client.begin(clientJob)
            others.append(client)
        }
        if item.connections > 0 {
            var peerJob = clientJob
            peerJob.work = .idlePeers
            peerJob.objects.path = address.description
            peerJob.objects.count = item.connections
            let peers = try makeWorker()
            try peers.begin(peerJob)
            others.append(peers)
        }
        guard let process = host.process else { throw FabricError(.unsupported, "the host is on another machine") }
        let repeats = try watch(process, item, step)
        // They end with their control channels, the host last.
        others.removeAll()
        _ = try host.end(job)
        _ = consume directory
        return BenchmarkResult(
            benchmark: "idle", goal: .latency, transport: item.transport.rawValue, size: 0, streams: item.connections,
            lanes: job.lanes, clients: item.clients, roofName: nil, repeats: repeats, corrupted: 0, touched: false,
            verified: false)
    }

    private func watch(
        _ process: pid_t, _ item: IdleCase, _ step: String
    ) throws(FabricError) -> [RepeatFigure] {
        var repeats: [RepeatFigure] = []
        pass(plan.warmup)
        for number in 1...plan.repeats {
            progress.show("\(step)\(item), repeat \(number) of \(plan.repeats)")
            let start = (Timestamp.now, try processorTime(of: process))
            pass(plan.duration)
            let used = try processorTime(of: process) - start.1
            let memory = try ProcessMemory(of: process)
            let figure = IdleFigure(
                processorPercent: used / (Timestamp.now - start.0) * 100, ownBytes: memory.ownBytes,
                sharedBytes: memory.sharedBytes)
            repeats.append(RepeatFigure(samples: 1, idle: figure))
        }
        progress.clear()
        return repeats
    }

    /// Lets time pass without using any.
    private func pass(_ duration: Duration) {
        let end = Timestamp.now + duration
        while Timestamp.now < end {
            // Rounded up, so that the rest is never zero.
            _ = poll(nil, 0, Int32((end - Timestamp.now).saturatedNanoseconds / 1_000_000 + 1))
        }
    }
}
