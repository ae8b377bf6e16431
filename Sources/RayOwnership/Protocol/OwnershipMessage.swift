// What the machines say to one another, and the envelope it travels in.

public import RayCore

extension WorkerID {
    /// The raylet of a node, by convention its process number 0. It runs the `HolderMachine`.
    public static func raylet(of node: NodeID) -> WorkerID { WorkerID(node: node, number: 0) }
}

/// A message on its way. Between two processes messages are numbered from 1, so that one that comes twice, late or
/// in another order is recognised; identifiers of processes are never used again, so neither are numbers.
public struct Envelope: Sendable, Equatable {
    public var sender: WorkerID
    public var receiver: WorkerID
    /// The place among all messages from sender to receiver; 0 if this only acknowledges.
    public var sequence: UInt64
    /// The receiver's messages up to this one were taken in by the sender.
    public var acknowledged: UInt64
    /// 1 the first time, then more.
    public var attempt: UInt32
    /// Nil if this only acknowledges.
    public var message: OwnershipMessage?

    public init(
        sender: WorkerID, receiver: WorkerID, sequence: UInt64, acknowledged: UInt64, attempt: UInt32,
        message: OwnershipMessage?
    ) {
        self.sender = sender
        self.receiver = receiver
        self.sequence = sequence
        self.acknowledged = acknowledged
        self.attempt = attempt
        self.message = message
    }
}

extension Envelope {
    /// What the control store answers to a sender that it has declared dead. It has no number, for the conversation
    /// with the dead is over.
    static func fence(_ death: Death, from controlStore: WorkerID, to dead: WorkerID) -> Envelope {
        Envelope(
            sender: controlStore, receiver: dead, sequence: 0, acknowledged: 0, attempt: 1, message: .fenced(death))
    }

    /// The death of the receiver, if this says so.
    func fence(from controlStore: WorkerID) -> Death? {
        guard sender == controlStore, sequence == 0, case .fenced(let death) = message else { return nil }
        return death
    }
}

/// One message of the protocol. docs/ownership.md says who sends it when, and what it promises.
public enum OwnershipMessage: Sendable, Equatable {
    // Borrowing: between a borrower, the owner and the one who lent.
    /// Borrower to owner: I hold a reference. `claim` tells this holding from earlier and later ones.
    case register(ObjectID, claim: UInt64)
    /// Owner to borrower: the object lives until you release this claim.
    case registered(ObjectID, claim: UInt64)
    /// Owner to borrower: there is nothing to hold.
    case refused(ObjectID, claim: UInt64, ObjectError)
    /// Borrower to owner: I hold no reference any more.
    case release(ObjectID, claim: UInt64)
    /// Borrower to lender: the owner knows me, or I let go. You need not hold it for me.
    case returned(LoanKind, token: UInt64)

    // Tasks: from the worker that ran one to the one that submitted it.
    case completed(TaskCompletion)
    /// A stream has one more item. All come before `completed`.
    case item(StreamItem)

    // Directory: between who holds copies or wants them, and the owner.
    /// To the owner: tell me the state of this object now, and whenever it changes.
    case follow(ObjectID)
    case unfollow(ObjectID)
    /// Owner to follower: the state now; it replaces what was said before.
    case status(ObjectID, ObjectStatus)
    /// Raylet to owner: what became of copies here. The last state of each counts.
    case copies([CopyReport])
    /// Raylet to owner: these I hold; tell me which I should not.
    case reconcile([CopyID])
    /// Owner to raylet: drop these.
    case free([CopyID])
    /// Owner to raylet: keep this copy whatever happens. Answered by `copies`.
    case pin(CopyID)
    /// Owner to raylet: do you have these? Answered by `copies`.
    case verify([CopyID])
    /// Borrower to owner: this copy could not be read.
    case missing(CopyID, at: NodeID)

    // Membership: between the control store, raylets and their workers.
    /// Raylet or the owner of detached objects to control store: I take part.
    case join
    /// To who has joined, or has started: the epoch, and the latest deaths before it.
    case welcome(epoch: UInt64, settled: UInt64, deaths: [Death])
    /// From the control store, handed on by raylets: this member is dead, whatever it may say.
    case died(Death)
    /// The other way: all references I took over before this epoch are known to their owners.
    case applied(epoch: UInt64)
    /// From the control store, handed on by raylets: everybody has applied this epoch.
    case settled(epoch: UInt64)
    /// To the control store, and from it to the raylet: this process does not answer. Is it alive?
    case inquire(WorkerID)
    /// Raylet to control store: this process of mine has ended.
    case exited(WorkerID, DeathCause)
    /// Control store to whom it has declared dead, and who still speaks.
    case fenced(Death)

    // Detached objects: between a creator and the owner of detached objects.
    /// Own an object for me, which I shall make. `request` tells requests apart, `claim` is my borrower's claim.
    case adopt(request: UInt64, claim: UInt64)
    /// It is the return of this task, whose first attempt is yours; the claim is registered.
    case adopted(request: UInt64, TaskID, claim: UInt64)
    /// End what `adopt` began: the object lives as long as others refer to it, no longer for itself.
    case disown(ObjectID)
}

/// Who lent what a `returned` is about.
public enum LoanKind: UInt8, Hashable, Sendable {
    /// The worker that submitted a task lent arguments to the one that ran it.
    case argument
    /// The worker that ran a task lent references inside of what it returned to the one that submitted it.
    case content
}

/// A reference with the loan that keeps it until the receiver is known to the owner.
public struct LentReference: Sendable, Equatable {
    public var object: ObjectID
    /// Chosen by the worker that ran the task.
    public var token: UInt64

    public init(object: ObjectID, token: UInt64) {
        self.object = object
        self.token = token
    }
}

/// How an attempt of a task ended.
public struct TaskCompletion: Sendable, Equatable {
    public var task: TaskID
    public var attempt: UInt32
    public var outcome: Outcome
    /// Arguments that the worker goes on holding, and whose owners do not know it yet.
    public var kept: [LentReference]

    public enum Outcome: Sendable, Equatable {
        /// One for each return, in order.
        case succeeded([Return])
        /// A stream has ended after so many items, all of which were told.
        case streamed(items: UInt32)
        case failed(TaskFailure)
        case cancelled
    }

    public struct Return: Sendable, Equatable {
        public var value: ObjectValue
        public var contents: [LentReference]

        public init(value: ObjectValue, contents: [LentReference]) {
            self.value = value
            self.contents = contents
        }
    }

    public init(task: TaskID, attempt: UInt32, outcome: Outcome, kept: [LentReference]) {
        self.task = task
        self.attempt = attempt
        self.outcome = outcome
        self.kept = kept
    }
}

/// One item of a stream, from the attempt that made it.
public struct StreamItem: Sendable, Equatable {
    public var task: TaskID
    public var attempt: UInt32
    /// From 1; `task.returnID(index)` is the item.
    public var index: UInt32
    public var value: TaskCompletion.Return

    public init(task: TaskID, attempt: UInt32, index: UInt32, value: TaskCompletion.Return) {
        self.task = task
        self.attempt = attempt
        self.index = index
        self.value = value
    }
}

/// A value, or where it is.
public enum ObjectValue: Sendable, Equatable {
    /// Small enough to travel in messages.
    case inline([UInt8])
    /// In the store of the node of the process that made it.
    case stored(size: UInt64)
}

/// A copy of one making of an object. Copies of an earlier making are not mixed with those of a later one.
public struct CopyID: Hashable, Sendable {
    public var object: ObjectID
    /// The attempt of the task that made it; 1 if it was put.
    public var attempt: UInt32

    public init(object: ObjectID, attempt: UInt32) {
        self.object = object
        self.attempt = attempt
    }
}

/// What became of a copy at a node.
public struct CopyReport: Sendable, Equatable {
    public var copy: CopyID
    public var size: UInt64
    public var state: State

    public enum State: Sendable, Equatable {
        /// Some chunks are there, and can be read from there.
        case partial(ChunkBitmap)
        case complete
        /// Complete, and not evicted until the owner says so.
        case pinned
        case removed
    }

    public init(copy: CopyID, size: UInt64, state: State) {
        self.copy = copy
        self.size = size
        self.state = state
    }
}

/// What an owner tells followers.
public enum ObjectStatus: Sendable, Equatable {
    /// No value yet, or not now.
    case pending
    /// The value; the references inside of it are protected as long as the object is held.
    case inline([UInt8], attempt: UInt32)
    case located(LocatedObject)
    case failed(ObjectError)
}

/// An object in stores, and where.
public struct LocatedObject: Sendable, Equatable {
    public var size: UInt64
    public var attempt: UInt32
    /// Complete copies first; within each kind the oldest first.
    public var locations: [ObjectLocation]

    public init(size: UInt64, attempt: UInt32, locations: [ObjectLocation]) {
        self.size = size
        self.attempt = attempt
        self.locations = locations
    }
}

public struct ObjectLocation: Sendable, Equatable {
    public var node: NodeID
    /// The chunks that are there; nil for a complete copy.
    public var chunks: ChunkBitmap?

    public init(node: NodeID, chunks: ChunkBitmap?) {
        self.node = node
        self.chunks = chunks
    }
}

/// A node or process that was declared dead.
public struct Death: Hashable, Sendable {
    public enum Member: Hashable, Sendable {
        /// With all of its processes.
        case node(NodeID)
        case worker(WorkerID)
    }

    public var member: Member
    public var cause: DeathCause
    /// The epoch that began with it. Epochs count deaths.
    public var epoch: UInt64

    public init(_ member: Member, _ cause: DeathCause, epoch: UInt64) {
        self.member = member
        self.cause = cause
        self.epoch = epoch
    }
}
