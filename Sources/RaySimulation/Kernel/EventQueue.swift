// The order of what happens: a queue of events by virtual time, and by insertion among equal times.

/// A quaternary heap of 16-byte keys over a slab of payloads. Payloads never move while keys are sifted, and
/// nothing is allocated once the slab has grown to what is pending.
///
/// - Complexity: O(log pending) to insert and to remove.
package struct EventQueue<Payload> {
    /// A time, then the order of insertion above the slot of the payload: two words that compare as one key.
    private struct Key {
        var time: UInt64
        var orderAndSlot: UInt64

        @inline(__always)
        static func < (left: Key, right: Key) -> Bool {
            left.time < right.time || (left.time == right.time && left.orderAndSlot < right.orderAndSlot)
        }
    }

    /// Bits of a key that hold the slot; the bits above count insertions.
    private static var slotBits: UInt64 { 24 }
    /// Events that can be pending at once.
    package static var capacity: Int { 1 << Int(slotBits) }

    private var heap: ContiguousArray<Key> = []
    private var slots: ContiguousArray<Payload?> = []
    private var freeSlots: ContiguousArray<UInt32> = []
    private var inserted: UInt64 = 0

    package init() {}

    package var count: Int { heap.count }
    package var isEmpty: Bool { heap.isEmpty }
    /// The time of the next event in nanoseconds; nil when nothing is pending.
    package var nextTime: UInt64? { heap.first?.time }

    /// Inserts an event for `time` in nanoseconds. Events of one time leave in the order in which they came.
    package mutating func insert(_ payload: consuming Payload, at time: UInt64) {
        let slot: UInt32
        if let free = freeSlots.popLast() {
            slot = free
            slots[Int(slot)] = payload
        } else {
            precondition(slots.count < Self.capacity, "more events are pending than the queue holds")
            slot = UInt32(truncatingIfNeeded: slots.count)
            slots.append(payload)
        }
        inserted += 1
        precondition(inserted >> (64 - Self.slotBits) == 0, "more events than a run may have")
        siftUp(Key(time: time, orderAndSlot: inserted << Self.slotBits | UInt64(slot)))
    }

    /// Removes the next event; nil when nothing is pending.
    package mutating func removeNext() -> (time: UInt64, payload: Payload)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if !heap.isEmpty { siftDown(last) }
        let slot = first.orderAndSlot & ((1 << Self.slotBits) - 1)
        guard let payload = slots[Int(slot)].take() else { preconditionFailure("a key without its payload") }
        freeSlots.append(UInt32(truncatingIfNeeded: slot))
        return (first.time, payload)
    }

    private mutating func siftUp(_ key: Key) {
        var index = heap.count
        heap.append(key)
        while index > 0 {
            let parent = (index - 1) >> 2
            guard key < heap[parent] else { break }
            heap[index] = heap[parent]
            index = parent
        }
        heap[index] = key
    }

    /// Puts `key` in the place of the root, which has left.
    private mutating func siftDown(_ key: Key) {
        let count = heap.count
        var index = 0
        while true {
            let firstChild = index << 2 + 1
            guard firstChild < count else { break }
            var least = firstChild
            var child = firstChild + 1
            let end = min(firstChild + 4, count)
            while child < end {
                if heap[child] < heap[least] { least = child }
                child += 1
            }
            guard heap[least] < key else { break }
            heap[index] = heap[least]
            index = least
        }
        heap[index] = key
    }
}
