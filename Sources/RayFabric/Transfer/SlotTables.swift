// Tables of the transfer machines: slots that are used again, and lists of slots linked by index.
// They allocate only while they grow.

/// Hands out indices, the one freed last first, so that tables stay small and warm.
struct SlotPool {
    private var free: [Int] = []
    /// Indices ever handed out: the length that the table must have.
    private(set) var capacity = 0
    var used: Int { capacity - free.count }

    /// A free index; when it equals the old `capacity`, the table has to grow by one.
    mutating func take() -> Int {
        if let index = free.popLast() { return index }
        capacity += 1
        return capacity - 1
    }

    mutating func give(_ index: Int) { free.append(index) }
}

/// A list of indices in the order in which they were appended. The links are in a `LinkTable`.
struct IndexList {
    fileprivate(set) var first = LinkTable.none
    fileprivate var last = LinkTable.none
    fileprivate(set) var count = 0
    var isEmpty: Bool { count == 0 }
}

/// Links of indices that are in at most one list each.
struct LinkTable {
    /// No index.
    static let none = -1
    private var links: [(previous: Int, next: Int)] = []

    mutating func append(_ index: Int, to list: inout IndexList) {
        while links.count <= index { links.append((Self.none, Self.none)) }
        links[index] = (list.last, Self.none)
        if list.last == Self.none { list.first = index } else { links[list.last].next = index }
        list.last = index
        list.count += 1
    }

    mutating func prepend(_ index: Int, to list: inout IndexList) {
        while links.count <= index { links.append((Self.none, Self.none)) }
        links[index] = (Self.none, list.first)
        if list.first == Self.none { list.last = index } else { links[list.first].previous = index }
        list.first = index
        list.count += 1
    }

    /// - Precondition: `index` is in `list`.
    mutating func remove(_ index: Int, from list: inout IndexList) {
        let (previous, next) = links[index]
        if previous == Self.none { list.first = next } else { links[previous].next = next }
        if next == Self.none { list.last = previous } else { links[next].previous = previous }
        list.count -= 1
    }

    /// The index behind `index` in its list, or `none`.
    func next(after index: Int) -> Int { links[index].next }
}

/// One list for each priority.
struct PriorityLists {
    private var lists = InlineArray<3, IndexList>(repeating: IndexList())

    subscript(priority: PullPriority) -> IndexList {
        get { lists[Int(priority.rawValue)] }
        set { lists[Int(priority.rawValue)] = newValue }
    }

    /// The first index of the highest priority; nil when all lists are empty.
    var first: Int? {
        for priority in lists.indices where !lists[priority].isEmpty { return lists[priority].first }
        return nil
    }
}
