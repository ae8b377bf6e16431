// One process that uses a store: puts, gets, creates, or all of it in turn.

internal import RayCore
internal import RayFabric

/// Runs one operation again and again and takes the time of each.
struct ObjectClient {
    private let fabric: Fabric
    private let job: Job
    private let settings: WorkSettings
    private var inspector: PayloadInspector
    private var histogram = LatencyHistogram()
    /// Time and CPU time of what counts: single operations, or batches of them.
    private var cycles: UInt64 = 0
    private var processor = Duration.zero
    private var isMeasuring = false
    private static let patience = Duration.seconds(10)

    init(_ fabric: Fabric, _ job: Job) {
        self.fabric = fabric
        self.job = job
        settings = job.settings
        inspector = PayloadInspector(
            touch: job.settings.touch, verify: job.settings.verify, seed: job.settings.seed)
    }

    consuming func run() throws(FabricError) -> Report {
        switch job.objects.operation {
        case .get: try get()
        case .put:
            try fillAndEmpty { client, number, payload throws(FabricError) in
                try client.fabric.put(payload, metadata: RawSpan())
            }
        case .createSeal:
            try fillAndEmpty { client, number, payload throws(FabricError) in
                try client.createAndSeal(number)
            }
        case .churn: try churn()
        }
        var report = Report(operations: histogram.count, latency: histogram)
        report.bytes = movesBytes ? report.operations * UInt64(settings.size) : 0
        report.nanoseconds = CycleClock.shared.nanoseconds(cycles)
        report.processorNanoseconds = Double(processor.saturatedNanoseconds)
        report.record(inspector)
        return report
    }

    /// Whether the operation touches every byte, so that bytes a second mean something.
    private var movesBytes: Bool {
        switch job.objects.operation {
        case .put, .churn: true
        case .get: settings.touch || settings.verify
        case .createSeal: settings.verify
        }
    }

    /// Repeats `batch` until warm-up and measured time are over; the time of its operations is what
    /// it adds to `cycles` itself.
    private mutating func repeatInTime(
        _ batch: (inout ObjectClient) throws(FabricError) -> Void
    ) throws(FabricError) {
        let clock = CycleClock.shared
        let from = CycleClock.now &+ clock.cycles(settings.warmup)
        repeat { try batch(&self) } while CycleClock.now < from
        isMeasuring = true
        let until = CycleClock.now &+ clock.cycles(settings.duration)
        repeat { try batch(&self) } while CycleClock.now < until
    }

    @inline(__always)
    private mutating func sample(from start: UInt64, to end: UInt64) {
        if isMeasuring { histogram.record(cycles: end &- start) }
    }

    // MARK: get

    /// Pins and releases objects that another process has sealed, in random order.
    private mutating func get() throws(FabricError) {
        guard let first = job.objects.first else { throw FabricError(.invalidArgument, "no objects to get") }
        let objects = ObjectRange(first: first, count: job.objects.count)
        var random = SeededRandom(seed: settings.seed)
        try repeatInTime { client throws(FabricError) in
            let started = processorTime()
            let batchStart = CycleClock.now
            for _ in 0..<1000 {
                let index = Int(random.next() % UInt64(objects.count))
                let id = objects[index]
                let start = CycleClock.now
                try client.look(id, number: UInt64(index))
                client.sample(from: start, to: CycleClock.now)
            }
            client.account(since: batchStart, started)
        }
    }

    @inline(__always)
    private mutating func look(_ id: ObjectID, number: UInt64) throws(FabricError) {
        inspect(try fabric.get(id, within: Self.patience), number: number)
    }

    /// A function of its own: the compiler would put a local variable for the object on the heap.
    @inline(__always)
    private mutating func inspect(_ object: borrowing Object, number: UInt64) {
        if settings.touch || settings.verify { inspector.inspect(object.bytes, sequence: number) }
    }

    @inline(__always)
    private mutating func account(since start: UInt64, _ processorStart: Duration) {
        guard isMeasuring else { return }
        cycles &+= CycleClock.now &- start
        processor += processorTime() - processorStart
    }

    // MARK: put, create-seal

    /// Makes as many objects as may live at a time, then deletes them, which does not count: so each
    /// batch uses memory that was used before.
    private mutating func fillAndEmpty(
        _ make: (borrowing ObjectClient, UInt64, RawSpan) throws(FabricError) -> ObjectID
    ) throws(FabricError) {
        let source = try AnonymousMemory(byteCount: settings.size)
        var ids: [ObjectID] = []
        ids.reserveCapacity(job.objects.count)
        try repeatInTime { client throws(FabricError) in
            ids.removeAll(keepingCapacity: true)
            let started = processorTime()
            let batchStart = CycleClock.now
            for number in 0..<UInt64(client.job.objects.count) {
                let payload = unsafe client.fill(source, number)
                let start = CycleClock.now
                let id = try make(client, number, unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(payload)))
                client.sample(from: start, to: CycleClock.now)
                ids.append(id)
            }
            client.account(since: batchStart, started)
            if client.settings.verify {
                for (number, id) in ids.enumerated() { try client.look(id, number: UInt64(number)) }
            }
            try client.fabric.delete(ids)
        }
    }

    /// The bytes to put; filled anew only if they are to be verified.
    private func fill(_ source: borrowing AnonymousMemory, _ number: UInt64) -> UnsafeMutableRawBufferPointer {
        let payload = unsafe UnsafeMutableRawBufferPointer(rebasing: source.bytes[0..<settings.size])
        if settings.verify { unsafe PayloadSource(settings).prepare(payload, sequence: number) }
        return unsafe payload
    }

    @inline(__always)
    private func createAndSeal(_ number: UInt64) throws(FabricError) -> ObjectID {
        var draft = try fabric.create(size: settings.size)
        if settings.verify {
            draft.withMutableBytes { bytes in
                unsafe bytes.withUnsafeMutableBytes { payload in
                    unsafe PayloadSource(settings).prepare(payload, sequence: number)
                }
            }
        }
        return try draft.seal()
    }

    // MARK: churn

    /// Deletes the oldest object, puts a new one and gets it: one operation.
    private mutating func churn() throws(FabricError) {
        let source = try AnonymousMemory(byteCount: settings.size)
        var ids: [ObjectID] = []
        for number in 0..<UInt64(job.objects.count) {
            let payload = unsafe fill(source, number)
            ids.append(
                try fabric.put(unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(payload)), metadata: RawSpan()))
        }
        var oldest = 0
        var number = UInt64(job.objects.count)
        try repeatInTime { client throws(FabricError) in
            let payload = unsafe client.fill(source, number)
            let started = processorTime()
            let start = CycleClock.now
            try client.fabric.delete(ids[oldest])
            let bytes = unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(payload))
            ids[oldest] = try client.fabric.put(bytes, metadata: RawSpan())
            try client.look(ids[oldest], number: number)
            client.sample(from: start, to: CycleClock.now)
            client.account(since: start, started)
            oldest = oldest + 1 == ids.count ? 0 : oldest + 1
            number += 1
        }
        try fabric.delete(ids)
    }
}
