// The control store's side of view synchronisation as a machine without I/O.

public import RayCore

/// Collects the states of nodes and broadcasts what changed.
///
/// Each change that is broadcast gets the next revision, so a broadcast covers an unbroken range of them and a
/// node knows when it missed one; it asks then, and gets all that changed since. A node that changes again
/// before its turn keeps its turn and goes with its newest state. Nothing is sent while nothing changes.
public struct ViewHub: ~Copyable, Sendable {
    /// Dead nodes remembered.
    static let deadLimit = 4096

    public let incarnation: UInt32
    public let configuration: HubConfiguration

    private var nodes: [(report: NodeReport, revision: UInt64, isWaiting: Bool)] = []
    private var slots = SlotPool()
    private var slotOfNode = IndexMap<NodeID>()
    private var deadNodes = Fifo<NodeID>()
    /// Slots with a change that was not broadcast, in the order of their first such change.
    private var waiting = Fifo<Int>()
    private var revision: UInt64 = 0
    private var nextBroadcast = Timestamp.zero

    /// - Parameters:
    ///   - incarnation: of the control store; a higher one after each restart, from 1.
    ///   - configuration: times and bounds.
    public init(incarnation: UInt32, configuration: HubConfiguration = HubConfiguration()) {
        precondition(incarnation > 0, "incarnations count from 1")
        self.incarnation = incarnation
        self.configuration = configuration
    }

    public mutating func handle(_ event: HubEvent, now: Timestamp, into directives: inout [HubDirective]) {
        switch event {
        case .received(let message, let sender): received(message, sender, &directives)
        case .nodeDied(let node): nodeDied(node)
        }
        tick(now: now, into: &directives)
    }

    /// When `tick` is due; `.never` if nothing waits for time.
    public var nextDeadline: Timestamp { waiting.isEmpty ? .never : nextBroadcast }

    /// Broadcasts, if it is time and something changed.
    public mutating func tick(now: Timestamp, into directives: inout [HubDirective]) {
        guard !waiting.isEmpty, now >= nextBroadcast else { return }
        nextBroadcast = now + configuration.broadcast
        let from = revision
        var reports: [NodeReport] = []
        while reports.count < configuration.reportsPerBatch, let slot = waiting.popFirst() {
            revision += 1
            nodes[slot].revision = revision
            nodes[slot].isWaiting = false
            reports.append(nodes[slot].report)
        }
        directives.append(
            .broadcast(ViewBatch(incarnation: incarnation, from: from, to: revision, reports: reports)))
    }

    private mutating func received(
        _ message: SchedulerMessage, _ sender: Party, _ directives: inout [HubDirective]
    ) {
        switch message {
        case .report(let report):
            // Only the node itself says how it is.
            guard sender == .node(report.node) else { return }
            let known = store(report)
            directives.append(.send(.reportReceived(version: known), to: sender))
        case .pullViews(let pull):
            directives.append(.send(.views(changes(since: pull)), to: sender))
        case .request, .giveBack, .renew, .answer, .gaveBack, .renewed, .push, .cancelTask, .taskReport,
            .reportReceived, .views, .bundles, .bundlesAnswer:
            return
        }
    }

    /// - Returns: the version that is known now.
    @discardableResult
    private mutating func store(_ report: NodeReport) -> UInt64 {
        guard let slot = slotOfNode[report.node] else {
            let slot = slots.take()
            let entry = (report: report, revision: UInt64(0), isWaiting: false)
            if slot == nodes.count { nodes.append(entry) } else { nodes[slot] = entry }
            slotOfNode.insert(report.node, slot)
            changed(slot)
            return report.version
        }
        let known = nodes[slot].report
        guard known.condition != .dead, report.version > known.version || report.condition == .dead else {
            return max(known.version, report.version)
        }
        nodes[slot].report = report
        changed(slot)
        return report.version
    }

    private mutating func changed(_ slot: Int) {
        guard !nodes[slot].isWaiting else { return }
        nodes[slot].isWaiting = true
        waiting.append(slot)
    }

    private mutating func nodeDied(_ node: NodeID) {
        guard slotOfNode[node].map({ nodes[$0].report.condition != .dead }) ?? true else { return }
        store(NodeReport(node: node, version: 0, condition: .dead, total: .zero))
        deadNodes.append(node)
        guard deadNodes.count > Self.deadLimit, let oldest = deadNodes.first, let forgotten = slotOfNode[oldest],
            !nodes[forgotten].isWaiting
        else { return }
        _ = deadNodes.popFirst()
        slotOfNode.remove(oldest)
        slots.give(forgotten)
        // Nobody who pulls is told of it any more.
        nodes[forgotten].revision = 0
    }

    private func changes(since pull: ViewPull) -> ViewBatch {
        let since = pull.incarnation == incarnation ? pull.since : 0
        guard since < revision else { return ViewBatch(incarnation: incarnation, from: since, to: since, reports: []) }
        let missed = nodes.indices.filter { nodes[$0].revision > since }
            .sorted { nodes[$0].revision < nodes[$1].revision }
            .prefix(configuration.reportsPerBatch)
        let isAll = missed.count < configuration.reportsPerBatch
        return ViewBatch(
            incarnation: incarnation, from: since,
            to: isAll ? revision : missed.last.map { nodes[$0].revision } ?? since,
            reports: missed.map { nodes[$0].report })
    }
}
