// What callers of actors and actors say to each other, and what goes into their machines and comes out.

public import RayCore

/// One run of an actor: a restart is another incarnation, in another process.
public struct ActorPlace: Hashable, Sendable {
    /// The return of the task that made the actor.
    public let actor: ObjectID
    /// Counts the starts from 1.
    public let incarnation: UInt32
    public let worker: WorkerID

    public init(actor: ObjectID, incarnation: UInt32, worker: WorkerID) {
        self.actor = actor
        self.incarnation = incarnation
        self.worker = worker
    }
}

/// A call of an actor. Repeated until reported.
public struct ActorCall: Hashable, Sendable {
    public let actor: ObjectID
    public let incarnation: UInt32
    /// Its place among all calls of this caller to this incarnation, from 1. They run in this order.
    public let number: UInt64
    public let task: TaskID
    /// Which execution of the task: the owner counts.
    public let execution: UInt32
    /// The caller knows of all below this number how they ended.
    public var settledBelow: UInt64
    /// It is not wanted any more: it ends, or is passed over when its turn comes.
    public var isCancelled = false

    public init(
        actor: ObjectID, incarnation: UInt32, number: UInt64, task: TaskID, execution: UInt32, settledBelow: UInt64
    ) {
        self.actor = actor
        self.incarnation = incarnation
        self.number = number
        self.task = task
        self.execution = execution
        self.settledBelow = settledBelow
    }
}

/// How a call ended, from the actor to its caller.
public struct ActorReport: Hashable, Sendable {
    public let actor: ObjectID
    public let incarnation: UInt32
    public let number: UInt64
    public let isCancelled: Bool

    public init(actor: ObjectID, incarnation: UInt32, number: UInt64, isCancelled: Bool) {
        self.actor = actor
        self.incarnation = incarnation
        self.number = number
        self.isCancelled = isCancelled
    }
}

/// Between callers and actors; all of it may be lost, repeated and late.
public enum ActorMessage: Hashable, Sendable {
    case call(ActorCall)
    case report(ActorReport)
}

/// Limits and times of a caller.
public struct ActorCallerConfiguration: Sendable {
    /// Until what was not reported is sent again; doubles up to `poll`.
    public var retransmission = Duration.milliseconds(200)
    public var poll = Duration.seconds(2)
    /// Calls to one actor under way at a time; later ones wait.
    public var window = 256

    public init() {}
}

/// What happens to a caller.
public enum ActorCallerEvent: Sendable {
    /// A program has made a call. Calls run in the order of these events.
    case submit(TaskID, to: ObjectID)
    /// An execution of it may run: its inputs are there. Again, with a higher number, if it is to run again. `ended`
    /// of this execution follows, once.
    case ready(TaskID, execution: UInt32)
    /// It is not to run (any more): it was cancelled, or has failed.
    case withdraw(TaskID)
    /// The actor runs, for the first time or again, in a process that is not known to be dead. Calls go there as soon
    /// as the process that it ran in before is known to be dead.
    case placed(ActorPlace)
    /// A process is dead. What was under way to the actor in it ends with `died`; it may be started again. The owner of
    /// the calls has heard of it before.
    case workerDied(WorkerID)
    case nodeDied(NodeID)
    /// It will not be started again: what is ready, or becomes ready later, ends with `actorDead`. What is under way is
    /// reported, or ends with the process.
    case dead(ObjectID)
    case received(ActorMessage)
}

/// How an execution of a call ended.
public enum ActorCallEnd: Hashable, Sendable {
    case finished
    case cancelled
    /// The process of the actor died: it may have run, in whole or in part. It keeps its place: `ready` follows if it
    /// runs again, else `withdraw`, also if its owner has had its value before the report came.
    case died
    /// The actor is no more. It did not run.
    case actorDead
}

/// What the shell of a caller does.
public enum ActorCallerDirective: Hashable, Sendable {
    /// The owner is to know which worker runs it, before the call leaves.
    case assigned(TaskID, execution: UInt32, to: WorkerID)
    case send(ActorMessage, to: WorkerID)
    case ended(TaskID, execution: UInt32, ActorCallEnd)
}

/// What happens to the machine of an actor.
public enum ActorEvent: Sendable {
    case received(ActorMessage)
    /// The call that runs has ended.
    case finished(TaskID, isCancelled: Bool)
    /// A caller is dead: its calls are not run, and the one that runs is interrupted.
    case callerDied(WorkerID)
    /// Likewise all callers on a node.
    case nodeDied(NodeID)
}

/// What the shell of an actor does.
public enum ActorDirective: Hashable, Sendable {
    case run(TaskID, execution: UInt32)
    /// End it early, then say `finished`.
    case interrupt(TaskID)
    case send(ActorMessage, to: WorkerID)
}
