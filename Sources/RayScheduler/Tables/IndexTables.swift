// Tables of the machines: slots that are used again, and lists of slots linked by index. They allocate only
// while they grow, and their order never depends on hashing.

/// Hands out indices, the one freed last first, so that tables stay small and warm.
struct SlotPool: Sendable {
    private var free: [Int32] = []
    /// Indices ever handed out: the length that the table must have.
    private(set) var capacity = 0
    var used: Int { capacity - free.count }

    /// A free index; when it equals the old `capacity`, the table has to grow by one.
    mutating func take() -> Int {
        if let index = free.popLast() { return Int(index) }
        capacity += 1
        return capacity - 1
    }

    mutating func give(_ index: Int) { free.append(Int32(index)) }
}

/// A list of indices in the order in which they were appended. The links are in a `LinkTable`.
struct IndexList: Sendable {
    fileprivate var firstIndex: Int32 = -1
    fileprivate var lastIndex: Int32 = -1
    private(set) var count: Int32 = 0

    var isEmpty: Bool { count == 0 }
    var first: Int? { firstIndex < 0 ? nil : Int(firstIndex) }
    var last: Int? { lastIndex < 0 ? nil : Int(lastIndex) }

    fileprivate mutating func changeCount(by difference: Int32) { count += difference }
}

/// Links of indices that are in at most one list each.
struct LinkTable: Sendable {
    private var links: [(previous: Int32, next: Int32)] = []

    private mutating func grow(to index: Int) {
        while links.count <= index { links.append((-1, -1)) }
    }

    mutating func append(_ index: Int, to list: inout IndexList) {
        grow(to: index)
        links[index] = (list.lastIndex, -1)
        if list.lastIndex < 0 { list.firstIndex = Int32(index) } else { links[Int(list.lastIndex)].next = Int32(index) }
        list.lastIndex = Int32(index)
        list.changeCount(by: 1)
    }

    mutating func prepend(_ index: Int, to list: inout IndexList) {
        grow(to: index)
        links[index] = (-1, list.firstIndex)
        if list.firstIndex < 0 {
            list.lastIndex = Int32(index)
        } else {
            links[Int(list.firstIndex)].previous = Int32(index)
        }
        list.firstIndex = Int32(index)
        list.changeCount(by: 1)
    }

    /// - Precondition: `index` is in `list`.
    mutating func remove(_ index: Int, from list: inout IndexList) {
        let (previous, next) = links[index]
        if previous < 0 { list.firstIndex = next } else { links[Int(previous)].next = next }
        if next < 0 { list.lastIndex = previous } else { links[Int(next)].previous = previous }
        list.changeCount(by: -1)
    }

    /// Takes the first index out of the list.
    mutating func popFirst(_ list: inout IndexList) -> Int? {
        guard let index = list.first else { return nil }
        remove(index, from: &list)
        return index
    }

    /// The index behind `index` in its list.
    func next(after index: Int) -> Int? {
        let next = links[index].next
        return next < 0 ? nil : Int(next)
    }

    /// The index before `index` in its list.
    func previous(before index: Int) -> Int? {
        let previous = links[index].previous
        return previous < 0 ? nil : Int(previous)
    }

    /// The indices of a list, in order, as they are now.
    func indices(of list: IndexList) -> [Int] {
        var indices: [Int] = []
        indices.reserveCapacity(Int(list.count))
        var index = list.first
        while let current = index {
            indices.append(current)
            index = next(after: current)
        }
        return indices
    }
}

/// First in, first out, in one array whose used-up front is cut off now and then.
struct Fifo<Element: Sendable>: Sendable {
    private var elements: [Element] = []
    private var start = 0

    var count: Int { elements.count - start }
    var isEmpty: Bool { count == 0 }
    var first: Element? { isEmpty ? nil : elements[start] }

    mutating func append(_ element: Element) { elements.append(element) }

    /// Changes each element, in order.
    mutating func change(_ body: (inout Element) -> Void) {
        for index in start..<elements.count { body(&elements[index]) }
    }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = elements[start]
        start += 1
        if start >= 32, start * 2 >= elements.count {
            elements.removeFirst(start)
            start = 0
        }
        return element
    }
}
