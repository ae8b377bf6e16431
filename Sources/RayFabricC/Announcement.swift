// What threads use now, for those who close it: it protects a handle's value, and costs its users no locked operation.
// Mutual exclusion after Dekker, in which one side pays for the fences of both (membarrier(2)), as hazard pointers
// have it (M. M. Michael, IEEE TPDS 15, 2004).

internal import CRayFabric
internal import Synchronization

/// What one thread uses: the address of a slot.
///
/// A thread announces a slot, passes a fence, and looks whether the slot is open. Who closes the slot marks it,
/// passes a fence, and looks at all announcements. So one of the two sees the other. A thread that is seen is counted
/// as a user of the slot and told so here, and leaves it like one that has counted itself.
struct Announcement: ~Copyable {
    /// Written by the thread alone. 0: nothing.
    private let slot = Atomic<UInt>(0)
    /// The slot for which a closer has counted the thread, until one of the two takes it back. 0: none.
    private let counted = Atomic<UInt>(0)
    /// Closers make this thread pass a fence.
    private let hasMembarrier: Bool

    init(hasMembarrier: Bool) { self.hasMembarrier = hasMembarrier }

    /// Announces a slot. What is read afterwards is as new as this.
    /// - Returns: false when the thread already uses one: calls of the library inside of others.
    @inline(__always)
    func begin(_ address: UInt) -> Bool {
        guard slot.load(ordering: .relaxed) == 0 else { return false }
        // Releasing, as in `end`: who reads this knows that earlier uses are over.
        slot.store(address, ordering: .releasing)
        fence()
        return true
    }

    /// Takes the announcement of a slot back.
    /// - Returns: whether the thread was counted as its user meanwhile, and has to leave as one.
    @inline(__always)
    func end(_ address: UInt) -> Bool {
        slot.store(0, ordering: .releasing)
        fence()
        // A mark for another slot came too late for the thread to see: its closer takes it back.
        return counted.load(ordering: .relaxed) == address && takesBack(address)
    }

    @inline(__always)
    private func fence() {
        if hasMembarrier { rayfabric_compiler_fence() } else { atomicMemoryFence(ordering: .sequentiallyConsistent) }
    }

    func isOf(_ address: UInt) -> Bool { slot.load(ordering: .acquiring) == address }

    /// For a closer that has counted this thread.
    func tellCounted(_ address: UInt) { counted.store(address, ordering: .releasing) }

    /// Takes back that the thread is counted, for itself or for a closer that finds it gone.
    /// - Returns: false when the other one has, and counts.
    @inline(never)
    func takesBack(_ address: UInt) -> Bool {
        counted.compareExchange(expected: address, desired: 0, ordering: .acquiringAndReleasing).exchanged
    }
}
