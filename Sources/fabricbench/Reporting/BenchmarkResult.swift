// One line of the results: what was measured, its repeats, and the roof beside it.

internal import RayFabric

/// A figure of one repeat.
struct RepeatFigure {
    var latency: LatencySummary?
    var bytesPerSecond: Double?
    var operationsPerSecond: Double?
    var localCPUPerGiB: Double?
    var remoteCPUPerGiB: Double?
    var samples: UInt64
    /// The roof, measured just before it.
    var roof: RoofFigure?
    /// Bytes of memory for each object beside its payload.
    var overheadPerObject: Double?
    var idle: IdleFigure?
}

/// A figure of a roof.
struct RoofFigure {
    var bytesPerSecond: Double?
    var latencyP50: Double?
}

/// What one benchmark at one size has given.
struct BenchmarkResult {
    /// Whether a better figure is a lower latency or a higher throughput.
    enum Goal { case latency, throughput }

    var benchmark: String
    var goal: Goal
    var transport: String?
    var size: Int
    var streams: Int
    var lanes: Int
    var operation: String?
    var clients: Int?
    /// Objects that live at a time, for each client.
    var objects: Int?
    var roofName: String?
    var repeats: [RepeatFigure]
    /// Payloads with wrong bytes or sequence numbers.
    var corrupted: UInt64
    /// Whether payload bytes were read, and checked.
    var touched: Bool
    var verified: Bool

    private func middle(_ figure: (RepeatFigure) -> Double?) -> Double? {
        let values = repeats.compactMap(figure)
        return values.isEmpty ? nil : median(values)
    }

    var latency: LatencySummary? { LatencySummary(medianOf: repeats.compactMap(\.latency)) }
    var bytesPerSecond: Double? { middle(\.bytesPerSecond) }
    var operationsPerSecond: Double? { middle(\.operationsPerSecond) }
    var localCPUPerGiB: Double? { middle(\.localCPUPerGiB) }
    var remoteCPUPerGiB: Double? { middle(\.remoteCPUPerGiB) }
    var samples: UInt64 { repeats.reduce(0) { $0 + $1.samples } }
    var overheadPerObject: Double? { middle(\.overheadPerObject) }
    var idlePercent: Double? { middle(\.idle?.processorPercent) }
    var idleBytes: Double? { middle { $0.idle.map { Double($0.ownBytes) } } }
    var idleSharedBytes: Double? { middle { $0.idle.map { Double($0.sharedBytes) } } }
    var roofBytesPerSecond: Double? { middle(\.roof?.bytesPerSecond) }
    var roofLatencyP50: Double? { middle(\.roof?.latencyP50) }

    /// 1 is the roof, more is better: ours over roof for throughput, roof over ours for latency.
    var ratioToRoof: Double? {
        switch goal {
        case .latency:
            guard let roofLatencyP50, let latency, latency.p50 > 0 else { return nil }
            return roofLatencyP50 / latency.p50
        case .throughput:
            guard let roofBytesPerSecond, let bytesPerSecond, roofBytesPerSecond > 0 else { return nil }
            return bytesPerSecond / roofBytesPerSecond
        }
    }

    /// The least and the greatest repeat of the figure that counts.
    var spread: ClosedRange<Double>? {
        let values = repeats.compactMap { goal == .latency ? $0.latency?.p50 : $0.bytesPerSecond }
        guard let least = values.min(), let greatest = values.max() else { return nil }
        return least...greatest
    }
}

extension BenchmarkResult {
    var json: JSON {
        var members: [(String, JSON)] = [
            ("benchmark", .string(benchmark)), ("transport", .text(transport)),
            ("size_bytes", .integer(Int64(size))), ("streams", .integer(Int64(streams))),
            ("lanes", .integer(Int64(lanes))), ("op", .text(operation)),
            ("clients", clients.map { .integer(Int64($0)) } ?? .null),
            ("touched", .bool(touched)), ("verified", .bool(verified)),
            ("corrupted", .integer(Int64(clamping: corrupted))),
            ("latency_us", latency?.json ?? .null),
            ("bytes_per_s", .figure(bytesPerSecond)), ("ops_per_s", .figure(operationsPerSecond)),
            ("cpu_s_per_gib", .object([("local", .figure(localCPUPerGiB)), ("remote", .figure(remoteCPUPerGiB))])),
            ("samples", .integer(Int64(clamping: samples))),
            ("repeats", .array(repeats.map(\.json))),
            ("roof", roofJSON), ("ratio_to_roof", .figure(ratioToRoof)),
        ]
        if let objects { members.append(("objects", .integer(Int64(objects)))) }
        if let overheadPerObject { members.append(("overhead_bytes_per_object", .figure(overheadPerObject))) }
        if let idlePercent {
            members.append(("cpu_percent", .figure(idlePercent)))
            members.append(("resident_bytes", .figure(idleBytes)))
            members.append(("shared_bytes", .figure(idleSharedBytes)))
        }
        return .object(members)
    }

    private var roofJSON: JSON {
        guard let roofName else { return .null }
        return .object([
            ("name", .string(roofName)), ("bytes_per_s", .figure(roofBytesPerSecond)),
            ("latency_us_p50", .figure(roofLatencyP50)),
        ])
    }
}

extension LatencySummary {
    var json: JSON {
        .object([
            ("min", .figure(minimum)), ("mean", .figure(mean)), ("p50", .figure(p50)), ("p90", .figure(p90)),
            ("p99", .figure(p99)), ("p999", .figure(p999)), ("max", .figure(maximum)),
        ])
    }
}

extension RepeatFigure {
    var json: JSON {
        var members: [(String, JSON)] = [
            ("latency_us_p50", .figure(latency?.p50)), ("latency_us_p99", .figure(latency?.p99)),
            ("bytes_per_s", .figure(bytesPerSecond)), ("ops_per_s", .figure(operationsPerSecond)),
            ("samples", .integer(Int64(clamping: samples))),
            ("roof_bytes_per_s", .figure(roof?.bytesPerSecond)),
            ("roof_latency_us_p50", .figure(roof?.latencyP50)),
        ]
        if let overheadPerObject { members.append(("overhead_bytes_per_object", .figure(overheadPerObject))) }
        if let idle {
            members.append(("cpu_percent", .figure(idle.processorPercent)))
            members.append(("resident_bytes", .integer(Int64(idle.ownBytes))))
        }
        return .object(members)
    }
}
