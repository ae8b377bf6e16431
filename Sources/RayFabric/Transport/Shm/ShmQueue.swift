// A first-in first-out queue that keeps its storage.

/// A queue. All operations but `remove(where:)` take constant time on average.
struct ShmQueue<Element> {
    private var elements: [Element] = []
    private var head = 0

    var count: Int { elements.count - head }

    @inline(__always)
    var isEmpty: Bool { head == elements.count }

    var first: Element? { isEmpty ? nil : elements[head] }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = elements[head]
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: true)
            head = 0
        } else if head == 1024 {
            elements.removeFirst(head)
            head = 0
        }
        return element
    }

    /// Changes the first element in place.
    mutating func updateFirst(_ change: (inout Element) -> Void) {
        precondition(!isEmpty)
        change(&elements[head])
    }

    /// Removes the first element that matches.
    /// - Returns: whether there was one.
    mutating func remove(where matches: (Element) -> Bool) -> Bool {
        guard let index = elements[head...].firstIndex(where: matches) else { return false }
        elements.remove(at: index)
        return true
    }
}
