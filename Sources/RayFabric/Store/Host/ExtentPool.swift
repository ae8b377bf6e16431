// Free extents of memory, found by size and merged with their neighbours. Pure data, no memory of its own.

/// A set of disjoint free extents in units of granules (64 bytes of the arena). Extents never cross
/// a segment boundary, so that a segment that is free is one extent.
///
/// Extents lie in bins of similar size, last freed first: what was used last is still in the cache.
/// Neighbours are found through hash maps of where extents start and end, so that inserting and
/// taking cost O(1), whatever the fragmentation.
struct ExtentPool {
    private struct Extent {
        var start: UInt64
        var count: UInt64
        var previous: Int32
        var next: Int32
    }

    private static let none: Int32 = -1
    private static let binCount = 192

    let segmentGranules: UInt64
    /// Granules in the pool.
    private(set) var freeGranules: UInt64 = 0
    private var extents: [Extent] = []
    private var unused: [Int32] = []
    private var heads: [Int32]
    /// One bit for each bin that is not empty.
    private var occupied: (UInt64, UInt64, UInt64) = (0, 0, 0)
    /// The extent freed last, not in a bin yet: objects are often freed in the order in which they
    /// were made, and then this one just grows.
    private var recent: Range<UInt64> = 0..<0
    private var startingAt: [UInt64: Int32] = [:]
    private var endingAt: [UInt64: Int32] = [:]

    init(segmentGranules: UInt64) {
        precondition(segmentGranules > 0)
        self.segmentGranules = segmentGranules
        heads = Array(repeating: Self.none, count: Self.binCount)
    }

    /// Extents in the pool; for tests and statistics.
    var extentCount: Int { startingAt.count + (recent.isEmpty ? 0 : 1) }

    /// Adds a free range, which may span segments.
    mutating func insert(_ range: Range<UInt64>) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = min(range.upperBound, (start / segmentGranules + 1) * segmentGranules)
            insertWithin(start..<end)
            start = end
        }
    }

    private mutating func insertWithin(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        freeGranules += UInt64(range.count)
        if range.lowerBound == recent.upperBound, range.lowerBound % segmentGranules != 0, !recent.isEmpty {
            recent = recent.lowerBound..<range.upperBound
        } else {
            settle()
            recent = range
        }
    }

    /// Puts the extent freed last into its bin, merged with its neighbours.
    private mutating func settle() {
        guard !recent.isEmpty else { return }
        let range = recent
        recent = 0..<0
        var start = range.lowerBound
        var end = range.upperBound
        if start % segmentGranules != 0, let left = endingAt[start] {
            start = extents[Int(left)].start
            unlink(left)
        }
        if end % segmentGranules != 0, let right = startingAt[end] {
            end = extents[Int(right)].start + extents[Int(right)].count
            unlink(right)
        }
        link(start..<end)
    }

    /// Takes an extent of `preferred` granules, or else the largest there is of at least `minimum`.
    /// - Returns: nil when no extent has `minimum` granules.
    mutating func take(minimum: UInt64, preferred: UInt64) -> Range<UInt64>? {
        precondition(minimum > 0 && minimum <= preferred)
        settle()
        let found: Int32
        if let bin = firstOccupied(from: Self.bin(holdingAtLeast: preferred)) {
            found = heads[bin]
        } else if let bin = lastOccupied(), let fitting = largestEnough(in: bin, minimum: minimum) {
            found = fitting
        } else {
            return nil
        }
        let extent = extents[Int(found)]
        unlink(found)
        let count = min(preferred, extent.count)
        if count < extent.count { link((extent.start + count)..<(extent.start + extent.count)) }
        freeGranules -= count
        return extent.start..<(extent.start + count)
    }

    /// Takes exactly `range` if all of it is one whole extent, as a free segment is.
    mutating func takeWhole(_ range: Range<UInt64>) -> Bool {
        settle()
        guard let found = startingAt[range.lowerBound], extents[Int(found)].count == UInt64(range.count) else {
            return false
        }
        unlink(found)
        freeGranules -= UInt64(range.count)
        return true
    }

    /// Whether `range` is one whole extent.
    mutating func holdsWhole(_ range: Range<UInt64>) -> Bool {
        settle()
        guard let found = startingAt[range.lowerBound] else { return false }
        return extents[Int(found)].count == UInt64(range.count)
    }

    /// Takes all extents of a segment. O(extents).
    mutating func takeAll(inSegment segment: Int) -> [Range<UInt64>] {
        settle()
        let start = UInt64(segment) * segmentGranules
        let bounds = start..<(start + segmentGranules)
        let found = startingAt.values.filter { bounds.contains(extents[Int($0)].start) }.sorted()
        return found.map { index in
            let extent = extents[Int(index)]
            unlink(index)
            freeGranules -= extent.count
            return extent.start..<(extent.start + extent.count)
        }
    }

    // MARK: Bins

    /// Four bins for each power of two.
    private static func bin(of count: UInt64) -> Int {
        if count < 4 { return Int(count) }
        let exponent = 63 - count.leadingZeroBitCount
        return exponent * 4 + Int((count >> UInt64(exponent - 2)) & 3) - 4
    }

    /// The first bin of which every extent has at least `count` granules.
    private static func bin(holdingAtLeast count: UInt64) -> Int {
        if count < 4 { return Int(count) }
        let step = UInt64(1) << UInt64(63 - count.leadingZeroBitCount - 2)
        return bin(of: count + step - 1)
    }

    private func firstOccupied(from bin: Int) -> Int? {
        if bin < 64 {
            let word = occupied.0 & (UInt64.max << UInt64(bin))
            if word != 0 { return word.trailingZeroBitCount }
        }
        if bin < 128 {
            let word = bin <= 64 ? occupied.1 : occupied.1 & (UInt64.max << UInt64(bin - 64))
            if word != 0 { return 64 + word.trailingZeroBitCount }
        }
        let word = bin <= 128 ? occupied.2 : occupied.2 & (UInt64.max << UInt64(bin - 128))
        return word != 0 ? 128 + word.trailingZeroBitCount : nil
    }

    private func lastOccupied() -> Int? {
        if occupied.2 != 0 { return 191 - occupied.2.leadingZeroBitCount }
        if occupied.1 != 0 { return 127 - occupied.1.leadingZeroBitCount }
        return occupied.0 != 0 ? 63 - occupied.0.leadingZeroBitCount : nil
    }

    /// The first extent of a bin that is large enough; extents of lower bins are all smaller.
    private func largestEnough(in bin: Int, minimum: UInt64) -> Int32? {
        var index = heads[bin]
        while index != Self.none {
            if extents[Int(index)].count >= minimum { return index }
            index = extents[Int(index)].next
        }
        return nil
    }

    private mutating func setOccupied(_ bin: Int, _ isOccupied: Bool) {
        let bit = UInt64(1) << UInt64(bin % 64)
        switch (bin / 64, isOccupied) {
        case (0, true): occupied.0 |= bit
        case (0, false): occupied.0 &= ~bit
        case (1, true): occupied.1 |= bit
        case (1, false): occupied.1 &= ~bit
        case (_, true): occupied.2 |= bit
        case (_, false): occupied.2 &= ~bit
        }
    }

    private mutating func link(_ range: Range<UInt64>) {
        let bin = Self.bin(of: UInt64(range.count))
        let extent = Extent(
            start: range.lowerBound, count: UInt64(range.count), previous: Self.none, next: heads[bin])
        let index: Int32
        if let reused = unused.popLast() {
            index = reused
            extents[Int(index)] = extent
        } else {
            index = Int32(extents.count)
            extents.append(extent)
        }
        if extent.next != Self.none { extents[Int(extent.next)].previous = index }
        heads[bin] = index
        setOccupied(bin, true)
        startingAt[range.lowerBound] = index
        endingAt[range.upperBound] = index
    }

    private mutating func unlink(_ index: Int32) {
        let extent = extents[Int(index)]
        let bin = Self.bin(of: extent.count)
        if extent.previous != Self.none {
            extents[Int(extent.previous)].next = extent.next
        } else {
            heads[bin] = extent.next
            if extent.next == Self.none { setOccupied(bin, false) }
        }
        if extent.next != Self.none { extents[Int(extent.next)].previous = extent.previous }
        startingAt[extent.start] = nil
        endingAt[extent.start + extent.count] = nil
        unused.append(index)
    }
}
