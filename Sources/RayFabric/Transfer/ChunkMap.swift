// Which chunks of an object have arrived, and which are being fetched.

/// Two bits for each chunk. The arrived ones outlive any source, so a transfer goes on where it
/// stopped, and they are what a node could serve before it has the whole object.
struct ChunkMap {
    private(set) var byteCount = 0
    private var chunkBytes = 1
    private(set) var count = 0
    private(set) var arrivedCount = 0
    /// Bytes of chunks that have not arrived.
    private(set) var missingBytes = 0
    private var arrived: [UInt64] = []
    /// Arrived or being fetched.
    private var taken: [UInt64] = []
    private var takenCount = 0
    /// No word before this one has a chunk to take.
    private var hint = 0

    var isComplete: Bool { arrivedCount == count }
    /// True if `take` has a chunk to give.
    var hasUntaken: Bool { takenCount < count }

    /// Starts again with an object of `byteCount` bytes; memory of the one before is used again.
    mutating func reset(byteCount: Int, chunkBytes: Int) {
        self.byteCount = byteCount
        self.chunkBytes = chunkBytes
        count = byteCount / chunkBytes + (byteCount % chunkBytes == 0 ? 0 : 1)
        missingBytes = byteCount
        (arrivedCount, takenCount, hint) = (0, 0, 0)
        arrived.removeAll(keepingCapacity: true)
        taken.removeAll(keepingCapacity: true)
        let words = (count + 63) / 64
        arrived.append(contentsOf: repeatElement(0, count: words))
        taken.append(contentsOf: repeatElement(0, count: words))
    }

    /// The bytes of a chunk.
    func range(of chunk: Int) -> Range<Int> {
        let start = chunk * chunkBytes
        return start..<min(start + chunkBytes, byteCount)
    }

    /// The first chunk that nobody fetches; it is then being fetched.
    mutating func take() -> Int? {
        guard hasUntaken else { return nil }
        while taken[hint] == .max { hint += 1 }
        let bit = (~taken[hint]).trailingZeroBitCount
        taken[hint] |= 1 << bit
        takenCount += 1
        return hint * 64 + bit
    }

    /// Gives back a chunk that could not be fetched.
    mutating func giveBack(_ chunk: Int) {
        assert(isTaken(chunk) && !hasArrived(chunk), "chunk \(chunk) was not being fetched")
        taken[chunk / 64] &= ~(1 << (chunk % 64))
        takenCount -= 1
        hint = min(hint, chunk / 64)
    }

    /// A chunk that was being fetched is in place.
    mutating func markArrived(_ chunk: Int) {
        assert(isTaken(chunk) && !hasArrived(chunk), "chunk \(chunk) was not being fetched")
        arrived[chunk / 64] |= 1 << (chunk % 64)
        arrivedCount += 1
        missingBytes -= range(of: chunk).count
    }

    func hasArrived(_ chunk: Int) -> Bool { arrived[chunk / 64] & 1 << (chunk % 64) != 0 }
    private func isTaken(_ chunk: Int) -> Bool { taken[chunk / 64] & 1 << (chunk % 64) != 0 }
}
