// Amounts of resources in fixed point, and vectors of them: what a task asks for and what a node has.

/// An amount of a resource in ten-thousandths, so that fractions add up exactly.
@frozen
public struct ResourceAmount: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByIntegerLiteral {
    /// Ten-thousandths.
    public var units: Int64

    /// Units in one whole.
    public static let unitsPerWhole: Int64 = 10_000
    public static let zero = ResourceAmount(units: 0)
    public static let one = ResourceAmount(units: unitsPerWhole)

    @inlinable
    public init(units: Int64) { self.units = units }

    /// So many wholes. Saturates at 900 trillion, which bounds memory in bytes too.
    @inlinable
    public init(_ wholes: Int64) {
        let bound = Int64.max / Self.unitsPerWhole
        units = min(max(wholes, -bound), bound) * Self.unitsPerWhole
    }

    @inlinable
    public init(integerLiteral value: Int64) { self.init(value) }

    /// Rounded up to the next ten-thousandth, so that no request is free by rounding.
    /// - Precondition: it is less than 900 trillion, either way.
    public init(fraction: Double) {
        let scaled = fraction * Double(Self.unitsPerWhole)
        units = Int64(scaled)
        if Double(units) < scaled { units += 1 }
    }

    /// Without a fraction.
    @inlinable
    public var isWhole: Bool { units % Self.unitsPerWhole == 0 }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.units < right.units }
    @inlinable
    public static func + (left: Self, right: Self) -> Self { Self(units: left.units &+ right.units) }
    @inlinable
    public static func - (left: Self, right: Self) -> Self { Self(units: left.units &- right.units) }
    @inlinable
    public static func += (left: inout Self, right: Self) { left.units &+= right.units }
    @inlinable
    public static func -= (left: inout Self, right: Self) { left.units &-= right.units }

    public var description: String {
        let whole = units / Self.unitsPerWhole
        let rest = (units % Self.unitsPerWhole).magnitude
        guard rest > 0 else { return String(whole) }
        let digits = String(rest + UInt64(Self.unitsPerWhole)).dropFirst()
        let sign = units < 0 && whole == 0 ? "-" : ""
        return sign + "\(whole)." + String(digits.reversed().drop { $0 == "0" }.reversed())
    }
}

/// The name of a resource: at most 24 bytes of UTF-8, so that it lies in place and costs no reference count.
@frozen
public struct ResourceName: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    @usableFromInline let words: (UInt64, UInt64, UInt64)

    public static let byteLimit = 24
    public static let cpu: ResourceName = "CPU"
    public static let memory: ResourceName = "memory"
    public static let gpu: ResourceName = "GPU"

    /// Nil when the text is empty, longer than 24 bytes or holds a NUL.
    public init?(_ text: some StringProtocol) {
        let bytes = text.utf8
        guard !bytes.isEmpty, bytes.count <= Self.byteLimit, !bytes.contains(0) else { return nil }
        var words: [UInt64] = [0, 0, 0]
        // The first byte is the highest, so that words order as text does.
        for (index, byte) in bytes.enumerated() { words[index / 8] |= UInt64(byte) << (56 - 8 * UInt64(index % 8)) }
        self.words = (words[0], words[1], words[2])
    }

    public init(stringLiteral value: String) {
        guard let name = ResourceName(value) else { preconditionFailure("\(value) can not name a resource") }
        self = name
    }

    @inlinable
    public static func == (left: Self, right: Self) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1 && left.words.2 == right.words.2
    }

    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.words < right.words }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
    }

    public var description: String {
        let bytes = [words.0, words.1, words.2].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) }
        }
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// Amounts by resource. CPU and memory have their own places; the rest, mostly nothing, is a sorted list.
public struct ResourceVector: Hashable, Sendable, CustomStringConvertible {
    /// One named resource.
    @frozen
    public struct Entry: Hashable, Sendable {
        public let name: ResourceName
        public var amount: ResourceAmount

        @inlinable
        public init(_ name: ResourceName, _ amount: ResourceAmount) {
            self.name = name
            self.amount = amount
        }
    }

    public var cpu: ResourceAmount
    /// Bytes.
    public var memory: ResourceAmount
    /// Sorted by name; a name occurs once. An entry may be zero.
    public private(set) var others: [Entry]

    /// - Parameters:
    ///   - cpu: processors.
    ///   - memory: bytes.
    ///   - others: named resources beside CPU and memory; amounts of a repeated name add up.
    public init(cpu: ResourceAmount = .zero, memory: ResourceAmount = .zero, others: [Entry] = []) {
        self.cpu = cpu
        self.memory = memory
        self.others = []
        for entry in others { self[entry.name] += entry.amount }
    }

    public static let zero = ResourceVector()

    public subscript(name: ResourceName) -> ResourceAmount {
        get {
            switch name {
            case .cpu: cpu
            case .memory: memory
            default: others.first { $0.name == name }?.amount ?? .zero
            }
        }
        set {
            switch name {
            case .cpu: cpu = newValue
            case .memory: memory = newValue
            default:
                let index = others.firstIndex { $0.name >= name } ?? others.count
                if index < others.count, others[index].name == name {
                    others[index].amount = newValue
                } else {
                    others.insert(Entry(name, newValue), at: index)
                }
            }
        }
    }

    /// Whether every amount of `demand` is there.
    public func covers(_ demand: ResourceVector) -> Bool {
        cpu >= demand.cpu && memory >= demand.memory
            && (demand.others.isEmpty || demand.others.allSatisfy { self[$0.name] >= $0.amount })
    }

    /// How often `demand` fits, at most `limit`.
    public func multiples(of demand: ResourceVector, limit: Int) -> Int {
        var count = Int64(limit)
        func bound(_ available: ResourceAmount, _ demanded: ResourceAmount) {
            if demanded > .zero { count = min(count, max(0, available.units / demanded.units)) }
        }
        bound(cpu, demand.cpu)
        bound(memory, demand.memory)
        for entry in demand.others { bound(self[entry.name], entry.amount) }
        return Int(count)
    }

    /// The first resource of which too little is there for `demand`.
    public func shortage(of demand: ResourceVector) -> (name: ResourceName, needed: ResourceAmount)? {
        if cpu < demand.cpu { return (.cpu, demand.cpu) }
        if memory < demand.memory { return (.memory, demand.memory) }
        return demand.others.first { self[$0.name] < $0.amount }.map { ($0.name, $0.amount) }
    }

    public mutating func add(_ other: ResourceVector, times count: Int = 1) {
        cpu += other.cpu * count
        memory += other.memory * count
        for entry in other.others { self[entry.name] += entry.amount * count }
    }

    public mutating func subtract(_ other: ResourceVector, times count: Int = 1) { add(other, times: -count) }

    public var isZero: Bool { cpu == .zero && memory == .zero && others.allSatisfy { $0.amount == .zero } }

    /// Whether it may be demanded: no amount is below zero, and of a named resource either at most one whole is asked
    /// or wholes. Who makes a demand from what another process says asks this first.
    public var isValidDemand: Bool {
        cpu >= .zero && memory >= .zero
            && others.allSatisfy { $0.amount >= .zero && ($0.amount <= .one || $0.amount.isWhole) }
    }

    public var description: String {
        var parts: [String] = []
        if cpu != .zero { parts.append("\(cpu) CPU") }
        if memory != .zero { parts.append("\(memory) memory") }
        parts += others.filter { $0.amount != .zero }.map { "\($0.amount) \($0.name)" }
        return parts.isEmpty ? "nothing" : parts.joined(separator: ", ")
    }
}

extension ResourceAmount {
    @inlinable
    static func * (amount: Self, count: Int) -> Self {
        let (product, overflow) = amount.units.multipliedReportingOverflow(by: Int64(count))
        guard overflow else { return Self(units: product) }
        return Self(units: (amount.units < 0) != (count < 0) ? .min : .max)
    }
}
