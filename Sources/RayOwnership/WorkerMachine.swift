// The machine of a worker process: owner of its own objects, borrower of those of others.

public import RayCore

public struct WorkerMachine: Sendable {
    public let id: WorkerID
    let configuration: WorkerConfiguration

    public init(id: WorkerID, configuration: WorkerConfiguration) {
        self.id = id
        self.configuration = configuration
    }

    /// When `timer` is due, or `.never`.
    public var nextDeadline: Timestamp { .never }

    public mutating func handle(_ event: WorkerEvent, now: Timestamp, into directives: inout [WorkerDirective]) {}
}
