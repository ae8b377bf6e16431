// The arena in this process: segments mapped on first use and kept.

internal import RayCore
internal import Synchronization

/// One address range in which each segment has its place, so that an object's address is the base
/// plus its offset. Segments this process writes to are mapped writable, all others read-only.
struct SegmentMap: ~Copyable, Sendable {
    private let reservation: AddressReservation
    /// A word for each segment: generation << 1 | writable; 0 while nothing is mapped.
    private let mapped: Mapping
    private let geometry: StoreGeometry

    init(geometry: StoreGeometry) throws(FabricError) {
        let range = try AddressReservation(byteCount: geometry.capacity)
        let words = try MemoryFile(name: "fabric-segments", byteCount: geometry.segmentCount * 8)
        mapped = try Mapping(words.descriptor.number, byteCount: geometry.segmentCount * 8, writable: true)
        reservation = range
        self.geometry = geometry
    }

    /// All of the arena, whether mapped or not.
    var arena: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: reservation.base, count: reservation.byteCount)
    }

    var base: UnsafeMutableRawPointer { unsafe reservation.base }

    /// Segments that a range of bytes touches.
    func segments(offset: UInt64, bytes: UInt64) -> ClosedRange<Int> {
        let shift = UInt64(geometry.segmentShift)
        return Int(offset >> shift)...Int((offset + max(bytes, 1) - 1) >> shift)
    }

    /// Whether the segment's present memory is mapped.
    @inline(__always)
    func isMapped(_ segment: Int, generation: UInt64, writable: Bool) -> Bool {
        let word = mapped.loadAcquiring(segment * 8)
        return word >> 1 == generation && generation != 0 && (!writable || word & 1 != 0)
    }

    /// Maps a segment's memory in its place. Callers hold the control lock. Views into older memory
    /// cannot exist: a segment gets new memory only when nothing in it is pinned.
    func map(_ segment: Int, generation: UInt64, descriptor: Int32, writable: Bool) throws(FabricError) {
        try reservation.map(
            descriptor, at: segment * geometry.segmentBytes, byteCount: geometry.segmentBytes, writable: writable)
        mapped.storeReleasing(generation << 1 | (writable ? 1 : 0), at: segment * 8)
    }
}
