// Handles of objects for any thread: copies cost one atomic operation, only the last drop reaches the machine.

public import RayCore
internal import Synchronization

/// A process' hold of an object, shared by all who refer to it.
///
/// Its own reference count is the local counter: copying and dropping a reference is an atomic increment or decrement
/// of a word in this handle, by whatever thread, without a lock. One handle counts as one in the machine: whoever makes
/// it feeds `handleCreated` (or has it by `put`, `submit`, `adopted`); when the last reference is dropped the object
/// enters the queue of releases, from where the thread of the machine takes it and feeds `handleReleased`.
public final class ObjectHandle: Sendable {
    public let object: ObjectID
    private let releases: ReleaseQueue

    public init(_ object: ObjectID, releases: ReleaseQueue) {
        self.object = object
        self.releases = releases
    }

    deinit { releases.append(object) }
}

/// Objects whose handles are gone, on their way to the machine. Any thread appends; one drains.
///
/// Objects are spread over shards with a lock each, so that threads that drop different objects seldom meet.
public final class ReleaseQueue: Sendable {
    private static var shardBits: UInt64 { 4 }
    private let shards: InlineArray<16, Mutex<[ObjectID]>>
    private let wake: @Sendable () -> Void

    /// - Parameter wake: called, by whatever thread, when a shard that was empty has an object.
    public init(wake: @escaping @Sendable () -> Void) {
        self.wake = wake
        shards = InlineArray { _ in Mutex([]) }
    }

    func append(_ object: ObjectID) {
        // Sequences follow one another: multiplied by an odd constant, the highest bits spread them.
        let shard = Int((object.sequence &* 0x9e37_79b9_7f4a_7c15) >> (64 - Self.shardBits))
        let wasEmpty = shards[shard].withLock { objects in
            objects.append(object)
            return objects.count == 1
        }
        if wasEmpty { wake() }
    }

    /// Moves all that is there to the end of `objects`.
    public func drain(into objects: inout [ObjectID]) {
        for shard in shards.indices {
            shards[shard].withLock { waiting in
                objects.append(contentsOf: waiting)
                waiting.removeAll(keepingCapacity: true)
            }
        }
    }
}
