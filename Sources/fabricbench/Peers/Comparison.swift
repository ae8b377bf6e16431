// Our figure beside a peer's, measured in turn.

internal import RayCore
internal import RayFabric

/// One peer at one benchmark.
struct Comparison {
    /// The figure that counts.
    enum Measure {
        /// Microseconds one way, messages a second, bytes a second.
        case latency, rate, throughput
        /// Seconds of CPU time of the node that objects are pulled from, for each GiB.
        case sourceCPU

        init(of item: TransportCase) {
            self = item.kind == .lat ? .latency : item.size < 4096 ? .rate : .throughput
        }

        fileprivate var unit: (name: String, scale: Double) {
            switch self {
            case .latency: ("us p50", 1)
            case .rate: ("M op/s", 1e6)
            case .throughput: ("GB/s", 1e9)
            case .sourceCPU: ("CPU s/GiB, source", 1)
            }
        }

        fileprivate var lessIsBetter: Bool { self == .latency || self == .sourceCPU }
    }

    var peer: String
    var measure: Measure
    var repeats: [PeerFigure]
    var ours: BenchmarkResult
    /// Why the peer has no figure.
    var obstacle: String?

    private func middle(_ figure: (PeerFigure) -> Double?) -> Double? {
        let values = repeats.compactMap(figure)
        return values.isEmpty ? nil : median(values)
    }

    private var theirFigure: Double? { middle { theirFigure(of: $0) } }
    private func theirFigure(of figure: PeerFigure) -> Double? {
        switch measure {
        case .latency: figure.latencyP50
        case .rate: figure.operationsPerSecond
        case .throughput: figure.bytesPerSecond
        case .sourceCPU: figure.sourceCPUPerGiB
        }
    }
    private var ourFigure: Double? {
        switch measure {
        case .latency: ours.latency?.p50
        case .rate: ours.operationsPerSecond
        case .throughput: ours.bytesPerSecond
        case .sourceCPU: ours.remoteCPUPerGiB
        }
    }
    private func ourFigure(of figure: RepeatFigure) -> Double? {
        switch measure {
        case .latency: figure.latency?.p50
        case .rate: figure.operationsPerSecond
        case .throughput: figure.bytesPerSecond
        case .sourceCPU: figure.remoteCPUPerGiB
        }
    }

    /// The least and the greatest repeat of ours and of theirs, as the table shows them.
    private var spreads: [String] {
        let scale = measure.unit.scale
        return [ours.repeats.compactMap(ourFigure), repeats.compactMap(theirFigure)].map { values in
            guard let least = values.min(), let greatest = values.max() else { return "-" }
            return short(least / scale) + ".." + short(greatest / scale)
        }
    }

    /// More than 1 where we are better.
    var ratio: Double? {
        guard let theirFigure, let ourFigure, theirFigure > 0, ourFigure > 0 else { return nil }
        return measure.lessIsBetter ? theirFigure / ourFigure : ourFigure / theirFigure
    }

    var json: JSON {
        .object([
            ("peer", .string(peer)), ("benchmark", .string(ours.benchmark)), ("transport", .text(ours.transport)),
            ("size_bytes", .integer(Int64(ours.size))), ("latency_us_p50", .figure(middle(\.latencyP50))),
            ("bytes_per_s", .figure(middle(\.bytesPerSecond))),
            ("ops_per_s", .figure(middle(\.operationsPerSecond))),
            ("source_cpu_s_per_gib", .figure(middle(\.sourceCPUPerGiB))),
            ("repeats", .array(repeats.map { .figure(theirFigure(of: $0)) })), ("ratio_to_peer", .figure(ratio)),
            ("why_not", .text(obstacle)),
        ])
    }

    static func table(_ comparisons: [Comparison]) -> String {
        guard !comparisons.isEmpty else { return "" }
        let headings = [
            "benchmark", "transport", "size", "peer", "ours", "theirs", "", "ours is better by", "ours of repeats",
            "theirs of repeats",
        ]
        var table = Table(headings, leftColumns: 4)
        for item in comparisons {
            let (unit, scale) = item.measure.unit
            let cells = [
                item.ours.benchmark, item.ours.transport ?? "-", sizeText(item.ours.size), item.peer,
                item.ourFigure.map { short($0 / scale) } ?? "-", item.theirFigure.map { short($0 / scale) } ?? "-",
                unit, item.ratio.map { fixed($0, 2) } ?? "-",
            ]
            table.add(cells + item.spreads)
        }
        let obstacles = comparisons.compactMap { item in
            item.obstacle.map {
                "  \(item.peer), \(item.ours.benchmark) \(item.ours.transport ?? "-") \(sizeText(item.ours.size)): \($0)\n"
            }
        }
        return "compare: peers measured in turn with ours\n" + table.text + obstacles.joined() + "\n"
    }
}

extension Bench {
    /// Measures a case and, after each repeat, all tools that have something like it.
    mutating func compare(
        _ item: TransportCase, with tools: [PeerTool], step: String
    ) throws(FabricError) -> (BenchmarkResult, [Comparison]) {
        var peers = tools.compactMap { PeerSeries($0, item, plan) }
        let result = try measure(item, step: step) { (_: Int) throws(FabricError) in
            for index in peers.indices { peers[index].measure() }
        }
        return (result, peers.map { $0.comparison(with: result, Comparison.Measure(of: item)) })
    }

    /// Measures a pull by RDMA and, after each repeat, the same over sockets, and reads of the size that a
    /// pull posts by tools that do nothing else.
    mutating func comparePull(
        size: Int, with tools: [PeerTool], step: String
    ) throws(FabricError) -> ([BenchmarkResult], [Comparison]) {
        let reads = TransportCase(kind: .bw, transport: .verbs, size: 1 << 20)
        var peers = tools.filter { $0 == .readBandwidth }.compactMap { PeerSeries($0, reads, plan) }
        let kinds = [TransportKind.verbs, .uring].filter(TransportCatalog.betweenNodes.contains)
        // One object again and again, as perftest reads one buffer.
        let pulls = kinds.map { PullCase(transport: $0, size: size, objects: 1) }
        let results = try measure(pulls, step: step) {
            for index in peers.indices { peers[index].measure() }
        }
        guard let verbs = results.first else { return ([], []) }
        var comparisons = peers.map { $0.comparison(with: verbs, .throughput, detail: " \(sizeText(reads.size))") }
        for sockets in results.dropFirst() {
            let figures = sockets.repeats.map {
                PeerFigure(bytesPerSecond: $0.bytesPerSecond, sourceCPUPerGiB: $0.remoteCPUPerGiB)
            }
            for measure in [Comparison.Measure.throughput, .sourceCPU] {
                comparisons.append(
                    Comparison(peer: "ours over uring", measure: measure, repeats: figures, ours: verbs))
            }
        }
        return (results, comparisons)
    }
}

extension PeerSeries {
    fileprivate func comparison(
        with ours: BenchmarkResult, _ measure: Comparison.Measure, detail: String = ""
    ) -> Comparison {
        Comparison(peer: name + detail, measure: measure, repeats: figures, ours: ours, obstacle: obstacle)
    }
}
