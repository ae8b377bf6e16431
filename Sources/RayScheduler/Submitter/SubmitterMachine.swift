// The submitter's side of scheduling as a machine without I/O.

public import RayCore

/// Finds leased workers for the tasks of one driver or worker.
public struct SubmitterMachine: Sendable {
    public let id: WorkerID
    public let configuration: SubmitterConfiguration
    var random: SeededRandom

    public init(id: WorkerID, configuration: SubmitterConfiguration = SubmitterConfiguration(), seed: UInt64) {
        self.id = id
        self.configuration = configuration
        random = SeededRandom(seed: seed)
    }

    public mutating func handle(
        _ event: SubmitterEvent, now: Timestamp, into directives: inout [SubmitterDirective]
    ) {
    }

    /// When `tick` is due; `.never` if nothing waits for time.
    public var nextDeadline: Timestamp { .never }

    /// Does what time has made due. Calling it early or often is harmless.
    public mutating func tick(now: Timestamp, into directives: inout [SubmitterDirective]) {}
}
