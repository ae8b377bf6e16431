// The free slot of a table that each thread keeps for the next handle that it opens.

internal import CRayFabric

/// A table that gets the spares of threads that end.
class SpareOwner {
    func giveBack(_ index: Int) { preconditionFailure("a table takes its slots back") }
}

/// The spares of one table, one a thread.
@safe
struct SpareSlots: Sendable {
    @safe
    private struct Spare {
        /// -1 while there is none.
        var index: Int
        let owner: Unmanaged<SpareOwner>
    }

    /// Nil where the process has no keys left: no thread has a spare then.
    private let key: pthread_key_t?

    init() {
        var key = pthread_key_t()
        // SAFETY: what threads have under the key is a `Spare` that `keep` made, and nobody else frees.
        let status = unsafe pthread_key_create(&key) { pointer in
            guard let spare = unsafe pointer?.assumingMemoryBound(to: Spare.self) else { return }
            let owner = unsafe spare.pointee.owner.takeRetainedValue()
            if unsafe spare.pointee.index >= 0 { unsafe owner.giveBack(spare.pointee.index) }
            unsafe spare.deallocate()
        }
        self.key = status == 0 ? key : nil
    }

    /// The calling thread's spare, which it has no longer; nil when it has none.
    @inline(__always)
    func take() -> Int? {
        guard let key, let spare = unsafe pthread_getspecific(key)?.assumingMemoryBound(to: Spare.self) else {
            return nil
        }
        let index = unsafe spare.pointee.index
        guard index >= 0 else { return nil }
        unsafe spare.pointee.index = -1
        return index
    }

    /// Makes a free slot the calling thread's spare.
    /// - Returns: false when it has one, or can have none.
    @inline(__always)
    func keep(_ index: Int, for owner: SpareOwner) -> Bool {
        guard let key else { return false }
        guard let spare = unsafe pthread_getspecific(key)?.assumingMemoryBound(to: Spare.self) else {
            return begin(key, index, owner)
        }
        guard unsafe spare.pointee.index < 0 else { return false }
        unsafe spare.pointee.index = index
        return true
    }

    /// The first spare of a thread.
    @inline(never)
    private func begin(_ key: pthread_key_t, _ index: Int, _ owner: SpareOwner) -> Bool {
        let spare = UnsafeMutablePointer<Spare>.allocate(capacity: 1)
        unsafe spare.initialize(to: Spare(index: index, owner: .passRetained(owner)))
        if unsafe pthread_setspecific(key, spare) == 0 { return true }
        unsafe spare.pointee.owner.release()
        unsafe spare.deallocate()
        return false
    }
}
