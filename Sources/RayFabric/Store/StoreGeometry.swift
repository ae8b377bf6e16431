// Sizes and places derived from the store's configuration, the same in every process.

internal import CSharedLayout
internal import RayCore

/// How a store's memory is laid out. The host derives it; clients read and check it.
struct StoreGeometry: Equatable, Sendable {
    /// Objects start at multiples of this many bytes; also the unit of allocation.
    static let granule = 64
    static let pageBytes = 4096
    /// Most bytes of metadata of an object.
    static let maximumMetadata: UInt32 = 1 << 16

    let segmentShift: UInt32
    let segmentCount: Int
    let entryCount: Int
    let bucketShift: UInt32

    var segmentBytes: Int { 1 << Int(segmentShift) }
    var segmentGranules: UInt64 { UInt64(segmentBytes / Self.granule) }
    var capacity: Int { segmentCount << Int(segmentShift) }
    var bucketCount: Int { 1 << Int(bucketShift) }

    /// About 64 segments, of 64 KiB to 256 MiB each; capacity is rounded up to whole segments.
    init(capacity: Int, maximumObjects: Int) throws(FabricError) {
        guard capacity >= 64 << 10, capacity <= 1 << 46 else {
            throw FabricError(.invalidArgument, "capacity \(capacity) is not between 64 KiB and 64 TiB")
        }
        guard maximumObjects >= 1, maximumObjects <= 1 << 26 else {
            throw FabricError(.invalidArgument, "maximumObjects \(maximumObjects) is not between 1 and \(1 << 26)")
        }
        let ideal = capacity / 64
        var shift: UInt32 = 16
        while shift < 28, 1 << Int(shift + 1) <= ideal { shift += 1 }
        segmentShift = shift
        segmentCount = (capacity + (1 << Int(shift)) - 1) >> Int(shift)
        entryCount = maximumObjects
        var buckets: UInt32 = 6
        while 1 << Int(buckets) < 2 * maximumObjects { buckets += 1 }
        bucketShift = buckets
    }

    /// From a directory that another process wrote.
    /// - Throws: `protocolViolation` when the numbers make no sense.
    init(reading directory: borrowing Mapping) throws(FabricError) {
        guard directory.byteCount >= MemoryLayout<rf_directory_header>.size,
            directory.load(Header.magic) == UInt64(RF_STORE_MAGIC)
        else { throw FabricError(.protocolViolation, "the host's directory has no valid header") }
        segmentShift = directory.loadHalf(Header.segmentShift)
        segmentCount = Int(directory.loadHalf(Header.segmentCount))
        entryCount = Int(directory.loadHalf(Header.entryCount))
        bucketShift = directory.loadHalf(Header.bucketShift)
        guard (16...28).contains(segmentShift), (1...(1 << 18)).contains(segmentCount),
            (1...(1 << 26)).contains(entryCount), (6...28).contains(bucketShift),
            bucketCount > entryCount, directory.byteCount >= directoryBytes
        else { throw FabricError(.protocolViolation, "the host's directory has an impossible layout") }
    }

    func write(to directory: borrowing Mapping) {
        directory.store(UInt64(capacity), at: Header.capacity)
        directory.storeHalf(segmentShift, at: Header.segmentShift)
        directory.storeHalf(UInt32(segmentCount), at: Header.segmentCount)
        directory.storeHalf(UInt32(entryCount), at: Header.entryCount)
        directory.storeHalf(bucketShift, at: Header.bucketShift)
        directory.storeReleasing(UInt64(RF_STORE_MAGIC), at: Header.magic)
    }

    // MARK: Places in the directory

    enum Header {
        static let magic = 0
        static let capacity = 8
        static let segmentShift = 16
        static let segmentCount = 20
        static let entryCount = 24
        static let bucketShift = 28
        static let hostSleeping = 128
        static let waiters = 132
        static let useClock = 136
        static let closed = 140
        static let room = 144
    }

    var segmentsOffset: Int { Self.pageBytes }
    var bucketsOffset: Int { Self.roundedToPage(segmentsOffset + segmentCount * 8) }
    var entriesOffset: Int { Self.roundedToPage(bucketsOffset + bucketCount * 8) }
    var directoryBytes: Int { Self.roundedToPage(entriesOffset + entryCount * MemoryLayout<rf_object_entry>.size) }

    @inline(__always)
    func segmentOffset(_ segment: Int) -> Int { segmentsOffset + segment * 8 }
    @inline(__always)
    func bucketOffset(_ bucket: Int) -> Int { bucketsOffset + bucket * 8 }
    @inline(__always)
    func entryOffset(_ entry: Int) -> Int { entriesOffset + entry * 64 }

    // MARK: Places in ledgers and mailboxes

    var pinsOffset: Int { Int(RF_LEDGER_COMMANDS) + Int(RF_COMMAND_COUNT) * MemoryLayout<rf_command>.size }
    var ledgerBytes: Int { Self.roundedToPage(pinsOffset + entryCount * MemoryLayout<rf_pin>.size) }
    var mailboxBytes: Int {
        Self.roundedToPage(Int(RF_MAILBOX_REPLIES) + Int(RF_REPLY_COUNT) * MemoryLayout<rf_reply>.size)
    }

    @inline(__always)
    func pinOffset(_ entry: Int) -> Int { pinsOffset + entry * 8 }

    // MARK: Sizes

    static func roundedToPage(_ bytes: Int) -> Int { (bytes + pageBytes - 1) & ~(pageBytes - 1) }

    /// Granules that an object takes; none for an empty one without metadata.
    static func granules(size: UInt64, metadataSize: UInt32) -> UInt64 {
        (size + UInt64(metadataSize) + UInt64(granule) - 1) / UInt64(granule)
    }
}
