// What a process knows of an object: its own, or one that it borrows.

internal import RayCore

struct ObjectRecord: Sendable {
    var id: ObjectID

    // Who refers to it in this process.
    /// Handles of the language.
    var handles: UInt32 = 0
    /// Tasks that take it: submitted here and not done, or running here.
    var tasks: UInt32 = 0
    /// Values of this process' objects that contain it.
    var containers: UInt32 = 0
    /// Held here for others until their owners know them.
    var loans: UInt32 = 0
    /// Finished tasks of this process that may run again, and take it then.
    var lineage: UInt32 = 0
    var waiters: Slot = .absent

    // Its value, in the owner's record.
    /// The making that the value, or the value that was lost, came from.
    var attempt: UInt32 = 0
    /// The task that makes it, while that may still run.
    var task: Slot = .absent
    /// Complete copies that can be read, as far as is known.
    var copies: UInt32 = 0
    var size: UInt64 = 0
    var inline: [UInt8]?
    /// Objects that the value refers to; those of all values that it ever had, for who has read one may rely on it.
    var contents: [Slot] = []
    /// The node whose copy is pinned.
    var primary: Slot = .absent
    var locations: Slot = .absent
    var borrowers: Slot = .absent
    var followers: Slot = .absent

    // Its protection, in a borrower's record.
    var owner: Slot = .absent
    /// Tells this holding from others of the same object.
    var claim: UInt64 = 0
    /// What keeps the object alive until the owner has registered this process.
    var keeper = Keeper.nobody
    var keeperSlot: Slot = .absent
    var keeperToken: UInt64 = 0
    /// Objects found inside of this one, which rely on it; in the owner's record of a stream, its unread items.
    var kept: Slot = .absent

    var value = ValueState.pending
    var role: Role
    var refusal = Refusal.put
    var flags: Flags = []

    init(_ id: ObjectID, _ role: Role) {
        self.id = id
        self.role = role
    }

    enum Role: UInt8, Sendable {
        case owner
        /// A borrower that its owner need not know, since the keeper is there.
        case guarded
        /// The owner was told, and has not answered.
        case registering
        case registered
        /// A borrower of an object that has ended; `errors` says why.
        case ended
    }

    /// In a borrower's record only `pending` and, once the owner said that there is a value, `sealed`.
    enum ValueState: UInt8, Sendable {
        /// Never had a value, or its contents are released: a copy of an earlier making is of no use.
        case pending
        case sealed
        /// All copies are lost, and nothing is done about it.
        case lost
        /// All copies are lost, and its task runs again.
        case recovering
        /// Nobody needs the value; the record is kept for lineage.
        case released
        case failed
    }

    enum Keeper: UInt8, Sendable {
        case nobody
        /// A task that runs here, whose submitter holds its arguments.
        case execution
        /// An object of somebody else that contains it.
        case container
        /// The submitter of a task that ran here holds it, until told.
        case argumentLender
        /// The worker that returned it inside of a value holds it, until told.
        case contentLender
    }

    /// Why a lost value can not be made again.
    enum Refusal: UInt8, Sendable {
        case put, retriesDisabled, retriesExhausted, lineageEvicted, cancelled

        var reason: ObjectError.Reason {
            switch self {
            case .put: .lostPut
            case .retriesDisabled: .lostRetriesDisabled
            case .retriesExhausted: .lostRetriesExhausted
            case .lineageEvicted: .lostLineageEvicted
            case .cancelled: .lostCancelled
            }
        }
    }

    struct Flags: OptionSet, Sendable {
        let rawValue: UInt8
        /// References to it left the system's sight.
        static let exported = Flags(rawValue: 1)
        /// It lives for itself until disowned.
        static let detached = Flags(rawValue: 2)
        static let isInScopeQueue = Flags(rawValue: 4)
        static let isInRecoveryQueue = Flags(rawValue: 8)
        static let isInStatusQueue = Flags(rawValue: 16)
        /// A borrower's: the owner tells us its state.
        static let isFollowing = Flags(rawValue: 32)
        /// The first return of a stream: the stream itself.
        static let isStream = Flags(rawValue: 64)
        /// An item that its stream holds, since nobody has read it yet.
        static let isUnread = Flags(rawValue: 128)
    }

    /// True if something in this process holds it, other than objects found inside of it.
    var isHeldHere: Bool {
        handles > 0 || tasks > 0 || containers > 0 || loans > 0 || waiters != .absent
            || !flags.isDisjoint(with: [.exported, .detached, .isUnread])
    }

    /// True if the value is there to be read, as far as is known.
    var isAvailable: Bool { value == .sealed && (role != .owner || inline != nil || copies > 0) }
}

/// Where a copy is, or some of its chunks.
struct Location: Sendable {
    /// Which chunks are there, in the table of bitmaps; `absent` for a complete copy.
    var chunks: Slot = .absent
    /// Somebody could not read it; its node has been asked.
    var isSuspect = false

    /// A complete copy that can be read, as far as is known.
    var isReadable: Bool { chunks == .absent && !isSuspect }
}

/// A wait for an object, by a get or by a task.
struct Waiter: Sendable {
    enum Purpose: Sendable, Equatable {
        case get(UInt64)
        case input(of: Slot)
    }

    var object: Slot
    var purpose: Purpose
}

/// An object that is held for a peer until its owner knows the peer.
struct Loan: Sendable {
    var object: Slot
    var peer: Slot
    var kind: LoanKind
    /// Nil if it ends only when the peer's death is settled.
    var token: UInt64?
}

struct LoanKey: Hashable, Sendable {
    var peer: Slot
    var kind: LoanKind
    var token: UInt64
}
