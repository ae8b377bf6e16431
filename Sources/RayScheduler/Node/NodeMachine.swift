// The node's side of scheduling as a machine without I/O.

public import RayCore

/// Grants leases of one node's workers.
public struct NodeMachine: Sendable {
    public let id: NodeID
    public let configuration: NodeConfiguration
    var random: SeededRandom

    public init(
        id: NodeID, capacity: NodeCapacity, labels: NodeLabels = .none,
        configuration: NodeConfiguration = NodeConfiguration(), seed: UInt64
    ) {
        self.id = id
        self.configuration = configuration
        random = SeededRandom(seed: seed)
    }

    public mutating func handle(
        _ event: NodeEvent, now: Timestamp, view: inout ClusterView, into directives: inout [NodeDirective]
    ) {
    }

    public var nextDeadline: Timestamp { .never }

    public mutating func tick(now: Timestamp, view: inout ClusterView, into directives: inout [NodeDirective]) {}
}
