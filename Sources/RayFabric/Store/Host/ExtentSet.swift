// The extents that a client was granted and has not published or returned yet.

/// Disjoint ranges of granules in order. Small: a client holds a few extents and uses them from
/// their front.
struct ExtentSet {
    private(set) var ranges: [Range<UInt64>] = []

    var granules: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }

    mutating func insert(_ range: Range<UInt64>) {
        ranges.insert(range, at: firstIndex(startingAfter: range.lowerBound))
    }

    /// Removes a part.
    /// - Returns: false when `range` is not wholly inside of one member, or the set would be cut
    ///   into more than `limit` pieces; nothing was removed then.
    mutating func remove(_ range: Range<UInt64>, limit: Int) -> Bool {
        let index = firstIndex(startingAfter: range.lowerBound) - 1
        guard index >= 0, ranges[index].upperBound >= range.upperBound, !range.isEmpty else { return false }
        let whole = ranges[index]
        switch (whole.lowerBound == range.lowerBound, whole.upperBound == range.upperBound) {
        case (true, true): ranges.remove(at: index)
        case (true, false): ranges[index] = range.upperBound..<whole.upperBound
        case (false, true): ranges[index] = whole.lowerBound..<range.lowerBound
        case (false, false):
            guard ranges.count < limit else { return false }
            ranges[index] = whole.lowerBound..<range.lowerBound
            ranges.insert(range.upperBound..<whole.upperBound, at: index + 1)
        }
        return true
    }

    /// Index of the first range that starts after `start`.
    private func firstIndex(startingAfter start: UInt64) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].lowerBound <= start { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
