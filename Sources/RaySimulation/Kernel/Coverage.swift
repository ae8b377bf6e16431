// Marks of rare paths: a sweep that never reaches one has not tested it.

/// Rare things that the sweep must be seen to do. Each is noted where the simulator sees it happen.
package struct Coverage<Mark: RawRepresentable & CaseIterable & Sendable>: Sendable where Mark.RawValue == Int {
    private var counts: [Int]

    package init() { counts = Array(repeating: 0, count: Mark.allCases.count) }

    @inline(__always)
    package mutating func reach(_ mark: Mark) { counts[mark.rawValue] += 1 }

    /// How often a mark was reached.
    package func count(of mark: Mark) -> Int { counts[mark.rawValue] }

    /// The marks that were never reached.
    package var missing: [Mark] { Mark.allCases.filter { counts[$0.rawValue] == 0 } }

    /// Adds what another run reached.
    package mutating func add(_ other: Coverage) {
        for (index, count) in other.counts.enumerated() { counts[index] += count }
    }
}
