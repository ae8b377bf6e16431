// Labels of nodes, and selectors over them.

/// Key and value texts that describe a node, such as `zone` and `accelerator`.
public struct NodeLabels: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    /// One label.
    public struct Entry: Hashable, Sendable {
        public let key: String
        public let value: String
    }

    /// Sorted by key; a key occurs once.
    public let entries: [Entry]

    public static let none = NodeLabels([])

    /// Of a repeated key the last value counts.
    public init(_ labels: [(key: String, value: String)]) {
        var entries: [Entry] = []
        for label in labels {
            let index = entries.firstIndex { $0.key >= label.key } ?? entries.count
            if index < entries.count, entries[index].key == label.key { entries.remove(at: index) }
            entries.insert(Entry(key: label.key, value: label.value), at: index)
        }
        self.entries = entries
    }

    public init(dictionaryLiteral elements: (String, String)...) { self.init(elements.map { (key: $0, value: $1) }) }

    public subscript(key: String) -> String? { entries.first { $0.key == key }?.value }
}

/// Conditions on labels, all of which must hold.
public struct LabelSelector: Hashable, Sendable, CustomStringConvertible {
    /// One condition.
    public enum Condition: Hashable, Sendable {
        case isIn(key: String, values: [String])
        case isNotIn(key: String, values: [String])
        case exists(key: String)
        case existsNot(key: String)
    }

    public let conditions: [Condition]

    public static let any = LabelSelector([])

    public init(_ conditions: [Condition]) { self.conditions = conditions }

    public func matches(_ labels: NodeLabels) -> Bool {
        conditions.allSatisfy { condition in
            switch condition {
            case .isIn(let key, let values): labels[key].map(values.contains) ?? false
            case .isNotIn(let key, let values): !(labels[key].map(values.contains) ?? false)
            case .exists(let key): labels[key] != nil
            case .existsNot(let key): labels[key] == nil
            }
        }
    }

    public var description: String {
        conditions.map { condition in
            switch condition {
            case .isIn(let key, let values): "\(key) in (\(values.joined(separator: ", ")))"
            case .isNotIn(let key, let values): "\(key) not in (\(values.joined(separator: ", ")))"
            case .exists(let key): key
            case .existsNot(let key): "no \(key)"
            }
        }.joined(separator: " and ")
    }
}
