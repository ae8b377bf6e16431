// Which slot's time comes first.

/// A binary heap of slots of a table by time, at most one time for each slot; a slot's time can be changed. Equal
/// times come in the order of the slots, so that a run can be repeated.
package struct DeadlineHeap: Sendable {
    private var heap: [(time: Timestamp, index: Int32)] = []
    /// Where a slot is in the heap, or -1.
    private var positions: [Int32] = []

    package init() {}

    /// The earliest time, or `.never`.
    package var earliest: Timestamp { heap.first?.time ?? .never }

    /// The time of a slot, or `.never`.
    package subscript(index: Int) -> Timestamp {
        guard index < positions.count, positions[index] >= 0 else { return .never }
        return heap[Int(positions[index])].time
    }

    /// Sets or changes the time of a slot; `.never` takes it out.
    /// - Complexity: logarithmic.
    package mutating func set(_ index: Int, to time: Timestamp) {
        while positions.count <= index { positions.append(-1) }
        let position = Int(positions[index])
        if position < 0 {
            guard time != .never else { return }
            heap.append((time, Int32(index)))
            positions[index] = Int32(heap.count - 1)
            moveUp(heap.count - 1)
        } else if time == .never {
            remove(at: position)
        } else {
            heap[position].time = time
            moveUp(position)
            moveDown(Int(positions[index]))
        }
    }

    package mutating func remove(_ index: Int) { set(index, to: .never) }

    /// Takes out a slot whose time has come.
    package mutating func popExpired(_ now: Timestamp) -> Int? {
        guard let first = heap.first, first.time <= now else { return nil }
        remove(at: 0)
        return Int(first.index)
    }

    private mutating func remove(at position: Int) {
        positions[Int(heap[position].index)] = -1
        let last = heap.removeLast()
        guard position < heap.count else { return }
        heap[position] = last
        positions[Int(last.index)] = Int32(position)
        moveUp(position)
        moveDown(Int(positions[Int(last.index)]))
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].index) < (heap[right].time, heap[right].index)
    }

    private mutating func moveUp(_ start: Int) {
        var position = start
        while position > 0, isBefore(position, (position - 1) / 2) {
            exchange(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    private mutating func moveDown(_ start: Int) {
        var position = start
        while true {
            var smallest = position
            for child in (2 * position + 1)..<(2 * position + 3) where child < heap.count && isBefore(child, smallest) {
                smallest = child
            }
            guard smallest != position else { return }
            exchange(position, smallest)
            position = smallest
        }
    }

    private mutating func exchange(_ left: Int, _ right: Int) {
        heap.swapAt(left, right)
        positions[Int(heap[left].index)] = Int32(left)
        positions[Int(heap[right].index)] = Int32(right)
    }
}
