// The global scheduler of the compared designs as a machine without I/O.

public import RayCore

/// Names nodes for requests, by the whole cluster's view.
public struct GlobalScheduler: Sendable {
    public let policy: SchedulingPolicy

    public init(policy: SchedulingPolicy, seed: UInt64) { self.policy = policy }

    public mutating func handle(
        _ event: GlobalEvent, now: Timestamp, view: inout ClusterView, into directives: inout [GlobalDirective]
    ) {
    }
}
