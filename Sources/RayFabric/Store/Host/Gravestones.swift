// Remembers objects that will not come, so that a wait for one of them ends with the reason at once.

internal import RayCore

/// A cache with one place for each hash: O(1), bounded, forgets what was overwritten.
struct Gravestones {
    private var stones: [(id: ObjectID, code: FabricError.Code)?]

    /// - Precondition: `count` is a power of two.
    init(count: Int) {
        precondition(count.nonzeroBitCount == 1)
        stones = Array(repeating: nil, count: count)
    }

    private func place(of id: ObjectID) -> Int { Int(Directory.hash(id.words)) & (stones.count - 1) }

    subscript(id: ObjectID) -> FabricError.Code? {
        guard let stone = stones[place(of: id)], stone.id == id else { return nil }
        return stone.code
    }

    mutating func insert(_ id: ObjectID, _ code: FabricError.Code) { stones[place(of: id)] = (id, code) }

    mutating func remove(_ id: ObjectID) {
        if self[id] != nil { stones[place(of: id)] = nil }
    }
}
