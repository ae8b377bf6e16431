// How a cluster chooses nodes: ours, and earlier designs to compare it with.

/// A design of scheduling. All machines of a cluster have the same.
@frozen
public enum SchedulingPolicy: UInt8, Hashable, Sendable, CaseIterable {
    /// The near node grants, or names nodes by its view: one hop, then grant or reject.
    case localFirst
    /// The near node grants; what it has no room for goes to a global scheduler, which names a node where it waits.
    case bottomUp
    /// Every request goes to the global scheduler, which holds it until a node has room.
    case central
    /// The near node draws two nodes and names the one with less load, where it waits.
    case powerOfTwo
}
