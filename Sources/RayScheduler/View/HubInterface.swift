// What goes into the control store's view hub and what comes out of it.

public import RayCore

/// Times and limits of the hub.
public struct HubConfiguration: Sendable {
    /// Between broadcasts, while there are changes.
    public var broadcast = Duration.milliseconds(100)
    /// Reports in a broadcast or an answer; the rest goes with the next.
    public var reportsPerBatch = 2048

    public init() {}
}

/// What happens to the hub.
public enum HubEvent: Sendable {
    case received(SchedulerMessage, from: Party)
    case nodeDied(NodeID)
}

/// What the shell of the control store does for the hub.
public enum HubDirective: Sendable {
    /// To every living node.
    case broadcast(ViewBatch)
    case send(SchedulerMessage, to: Party)
}
