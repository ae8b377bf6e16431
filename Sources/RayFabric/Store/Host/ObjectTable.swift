// The host's side of the directory: the only code that writes entries and buckets.

internal import CSharedLayout
internal import RayCore

/// Inserts, finds and removes objects. Readers in other processes look on all the time: every
/// change leaves the directory readable at each step.
struct ObjectTable: ~Copyable {
    let directory: Directory
    private(set) var count = 0
    private var freeEntries: [UInt32] = []
    private var nextUnused = 0
    /// Entries that clients may fill without asking, all together, and how many clients there are.
    private var promised = (entries: -1, clients: 0)

    init(directory: consuming Directory) {
        self.directory = directory
    }

    /// Publishes an object.
    /// - Returns: its entry; nil when all entries are taken. The id must not be in the table.
    mutating func insert(
        _ id: ObjectID, offset: UInt64, size: UInt64, attributes: ObjectEntry.Attributes, sealedAt: UInt64
    ) -> Int? {
        let index: Int
        if let reused = freeEntries.popLast() {
            index = Int(reused)
        } else if nextUnused < directory.geometry.entryCount {
            index = nextUnused
            nextUnused += 1
        } else {
            return nil
        }
        let memory = directory.geometry.entryOffset(index)
        let words = id.words
        let generation = (directory.memory.load(memory) >> 8) &+ 1
        directory.memory.store(words.0, at: memory + 8)
        directory.memory.store(words.1, at: memory + 16)
        directory.memory.store(words.2, at: memory + 24)
        directory.memory.store(offset, at: memory + 32)
        directory.memory.store(size, at: memory + 40)
        directory.memory.store(attributes.word, at: memory + 48)
        directory.memory.store(sealedAt, at: memory + 56)
        // Release: pairs with the acquire in Directory.find, which then sees the words above.
        directory.memory.storeReleasing(generation << 8 | ObjectEntry.State.sealed.rawValue, at: memory)
        insertBucket(tag: Directory.hash(words), entry: index)
        count += 1
        return index
    }

    /// Takes an object out of sight: no new pin can succeed once this has returned.
    mutating func hide(_ index: Int) {
        let entry = directory.entry(index)
        precondition(entry.state == .sealed, "hiding an entry that is \(entry.state)")
        // A fence: the host reads the pins after this store, clients store a pin and then read the
        // version, so that one of the two sees the other.
        directory.memory.storeFencing(
            entry.version & ~0xff | ObjectEntry.State.dying.rawValue, at: directory.geometry.entryOffset(index))
        removeBucket(of: entry.id, entry: index)
        count -= 1
    }

    /// Makes a hidden, unpinned entry free for another object.
    mutating func release(_ index: Int) {
        let offset = directory.geometry.entryOffset(index)
        let version = directory.memory.load(offset)
        precondition(version & 0xff == ObjectEntry.State.dying.rawValue)
        directory.memory.storeReleasing(version & ~0xff | ObjectEntry.State.free.rawValue, at: offset)
        freeEntries.append(UInt32(index))
    }

    /// Says how many objects each client may publish before it must ask whether they got in. Changes
    /// the word seldom: all clients read its cache line all the time.
    mutating func promiseRoom(to clients: Int) {
        let free = freeEntries.count + directory.geometry.entryCount - nextUnused
        guard free < promised.entries || free > 2 * promised.entries || clients != promised.clients else { return }
        promised = (free - free / 4, clients)
        directory.memory.storeHalf(UInt32(promised.entries / max(1, clients)), at: StoreGeometry.Header.room)
    }

    func setGeneration(_ generation: UInt64, ofSegment segment: Int) {
        directory.memory.storeReleasing(generation, at: directory.geometry.segmentOffset(segment))
    }

    func setHostSleeping(_ isSleeping: Bool) {
        directory.memory.storeHalfFencing(isSleeping ? 1 : 0, at: StoreGeometry.Header.hostSleeping)
    }

    func setClosed() { directory.memory.storeHalfFencing(1, at: StoreGeometry.Header.closed) }

    func setUseClock(_ value: UInt32) { directory.memory.storeHalf(value, at: StoreGeometry.Header.useClock) }

    func setWaiters(_ count: UInt32) { directory.memory.storeHalfFencing(count, at: StoreGeometry.Header.waiters) }

    /// Indices of all entries ever used, for listings.
    var usedEntries: Range<Int> { 0..<nextUnused }

    // MARK: Buckets: open addressing, linear probing, no graves

    private func insertBucket(tag: UInt32, entry: Int) {
        let mask = directory.geometry.bucketCount - 1
        var bucket = Directory.home(ofTag: tag, shift: directory.geometry.bucketShift)
        while directory.memory.load(directory.geometry.bucketOffset(bucket)) != 0 { bucket = (bucket + 1) & mask }
        directory.memory.storeReleasing(
            UInt64(tag) << 32 | UInt64(entry + 1), at: directory.geometry.bucketOffset(bucket))
    }

    /// Removes by moving later buckets of the run back. A reader that passes meanwhile may miss a
    /// moved one; it then asks the host, whose own look-ups are never concurrent with this.
    private func removeBucket(of id: ObjectID, entry: Int) {
        let geometry = directory.geometry
        let mask = geometry.bucketCount - 1
        let tag = Directory.hash(id.words)
        let target = UInt64(tag) << 32 | UInt64(entry + 1)
        var hole = Directory.home(ofTag: tag, shift: geometry.bucketShift)
        while directory.memory.load(geometry.bucketOffset(hole)) != target { hole = (hole + 1) & mask }
        var next = (hole + 1) & mask
        while true {
            let word = directory.memory.load(geometry.bucketOffset(next))
            if word == 0 { break }
            let home = Directory.home(ofTag: UInt32(truncatingIfNeeded: word >> 32), shift: geometry.bucketShift)
            // The bucket may move to the hole if the hole is not before its home.
            if (next - home) & mask >= (next - hole) & mask {
                directory.memory.storeReleasing(word, at: geometry.bucketOffset(hole))
                hole = next
            }
            next = (next + 1) & mask
        }
        directory.memory.storeReleasing(0, at: geometry.bucketOffset(hole))
    }
}
