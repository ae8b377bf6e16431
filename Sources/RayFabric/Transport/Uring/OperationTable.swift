// The one-sided operations that this side has in flight on one connection.

internal import RayCore

/// An operation of ours.
struct Operation {
    enum Kind {
        case read, write
    }

    let kind: Kind
    /// The user's name for it.
    let token: UInt64
    let local: RegionLocation
    let length: UInt64
    let deadline: Timestamp
    /// Bytes of a read that are in place.
    var moved: UInt64 = 0
    /// Completed for the user, kept until the peer's reply accounts for it.
    var isAbandoned = false
}

/// Operations by the token that travels: a slot, and a count of its uses so that late replies to
/// earlier operations are recognised.
struct OperationTable {
    private var slots: [Operation?] = []
    private var uses: [UInt32] = []
    private var free: [UInt32] = []

    var count: Int { slots.count - free.count }
    /// Operations that the user still waits for.
    private(set) var waiting = 0

    mutating func insert(_ operation: Operation) -> UInt64 {
        waiting += 1
        guard let slot = free.popLast() else {
            slots.append(operation)
            uses.append(0)
            return UInt64(slots.count - 1)
        }
        slots[Int(slot)] = operation
        return UInt64(uses[Int(slot)]) << 32 | UInt64(slot)
    }

    private func slot(of wireToken: UInt64) -> Int? {
        let slot = Int(UInt32(truncatingIfNeeded: wireToken))
        guard slot < slots.count, uses[slot] == UInt32(truncatingIfNeeded: wireToken >> 32), slots[slot] != nil else {
            return nil
        }
        return slot
    }

    subscript(wireToken: UInt64) -> Operation? {
        slot(of: wireToken).flatMap { slots[$0] }
    }

    /// Counts bytes of a read as in place.
    mutating func move(_ count: UInt64, of wireToken: UInt64) {
        guard let slot = slot(of: wireToken) else { return }
        slots[slot]?.moved += count
    }

    mutating func remove(_ wireToken: UInt64) {
        guard let slot = slot(of: wireToken) else { return }
        if slots[slot]?.isAbandoned == false { waiting -= 1 }
        slots[slot] = nil
        uses[slot] &+= 1
        free.append(UInt32(slot))
    }

    /// The user's part of it is over; the slot stays taken.
    mutating func abandon(_ wireToken: UInt64) {
        guard let slot = slot(of: wireToken), slots[slot]?.isAbandoned == false else { return }
        slots[slot]?.isAbandoned = true
        waiting -= 1
    }

    /// Operations that the user waits for, by the token that travels. Not for the data path.
    var all: [(wireToken: UInt64, operation: Operation)] {
        slots.enumerated().compactMap { slot, operation in
            guard let operation, !operation.isAbandoned else { return nil }
            return (UInt64(uses[slot]) << 32 | UInt64(slot), operation)
        }
    }

    var earliestDeadline: Timestamp {
        var earliest = Timestamp.never
        for case let operation? in slots where !operation.isAbandoned { earliest = min(earliest, operation.deadline) }
        return earliest
    }
}
