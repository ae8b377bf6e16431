// What a device is still to be shown of this node's memory, as a queue without I/O.

internal import RayCore

/// Memory that waits to be registered with a device, in the order in which it was appended.
struct RegistrationQueue: Sendable {
    /// A part of a region that is registered at a time.
    struct Piece: Hashable, Sendable {
        var key: RegionKey
        var range: Range<UInt64>
        /// More of what was appended with it follows next.
        var isCut: Bool
    }

    private var waiting = FIFO<(key: RegionKey, range: Range<UInt64>)>()

    var isEmpty: Bool { waiting.isEmpty }

    mutating func append(_ key: RegionKey, _ range: Range<UInt64>) {
        if !range.isEmpty { waiting.append((key, range)) }
    }

    /// Takes out what is to be registered next, at most so many bytes.
    mutating func next(most count: UInt64) -> Piece? {
        precondition(count > 0)
        guard let (key, range) = waiting.popFirst() else { return nil }
        guard range.upperBound - range.lowerBound > count else { return Piece(key: key, range: range, isCut: false) }
        let end = range.lowerBound + count
        waiting.appendFirst((key, end..<range.upperBound))
        return Piece(key: key, range: range.lowerBound..<end, isCut: true)
    }

    /// Takes out what follows a piece that was cut.
    mutating func dropRest(of piece: Piece) {
        if piece.isCut { _ = waiting.popFirst() }
    }

    /// Takes out all of a region.
    mutating func remove(_ key: RegionKey) { _ = waiting.removeAll { $0.key == key } }

    /// Takes out a part of a region, which has other memory now.
    mutating func remove(_ key: RegionKey, _ range: Range<UInt64>) {
        for (_, old) in waiting.removeAll(where: { $0.key == key && $0.range.overlaps(range) }) {
            append(key, old.lowerBound..<max(old.lowerBound, range.lowerBound))
            append(key, min(old.upperBound, range.upperBound)..<old.upperBound)
        }
    }
}
