// The machine of the control store: who is dead, since which epoch.

public import RayCore

public struct ControlStoreMachine: Sendable {
    public let id: WorkerID
    let configuration: ControlStoreConfiguration

    public init(id: WorkerID, configuration: ControlStoreConfiguration) {
        self.id = id
        self.configuration = configuration
    }

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp { .never }

    public mutating func handle(
        _ event: ControlStoreEvent, now: Timestamp, into directives: inout [ControlStoreDirective]
    ) {}
}
