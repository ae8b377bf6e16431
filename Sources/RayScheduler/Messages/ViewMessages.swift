// What nodes and the control store say to each other about the state of nodes.

public import RayCore

/// Whether a node takes work.
@frozen
public enum NodeCondition: UInt8, Hashable, Sendable {
    case alive
    /// Finishes what it has, and takes no more.
    case draining
    case dead
}

/// The state of a node as it published it. The newest version wins.
public struct NodeReport: Hashable, Sendable {
    public let node: NodeID
    /// Counts up with each change.
    public var version: UInt64
    public var condition: NodeCondition
    /// All that the node has. Indexed resources are summed.
    public var total: ResourceVector
    /// What is free: whole accelerators plus the largest free fraction of a further one.
    public var available: ResourceVector
    public var labels: NodeLabels
    /// Slots that wait there.
    public var queued: UInt32
    /// Its pulls are at their limit: it takes no arguments for others.
    public var isPullLimited: Bool

    public init(
        node: NodeID, version: UInt64 = 1, condition: NodeCondition = .alive, total: ResourceVector,
        available: ResourceVector? = nil, labels: NodeLabels = .none, queued: UInt32 = 0, isPullLimited: Bool = false
    ) {
        self.node = node
        self.version = version
        self.condition = condition
        self.total = total
        self.available = available ?? total
        self.labels = labels
        self.queued = queued
        self.isPullLimited = isPullLimited
    }
}

/// States of nodes from the control store: all that changed after revision `from`, up to `to`.
public struct ViewBatch: Sendable {
    /// Of the control store: revisions of different incarnations have nothing to do with one another.
    public let incarnation: UInt32
    public let from: UInt64
    public let to: UInt64
    public let reports: [NodeReport]
    /// Whether a node of it is dead.
    let hasDeaths: Bool

    public init(incarnation: UInt32, from: UInt64, to: UInt64, reports: [NodeReport]) {
        self.incarnation = incarnation
        self.from = from
        self.to = to
        self.reports = reports
        hasDeaths = reports.contains { $0.condition == .dead }
    }
}

/// Asks the control store for all that changed after a revision, since a batch was missed.
public struct ViewPull: Hashable, Sendable {
    public let incarnation: UInt32
    public let since: UInt64

    public init(incarnation: UInt32, since: UInt64) {
        self.incarnation = incarnation
        self.since = since
    }
}
