// What submitters and nodes say to each other about leases. All of it may be lost, repeated and late.

public import RayCore

/// Who sends and receives. Identities hold the incarnation: a restarted node or worker is another party.
@frozen
public enum Party: Hashable, Sendable, CustomStringConvertible {
    case worker(WorkerID)
    case node(NodeID)
    /// The control store's process: views, placement groups, and the global scheduler where there is one.
    case controlStore

    public var description: String {
        switch self {
        case .worker(let worker): worker.description
        case .node(let node): node.description
        case .controlStore: "control store"
        }
    }
}

/// A request for leases: unique for ever, since the submitter's identity is.
@frozen
public struct LeaseRequestID: Hashable, Sendable, CustomStringConvertible {
    public let submitter: WorkerID
    /// Counts up.
    public let sequence: UInt64

    @inlinable
    public init(submitter: WorkerID, sequence: UInt64) {
        self.submitter = submitter
        self.sequence = sequence
    }

    public var description: String { "request \(sequence) of \(submitter)" }
}

/// A lease: the right to run tasks of one class on one worker, one at a time.
@frozen
public struct LeaseID: Hashable, Sendable, CustomStringConvertible {
    public let node: NodeID
    /// Counts up with each lease of the node.
    public let number: UInt64

    @inlinable
    public init(node: NodeID, number: UInt64) {
        self.node = node
        self.number = number
    }

    public var description: String { "lease \(number) of \(node)" }
}

/// A stored object that a task reads.
@frozen
public struct TaskArgument: Hashable, Sendable {
    public let object: ObjectID
    public let bytes: UInt64

    @inlinable
    public init(object: ObjectID, bytes: UInt64) {
        self.object = object
        self.bytes = bytes
    }
}

/// What the asked node may do with a request.
@frozen
public enum RequestMode: Hashable, Sendable {
    /// Grant, queue, or name other nodes.
    case place
    /// Grant or reject at once: the request was spilled here, and hops no further.
    case grantOrReject
    /// Grant or queue: somebody has decided that it waits here.
    case queue
}

/// Asks for `slots` leases of a class. Repeated until answered; a repetition has the same content but for
/// `attempt`, `settledBelow`, `answered` and `wanted`.
public struct LeaseRequest: Sendable {
    public let id: LeaseRequestID
    /// Counts the transmissions.
    public var attempt: UInt32
    /// Requests of this submitter with a lower sequence are over: they can be forgotten.
    public var settledBelow: UInt64
    public let schedulingClass: SchedulingClass
    public let slots: UInt32
    /// How many of `slots` are wanted still, counting those that the answer settles. It only falls: to lower it
    /// is to cancel, so that a cancellation needs no message of its own and can not overtake its request.
    public var wanted: UInt32
    /// How many parts of the answer the submitter has.
    public var answered: UInt32
    /// Made local and pinned before the grant.
    public let arguments: [TaskArgument]
    public let mode: RequestMode
    /// How often these slots were rejected after a spillback.
    public let rejections: UInt8
    /// The state of the node that rejected them last, so that the next decision is not made on the same old view.
    public let refusal: [NodeReport]
    /// The asked node was chosen for its data, and prefers itself.
    public let isLocalityChoice: Bool

    public init(
        id: LeaseRequestID, attempt: UInt32 = 1, settledBelow: UInt64 = 0, schedulingClass: SchedulingClass,
        slots: UInt32 = 1, answered: UInt32 = 0, arguments: [TaskArgument] = [], mode: RequestMode = .place,
        rejections: UInt8 = 0, refusal: [NodeReport] = [], isLocalityChoice: Bool = false
    ) {
        self.id = id
        self.attempt = attempt
        self.settledBelow = settledBelow
        self.schedulingClass = schedulingClass
        self.slots = slots
        wanted = slots
        self.answered = answered
        self.arguments = arguments
        self.mode = mode
        self.rejections = rejections
        self.refusal = refusal
        self.isLocalityChoice = isLocalityChoice
    }
}

/// A share of one indexed resource, such as half of GPU 3.
@frozen
public struct ResourceShare: Hashable, Sendable {
    public let name: ResourceName
    public let index: UInt32
    public let amount: ResourceAmount

    @inlinable
    public init(name: ResourceName, index: UInt32, amount: ResourceAmount) {
        self.name = name
        self.index = index
        self.amount = amount
    }
}

/// One granted lease.
public struct LeaseGrant: Hashable, Sendable {
    public let lease: LeaseID
    public let worker: WorkerID
    /// Which accelerators the worker may use.
    public let shares: [ResourceShare]

    public init(lease: LeaseID, worker: WorkerID, shares: [ResourceShare] = []) {
        self.lease = lease
        self.worker = worker
        self.shares = shares
    }
}

/// Why slots of a request will never be granted.
public enum LeaseFailure: Hashable, Sendable, CustomStringConvertible {
    /// No worker of this environment could be started, in several attempts.
    case workerStartFailed
    /// The placement group was removed, or its bundle is not on this node any more.
    case groupGone(GroupID)
    /// The node has too many requests.
    case tooManyRequests
    /// An argument is nowhere: it has to be made again first.
    case argumentGone(ObjectID)

    public var description: String {
        switch self {
        case .workerStartFailed: "no worker could be started for the environment"
        case .groupGone(let group): "\(group) is gone"
        case .tooManyRequests: "the node has as many requests as it may have"
        case .argumentGone(let object): "\(object), which it needs, is nowhere"
        }
    }
}

/// What became of some slots of a request. The parts of an answer are a log: they are only ever appended.
public enum AnswerPart: Sendable {
    /// One slot.
    case granted(LeaseGrant)
    /// Ask this node for so many.
    case elsewhere(NodeID, slots: UInt32, mode: RequestMode)
    /// The node has no room, and this is its state.
    case rejected(slots: UInt32, NodeReport)
    /// As the submitter wished.
    case cancelled(slots: UInt32)
    case failed(slots: UInt32, LeaseFailure)

    /// How many slots this part settles.
    public var slots: UInt32 {
        switch self {
        case .granted: 1
        case .elsewhere(_, let slots, _), .rejected(let slots, _), .cancelled(let slots), .failed(let slots, _): slots
        }
    }
}

/// Answers a request, whole or in part. Repeating the question gives the parts that are missing again.
public struct LeaseAnswer: Sendable {
    public let id: LeaseRequestID
    /// Of the request that this answers.
    public let attempt: UInt32
    /// Place of the first of `parts` in the log.
    public let first: UInt32
    public let parts: [AnswerPart]
    /// Slots that wait still; zero ends the request.
    public let waiting: UInt32
    /// Why they wait.
    public let reason: WaitReason?

    public init(
        id: LeaseRequestID, attempt: UInt32, first: UInt32, parts: [AnswerPart], waiting: UInt32, reason: WaitReason?
    ) {
        self.id = id
        self.attempt = attempt
        self.first = first
        self.parts = parts
        self.waiting = waiting
        self.reason = reason
    }
}

/// Gives a lease back. Repeated until acknowledged.
public struct LeaseReturn: Hashable, Sendable {
    public let lease: LeaseID
    /// The worker did not behave, and must not be used again.
    public let isWorkerBad: Bool

    public init(lease: LeaseID, isWorkerBad: Bool = false) {
        self.lease = lease
        self.isWorkerBad = isWorkerBad
    }
}

/// Says that leases are in use. A lease that is not renewed within its term is taken back.
public struct LeaseRenewal: Sendable {
    public let submitter: WorkerID
    public let leases: [LeaseID]

    public init(submitter: WorkerID, leases: [LeaseID]) {
        self.submitter = submitter
        self.leases = leases
    }
}

/// Answers a renewal: these leases do not exist any more, and never will again.
public struct LeaseRenewed: Sendable {
    public let lost: [LeaseID]

    public init(lost: [LeaseID]) { self.lost = lost }
}
