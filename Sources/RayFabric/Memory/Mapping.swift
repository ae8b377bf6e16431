// Owned memory mappings and atomic access to words inside of them.

internal import CLinux
package import RayCore
internal import Synchronization

/// Mapped memory, unmapped exactly once. Access is by offset and checked against the size.
@safe
package struct Mapping: ~Copyable, @unchecked Sendable {
    // SAFETY: [base, base + byteCount) is mapped from init to deinit. Sharing it between threads is
    // safe because it is accessed through atomics, or by those who own a part of it.
    package let base: UnsafeMutableRawPointer
    package let byteCount: Int

    /// Maps the whole of a shared memory file.
    package init(_ descriptor: Int32, byteCount: Int, writable: Bool) throws(FabricError) {
        let range = try AddressReservation(byteCount: byteCount)
        try range.map(descriptor, at: 0, byteCount: byteCount, writable: writable)
        unsafe base = range.release()
        self.byteCount = byteCount
    }

    deinit { unsafe _ = munmap(base, byteCount) }

    @inline(__always)
    private func word(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        precondition(offset >= 0 && offset &+ 8 <= byteCount && offset & 7 == 0)
        // SAFETY: in range and aligned; Atomic<UInt64> has the layout of UInt64.
        return unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    @inline(__always)
    private func halfWord(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
        precondition(offset >= 0 && offset &+ 4 <= byteCount && offset & 3 == 0)
        // SAFETY: in range and aligned; Atomic<UInt32> has the layout of UInt32.
        return unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt32>.self)
    }

    // Words are 64 bits wide, half words 32. Offsets are in bytes.

    @inline(__always)
    package func load(_ offset: Int) -> UInt64 { unsafe word(offset).pointee.load(ordering: .relaxed) }
    @inline(__always)
    package func loadAcquiring(_ offset: Int) -> UInt64 { unsafe word(offset).pointee.load(ordering: .acquiring) }
    @inline(__always)
    package func store(_ value: UInt64, at offset: Int) {
        unsafe word(offset).pointee.store(value, ordering: .relaxed)
    }
    @inline(__always)
    package func storeReleasing(_ value: UInt64, at offset: Int) {
        unsafe word(offset).pointee.store(value, ordering: .releasing)
    }
    /// A store that is also a full fence.
    @inline(__always)
    package func storeFencing(_ value: UInt64, at offset: Int) {
        unsafe _ = word(offset).pointee.exchange(value, ordering: .sequentiallyConsistent)
    }
    @inline(__always)
    package func compareExchange(_ expected: UInt64, with desired: UInt64, at offset: Int) -> Bool {
        unsafe word(offset).pointee.compareExchange(
            expected: expected, desired: desired, ordering: .acquiringAndReleasing
        ).exchanged
    }

    @inline(__always)
    package func loadHalf(_ offset: Int) -> UInt32 { unsafe halfWord(offset).pointee.load(ordering: .relaxed) }
    @inline(__always)
    package func loadHalfAcquiring(_ offset: Int) -> UInt32 {
        unsafe halfWord(offset).pointee.load(ordering: .acquiring)
    }
    /// A load ordered after every earlier fencing operation of this thread.
    @inline(__always)
    package func loadHalfFencing(_ offset: Int) -> UInt32 {
        unsafe halfWord(offset).pointee.load(ordering: .sequentiallyConsistent)
    }
    @inline(__always)
    package func storeHalf(_ value: UInt32, at offset: Int) {
        unsafe halfWord(offset).pointee.store(value, ordering: .relaxed)
    }
    @inline(__always)
    package func storeHalfReleasing(_ value: UInt32, at offset: Int) {
        unsafe halfWord(offset).pointee.store(value, ordering: .releasing)
    }
    /// A store that is also a full fence.
    @inline(__always)
    package func storeHalfFencing(_ value: UInt32, at offset: Int) {
        unsafe _ = halfWord(offset).pointee.exchange(value, ordering: .sequentiallyConsistent)
    }
    /// Adds and fences; gives the value before.
    @inline(__always)
    package func addHalfFencing(_ value: UInt32, at offset: Int) -> UInt32 {
        unsafe halfWord(offset).pointee.wrappingAdd(value, ordering: .sequentiallyConsistent).oldValue
    }
    /// Subtracts and fences; gives the value before.
    @inline(__always)
    package func subtractHalfFencing(_ value: UInt32, at offset: Int) -> UInt32 {
        unsafe halfWord(offset).pointee.wrappingSubtract(value, ordering: .sequentiallyConsistent).oldValue
    }

    /// Has the kernel touch a range for writing.
    /// - Returns: false when it can not, with the reason in errno.
    func populate(_ offset: Int, _ count: Int) -> Bool {
        precondition(offset >= 0 && count >= 0 && offset &+ count <= byteCount)
        return unsafe madvise(base + offset, count, RF_MADV_POPULATE_WRITE) == 0
    }

    /// Gathers `count` bytes from `offset` on, both multiples of 2 MiB, in huge pages. Works in any
    /// setting of the system but `deny`, from Linux 6.1 on; holes are filled with zeroes.
    /// - Returns: whether it did.
    func collapse(_ offset: Int, _ count: Int) -> Bool {
        precondition(offset >= 0 && count >= 0 && offset &+ count <= byteCount)
        return unsafe madvise(base + offset, count, RF_MADV_COLLAPSE) == 0
    }

    /// Starts to fetch the line at `offset` into the cache.
    @inline(__always)
    package func prefetch(_ offset: Int) {
        precondition(offset >= 0 && offset < byteCount)
        unsafe rf_prefetch(base + offset)
    }

    /// Sleeps until the half word at `offset` is no longer `expected`, someone wakes it, or time is up.
    package func sleep(while expected: UInt32, at offset: Int, for limit: Duration) {
        let nanoseconds = max(0, limit.saturatedNanoseconds)
        var timeout = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        precondition(offset >= 0 && offset &+ 4 <= byteCount && offset & 3 == 0)
        unsafe _ = rf_futex_wait((base + offset).assumingMemoryBound(to: UInt32.self), expected, &timeout)
    }

    /// Wakes all that sleep on the half word at `offset`, in every process.
    package func wakeAll(at offset: Int) {
        precondition(offset >= 0 && offset &+ 4 <= byteCount && offset & 3 == 0)
        unsafe _ = rf_futex_wake((base + offset).assumingMemoryBound(to: UInt32.self), .max)
    }
}

/// A range of addresses that reads as zeroes, without memory for them, until files are mapped into it.
/// What a peer says may lead to a read of any part of it, by the kernel or by this process.
@safe
package struct AddressReservation: ~Copyable, @unchecked Sendable {
    // SAFETY: the range stays reserved from init to deinit, whatever is mapped inside of it.
    package let base: UnsafeMutableRawPointer
    package let byteCount: Int

    package init(byteCount: Int) throws(FabricError) {
        // Huge pages want addresses that are aligned to them: reserve more and trim.
        let alignment = 2 << 20
        let result = unsafe mmap(
            nil, byteCount + alignment, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let pointer = unsafe result, unsafe pointer != rf_map_failed() else {
            throw systemError("reserve \(byteCount) bytes of address space")
        }
        let address = UInt(bitPattern: pointer)
        let lead = Int((UInt(alignment) - address % UInt(alignment)) % UInt(alignment))
        if lead > 0 { unsafe _ = munmap(pointer, lead) }
        if alignment > lead { unsafe _ = munmap(pointer + lead + byteCount, alignment - lead) }
        unsafe base = pointer + lead
        self.byteCount = byteCount
    }

    deinit { unsafe _ = munmap(base, byteCount) }

    /// Gives the range away: the caller unmaps it.
    package consuming func release() -> UnsafeMutableRawPointer {
        let base = unsafe self.base
        discard self
        return unsafe base
    }

    /// Maps a file at `offset` in place of whatever was there.
    package func map(_ descriptor: Int32, at offset: Int, byteCount: Int, writable: Bool) throws(FabricError) {
        precondition(offset >= 0 && byteCount > 0 && offset + byteCount <= self.byteCount)
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        // SAFETY: the range lies inside of the reservation, which is ours alone.
        let result = unsafe mmap(base + offset, byteCount, protection, MAP_SHARED | MAP_FIXED, descriptor, 0)
        guard unsafe result != rf_map_failed() else { throw systemError("map \(byteCount) bytes of shared memory") }
        // Advice only: without huge pages everything works, more slowly.
        unsafe _ = madvise(base + offset, byteCount, RF_MADV_HUGEPAGE)
    }
}
