// What can happen in a simulated cluster.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// What a process is sent.
enum Message {
    case scheduler(SchedulerMessage, from: Party)
    case ownership(Envelope)
    case actor(ActorMessage)
    /// An actor runs, to its owner.
    case actorRuns(ActorPlace)
    /// Somebody else calls an actor, to its owner.
    case followActor(ObjectID, by: WorkerID)
    /// Where an actor runs, from its owner; nil when it is no more.
    case actorNews(ObjectID, ActorPlace?)
    /// The states of nodes, from the control store.
    case views(ViewBroadcast)
    case pullRequest(CopyID, request: UInt64, from: Int, incarnation: UInt32)
    /// Nil when the asked node does not have it.
    case pullAnswer(CopyID, request: UInt64, Value?, size: UInt64)
}

/// An event in the queue.
enum Event {
    case message(Target, Message)
    /// A message that must arrive and did not: sent again.
    case resend(from: Int, Target, Message, bytes: Int)
    /// A machine of the process has a deadline.
    case wake(Target)
    /// The running function goes on.
    case resume(worker: Int, frame: UInt64)
    case workerStarted(node: Int, incarnation: UInt32, environment: UInt64)
    /// A get whose copy was missing is made again.
    case getAgain(worker: Int, waiter: UInt64)
    case pullTimeout(node: Int, incarnation: UInt32, ObjectID, request: UInt64)
    case pullAgain(node: Int, incarnation: UInt32, ObjectID)
    case evict(node: Int, incarnation: UInt32, CopyID)
    /// A worker that was to end stays.
    case stays(worker: Int)
    case fault(Int)
    case declareDead(node: Int, incarnation: UInt32)
    case restart(node: Int)
    /// The judge looks at everything.
    case inspect
}
