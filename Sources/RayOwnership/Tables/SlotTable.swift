// Tables whose elements are named by small numbers, and lists that link those numbers.

/// The number of an element of a table.
typealias Slot = UInt32

extension Slot {
    /// No element.
    static var absent: Slot { .max }
}

/// An array that grows a chunk at a time: nothing is moved, and little is unused.
struct ChunkedArray<Element: Sendable>: Sendable {
    private static var chunkBits: Slot { 8 }
    private var chunks: ContiguousArray<ContiguousArray<Element>> = []
    private let blank: Element

    init(blank: Element) { self.blank = blank }

    var capacity: Int { chunks.count << Int(Self.chunkBits) }

    mutating func grow(toInclude slot: Slot) {
        while capacity <= Int(slot) {
            chunks.append(ContiguousArray(repeating: blank, count: 1 << Int(Self.chunkBits)))
        }
    }

    subscript(slot: Slot) -> Element {
        @inline(__always)
        _read { yield chunks[Int(slot >> Self.chunkBits)][Int(slot & (1 << Self.chunkBits - 1))] }
        @inline(__always)
        _modify { yield &chunks[Int(slot >> Self.chunkBits)][Int(slot & (1 << Self.chunkBits - 1))] }
    }

    mutating func clear(_ slot: Slot) { self[slot] = blank }
}

/// Elements in slots that are used again, the one freed last first.
struct SlotTable<Element: Sendable>: Sendable {
    private var elements: ChunkedArray<Element>
    private var freed: [Slot] = []
    /// Slots ever used.
    private(set) var end: Slot = 0

    init(blank: Element) { elements = ChunkedArray(blank: blank) }

    var count: Int { Int(end) - freed.count }

    mutating func insert(_ element: Element) -> Slot {
        let slot: Slot
        if let last = freed.popLast() {
            slot = last
        } else {
            precondition(end < .absent, "a table is full")
            slot = end
            end += 1
            elements.grow(toInclude: slot)
        }
        elements[slot] = element
        return slot
    }

    mutating func remove(_ slot: Slot) {
        elements.clear(slot)
        freed.append(slot)
    }

    subscript(slot: Slot) -> Element {
        @inline(__always)
        _read { yield elements[slot] }
        @inline(__always)
        _modify { yield &elements[slot] }
    }
}

/// Links of slots that are in at most one list each, in the order in which they were appended. A list is named by
/// its first slot, which whoever has the list keeps.
struct SlotLists: Sendable {
    private struct Link {
        var next: Slot = .absent
        var previous: Slot = .absent
    }

    /// Circular: the first's previous is the last.
    private var links = ChunkedArray(blank: Link())

    mutating func append(_ slot: Slot, to first: inout Slot) {
        links.grow(toInclude: slot)
        guard first != .absent else {
            links[slot] = Link(next: slot, previous: slot)
            first = slot
            return
        }
        let last = links[first].previous
        links[slot] = Link(next: first, previous: last)
        links[last].next = slot
        links[first].previous = slot
    }

    /// - Precondition: `slot` is in the list.
    mutating func remove(_ slot: Slot, from first: inout Slot) {
        let link = links[slot]
        links[link.previous].next = link.next
        links[link.next].previous = link.previous
        if first == slot { first = link.next == slot ? .absent : link.next }
    }

    mutating func removeFirst(of first: inout Slot) -> Slot? {
        guard first != .absent else { return nil }
        let slot = first
        remove(slot, from: &first)
        return slot
    }

    /// The slot behind `slot`, or `absent` behind the last.
    func next(after slot: Slot, in first: Slot) -> Slot {
        let next = links[slot].next
        return next == first ? .absent : next
    }

    func forEach(in first: Slot, _ body: (Slot) -> Void) {
        var slot = first
        while slot != .absent {
            body(slot)
            slot = next(after: slot, in: first)
        }
    }
}
