// Which slot's time comes first.

internal import RayCore

/// A binary heap of slots by time, at most one time for each slot; a slot's time can be changed.
struct DeadlineHeap {
    private var heap: [(time: Timestamp, index: Int)] = []
    /// Where a slot is in the heap, or -1.
    private var positions: [Int] = []

    /// The earliest time, or `.never`.
    var earliest: Timestamp { heap.first?.time ?? .never }

    /// Sets or changes the time of a slot; `.never` takes it out.
    /// - Complexity: logarithmic.
    mutating func set(_ index: Int, to time: Timestamp) {
        while positions.count <= index { positions.append(-1) }
        let position = positions[index]
        if position < 0 {
            guard time != .never else { return }
            heap.append((time, index))
            positions[index] = heap.count - 1
            moveUp(heap.count - 1)
        } else if time == .never {
            remove(at: position)
        } else {
            heap[position].time = time
            moveUp(position)
            moveDown(positions[index])
        }
    }

    mutating func remove(_ index: Int) { set(index, to: .never) }

    /// Takes out a slot whose time has come.
    mutating func popExpired(_ now: Timestamp) -> Int? {
        guard let first = heap.first, first.time <= now else { return nil }
        remove(at: 0)
        return first.index
    }

    private mutating func remove(at position: Int) {
        positions[heap[position].index] = -1
        let last = heap.removeLast()
        guard position < heap.count else { return }
        heap[position] = last
        positions[last.index] = position
        moveUp(position)
        moveDown(positions[last.index])
    }

    private mutating func moveUp(_ start: Int) {
        var position = start
        while position > 0, heap[position].time < heap[(position - 1) / 2].time {
            exchange(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    private mutating func moveDown(_ start: Int) {
        var position = start
        while true {
            var smallest = position
            for child in (2 * position + 1)...(2 * position + 2) where child < heap.count {
                if heap[child].time < heap[smallest].time { smallest = child }
            }
            guard smallest != position else { return }
            exchange(position, smallest)
            position = smallest
        }
    }

    private mutating func exchange(_ left: Int, _ right: Int) {
        heap.swapAt(left, right)
        positions[heap[left].index] = left
        positions[heap[right].index] = right
    }
}
