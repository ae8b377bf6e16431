// What goes into the coordinator of placement groups and what comes out of it.

public import RayCore

/// How the bundles of a group lie to one another.
@frozen
public enum GroupStrategy: Hashable, Sendable {
    /// On few nodes if possible.
    case pack
    /// On different nodes if possible.
    case spread
    /// All on one node.
    case strictPack
    /// Each on another node.
    case strictSpread
}

/// A placement group as it is asked for.
public struct GroupSpecification: Sendable {
    public let id: GroupID
    public let strategy: GroupStrategy
    public let bundles: [ResourceVector]
    public let labels: LabelSelector

    /// - Precondition: there is a bundle, and none asks for a negative amount.
    public init(id: GroupID, strategy: GroupStrategy, bundles: [ResourceVector], labels: LabelSelector = .any) {
        precondition(!bundles.isEmpty && bundles.allSatisfy(\.isValidDemand), "bundles of \(id)")
        self.id = id
        self.strategy = strategy
        self.bundles = bundles
        self.labels = labels
    }
}

/// Times of the coordinator.
public struct GroupConfiguration: Sendable {
    /// Until a group that could not be placed is tried again; grows by half each time.
    public var retry = Duration.milliseconds(100)
    public var longestRetry = Duration.seconds(1)
    /// Between repetitions of an unanswered step.
    public var retransmission = Duration.milliseconds(200)

    public init() {}
}

/// What happens to the coordinator.
public enum GroupEvent: Sendable {
    /// Again for a known group: its state is said again.
    case create(GroupSpecification)
    case remove(GroupID)
    case received(SchedulerMessage, from: Party)
    case nodeDied(NodeID)
}

/// What the shell of the control store does for the coordinator.
public enum GroupDirective: Sendable {
    case send(SchedulerMessage, to: Party)
    /// All bundles are reserved. Said again, with other nodes, after some of them had to move.
    case placed(GroupID, nodes: [NodeID])
    /// It can not be placed now, and is tried again.
    case waiting(GroupID, GroupWait)
    /// All is given back.
    case removed(GroupID)
}

/// Why a group is not placed yet.
public enum GroupWait: Hashable, Sendable, CustomStringConvertible {
    /// There is no room for this bundle at present.
    case noRoom(bundle: UInt32, ResourceVector)
    /// No node that is known could ever hold this bundle.
    case infeasible(bundle: UInt32, ResourceVector)
    /// A node had less room than it seemed.
    case refused(NodeID)

    public var description: String {
        switch self {
        case .noRoom(let bundle, let demand): "no room for bundle \(bundle) (\(demand))"
        case .infeasible(let bundle, let demand): "no node can ever hold bundle \(bundle) (\(demand))"
        case .refused(let node): "\(node) had no room for its bundles"
        }
    }
}
