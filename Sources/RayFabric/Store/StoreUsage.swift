// How full a store is.

/// A snapshot of a store's memory and events. Bytes count whole granules of 64 bytes.
public struct StoreUsage: Hashable, Sendable {
    /// Bytes promised at start.
    public var capacity: UInt64 = 0
    /// Bytes of memory that exist, in use or not: what is put beyond them waits for the system to
    /// make more, which is slow.
    public var readyBytes: UInt64 = 0
    /// Bytes of objects put here.
    public var primaryBytes: UInt64 = 0
    /// Bytes of copies of objects of other nodes, which may be evicted.
    public var secondaryBytes: UInt64 = 0
    /// Objects of both kinds, deleted ones that are still pinned included.
    public var objects: UInt64 = 0
    /// Copies evicted since the start.
    public var evictions: UInt64 = 0
    /// Requests for memory refused since the start.
    public var refusals: UInt64 = 0
    /// Objects sealed under an identifier that existed; the first one stayed.
    public var duplicates: UInt64 = 0

    public init() {}

    mutating func add(granules: UInt64, isSecondary: Bool) {
        objects += 1
        let bytes = granules * UInt64(StoreGeometry.granule)
        if isSecondary { secondaryBytes += bytes } else { primaryBytes += bytes }
    }

    mutating func remove(granules: UInt64, isSecondary: Bool) {
        objects -= 1
        let bytes = granules * UInt64(StoreGeometry.granule)
        if isSecondary { secondaryBytes -= bytes } else { primaryBytes -= bytes }
    }
}
