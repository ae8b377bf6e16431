// Our figure beside a peer's, measured in turn.

internal import RayCore
internal import RayFabric

/// One peer at one benchmark.
struct Comparison {
    var peer: String
    var benchmark: String
    var transport: String
    var size: Int
    var isLatency: Bool
    var repeats: [PeerFigure]
    var ours: BenchmarkResult
    /// Why the peer has no figure.
    var obstacle: String?

    private func middle(_ figure: (PeerFigure) -> Double?) -> Double? {
        let values = repeats.compactMap(figure)
        return values.isEmpty ? nil : median(values)
    }

    /// What counts: microseconds, messages a second of small messages, else bytes a second.
    private var comparesRates: Bool { !isLatency && size < 4096 }
    private var theirFigure: Double? {
        isLatency ? middle(\.latencyP50) : comparesRates ? middle(\.operationsPerSecond) : middle(\.bytesPerSecond)
    }
    private var ourFigure: Double? {
        isLatency ? ours.latency?.p50 : comparesRates ? ours.operationsPerSecond : ours.bytesPerSecond
    }

    /// More than 1 where we are better.
    var ratio: Double? {
        guard let theirFigure, let ourFigure, theirFigure > 0, ourFigure > 0 else { return nil }
        return isLatency ? theirFigure / ourFigure : ourFigure / theirFigure
    }

    var json: JSON {
        .object([
            ("peer", .string(peer)), ("benchmark", .string(benchmark)), ("transport", .string(transport)),
            ("size_bytes", .integer(Int64(size))), ("latency_us_p50", .figure(middle(\.latencyP50))),
            ("bytes_per_s", .figure(middle(\.bytesPerSecond))),
            ("ops_per_s", .figure(middle(\.operationsPerSecond))), ("ratio_to_peer", .figure(ratio)),
            ("why_not", .text(obstacle)),
        ])
    }

    static func table(_ comparisons: [Comparison]) -> String {
        guard !comparisons.isEmpty else { return "" }
        let headings = ["benchmark", "transport", "size", "peer", "ours", "theirs", "", "ours is better by"]
        var table = Table(headings, leftColumns: 4)
        for item in comparisons {
            let scale = item.isLatency ? 1 : item.comparesRates ? 1e6 : 1e9
            table.add([
                item.benchmark, item.transport, sizeText(item.size), item.peer,
                item.ourFigure.map { short($0 / scale) } ?? "-",
                item.theirFigure.map { short($0 / scale) } ?? "-",
                item.isLatency ? "us p50" : item.comparesRates ? "M op/s" : "GB/s",
                item.ratio.map { fixed($0, 2) } ?? "-",
            ])
        }
        let obstacles = comparisons.compactMap { item in
            item.obstacle.map { "  \(item.peer), \(item.benchmark) \(item.transport) \(sizeText(item.size)): \($0)\n" }
        }
        return "compare: peers measured in turn with ours\n" + table.text + obstacles.joined() + "\n"
    }
}

extension Bench {
    /// Measures a case and, after each repeat, all tools that have something like it.
    mutating func compare(
        _ item: TransportCase, with tools: [PeerTool], step: String
    ) throws(FabricError) -> (BenchmarkResult, [Comparison]) {
        let run = PeerRun(item: item, plan: plan)
        let tools = tools.filter { $0.name(for: item) != nil }
        var figures = Array(repeating: [PeerFigure](), count: tools.count)
        var obstacles = [String?](repeating: nil, count: tools.count)
        var iterations: Int?
        let seconds = Double(plan.duration.saturatedNanoseconds) / 1e9
        let result = try measure(item, step: step) { _ throws(FabricError) in
            for (index, tool) in tools.enumerated() where obstacles[index] == nil {
                do throws(FabricError) {
                    switch tool {
                    case .ucx:
                        if iterations == nil {
                            let rate = try run.ucx(iterations: nil).operationsPerSecond ?? 1000
                            iterations = Int(min(max(rate * seconds, 100), 1e8))
                        }
                        figures[index].append(try run.ucx(iterations: iterations))
                    case .iperf3: figures[index].append(try run.iperf3())
                    }
                } catch {
                    obstacles[index] = error.description
                }
            }
        }
        let comparisons = tools.indices.map { index in
            Comparison(
                peer: tools[index].name(for: item) ?? "", benchmark: item.kind.rawValue,
                transport: item.transport.rawValue, size: item.size, isLatency: item.kind == .lat,
                repeats: figures[index], ours: result, obstacle: obstacles[index])
        }
        return (result, comparisons)
    }
}
