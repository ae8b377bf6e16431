// Tasks that a process has submitted, and those that it runs.

internal import RayCore

/// A task that this process submitted, from then until neither it nor its lineage is needed.
struct TaskRecord: Sendable {
    var id: TaskID
    var attempt: UInt32 = 1
    /// Of a stream as many as are known, the stream itself counted.
    var returns: UInt32
    var isStream = false
    /// Records of returns that exist.
    var liveReturns: UInt32
    /// Inputs that are not there yet.
    var missing: UInt32 = 0
    /// Nil without limit.
    var retriesLeft: UInt32?
    /// Whether it was submitted with retries.
    var hadRetries: Bool
    var isCancelled = false
    var state = State.waiting
    /// The worker that runs it.
    var executor: Slot = .absent
    var lineageBytes: Int
    /// What it takes; the first `inputs` of them have to be there before it runs.
    var arguments: [Slot] = []
    var inputs = 0
    /// Waits for its inputs.
    var waiters: Slot = .absent

    enum State: UInt8, Sendable {
        /// For its inputs.
        case waiting
        /// Given out to be scheduled.
        case offered
        case running
        /// Kept as lineage.
        case finished
    }

    var canRunAgain: Bool { !isCancelled && retriesLeft != 0 }

    /// Why a lost return will not be made again, once this record is gone or may not run.
    var refusal: ObjectRecord.Refusal {
        isCancelled ? .cancelled : hadRetries ? .retriesExhausted : .retriesDisabled
    }
}

/// A task that runs in this process for its submitter.
struct Execution: Sendable {
    var task: TaskID
    var attempt: UInt32
    /// Who submitted it.
    var caller: Slot
    var arguments: [Slot] = []
    /// Borrowed objects that rely on the submitter's hold of the arguments.
    var kept: Slot = .absent
}

/// What a process knows of another one it has to do with.
struct PeerRecord: Sendable {
    /// When it died; nil while it counts as alive.
    var death: Death?
    var node: Slot = .absent
    /// Records of its objects.
    var borrowed: Slot = .absent
    /// Loans to it.
    var loans: Slot = .absent
    /// Tasks of its that run here.
    var executions: Slot = .absent
    /// Tasks of this process that it runs.
    var running: Slot = .absent
    /// Borrowed objects that it keeps for this process.
    var lendings = 0
    /// Dead, and its death is settled.
    var isSettled = false
}

/// What a process knows of a node.
struct NodeRecord: Sendable {
    var id: NodeID
    /// Peers that live there.
    var peers: Slot = .absent
    /// Copies that its raylet will be told to drop.
    var orders: [CopyID] = []
}
