// The repeats of one peer at one benchmark.

internal import RayCore
internal import RayFabric

struct PeerSeries {
    let tool: PeerTool
    let name: String
    private let run: PeerRun
    /// How many operations a tool that counts does; known after its first run.
    private var iterations: Int?
    private(set) var figures: [PeerFigure] = []
    /// Why there are no more figures.
    private(set) var obstacle: String?

    /// - Returns: nil when the tool does not do that work.
    init?(_ tool: PeerTool, _ item: TransportCase, _ plan: RunPlan) {
        guard let name = tool.name(for: item) else { return nil }
        self.tool = tool
        self.name = name
        run = PeerRun(item: item, plan: plan)
    }

    /// One repeat.
    mutating func measure() {
        guard obstacle == nil else { return }
        do throws(FabricError) {
            let isFirst = iterations == nil
            let figure = try run.measure(tool, iterations: iterations ?? run.item.firstIterations)
            if isFirst, tool.counts {
                let seconds = Double(run.plan.duration.saturatedNanoseconds) / 1e9
                iterations = run.item.iterations(rate: figure.operationsPerSecond ?? 1000, seconds: seconds)
                // A first run that was long enough counts.
                if run.item.firstIterations < iterations ?? 0 { return measure() }
            }
            figures.append(figure)
        } catch {
            obstacle = error.description
        }
    }
}

extension TransportCase {
    /// So many that their rate can be seen, and so few that slow devices do them soon.
    fileprivate var firstIterations: Int {
        guard transport == .verbs else { return 2000 }
        return kind == .lat ? 200 : usesWrites ? 20 : 1000
    }

    /// Messages of RDMA, one at a time, may take microseconds in one run and milliseconds in the next, with an
    /// emulated device: no more of them than perftest takes by itself.
    fileprivate func iterations(rate: Double, seconds: Double) -> Int {
        let most = transport == .verbs && kind == .lat ? 1000 : 1e8
        return Int(min(max(rate * seconds, Double(min(firstIterations, 100))), most))
    }
}

extension PeerTool {
    /// Whether it is told a number of operations, and not a time.
    fileprivate var counts: Bool { self != .iperf3 }
}
