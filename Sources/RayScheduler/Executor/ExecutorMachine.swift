// The worker's side of tasks on a lease as a machine without I/O.

public import RayCore

/// Runs the tasks that are pushed to one worker, one at a time, each once.
public struct ExecutorMachine: Sendable {
    public let id: WorkerID

    public init(id: WorkerID) { self.id = id }

    public mutating func handle(_ event: ExecutorEvent, now: Timestamp, into directives: inout [ExecutorDirective]) {}
}
