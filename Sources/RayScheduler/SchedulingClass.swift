// What tasks have in common that may run on one lease: demand, constraints, environment and function.

public import RayCore

/// A placement group: made by one process, unique in the cluster.
@frozen
public struct GroupID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let creator: WorkerID
    /// Chosen by the creator, unique among the groups it ever made.
    public let number: UInt32

    @inlinable
    public init(creator: WorkerID, number: UInt32) {
        self.creator = creator
        self.number = number
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool {
        (left.creator, left.number) < (right.creator, right.number)
    }

    public var description: String { "group \(number) of \(creator)" }
}

/// Where a task may run, beside what its resources and labels say.
public enum PlacementConstraint: Hashable, Sendable {
    /// Near first; other nodes when the near one is more than half used; random among the best few.
    case hybrid
    /// One node after the other.
    case spread
    /// On this node only. Waits for it, and is infeasible when it is gone.
    case node(NodeID)
    /// On this node if it can ever run it, else as `hybrid`.
    case preferredNode(NodeID)
    /// In a bundle of a placement group; nil for any of them.
    case group(GroupID, bundle: UInt32?)
}

/// What a shape of placement depends on: nodes are indexed by it.
public struct PlacementShape: Hashable, Sendable {
    public let demand: ResourceVector
    public let labels: LabelSelector

    public init(demand: ResourceVector, labels: LabelSelector = .any) {
        self.demand = demand
        self.labels = labels
    }
}

/// The class of a task. Tasks of one class are interchangeable to a lease; what they depend on is not part
/// of it. One word and a reference: cheap to pass on, to compare and to hash.
public struct SchedulingClass: Hashable, Sendable, CustomStringConvertible {
    private final class Storage: Sendable {
        let shape: PlacementShape
        let constraint: PlacementConstraint
        let environment: UInt64
        let function: UInt64
        let fingerprint: UInt64

        init(_ shape: PlacementShape, _ constraint: PlacementConstraint, _ environment: UInt64, _ function: UInt64) {
            self.shape = shape
            self.constraint = constraint
            self.environment = environment
            self.function = function
            var hasher = Hasher()
            hasher.combine(shape)
            hasher.combine(constraint)
            hasher.combine(environment)
            hasher.combine(function)
            fingerprint = UInt64(truncatingIfNeeded: hasher.finalize())
        }
    }

    private let storage: Storage

    /// - Parameters:
    ///   - demand: what a task needs while it runs.
    ///   - labels: what a node has to have.
    ///   - constraint: where tasks of the class may run.
    ///   - environment: what a worker process must have been started with; equal numbers may share workers.
    ///   - function: tells functions apart, so that leases, fairness and statistics are per function.
    /// - Precondition: `demand.isValidDemand`.
    public init(
        demand: ResourceVector, labels: LabelSelector = .any, constraint: PlacementConstraint = .hybrid,
        environment: UInt64 = 0, function: UInt64 = 0
    ) {
        precondition(demand.isValidDemand, "a task demands \(demand)")
        storage = Storage(PlacementShape(demand: demand, labels: labels), constraint, environment, function)
    }

    /// Differs between classes as far as a word can, within one process. Another process has other words: they find
    /// entries of tables, and decide no order.
    var fingerprint: UInt64 { storage.fingerprint }

    public var shape: PlacementShape { storage.shape }
    public var demand: ResourceVector { storage.shape.demand }
    public var labels: LabelSelector { storage.shape.labels }
    public var constraint: PlacementConstraint { storage.constraint }
    public var environment: UInt64 { storage.environment }
    public var function: UInt64 { storage.function }

    public static func == (left: Self, right: Self) -> Bool {
        if left.storage === right.storage { return true }
        return left.storage.fingerprint == right.storage.fingerprint && left.function == right.function
            && left.environment == right.environment && left.constraint == right.constraint
            && left.shape == right.shape
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(storage.fingerprint) }

    public var description: String { "function \(function) on \(demand)" }
}
