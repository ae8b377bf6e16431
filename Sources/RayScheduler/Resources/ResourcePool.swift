// The resources of a node, or of one bundle on it, with the identity of each accelerator.

/// What there is and what is free. What is taken is given back with the same shares.
struct ResourcePool: Sendable {
    /// One accelerator, or the share of it that belongs to this pool.
    private struct Instance: Sendable {
        let index: UInt32
        let total: ResourceAmount
        var free: ResourceAmount
    }

    private struct Indexed: Sendable {
        let name: ResourceName
        var instances: [Instance]

        /// Whole ones, plus the largest fraction of a further one. A demand is at most one whole, or whole: so it
        /// fits if and only if it is not larger than this.
        var largestDemand: ResourceAmount {
            var whole = ResourceAmount.zero
            var fraction = ResourceAmount.zero
            for instance in instances {
                if instance.free >= .one { whole += .one } else { fraction = max(fraction, instance.free) }
            }
            return whole + fraction
        }

        /// Takes `amount`, wholes or a fraction of one; the smallest fraction that does first, so that whole ones stay
        /// whole.
        mutating func take(_ amount: ResourceAmount, into shares: inout [ResourceShare]) {
            if amount >= .one {
                var rest = amount
                for slot in instances.indices where rest > .zero && instances[slot].free >= .one {
                    instances[slot].free -= .one
                    shares.append(ResourceShare(name: name, index: instances[slot].index, amount: .one))
                    rest -= .one
                }
                return precondition(rest == .zero, "\(amount) \(name) was not free")
            }
            let fitting = instances.indices.filter { instances[$0].free >= amount }
            guard let best = fitting.min(by: { instances[$0].free < instances[$1].free }) else {
                preconditionFailure("\(amount) \(name) was not free")
            }
            instances[best].free -= amount
            shares.append(ResourceShare(name: name, index: instances[best].index, amount: amount))
        }

        mutating func giveBack(_ share: ResourceShare) {
            guard let slot = instances.firstIndex(where: { $0.index == share.index }) else {
                preconditionFailure("\(name) \(share.index) is not of this pool")
            }
            instances[slot].free += share.amount
            precondition(instances[slot].free <= instances[slot].total, "\(name) \(share.index) was given back twice")
        }
    }

    let total: ResourceVector
    /// What may be demanded. CPU falls below zero while workers that were blocked go on.
    private(set) var free: ResourceVector
    private var indexed: [Indexed]

    init(_ capacity: NodeCapacity) {
        total = capacity.total
        free = total
        indexed = capacity.indexed.map { name, count in
            Indexed(name: name, instances: (0..<count).map { Instance(index: $0, total: .one, free: .one) })
        }
    }

    /// What was taken from another pool, as a pool of its own.
    init(demand: ResourceVector, shares: [ResourceShare]) {
        total = demand
        free = demand
        indexed = []
        for share in shares {
            let instance = Instance(index: share.index, total: share.amount, free: share.amount)
            if let known = indexed.firstIndex(where: { $0.name == share.name }) {
                indexed[known].instances.append(instance)
            } else {
                indexed.append(Indexed(name: share.name, instances: [instance]))
            }
        }
    }

    func covers(_ demand: ResourceVector) -> Bool { free.covers(demand) }

    /// Takes a demand out.
    /// - Precondition: it is covered.
    mutating func take(_ demand: ResourceVector) -> [ResourceShare] {
        precondition(free.covers(demand), "\(demand) of \(free) was granted twice")
        free.subtract(demand)
        var shares: [ResourceShare] = []
        guard !demand.others.isEmpty else { return shares }
        for slot in indexed.indices where demand[indexed[slot].name] > .zero {
            indexed[slot].take(demand[indexed[slot].name], into: &shares)
            free[indexed[slot].name] = indexed[slot].largestDemand
        }
        return shares
    }

    mutating func giveBack(_ demand: ResourceVector, _ shares: [ResourceShare]) {
        free.add(demand)
        guard !demand.others.isEmpty else { return }
        for share in shares {
            guard let slot = indexed.firstIndex(where: { $0.name == share.name }) else {
                preconditionFailure("\(share.name) is not of this pool")
            }
            indexed[slot].giveBack(share)
        }
        for slot in indexed.indices where demand[indexed[slot].name] > .zero {
            free[indexed[slot].name] = indexed[slot].largestDemand
        }
    }

    /// A blocked worker gives its CPUs back for a while.
    mutating func lendCPU(_ amount: ResourceAmount) { free.cpu += amount }

    /// It goes on: it has them again, free or not.
    mutating func reclaimCPU(_ amount: ResourceAmount) { free.cpu -= amount }
}
