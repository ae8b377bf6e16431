// What is known about the nodes of a cluster, indexed for placement.

public import RayCore

/// The states of nodes, newest version wins, however they arrive. A subscriber of the control store's broadcasts.
///
/// For each shape of demand that was asked about, nodes lie in buckets from best to worst (see
/// `PlacementBucket`). A change of a node moves it between buckets; a decision looks at buckets, never at all
/// nodes. An index costs about 14 bytes a node; the least recently used one of too many is dropped.
public struct ClusterView: Sendable {
    /// Indices kept at a time.
    static let shapeLimit = 64
    /// Dead nodes remembered, so that no late report brings them back.
    static let deadLimit = 4096
    /// How long something counts that was sent to a node which publishes nothing.
    static let assumptionTime = Duration.seconds(1)

    /// What was sent to a node since it published its state.
    private struct Assumption: Sendable {
        let slot: Int32
        let count: Int32
        let version: UInt64
        /// Nil for what only waits there.
        let demand: ResourceVector?
        let end: Timestamp
    }

    /// Utilisation below which nodes count as equally good.
    public let spreadThreshold: Double
    /// Share of the nodes with room among which one is drawn.
    public let choiceFraction: Double

    private var nodes: [NodeReport] = []
    private var slots = SlotPool()
    private var slotOfNode = IndexMap<NodeID>()
    private var deadNodes = Fifo<NodeID>()
    /// Nodes that are known and not dead.
    public private(set) var nodeCount = 0

    private var assumptions = Fifo<Assumption>()
    /// By slot: assumptions that take room since its last report.
    private var assumed: [Int32] = []

    private var shapes: [ShapeIndex] = []
    private var indexOfShape: [PlacementShape: Int] = [:]
    private var shapeUses: UInt64 = 0
    private var shapeGenerations: UInt32 = 0

    /// The control store's incarnation and the revision up to which all is known.
    private var incarnation: UInt32 = 0
    private var revision: UInt64 = 0
    /// Counts changes of any kind, so that a simulator can tell whether only a broadcast has changed a view.
    package private(set) var changes: UInt64 = 0

    /// - Precondition: both are in 0..<1.
    public init(spreadThreshold: Double = 0.5, choiceFraction: Double = 0.2) {
        precondition((0..<1).contains(spreadThreshold) && (0..<1).contains(choiceFraction), "not shares")
        self.spreadThreshold = spreadThreshold
        self.choiceFraction = choiceFraction
    }

    // MARK: States

    /// Takes over a node's state if it is newer than what is known.
    /// - Returns: whether it was.
    /// - Complexity: constant for each indexed shape.
    @discardableResult
    public mutating func apply(_ report: NodeReport) -> Bool {
        guard let slot = slotOfNode[report.node] else {
            add(report)
            return true
        }
        guard nodes[slot].condition != .dead, report.version > nodes[slot].version || report.condition == .dead
        else { return false }
        let isStructural =
            nodes[slot].condition != report.condition || nodes[slot].total != report.total
            || nodes[slot].labels != report.labels
        nodes[slot] = report
        assumed[slot] = 0
        if report.condition == .dead { noteDeath(slot) }
        update(slot, isStructural: isStructural)
        return true
    }

    private mutating func add(_ report: NodeReport) {
        let slot = slots.take()
        if slot == nodes.count {
            nodes.append(report)
            assumed.append(0)
        } else {
            nodes[slot] = report
            assumed[slot] = 0
        }
        slotOfNode.insert(report.node, slot)
        nodeCount += 1
        if report.condition == .dead { noteDeath(slot) }
        update(slot, isStructural: true)
    }

    private mutating func noteDeath(_ slot: Int) {
        nodeCount -= 1
        let node = nodes[slot].node
        nodes[slot].total = .zero
        nodes[slot].available = .zero
        nodes[slot].labels = .none
        deadNodes.append(node)
        guard deadNodes.count > Self.deadLimit, let oldest = deadNodes.popFirst() else { return }
        if let forgotten = slotOfNode.remove(oldest) { slots.give(forgotten) }
    }

    /// A node is dead, as somebody else than the broadcast says.
    public mutating func nodeDied(_ node: NodeID) {
        apply(NodeReport(node: node, version: 0, condition: .dead, total: .zero))
    }

    private mutating func update(_ slot: Int, isStructural: Bool) {
        changes += 1
        for index in shapes.indices {
            shapes[index].update(
                slot, of: nodes, isAssumed: assumed[slot] > 0, threshold: spreadThreshold, isStructural: isStructural)
        }
    }

    /// What is known of a node; nil if nothing.
    public func report(of node: NodeID) -> NodeReport? { slotOfNode[node].map { nodes[$0] } }

    func isAlive(_ node: NodeID) -> Bool { slotOfNode[node].map { nodes[$0].condition == .alive } ?? false }

    // MARK: Broadcasts

    /// Takes over what a broadcast says.
    /// - Returns: what to ask of the control store, if a broadcast before this one was missed.
    public mutating func apply(_ batch: ViewBatch) -> ViewPull? {
        if batch.incarnation > incarnation {
            incarnation = batch.incarnation
            revision = 0
        }
        guard batch.incarnation == incarnation, batch.to > revision else { return nil }
        changes += 1
        for index in batch.reports.indices { apply(batch.reports[index]) }
        guard batch.from <= revision else { return ViewPull(incarnation: incarnation, since: revision) }
        revision = max(revision, batch.to)
        return nil
    }

    /// Whether all before a broadcast is known, and it is not.
    package func isInOrder(_ batch: ViewBatch) -> Bool {
        let known = batch.incarnation > incarnation ? 0 : revision
        return batch.incarnation >= incarnation && batch.from <= known && batch.to > known
    }

    /// Asks for whatever has changed since the last broadcast: for a node that is new, or has heard nothing for long.
    public var pull: ViewPull { ViewPull(incarnation: incarnation, since: revision) }

    // MARK: Choices

    /// Names the index of a shape; stays good until the index is dropped.
    struct ShapeHandle: Sendable {
        var index = -1
        var generation: UInt32 = 0
    }

    /// The index of a shape; made when it is not there.
    mutating func prepare(_ shape: PlacementShape, _ handle: inout ShapeHandle, _ now: Timestamp) {
        dropOldAssumptions(now)
        shapeUses += 1
        changes += 1
        if isPrepared(handle) {
            shapes[handle.index].lastUse = shapeUses
            return
        }
        let index = indexOfShape[shape] ?? makeIndex(of: shape)
        shapes[index].lastUse = shapeUses
        handle = ShapeHandle(index: index, generation: shapes[index].generation)
    }

    private mutating func makeIndex(of shape: PlacementShape) -> Int {
        shapeGenerations += 1
        var made = ShapeIndex(shape: shape, generation: shapeGenerations)
        for slot in nodes.indices {
            made.update(slot, of: nodes, isAssumed: assumed[slot] > 0, threshold: spreadThreshold, isStructural: true)
        }
        var index = shapes.count
        if shapes.count < Self.shapeLimit {
            shapes.append(made)
        } else {
            index = shapes.indices.min { shapes[$0].lastUse < shapes[$1].lastUse } ?? 0
            indexOfShape[shapes[index].shape] = nil
            shapes[index] = made
        }
        indexOfShape[shape] = index
        return index
    }

    /// Whether there is an index for a handle still.
    func isPrepared(_ handle: ShapeHandle) -> Bool {
        shapes.indices.contains(handle.index) && shapes[handle.index].generation == handle.generation
    }

    func slot(of node: NodeID) -> Int? { slotOfNode[node] }
    func node(at slot: Int) -> NodeID { nodes[slot].node }

    func bestBucket(_ handle: ShapeHandle, excluding slot: Int?) -> UInt8 {
        shapes[handle.index].bestBucket(excluding: slot)
    }

    func bucket(_ handle: ShapeHandle, of slot: Int?) -> UInt8 { shapes[handle.index].bucket(of: slot) }

    /// The bucket that a node in this state would have.
    @inline(__always)
    func bucket(_ handle: ShapeHandle, of report: NodeReport) -> UInt8 {
        shapes[handle.index].bucket(of: report, threshold: spreadThreshold)
    }

    func drawBest(_ handle: ShapeHandle, excluding slot: Int?, using random: inout SeededRandom) -> Int? {
        shapes[handle.index].drawBest(excluding: slot, fraction: choiceFraction, using: &random)
    }

    func drawAny(_ handle: ShapeHandle, excluding slot: Int?, using random: inout SeededRandom) -> Int? {
        shapes[handle.index].drawAny(excluding: slot, using: &random)
    }

    /// The first node with room that is wanted, best first.
    /// - Complexity: linear in the nodes that are not wanted.
    func firstAvailable(_ handle: ShapeHandle, where isWanted: (Int) -> Bool) -> Int? {
        shapes[handle.index].firstAvailable(where: isWanted)
    }

    mutating func nextInRound(_ handle: ShapeHandle) -> Int? {
        changes += 1
        return shapes[handle.index].nextInRound()
    }

    func feasibleCount(_ handle: ShapeHandle) -> Int { shapes[handle.index].feasibleCount }
    func availableCount(_ handle: ShapeHandle) -> Int { shapes[handle.index].availableCount }
    func doubtfulCount(_ handle: ShapeHandle) -> Int { shapes[handle.index].doubtfulCount }

    /// How many slots of a demand a node takes before it falls into a worse bucket; at least one if it has room.
    func slotsUntilWorse(_ demand: ResourceVector, at slot: Int, limit: Int) -> Int {
        nodes[slot].slotsUntilWorse(demand, limit: limit, threshold: spreadThreshold)
    }

    /// Takes off what was just sent to a node, until it publishes its next state or a while has passed.
    mutating func deduct(_ demand: ResourceVector, slots count: Int, at slot: Int, _ now: Timestamp) {
        assume(
            Assumption(
                slot: Int32(slot), count: Int32(count), version: nodes[slot].version, demand: demand,
                end: now + Self.assumptionTime))
    }

    /// Counts what was just sent to a node to wait there, until it publishes its next state or a while has passed.
    mutating func addQueued(_ count: Int, at slot: Int, _ now: Timestamp) {
        assume(
            Assumption(
                slot: Int32(slot), count: Int32(count), version: nodes[slot].version, demand: nil,
                end: now + Self.assumptionTime))
    }

    private mutating func assume(_ assumption: Assumption) {
        change(by: assumption, times: 1)
        assumptions.append(assumption)
    }

    private mutating func change(by assumption: Assumption, times sign: Int) {
        let slot = Int(assumption.slot)
        let count = sign * Int(assumption.count)
        if let demand = assumption.demand {
            nodes[slot].available.subtract(demand, times: count)
            assumed[slot] += Int32(count.signum())
        } else {
            nodes[slot].queued = UInt32(clamping: Int64(nodes[slot].queued) + Int64(count))
        }
        update(slot, isStructural: false)
    }

    /// Takes back what was assumed of nodes that have published nothing since: it never arrived there, or is over.
    mutating func dropOldAssumptions(_ now: Timestamp) {
        while let oldest = assumptions.first, oldest.end <= now {
            _ = assumptions.popFirst()
            let slot = Int(oldest.slot)
            guard nodes[slot].version == oldest.version, nodes[slot].condition != .dead else { continue }
            change(by: oldest, times: -1)
        }
    }

    /// The load of a node, for comparison with another: queued slots per CPU, then utilisation.
    func load(_ demand: ResourceVector, at slot: Int) -> Double {
        let report = nodes[slot]
        let cpus = max(1, Double(report.total.cpu.units) / Double(ResourceAmount.unitsPerWhole))
        return Double(report.queued) / cpus + demand.utilisation(of: report)
    }

    // MARK: Reasons

    /// Why no known node could ever run a shape.
    /// - Complexity: linear in the nodes; for people.
    func infeasibility(of shape: PlacementShape) -> WaitReason {
        let living = nodes.filter { $0.condition != .dead }
        for name in [.cpu, .memory] + shape.demand.others.map(\.name) {
            let largest = living.map { $0.total[name] }.max() ?? .zero
            if largest < shape.demand[name] {
                return .infeasibleResource(name, needed: shape.demand[name], largest: largest)
            }
        }
        return .infeasibleLabels(shape.labels)
    }
}

extension NodeReport {
    /// How many slots of a demand this node takes before it falls into a worse bucket.
    @inline(__always)
    func slotsUntilWorse(_ demand: ResourceVector, limit: Int, threshold: Double) -> Int {
        let most = available.multiples(of: demand, limit: limit)
        guard most > 1 else { return most }
        let utilisation = demand.utilisation(of: self)
        let step = (1 - threshold) / Double(PlacementBucket.utilisations - 1)
        let room = utilisation < threshold ? threshold - utilisation : step
        var own = 0.0
        func share(_ demanded: ResourceAmount, _ total: ResourceAmount) {
            if total.units > 0 { own = max(own, Double(demanded.units) / Double(total.units)) }
        }
        share(demand.cpu, total.cpu)
        share(demand.memory, total.memory)
        for entry in demand.others { share(entry.amount, total[entry.name]) }
        guard own > 0 else { return most }
        // Rounded up without `rounded`, which would need the mathematics library.
        let whole = Int(min(Double(most), room / own))
        return min(most, Double(whole) < room / own ? whole + 1 : max(1, whole))
    }
}
