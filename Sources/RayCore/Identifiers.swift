// Identifiers of nodes, workers, objects and tasks: fixed width, ordered bytes, a text form and a parser.
//
// Bytes are big-endian, so byte order, text order and `<` agree.

/// A node: a random number drawn once per machine or embedding process, and the incarnation that
/// tells a restarted node from the one before it. 12 bytes. Text: `n-<16 hex>.<8 hex>`.
@frozen
public struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The random part; it stays when the node restarts.
    public let value: UInt64
    /// Grows with each restart. Messages of an older incarnation are refused.
    public let incarnation: UInt32

    /// Length in bytes on the wire.
    public static let byteCount = 12

    @inlinable
    public init(value: UInt64, incarnation: UInt32) {
        self.value = value
        self.incarnation = incarnation
    }

    /// A node identifier from a source of randomness; zero is never drawn.
    public static func random(incarnation: UInt32 = 1, using source: inout some RandomNumberGenerator) -> NodeID {
        NodeID(value: .random(in: 1...UInt64.max, using: &source), incarnation: incarnation)
    }

    /// A node identifier that no other has, from the system's randomness.
    public static func random(incarnation: UInt32 = 1) -> NodeID {
        NodeID(value: .random(in: 1...UInt64.max), incarnation: incarnation)
    }

    @inlinable
    public static func < (left: NodeID, right: NodeID) -> Bool {
        (left.value, left.incarnation) < (right.value, right.incarnation)
    }

    public var description: String {
        "n-" + hexadecimal(value, digits: 16) + "." + hexadecimal(UInt64(incarnation), digits: 8)
    }

    /// Parses the text form; nil when it is anything else.
    public init?(_ text: some StringProtocol) {
        guard let fields = HexadecimalFields(text, prefix: "n-", digits: [16, 8]) else { return nil }
        self.init(value: fields.values[0], incarnation: UInt32(fields.values[1]))
    }
}

/// A worker: one process (driver, worker, raylet) of a node. 16 bytes. Text: `w-<16>.<8>.<8>`.
@frozen
public struct WorkerID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let node: NodeID
    /// Never reused within one incarnation of the node.
    public let number: UInt32

    /// Length in bytes on the wire.
    public static let byteCount = 16

    @inlinable
    public init(node: NodeID, number: UInt32) {
        self.node = node
        self.number = number
    }

    @inlinable
    public static func < (left: WorkerID, right: WorkerID) -> Bool {
        left.node != right.node ? left.node < right.node : left.number < right.number
    }

    public var description: String {
        "w-" + hexadecimal(node.value, digits: 16) + "." + hexadecimal(UInt64(node.incarnation), digits: 8)
            + "." + hexadecimal(UInt64(number), digits: 8)
    }

    /// Parses the text form; nil when it is anything else.
    public init?(_ text: some StringProtocol) {
        guard let fields = HexadecimalFields(text, prefix: "w-", digits: [16, 8, 8]) else { return nil }
        self.init(
            node: NodeID(value: fields.values[0], incarnation: UInt32(fields.values[1])),
            number: UInt32(fields.values[2]))
    }
}

/// An object. It embeds its owner, for ownership never moves. 24 bytes. Text: `o-<16>.<8>.<8>.<16>`.
@frozen
public struct ObjectID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let owner: WorkerID
    /// Chosen by the owner, unique among the objects it ever owned.
    public let sequence: UInt64

    /// Length in bytes on the wire.
    public static let byteCount = 24

    @inlinable
    public init(owner: WorkerID, sequence: UInt64) {
        self.owner = owner
        self.sequence = sequence
    }

    @inlinable
    public static func < (left: ObjectID, right: ObjectID) -> Bool {
        left.owner != right.owner ? left.owner < right.owner : left.sequence < right.sequence
    }

    /// The identifier as three words, the form in which it lies in shared memory.
    @inlinable
    public var words: (UInt64, UInt64, UInt64) {
        (owner.node.value, UInt64(owner.node.incarnation) << 32 | UInt64(owner.number), sequence)
    }

    @inlinable
    public init(words: (UInt64, UInt64, UInt64)) {
        self.init(
            owner: WorkerID(
                node: NodeID(value: words.0, incarnation: UInt32(truncatingIfNeeded: words.1 >> 32)),
                number: UInt32(truncatingIfNeeded: words.1)),
            sequence: words.2)
    }

    public var description: String {
        "o-" + hexadecimal(owner.node.value, digits: 16)
            + "." + hexadecimal(UInt64(owner.node.incarnation), digits: 8)
            + "." + hexadecimal(UInt64(owner.number), digits: 8)
            + "." + hexadecimal(sequence, digits: 16)
    }

    /// Parses the text form; nil when it is anything else.
    public init?(_ text: some StringProtocol) {
        guard let fields = HexadecimalFields(text, prefix: "o-", digits: [16, 8, 8, 16]) else { return nil }
        self.init(words: (fields.values[0], fields.values[1] << 32 | fields.values[2], fields.values[3]))
    }
}

/// A task: one call of a remote function. It embeds the worker that submitted it, which owns what the task
/// returns. 24 bytes. Text: `t-<16>.<8>.<8>.<16>`.
@frozen
public struct TaskID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let owner: WorkerID
    /// Chosen by the owner, unique among the tasks it ever submitted.
    public let sequence: UInt64

    /// Length in bytes on the wire.
    public static let byteCount = 24

    @inlinable
    public init(owner: WorkerID, sequence: UInt64) {
        self.owner = owner
        self.sequence = sequence
    }

    @inlinable
    public static func < (left: TaskID, right: TaskID) -> Bool {
        left.owner != right.owner ? left.owner < right.owner : left.sequence < right.sequence
    }

    public var description: String {
        "t" + ObjectID(owner: owner, sequence: sequence).description.dropFirst()
    }

    /// Parses the text form; nil when it is anything else.
    public init?(_ text: some StringProtocol) {
        guard text.hasPrefix("t-"), let object = ObjectID("o" + text.dropFirst()) else { return nil }
        self.init(owner: object.owner, sequence: object.sequence)
    }
}

func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: digits - text.count) + text
}

/// Fields of fixed width in lower-case hexadecimal, separated by dots.
private struct HexadecimalFields {
    private(set) var values: [UInt64] = []

    init?(_ text: some StringProtocol, prefix: String, digits: [Int]) {
        var bytes = Array(text.utf8)[...]
        guard bytes.starts(with: prefix.utf8) else { return nil }
        bytes = bytes.dropFirst(prefix.utf8.count)
        for (index, width) in digits.enumerated() {
            if index > 0 {
                guard bytes.popFirst() == UInt8(ascii: ".") else { return nil }
            }
            guard bytes.count >= width else { return nil }
            var value: UInt64 = 0
            for byte in bytes.prefix(width) {
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(byte - 48)
                case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(byte - 87)
                default: return nil
                }
            }
            values.append(value)
            bytes = bytes.dropFirst(width)
        }
        guard bytes.isEmpty else { return nil }
    }
}
