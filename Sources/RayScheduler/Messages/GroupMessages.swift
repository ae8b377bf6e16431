// What the control store and nodes say to each other about the bundles of placement groups.

/// One bundle of a group.
@frozen
public struct BundleID: Hashable, Comparable, Sendable {
    public let group: GroupID
    public let index: UInt32

    @inlinable
    public init(group: GroupID, index: UInt32) {
        self.group = group
        self.index = index
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool { (left.group, left.index) < (right.group, right.index) }
}

/// What is reserved for a bundle.
public struct BundleDemand: Hashable, Sendable {
    public let id: BundleID
    public let demand: ResourceVector

    public init(id: BundleID, demand: ResourceVector) {
        self.id = id
        self.demand = demand
    }
}

/// A step of the two phases. Sent to a node and repeated until answered.
public enum BundleStep: Hashable, Sendable {
    /// Reserve all of these, or none.
    case prepare([BundleDemand])
    /// Let tasks into them.
    case commit([BundleID])
    /// Give them back; leases in them end.
    case release([BundleID])
}

/// A step of one attempt to place a group. Attempts of a group count up, over incarnations of the control
/// store too; a node ignores steps of older attempts than it knows.
public struct BundleRequest: Sendable {
    public let group: GroupID
    public let attempt: UInt64
    public let step: BundleStep

    public init(group: GroupID, attempt: UInt64, step: BundleStep) {
        self.group = group
        self.attempt = attempt
        self.step = step
    }
}

/// How a node answers a step.
@frozen
public enum BundleResult: Hashable, Sendable {
    case prepared
    /// There is no room for all of them.
    case refused
    case committed
    /// There is nothing prepared to commit.
    case unknown
    case released
}

/// Answers a `BundleRequest`.
public struct BundleAnswer: Sendable {
    public let group: GroupID
    public let attempt: UInt64
    public let result: BundleResult

    public init(group: GroupID, attempt: UInt64, result: BundleResult) {
        self.group = group
        self.attempt = attempt
        self.result = result
    }
}
