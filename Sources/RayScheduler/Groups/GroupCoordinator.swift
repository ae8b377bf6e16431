// The control store's side of placement groups as a machine without I/O.

public import RayCore

/// Places groups in two phases.
public struct GroupCoordinator: Sendable {
    public let configuration: GroupConfiguration

    /// - Parameter incarnation: of the control store; a higher one after each restart.
    public init(incarnation: UInt32, configuration: GroupConfiguration = GroupConfiguration(), seed: UInt64) {
        self.configuration = configuration
    }

    public mutating func handle(
        _ event: GroupEvent, now: Timestamp, view: inout ClusterView, into directives: inout [GroupDirective]
    ) {
    }

    public var nextDeadline: Timestamp { .never }

    public mutating func tick(now: Timestamp, view: inout ClusterView, into directives: inout [GroupDirective]) {}
}
