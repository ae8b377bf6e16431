// The one-sided operations that this end has begun on one connection.

internal import RayCore

/// One read or write.
@safe
struct ShmOperation {
    enum Phase: UInt8 {
        case free
        /// In the queue: not begun, or with bytes left to move.
        case queued
        /// The peer has all that it needs; its answer ends the operation.
        case requested
        /// Completed for the user, who may reuse the memory; the peer's answer frees the slot.
        case abandoned
    }

    var phase: Phase
    var isWrite: Bool
    var token: UInt64
    var deadline: Timestamp
    var key: RegionKey
    var offset: UInt64
    // SAFETY: mapped while the operation is queued or requested; see Transport.register.
    var local: UnsafeMutableRawPointer?
    var length: Int
    /// Bytes moved so far, from the start.
    var progress = 0
    var notification: UInt64?
}

/// A fixed number of slots for operations, and the order in which they move.
struct ShmOperations {
    private var slots: [ShmOperation?]
    private var generations: [UInt32]
    private var free: [UInt32]
    /// Slots of queued operations, oldest first.
    var queue = ShmQueue<UInt32>()
    /// Not later than the earliest deadline of an operation.
    private(set) var nextDeadline = Timestamp.never

    init(capacity: Int) {
        slots = Array(repeating: nil, count: capacity)
        generations = Array(repeating: 0, count: capacity)
        free = (0..<UInt32(capacity)).reversed()
    }

    var isFull: Bool { free.isEmpty }
    var isEmpty: Bool { free.count == slots.count }

    mutating func insert(_ operation: ShmOperation) -> UInt32 {
        guard let slot = free.popLast() else { preconditionFailure("insert into a full table") }
        slots[Int(slot)] = operation
        queue.append(slot)
        nextDeadline = min(nextDeadline, operation.deadline)
        return slot
    }

    subscript(slot: UInt32) -> ShmOperation {
        get {
            guard let operation = slots[Int(slot)] else { preconditionFailure("no operation in slot \(slot)") }
            return operation
        }
        set { slots[Int(slot)] = newValue }
    }

    mutating func remove(_ slot: UInt32) {
        slots[Int(slot)] = nil
        generations[Int(slot)] &+= 1
        free.append(slot)
    }

    /// What names the operation towards the peer.
    func wireName(_ slot: UInt32) -> UInt64 { UInt64(generations[Int(slot)]) << 32 | UInt64(slot) }

    /// The slot of an operation that the peer named; nil when there is none.
    func slot(wireName: UInt64) -> UInt32? {
        let slot = UInt32(truncatingIfNeeded: wireName)
        guard slot < slots.count, slots[Int(slot)] != nil, wireName == self.wireName(slot) else { return nil }
        return slot
    }

    /// The slot of an operation that has not completed for the user.
    func slot(token: UInt64) -> UInt32? {
        slots.firstIndex { $0.map { $0.token == token && $0.phase != .abandoned } ?? false }.map(UInt32.init)
    }

    /// Slots that have not completed for the user, in order of their numbers.
    var active: [UInt32] {
        (0..<UInt32(slots.count)).filter { slots[Int($0)].map { $0.phase != .abandoned } ?? false }
    }

    /// Slots whose deadline has passed; finds the next deadline.
    mutating func expired(at now: Timestamp) -> [UInt32] {
        guard nextDeadline <= now else { return [] }
        let active = active
        nextDeadline = active.map { self[$0].deadline }.filter { $0 > now }.min() ?? .never
        return active.filter { self[$0].deadline <= now }
    }
}
