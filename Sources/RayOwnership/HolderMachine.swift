// The machine of a raylet: which copies of which owners this node holds.

public import RayCore

public struct HolderMachine: Sendable {
    public let node: NodeID
    let configuration: HolderConfiguration

    public init(node: NodeID, configuration: HolderConfiguration) {
        self.node = node
        self.configuration = configuration
    }

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp { .never }

    public mutating func handle(_ event: HolderEvent, now: Timestamp, into directives: inout [HolderDirective]) {}
}
