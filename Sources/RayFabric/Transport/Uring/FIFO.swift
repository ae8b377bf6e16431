// A queue with constant-time ends.

/// First in, first out. Removal costs no allocation and no moving of the other elements.
struct FIFO<Element> {
    private var elements: [Element?] = []
    private var head = 0

    var count: Int { elements.count - head }
    var isEmpty: Bool { head == elements.count }

    mutating func append(_ element: Element) {
        if head > 32, head * 2 > elements.count {
            elements.removeFirst(head)
            head = 0
        }
        elements.append(element)
    }

    /// Puts back what was just taken.
    mutating func appendFirst(_ element: Element) {
        guard head > 0 else { return elements.insert(element, at: 0) }
        head -= 1
        elements[head] = element
    }

    mutating func popFirst() -> Element? {
        guard head < elements.count else { return nil }
        let element = elements[head].take()
        head += 1
        if head == elements.count {
            elements.removeAll(keepingCapacity: true)
            head = 0
        }
        return element
    }

    /// Takes out all elements that fit, in order.
    mutating func removeAll(where fits: (Element) -> Bool) -> [Element] {
        var removed: [Element] = []
        var kept: [Element?] = []
        for case let element? in elements[head...] {
            if fits(element) { removed.append(element) } else { kept.append(element) }
        }
        elements = kept
        head = 0
        return removed
    }
}

extension FIFO: Sendable where Element: Sendable {}
