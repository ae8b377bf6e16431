// The directory of objects in shared memory: written by the host alone, read by everyone without locks.

internal import CSharedLayout
internal import RayCore

/// What is known of an object: a copy of its entry, taken at one version.
struct ObjectEntry: Equatable, Sendable {
    var version: UInt64
    var id: ObjectID
    /// Bytes from the start of the arena, a multiple of the granule.
    var offset: UInt64
    var size: UInt64
    var attributes: Attributes
    var sealedAt: UInt64

    /// Metadata size, creating client and flags in one word.
    struct Attributes: Equatable, Sendable {
        var word: UInt64
        init(word: UInt64) { self.word = word }
        init(metadataSize: UInt32, creator: Int, isSecondary: Bool) {
            word =
                UInt64(metadataSize) << 32 | UInt64(creator) << 8
                | (isSecondary ? UInt64(RF_OBJECT_SECONDARY) : 0)
        }
        var metadataSize: UInt32 { UInt32(truncatingIfNeeded: word >> 32) }
        var creator: Int { Int(word >> 8 & 0xffff) }
        /// A copy of an object that lives elsewhere: it may be evicted.
        var isSecondary: Bool { word & UInt64(RF_OBJECT_SECONDARY) != 0 }
    }

    enum State: UInt64 {
        case free = 0
        case sealed = 1
        /// Deleted, but still pinned by somebody.
        case dying = 2
    }

    var state: State { State(rawValue: version & 0xff) ?? .free }
    var granules: UInt64 { StoreGeometry.granules(size: size, metadataSize: attributes.metadataSize) }
    /// The granules of the arena that the object fills.
    var extent: Range<UInt64> {
        let start = offset / UInt64(StoreGeometry.granule)
        return start..<(start + granules)
    }
}

/// Reads the directory. Any thread of any process, no locks, no system calls.
struct Directory: ~Copyable, Sendable {
    let memory: Mapping
    let geometry: StoreGeometry

    init(memory: consuming Mapping, geometry: StoreGeometry) {
        self.memory = memory
        self.geometry = geometry
    }

    /// Finds a sealed object: the index of its entry and the version seen. O(1).
    ///
    /// A hit may be outdated at once: pin the entry, then compare its version. A miss may be wrong
    /// while the host moves buckets: only the host knows for certain.
    /// - Parameter prepare: called with the index of each likely entry before that is read.
    @inline(__always)
    func find(_ id: ObjectID, prepare: (Int) -> Void = { _ in }) -> (entry: Int, version: UInt64)? {
        let words = id.words
        let hash = Self.hash(words)
        let mask = geometry.bucketCount - 1
        var bucket = Self.home(ofTag: hash, shift: geometry.bucketShift)
        for _ in 0...mask {
            let word = memory.loadAcquiring(geometry.bucketOffset(bucket))
            if word == 0 { return nil }
            if UInt32(truncatingIfNeeded: word >> 32) == hash {
                let entry = Int(UInt32(truncatingIfNeeded: word)) - 1
                prepare(entry)
                let offset = geometry.entryOffset(entry)
                let version = memory.loadAcquiring(offset)
                if memory.load(offset + 24) == words.2, memory.load(offset + 8) == words.0,
                    memory.load(offset + 16) == words.1, version & 0xff == ObjectEntry.State.sealed.rawValue
                {
                    return (entry, version)
                }
            }
            bucket = (bucket + 1) & mask
        }
        return nil
    }

    @inline(__always)
    func version(_ entry: Int) -> UInt64 { memory.loadAcquiring(geometry.entryOffset(entry)) }

    /// A copy of an entry. Consistent if the version is the same before and after, or if pinned.
    @inline(__always)
    func entry(_ index: Int) -> ObjectEntry {
        let offset = geometry.entryOffset(index)
        return ObjectEntry(
            version: memory.loadAcquiring(offset),
            id: ObjectID(words: (memory.load(offset + 8), memory.load(offset + 16), memory.load(offset + 24))),
            offset: memory.load(offset + 32), size: memory.load(offset + 40),
            attributes: .init(word: memory.load(offset + 48)), sealedAt: memory.load(offset + 56))
    }

    /// Commands that a client may have under way before it must ask whether its objects got in.
    @inline(__always)
    var room: UInt64 { UInt64(memory.loadHalf(StoreGeometry.Header.room)) }

    /// The generation of a segment's memory; 0 when it has none.
    @inline(__always)
    func segmentGeneration(_ segment: Int) -> UInt64 { memory.loadAcquiring(geometry.segmentOffset(segment)) }

    /// A 32-bit hash. Its upper bits are the home bucket, so that a bucket's tag tells where it belongs.
    @inline(__always)
    static func hash(_ words: (UInt64, UInt64, UInt64)) -> UInt32 {
        var hash = words.2 &* 0x9e37_79b9_7f4a_7c15
        hash ^= hash >> 32
        hash = (hash ^ words.1) &* 0xbf58_476d_1ce4_e5b9
        hash ^= hash >> 29
        hash = (hash ^ words.0) &* 0x94d0_49bb_1331_11eb
        return UInt32(truncatingIfNeeded: hash >> 32)
    }

    @inline(__always)
    static func home(ofTag tag: UInt32, shift: UInt32) -> Int { Int(tag >> (32 - shift)) }
}
