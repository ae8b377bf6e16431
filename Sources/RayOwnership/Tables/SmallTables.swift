// A queue, and a memory that forgets what is oldest.

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
