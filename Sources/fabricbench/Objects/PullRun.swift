// `pull`: one node gets objects of another one, the whole path.

internal import RayCore
internal import RayFabric

enum PullRun {
    /// A node with a store and a network.
    static func fabric(_ job: Job, listen: Address?) throws(FabricError) -> Fabric {
        let capacity = ByteCount.bytes(job.objects.capacity(size: job.settings.size))
        var configuration = FabricConfiguration(capacity: capacity)
        configuration.store.prefault = capacity
        var network = NetworkConfiguration(listen: listen?.description, clusterKey: try ClusterKey(job.key))
        network.settings.lanes = job.lanes
        network.transport = try choice(job.transport)
        configuration.network = network
        let fabric = try Fabric(configuration)
        try StoreRun.awaitMemory(of: fabric)
        return fabric
    }

    static func choice(_ transport: TransportKind) throws(FabricError) -> TransportChoice {
        switch transport {
        case .uring: .uring
        case .verbs: .verbs
        case .nio: .nio
        case .loopback, .shm: throw FabricError(.unsupported, "nodes do not meet over \(transport.rawValue)")
        }
    }

    /// What the puller has measured.
    struct Pulls {
        var report: Report
        /// Objects pulled in all, those that do not count as well.
        var count: Int
    }

    /// Pulls the objects of the node at `address` one after another, each time from the network: the
    /// copy is dropped after it was looked at.
    static func pull(_ job: Job, from address: Address, first: ObjectID) throws(FabricError) -> Pulls {
        let fabric = try fabric(job, listen: nil)
        _ = try fabric.connect(to: address.description)
        let settings = job.settings
        let objects = ObjectRange(first: first, count: job.objects.count)
        var inspector = PayloadInspector(touch: settings.touch, verify: settings.verify, seed: settings.seed)
        var histogram = LatencyHistogram()
        var cycles: UInt64 = 0
        var processor = Duration.zero
        let clock = CycleClock.shared
        let from = CycleClock.now &+ clock.cycles(settings.warmup)
        let until = from &+ clock.cycles(settings.duration)
        var number = 0
        while CycleClock.now < until || histogram.count == 0 {
            let id = objects[number % objects.count]
            let started = processorTime()
            let start = CycleClock.now
            do {
                let object = try fabric.get(id, within: job.operationLimit)
                let end = CycleClock.now
                if start >= from, number > 0 {
                    histogram.record(cycles: end &- start)
                    cycles &+= end &- start
                    processor += processorTime() - started
                }
                inspector.inspect(object.bytes, sequence: UInt64(number % objects.count))
            }
            try fabric.delete(id)
            number += 1
        }
        var report = Report(
            operations: histogram.count, bytes: histogram.count * UInt64(settings.size), latency: histogram)
        report.nanoseconds = clock.nanoseconds(cycles)
        report.processorNanoseconds = Double(processor.saturatedNanoseconds)
        report.record(inspector)
        return Pulls(report: report, count: number)
    }
}
