// Which nodes the bundles of a group go to.

internal import RayCore

/// Chooses nodes for the bundles of a group that have none, by the view, and takes what they need off it.
struct GroupPlacement {
    let specification: GroupSpecification
    var nodes: [NodeID?]
    var random: SeededRandom
    let now: Timestamp
    private var taken: [(slot: Int, demand: ResourceVector)] = []

    init(specification: GroupSpecification, nodes: [NodeID?], random: SeededRandom, now: Timestamp) {
        self.specification = specification
        self.nodes = nodes
        self.random = random
        self.now = now
    }

    /// Fills `nodes`, or leaves the view as it was.
    /// - Returns: why it could not be done.
    mutating func choose(_ view: inout ClusterView) -> GroupWait? {
        let failure: GroupWait?
        switch specification.strategy {
        case .strictPack: failure = chooseOneNode(&view)
        case .pack:
            failure = isEmpty && chooseOneNode(&view) == nil ? nil : chooseEach(&view, isUsed: true, isStrict: false)
        case .spread: failure = chooseEach(&view, isUsed: false, isStrict: false)
        case .strictSpread: failure = chooseEach(&view, isUsed: false, isStrict: true)
        }
        if failure != nil {
            for (slot, demand) in taken { view.deduct(demand, slots: -1, at: slot, now) }
            taken = []
        }
        return failure
    }

    private var isEmpty: Bool { nodes.allSatisfy { $0 == nil } }

    private mutating func take(_ slot: Int, _ demand: ResourceVector, _ view: inout ClusterView) {
        view.deduct(demand, slots: 1, at: slot, now)
        taken.append((slot, demand))
    }

    /// All missing bundles on one node; the one that has the others, if there are any.
    private mutating func chooseOneNode(_ view: inout ClusterView) -> GroupWait? {
        let missing = nodes.indices.filter { nodes[$0] == nil }
        guard let first = missing.first else { return nil }
        var sum = ResourceVector.zero
        for bundle in missing { sum.add(specification.bundles[bundle]) }
        var handle = ClusterView.ShapeHandle()
        view.prepare(PlacementShape(demand: sum, labels: specification.labels), &handle, now)
        var slot: Int?
        if let used = nodes.compactMap({ $0 }).first {
            slot = view.slot(of: used).flatMap { view.bucket(handle, of: $0) < PlacementBucket.available ? $0 : nil }
        } else if view.availableCount(handle) > 0 {
            slot = view.drawBest(handle, excluding: nil, using: &random)
        }
        guard let slot else {
            let isFeasible = view.feasibleCount(handle) > 0
            return isFeasible ? .noRoom(bundle: UInt32(first), sum) : .infeasible(bundle: UInt32(first), sum)
        }
        for bundle in missing { nodes[bundle] = view.node(at: slot) }
        take(slot, sum, &view)
        return nil
    }

    /// One bundle after the other, the largest first, on nodes that are used already or on others.
    private mutating func chooseEach(_ view: inout ClusterView, isUsed: Bool, isStrict: Bool) -> GroupWait? {
        let before = nodes
        let missing = nodes.indices.filter { nodes[$0] == nil }.sorted {
            let (left, right) = (specification.bundles[$0], specification.bundles[$1])
            return (right.others.count, right.cpu, right.memory, $0) < (left.others.count, left.cpu, left.memory, $1)
        }
        for bundle in missing {
            let demand = specification.bundles[bundle]
            var handle = ClusterView.ShapeHandle()
            view.prepare(PlacementShape(demand: demand, labels: specification.labels), &handle, now)
            let used = Set(nodes.compactMap { $0.flatMap(view.slot(of:)) })
            let wanted = view.firstAvailable(handle) { used.contains($0) == isUsed }
            guard let slot = wanted ?? (isStrict ? nil : view.firstAvailable(handle) { _ in true }) else {
                nodes = before
                let isFeasible = view.feasibleCount(handle) > 0
                return isFeasible
                    ? .noRoom(bundle: UInt32(bundle), demand) : .infeasible(bundle: UInt32(bundle), demand)
            }
            nodes[bundle] = view.node(at: slot)
            take(slot, demand, &view)
        }
        return nil
    }
}
