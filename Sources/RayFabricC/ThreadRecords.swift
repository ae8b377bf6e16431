// What each thread has of its own: what it uses now, and the free slots that it keeps.

internal import CRayFabric
internal import Synchronization

/// A thread's own state. The thread alone uses it, but for its announcement.
struct ThreadRecord: ~Copyable {
    /// Kinds of handles are less than this.
    static var kindCount: UInt { 8 }

    let announcement: Announcement
    private var spares = InlineArray<8, Spare>(repeating: Spare())

    /// The free slot that a thread keeps of one table, for the next handle that it opens.
    @safe
    private struct Spare {
        /// The table, retained; nil while the thread has kept none.
        var owner: Unmanaged<SpareOwner>?
        /// -1 while there is none.
        var index = -1
    }

    fileprivate init(hasMembarrier: Bool) { announcement = Announcement(hasMembarrier: hasMembarrier) }

    /// The spare of a table, which the thread has no longer; nil when it has none.
    @inline(__always)
    mutating func takeSpare(_ kind: UInt, of owner: SpareOwner) -> Int? {
        guard unsafe spares[Int(kind)].owner?.toOpaque() == Unmanaged.passUnretained(owner).toOpaque() else {
            return nil
        }
        let index = spares[Int(kind)].index
        guard index >= 0 else { return nil }
        spares[Int(kind)].index = -1
        return index
    }

    /// Keeps a free slot.
    /// - Returns: false when the thread has one of that kind.
    @inline(__always)
    mutating func keepSpare(_ index: Int, _ kind: UInt, of owner: SpareOwner) -> Bool {
        guard spares[Int(kind)].index < 0 else { return false }
        if unsafe spares[Int(kind)].owner?.toOpaque() != Unmanaged.passUnretained(owner).toOpaque() {
            own(kind, owner)
        }
        spares[Int(kind)].index = index
        return true
    }

    @inline(never)
    private mutating func own(_ kind: UInt, _ owner: SpareOwner) {
        unsafe spares[Int(kind)].owner?.release()
        unsafe spares[Int(kind)].owner = .passRetained(owner)
    }

    fileprivate mutating func giveBackSpares() {
        for kind in spares.indices {
            guard let owner = unsafe spares[kind].owner?.takeRetainedValue() else { continue }
            if spares[kind].index >= 0 { owner.giveBack(spares[kind].index) }
            spares[kind] = Spare()
        }
    }
}

/// A table that gets the spares of threads that end.
class SpareOwner {
    func giveBack(_ index: Int) { preconditionFailure("a table takes its slots back") }
}

/// The records of all threads.
@safe
final class ThreadRecords: Sendable {
    // SAFETY: records stay where they are for ever; those of threads that have ended serve new ones.
    @safe
    private struct Records: @unchecked Sendable {
        var all: [UnsafeMutablePointer<ThreadRecord>] = unsafe []
        var free: [UnsafeMutablePointer<ThreadRecord>] = unsafe []
    }

    static let shared = ThreadRecords()

    private let records = Mutex(Records())
    /// Tells of threads that end. Nil where the process has no keys left: no thread has a record then.
    private let key: pthread_key_t?
    private let hasMembarrier = rayfabric_register_membarrier() == 0

    private init() {
        var key = pthread_key_t()
        // SAFETY: what threads have under the key is their record.
        let status = unsafe pthread_key_create(&key) { pointer in
            rayfabric_set_thread_record(nil)
            guard let record = unsafe pointer?.assumingMemoryBound(to: ThreadRecord.self) else { return }
            unsafe record.pointee.giveBackSpares()
            ThreadRecords.shared.records.withLock { records in unsafe records.free.append(record) }
        }
        self.key = status == 0 ? key : nil
    }

    /// The calling thread's; nil where it can have none.
    @inline(__always)
    static var current: UnsafeMutablePointer<ThreadRecord>? {
        if let record = unsafe rayfabric_get_thread_record() {
            return unsafe record.assumingMemoryBound(to: ThreadRecord.self)
        }
        return unsafe shared.begin()
    }

    /// The record of a thread that comes for the first time.
    @inline(never)
    private func begin() -> UnsafeMutablePointer<ThreadRecord>? {
        guard let key else { return nil }
        let address = records.withLock { records in
            if let old = unsafe records.free.popLast() { return UInt(bitPattern: old) }
            // With cache lines of its own.
            let bytes = (MemoryLayout<ThreadRecord>.size + 63) & ~63
            let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
            let new = unsafe memory.bindMemory(to: ThreadRecord.self, capacity: 1)
            unsafe new.initialize(to: ThreadRecord(hasMembarrier: hasMembarrier))
            unsafe records.all.append(new)
            return UInt(bitPattern: new)
        }
        let record = unsafe UnsafeMutablePointer<ThreadRecord>(bitPattern: address)
        guard unsafe pthread_setspecific(key, record) == 0 else {
            if let record = unsafe record { records.withLock { records in unsafe records.free.append(record) } }
            return nil
        }
        unsafe rayfabric_set_thread_record(record)
        return unsafe record
    }

    /// Counts those who use a slot that is closed to new ones, for a closer who counts as a user itself.
    /// - Parameter count: adds to the number of users.
    /// - Returns: false when some may not have been seen, because the system has come to forbid membarrier(2).
    func countUsers(of slot: UInt, _ count: (Int) -> Void) -> Bool {
        records.withLock { records in
            guard fence() else { return false }
            let users = unsafe records.all.filter { unsafe $0.pointee.announcement.isOf(slot) }
            guard unsafe !users.isEmpty else { return true }
            for index in unsafe users.indices {
                count(1)
                unsafe users[index].pointee.announcement.tellCounted(slot)
            }
            let isComplete = fence()
            for index in unsafe users.indices where unsafe !users[index].pointee.announcement.isOf(slot) {
                if unsafe users[index].pointee.announcement.takesBack(slot) { count(-1) }
            }
            return isComplete
        }
    }

    /// All threads of the process pass a fence, or pass their own.
    /// - Returns: false when they should, and do not.
    private func fence() -> Bool {
        if hasMembarrier { return rayfabric_membarrier() == 0 }
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return true
    }
}
