// What goes into a worker's machine and what comes out.

public import RayCore

/// What happened in or to a worker process.
public enum WorkerEvent: Sendable {
    // Objects of this process.
    /// A value was put; the machine gave out its identifier, and the caller has the first handle.
    case put(ObjectID, ObjectValue, contents: [ObjectID])
    /// An object that outlives this process is wanted. Answered by the directive `adopted`.
    case putDetached(request: UInt64)
    /// A detached object need not live for itself any more.
    case disown(ObjectID)
    /// The value is not needed any more, whoever refers to it. Ignored at who does not own it.
    case free(ObjectID)

    // Handles.
    /// A handle came into being: the first in this process, or another.
    case handleCreated(ObjectID, Provenance)
    /// A handle is gone.
    case handleReleased(ObjectID)
    /// A reference left the system's sight, in a file say. It counts as held here until `exportRevoked`.
    case exported(ObjectID)
    case exportRevoked(ObjectID)

    // Waiting.
    /// `deliver` with `waiter` follows, exactly once, by `deadline`. The caller has a handle.
    case get(ObjectID, waiter: UInt64, deadline: Timestamp)
    case cancelGet(waiter: UInt64)
    /// A copy that `deliver` named could not be read: it is looked after, and another get may follow.
    case copyMissing(CopyID, at: NodeID)
    /// Look after an object that seems to be lost. `recoveryRefused` follows at who does not own it.
    case recover(ObjectID)

    // Tasks that this process submits.
    case submit(TaskSubmission)
    /// An attempt is about to be sent to a worker. Fed before the push leaves; again if the attempt moves to another
    /// worker, which it may only when it is certain that the first one has not begun it.
    case taskAssigned(TaskID, attempt: UInt32, to: WorkerID)
    /// An attempt did not start, for certain: no worker was found, or the one named refused it.
    case attemptRejected(TaskID, attempt: UInt32, TaskFailure)
    case cancel(TaskID)

    // Tasks that this process runs.
    /// A pushed task is about to start. `arguments` are all references that came with it, nested ones too. Repeats are
    /// ignored.
    case taskStarted(TaskID, attempt: UInt32, arguments: [ObjectID])
    /// A task that is a stream has made an item, from 1, in any order. All are fed before `taskFinished`.
    case itemProduced(TaskID, attempt: UInt32, index: UInt32, ReturnedValue)
    /// It ended. Handles that the function has dropped were released before.
    case taskFinished(TaskID, attempt: UInt32, TaskOutcome)

    // From outside.
    case received(Envelope)
    /// `nextDeadline` has come.
    case timer
}

/// Where a reference came from, which is what protects it until the owner knows of it.
public enum Provenance: Hashable, Sendable {
    /// From an argument of a running task; or nothing new: the process has the reference already.
    case task(TaskID)
    /// From inside of the value of an object that this process holds.
    case inside(ObjectID)
    /// From somewhere that the system does not see.
    case outOfBand
}

/// A task that a worker submits. Its returns are `ObjectID`s with the task's sequence and those after it.
public struct TaskSubmission: Sendable {
    public var task: TaskID
    /// At least 1; the machine gave out as many. 1 for a stream.
    public var returns: Int
    /// Whether it returns as many items as it likes, one after the other: docs/ownership.md, Streams.
    public var isStream: Bool
    /// Arguments by reference. The task runs once they are there, and fails if one has failed.
    public var arguments: [ObjectID]
    /// References inside of arguments by value. They are protected, not waited for.
    public var nested: [ObjectID]
    /// How often it may run again; nil without limit.
    public var maximumRetries: Int?
    /// Size of the specification, which counts against the limit of lineage.
    public var lineageBytes: Int

    public init(
        task: TaskID, returns: Int, isStream: Bool = false, arguments: [ObjectID], nested: [ObjectID] = [],
        maximumRetries: Int?, lineageBytes: Int
    ) {
        self.task = task
        self.returns = returns
        self.isStream = isStream
        self.arguments = arguments
        self.nested = nested
        self.maximumRetries = maximumRetries
        self.lineageBytes = lineageBytes
    }
}

extension TaskID {
    /// The object that is a return of this task. Of a stream, 0 is the stream itself, and its items are those from 1.
    public func returnID(_ index: Int) -> ObjectID {
        ObjectID(owner: owner, sequence: sequence &+ UInt64(truncatingIfNeeded: index))
    }
}

/// How a task ended where it ran.
public enum TaskOutcome: Sendable {
    /// One for each return, in order. Errors of the user's function are values.
    case succeeded([ReturnedValue])
    /// A stream of so many items.
    case streamed(items: UInt32)
    case failed(TaskFailure)
    case cancelled
}

/// One return: its value, and the references inside of it, for which this process has handles.
public struct ReturnedValue: Sendable {
    public var value: ObjectValue
    public var contents: [ObjectID]

    public init(_ value: ObjectValue, contents: [ObjectID] = []) {
        self.value = value
        self.contents = contents
    }
}

/// What a worker's machine wants done. Directives are run in order.
public enum WorkerDirective: Sendable {
    /// Send it, once. It may get lost.
    case send(Envelope)
    /// The inputs of a task are there: find it a worker and push it, with this attempt's number.
    case runTask(TaskID, attempt: UInt32)
    /// A task that was given out by `runTask` or is running is not wanted any more. Nil: it has no worker yet.
    case stopTask(TaskID, attempt: UInt32, on: WorkerID?)
    /// The specification of a task is not needed any more.
    case forgetTask(TaskID)
    /// A task that runs here was submitted by a process that is dead: stop it.
    case abandonTask(TaskID, attempt: UInt32)
    /// The end of a get.
    case deliver(waiter: UInt64, GetOutcome)
    /// The value of an object of this process is gone, here and everywhere.
    case freed(ObjectID)
    /// The object could not be recovered. Waiting gets have been told.
    case recoveryRefused(ObjectID, ObjectError)
    /// Make the value of the detached object `task.returnID(0)`, then report `taskFinished` of attempt 1.
    /// The caller has the first handle.
    case adopted(request: UInt64, TaskID)
    /// A member is dead. For those who keep state of their own about peers.
    case died(Death)
    /// This process was declared dead. End it.
    case terminate(DeathCause)
}

/// The end of a get.
public enum GetOutcome: Sendable, Equatable {
    case inline([UInt8])
    /// In these stores, where it can be pulled from.
    case located(LocatedObject)
    case failed(ObjectError)
}
