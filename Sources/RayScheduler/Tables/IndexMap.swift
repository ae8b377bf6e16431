// From identifiers to slots of tables: the hash table of the machines' data paths.

internal import RayCore

/// A key whose bits can be mixed into one word. The mixing is the same in every process, but for scheduling classes;
/// nothing goes through a map in its order.
protocol MixedKey: Equatable, Sendable {
    var mixed: UInt64 { get }
}

/// A map from keys to small integers: open addressing, linear probing, no tombstones. Several times faster for
/// identifiers than `Dictionary`, whose hash withstands strangers; these keys come from members of the cluster.
struct IndexMap<Key: MixedKey>: Sendable {
    /// -1 where nothing is. The count is zero or a power of two.
    private var values: [Int32] = []
    private var keys: [Key] = []
    private(set) var count = 0

    /// The value of a key, or nil.
    subscript(key: Key) -> Int? {
        guard count > 0 else { return nil }
        let mask = values.count - 1
        var position = Int(truncatingIfNeeded: key.mixed) & mask
        while values[position] >= 0 {
            if keys[position] == key { return Int(values[position]) }
            position = (position + 1) & mask
        }
        return nil
    }

    /// - Precondition: the key is not in the map.
    mutating func insert(_ key: Key, _ value: Int) {
        if count * 2 >= values.count { grow(key) }
        place(key, Int32(value))
        count += 1
    }

    private mutating func place(_ key: Key, _ value: Int32) {
        let mask = values.count - 1
        var position = Int(truncatingIfNeeded: key.mixed) & mask
        while values[position] >= 0 { position = (position + 1) & mask }
        values[position] = value
        keys[position] = key
    }

    private mutating func grow(_ filler: Key) {
        let (oldValues, oldKeys) = (values, keys)
        let capacity = max(8, oldValues.count * 2)
        values = Array(repeating: -1, count: capacity)
        keys = Array(repeating: filler, count: capacity)
        for position in oldValues.indices where oldValues[position] >= 0 {
            place(oldKeys[position], oldValues[position])
        }
    }

    /// Takes a key out.
    /// - Returns: its value, or nil if it was not in the map.
    @discardableResult
    mutating func remove(_ key: Key) -> Int? {
        guard count > 0 else { return nil }
        let mask = values.count - 1
        var hole = Int(truncatingIfNeeded: key.mixed) & mask
        while true {
            if values[hole] < 0 { return nil }
            if keys[hole] == key { break }
            hole = (hole + 1) & mask
        }
        let removed = Int(values[hole])
        count -= 1
        // Whoever was kept from the hole moves into it.
        var position = hole
        while true {
            position = (position + 1) & mask
            if values[position] < 0 { break }
            let home = Int(truncatingIfNeeded: keys[position].mixed) & mask
            guard (position - home) & mask >= (position - hole) & mask else { continue }
            values[hole] = values[position]
            keys[hole] = keys[position]
            hole = position
        }
        values[hole] = -1
        return removed
    }
}

/// Mixes words well enough for a table: multiplication by odd constants, high bits folded down.
@inline(__always)
private func mix(_ first: UInt64, _ second: UInt64, _ third: UInt64) -> UInt64 {
    var word = first &* 0x9e37_79b9_7f4a_7c15 ^ second &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 29) &* 0x94d0_49bb_1331_11eb &+ third &* 0xd6e8_feb8_6659_fd93
    word ^= word >> 32
    word &*= 0xd6e8_feb8_6659_fd93
    return word ^ word >> 32
}

extension NodeID: MixedKey {
    @inline(__always)
    var mixed: UInt64 { mix(value, UInt64(incarnation), 0) }
}

extension WorkerID: MixedKey {
    @inline(__always)
    var mixed: UInt64 { mix(node.value, UInt64(node.incarnation) << 32 | UInt64(number), 0) }
}

extension TaskID: MixedKey {
    @inline(__always)
    var mixed: UInt64 {
        mix(owner.node.value, UInt64(owner.node.incarnation) << 32 | UInt64(owner.number), sequence)
    }
}

extension ObjectID: MixedKey {
    @inline(__always)
    var mixed: UInt64 { mix(words.0, words.1, words.2) }
}

extension LeaseRequestID: MixedKey {
    @inline(__always)
    var mixed: UInt64 { TaskID(owner: submitter, sequence: sequence).mixed }
}

extension LeaseID: MixedKey {
    @inline(__always)
    var mixed: UInt64 { mix(node.value, UInt64(node.incarnation), number) }
}

extension SchedulingClass: MixedKey {
    @inline(__always)
    var mixed: UInt64 { fingerprint }
}

extension UInt64: MixedKey {
    @inline(__always)
    var mixed: UInt64 { mix(self, 0, 0) }
}
