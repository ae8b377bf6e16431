// What goes wrong in a run, and when: drawn from the seed before the run starts, so that it can be thinned out.

package import RayCore

/// Kinds of faults. Their names are what `--faults` takes.
package struct FaultKinds: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let loss = FaultKinds(rawValue: 1 << 0)
    package static let duplication = FaultKinds(rawValue: 1 << 1)
    package static let reordering = FaultKinds(rawValue: 1 << 2)
    /// One-way: what one node sends to another, or to all, is lost for a while.
    package static let cuts = FaultKinds(rawValue: 1 << 3)
    /// One-way: what one node sends to another is held back for a while.
    package static let clogs = FaultKinds(rawValue: 1 << 4)
    /// Processes of a node take a long time for everything, for a while.
    package static let slowness = FaultKinds(rawValue: 1 << 5)
    /// Clocks of nodes differ, and run at different rates.
    package static let skew = FaultKinds(rawValue: 1 << 6)
    /// Workers die.
    package static let workers = FaultKinds(rawValue: 1 << 7)
    /// Nodes die with all that is on them, and come back as new incarnations.
    package static let nodes = FaultKinds(rawValue: 1 << 8)

    /// Copies vanish from stores, even those that were to stay.
    package static let copies = FaultKinds(rawValue: 1 << 9)
    /// Nodes are drained, leave, and come back as new incarnations.
    package static let drains = FaultKinds(rawValue: 1 << 10)
    /// The control store is away for a while, and forgets what it knew of nodes' resources.
    package static let restarts = FaultKinds(rawValue: 1 << 11)
    /// Copies of what was made again vanish as well.
    package static let disks = FaultKinds(rawValue: 1 << 12)

    /// Every kind with its name, in the order of their bits.
    package static let named: [(name: String, kind: FaultKinds)] = [
        ("loss", .loss), ("duplication", .duplication), ("reordering", .reordering), ("cuts", .cuts),
        ("clogs", .clogs), ("slowness", .slowness), ("skew", .skew), ("workers", .workers), ("nodes", .nodes),
        ("copies", .copies), ("drains", .drains), ("restarts", .restarts), ("disks", .disks),
    ]
    /// Kinds that were added later, and are drawn apart.
    static let additions: FaultKinds = [.drains, .restarts, .disks]
    package static let all = FaultKinds(named.map(\.kind))

    /// Parses names with commas between them, `none` or `all`; nil for anything else.
    package init?(_ text: some StringProtocol) {
        var kinds: FaultKinds = text == "all" ? .all : []
        if text != "none", text != "all" {
            for name in text.split(separator: ",", omittingEmptySubsequences: false) {
                guard let named = Self.named.first(where: { $0.name == name }) else { return nil }
                kinds.insert(named.kind)
            }
        }
        self = kinds
    }

    /// The form that `init(_:)` takes.
    package var text: String {
        isEmpty ? "none" : Self.named.filter { contains($0.kind) }.map(\.name).joined(separator: ",")
    }
}

/// One fault of a plan.
package struct Fault: Sendable {
    package enum Kind: Sendable {
        case cut(Network.Link, nanoseconds: UInt64)
        case clog(Network.Link, nanoseconds: UInt64)
        /// Everything on the node takes `factor` times as long.
        case slow(node: Int, factor: Int, nanoseconds: UInt64)
        /// Kills the worker whose turn it is: the number is taken modulo the workers alive on the node.
        case killWorker(node: Int, number: Int)
        /// Kills the node; it comes back after so long as a new incarnation, or never.
        case killNode(Int, restartAfter: UInt64?)
        /// Drops the copy whose turn it is, by the order of objects.
        case loseCopy(node: Int, number: Int)
        case drain(node: Int)
        case restartControlStore(nanoseconds: UInt64)
    }

    package var time: UInt64
    package var kind: Kind
}

/// The faults of a run, in the order of time.
package struct FaultPlan: Sendable {
    package private(set) var faults: [Fault] = []

    package init() {}

    /// Draws up to `count` faults of `kinds` in the first `duration` nanoseconds of a run with so many nodes.
    /// Node 0, where the control store and the first driver are, is cut and slowed but never killed.
    package init(_ kinds: FaultKinds, count: Int, nodes: Int, duration: UInt64, random: inout SeededRandom) {
        var choices = [FaultKinds.cuts, .clogs, .slowness, .workers, .copies].filter(kinds.contains)
        if kinds.contains(.nodes), nodes > 1 { choices.append(.nodes) }
        guard !choices.isEmpty else { return }
        for _ in 0..<count {
            let time = UInt64(random.below(Int(duration)))
            // Now and then long enough for leases to lapse and for the silent to be taken for dead.
            let isLong = random.chance(0.1)
            let length = 1_000_000 + random.exponential(mean: isLong ? 10_000_000_000 : duration / 4)
            let node = random.below(nodes)
            let link = Self.link(from: node, nodes: nodes, random: &random)
            let kind: Fault.Kind? =
                switch choices[random.below(choices.count)] {
                case .cuts: .cut(link, nanoseconds: length)
                case .clogs: .clog(link, nanoseconds: length)
                case .slowness: .slow(node: node, factor: 2 << random.below(8), nanoseconds: length)
                case .workers: .killWorker(node: node, number: random.below(8))
                case .copies: .loseCopy(node: node, number: random.below(64))
                default:
                    .killNode(
                        1 + random.below(nodes - 1), restartAfter: random.chance(0.8) ? length : nil)
                }
            if let kind { faults.append(Fault(time: time, kind: kind)) }
        }
        faults.sort { $0.time < $1.time }
    }

    /// Draws up to four more of the kinds that were added later.
    package mutating func add(_ kinds: FaultKinds, nodes: Int, duration: UInt64, random: inout SeededRandom) {
        for _ in 0..<1 + random.below(4) {
            let time = UInt64(random.below(Int(duration)))
            let length = 1_000_000 + random.exponential(mean: duration)
            let node = 1 + random.below(max(1, nodes - 1))
            if random.chance(0.5) {
                if kinds.contains(.drains), nodes > 1 { faults.append(Fault(time: time, kind: .drain(node: node))) }
            } else if kinds.contains(.restarts) {
                faults.append(Fault(time: time, kind: .restartControlStore(nanoseconds: length)))
            }
        }
        faults.sort { $0.time < $1.time }
    }

    /// Takes out the faults at these places. The others keep theirs.
    package mutating func remove(_ places: [Int]) {
        faults = faults.enumerated().filter { !places.contains($0.offset) }.map(\.element)
    }

    private static func link(from node: Int, nodes: Int, random: inout SeededRandom) -> Network.Link {
        // One more for the control store.
        let other = Int32(random.below(nodes + 1))
        let whole = random.chance(0.3)
        return random.chance(0.5)
            ? Network.Link(source: Int32(node), target: whole ? Network.Link.everyNode : other)
            : Network.Link(source: whole ? Network.Link.everyNode : other, target: Int32(node))
    }
}
