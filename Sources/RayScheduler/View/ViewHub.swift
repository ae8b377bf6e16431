// The control store's side of view synchronisation as a machine without I/O.

public import RayCore

/// Collects the states of nodes and broadcasts what changed.
public struct ViewHub: Sendable {
    public let configuration: HubConfiguration

    /// - Parameter incarnation: of the control store; another after each restart.
    public init(incarnation: UInt32, configuration: HubConfiguration = HubConfiguration()) {
        self.configuration = configuration
    }

    public mutating func handle(_ event: HubEvent, now: Timestamp, into directives: inout [HubDirective]) {}

    public var nextDeadline: Timestamp { .never }

    public mutating func tick(now: Timestamp, into directives: inout [HubDirective]) {}
}
