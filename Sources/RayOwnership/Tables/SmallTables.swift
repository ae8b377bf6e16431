// A queue, a heap of deadlines, and a memory that forgets what is oldest.

internal import RayCore

/// First in, first out.
struct Queue<Element: Sendable>: Sendable {
    private var elements: [Element?] = []
    private var head = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    mutating func append(_ element: Element) {
        if count == elements.count { grow() }
        elements[(head + count) & (elements.count - 1)] = element
        count += 1
    }

    mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = elements[head].take()
        head = (head + 1) & (elements.count - 1)
        count -= 1
        return element
    }

    /// - Precondition: `offset` is within `0..<count`.
    subscript(offset: Int) -> Element {
        get {
            guard offset < count, let element = elements[(head + offset) & (elements.count - 1)] else {
                preconditionFailure("element \(offset) of a queue of \(count)")
            }
            return element
        }
        set {
            precondition(offset < count, "element \(offset) of a queue of \(count)")
            elements[(head + offset) & (elements.count - 1)] = newValue
        }
    }

    mutating func removeAll() {
        elements.removeAll()
        (head, count) = (0, 0)
    }

    private mutating func grow() {
        var larger: [Element?] = []
        larger.reserveCapacity(max(4, 2 * elements.count))
        while let element = popFirst() { larger.append(element) }
        (head, count) = (0, larger.count)
        larger.append(contentsOf: repeatElement(nil, count: max(4, 2 * elements.count) - larger.count))
        elements = larger
    }
}

/// Which slot's time comes first. Equal times come in the order of slots, so that a run can be repeated.
struct DeadlineHeap: Sendable {
    private var heap: [(time: Timestamp, slot: Slot)] = []
    /// Where a slot is in the heap, or -1.
    private var positions: [Int32] = []

    /// The earliest time, or `.never`.
    var earliest: Timestamp { heap.first?.time ?? .never }

    /// The time of a slot, or `.never`.
    func time(of slot: Slot) -> Timestamp {
        guard Int(slot) < positions.count, positions[Int(slot)] >= 0 else { return .never }
        return heap[Int(positions[Int(slot)])].time
    }

    /// Sets or changes the time of a slot; `.never` takes it out.
    /// - Complexity: logarithmic.
    mutating func set(_ slot: Slot, to time: Timestamp) {
        while positions.count <= Int(slot) { positions.append(-1) }
        let position = Int(positions[Int(slot)])
        if position < 0 {
            guard time != .never else { return }
            heap.append((time, slot))
            positions[Int(slot)] = Int32(heap.count - 1)
            moveUp(heap.count - 1)
        } else if time == .never {
            remove(at: position)
        } else {
            heap[position].time = time
            moveUp(position)
            moveDown(Int(positions[Int(slot)]))
        }
    }

    /// Takes out a slot whose time has come.
    mutating func popExpired(_ now: Timestamp) -> Slot? {
        guard let first = heap.first, first.time <= now else { return nil }
        remove(at: 0)
        return first.slot
    }

    private mutating func remove(at position: Int) {
        positions[Int(heap[position].slot)] = -1
        let last = heap.removeLast()
        guard position < heap.count else { return }
        heap[position] = last
        positions[Int(last.slot)] = Int32(position)
        moveUp(position)
        moveDown(Int(positions[Int(last.slot)]))
    }

    private mutating func moveUp(_ start: Int) {
        var position = start
        while position > 0, heap[position] < heap[(position - 1) / 2] {
            exchange(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    private mutating func moveDown(_ start: Int) {
        var position = start
        while true {
            var smallest = position
            for child in (2 * position + 1)...(2 * position + 2) where child < heap.count {
                if heap[child] < heap[smallest] { smallest = child }
            }
            guard smallest != position else { return }
            exchange(position, smallest)
            position = smallest
        }
    }

    private mutating func exchange(_ left: Int, _ right: Int) {
        heap.swapAt(left, right)
        positions[Int(heap[left].slot)] = Int32(left)
        positions[Int(heap[right].slot)] = Int32(right)
    }
}

/// The latest `capacity` keys with their values; it forgets the oldest first.
struct RecentMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private let capacity: Int
    private var values: [Key: Value] = [:]
    private var order = Queue<Key>()

    init(capacity: Int) {
        precondition(capacity > 0, "it would remember nothing")
        self.capacity = capacity
    }

    subscript(key: Key) -> Value? { values[key] }

    /// Keeps what is known of a key already.
    mutating func insert(_ key: Key, _ value: Value) {
        guard values[key] == nil else { return }
        if order.count == capacity, let oldest = order.popFirst() { values[oldest] = nil }
        order.append(key)
        values[key] = value
    }

    /// The latest `count` values, the oldest of them first.
    func latest(_ count: Int) -> [Value] {
        (max(0, order.count - count)..<order.count).compactMap { values[order[$0]] }
    }
}
