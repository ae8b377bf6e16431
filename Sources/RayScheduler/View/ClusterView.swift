// What is known about the nodes of a cluster, indexed for placement.

/// The states of nodes, newest version wins.
public struct ClusterView: Sendable {
    public init(spreadThreshold: Double = 0.5, choiceFraction: Double = 0.2) {}

    /// Takes over a node's state if it is newer than what is known.
    /// - Returns: whether it was.
    @discardableResult
    public mutating func apply(_ report: NodeReport) -> Bool { false }

    /// Takes over what a broadcast says.
    /// - Returns: what to ask of the control store, if a broadcast before this one was missed.
    public mutating func apply(_ batch: ViewBatch) -> ViewPull? { nil }
}
