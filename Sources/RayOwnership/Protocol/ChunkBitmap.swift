// Which chunks of an object a node has.

/// A set of chunks, numbered from 0.
public struct ChunkBitmap: Hashable, Sendable {
    /// How many chunks the object has.
    public let count: Int
    private var words: [UInt64]

    /// None of `count` chunks.
    public init(count: Int) {
        precondition(count >= 0, "a negative number of chunks")
        self.count = count
        words = Array(repeating: 0, count: (count + 63) / 64)
    }

    public mutating func insert(_ chunk: Int) {
        precondition(chunk >= 0 && chunk < count, "chunk \(chunk) of \(count)")
        words[chunk / 64] |= 1 << (chunk % 64)
    }

    public func contains(_ chunk: Int) -> Bool {
        chunk >= 0 && chunk < count && words[chunk / 64] & 1 << (chunk % 64) != 0
    }

    /// How many chunks are there.
    public var arrived: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    public mutating func formUnion(_ other: ChunkBitmap) {
        guard other.count == count else { return }
        for index in words.indices { words[index] |= other.words[index] }
    }
}
