// The byte ring: one writer, one reader in another process, records of any length.
//
// A record's header word is stored last and read first, so that header and payload of a small
// record travel in one cache line, and there is no index to fetch beside it. The writer keeps a zero
// word behind its last record. Records are published in batches: the header of the first record of
// a batch is withheld until the batch is complete, and says how long the batch is, so that the
// reader fetches ahead what is there and nothing that the writer is still writing.

internal import CLinux
internal import Synchronization

/// How far both ends fetch lines ahead of their use, in bytes.
private let prefetchDistance: UInt64 = 1024

/// What a record is; the numbers are those of ShmTransportLayout.h.
enum ShmRecordKind: UInt8 {
    case message = 1, finish, notify, write, read, data, done, cancel
}

/// The peer broke the rules of the ring or of the records in it.
struct ShmViolation: Error {}

private func recordBytes(_ length: Int) -> UInt64 { UInt64(truncatingIfNeeded: 8 &+ (length &+ 7) & ~7) }

/// Appends records to this end's ring.
@safe
struct ShmProducer: ~Copyable {
    // SAFETY: `ring` is mapped writable for twice `capacity` bytes, `consumed` readable, for as long
    // as this value lives; its owner sees to that. Nobody else writes the ring.
    private let ring: UnsafeMutableRawPointer
    private let consumed: UnsafePointer<Atomic<UInt64>>
    private let mask: UInt64
    let capacity: UInt64
    /// Records are published at the latest when this many bytes of them wait.
    private let batch: UInt64
    /// Large, so that a fast reader does not take lines away that the writer is still filling.
    static let usualBatch = 16 << 10

    /// Where the next record goes.
    private(set) var tail: UInt64 = 0
    /// The first record that the peer can not see yet; `tail` when there is none.
    private var published: UInt64 = 0
    private var withheld: UInt64 = 0
    /// The peer's position, as last read.
    private var consumedSeen: UInt64 = 0

    init(
        ring: UnsafeMutableRawPointer, capacity: Int, consumed: UnsafePointer<Atomic<UInt64>>,
        batch: Int = ShmProducer.usualBatch
    ) {
        unsafe self.ring = ring
        unsafe self.consumed = consumed
        self.capacity = UInt64(capacity)
        self.batch = UInt64(batch)
        mask = UInt64(capacity) - 1
    }

    /// Bytes in the ring, as far as this end knows; the truth may be less.
    var occupied: UInt64 { tail &- consumedSeen }
    var hasUnpublished: Bool { tail != published }

    /// Whether a payload of `length` bytes fits while the ring holds no more than `window` bytes
    /// with it. Looks at the peer's position only when it has to.
    @inline(__always)
    mutating func hasRoom(_ length: Int, within window: UInt64) throws(ShmViolation) -> Bool {
        // 8 for the zero word behind it.
        let wanted = tail &- consumedSeen &+ recordBytes(length) &+ 8
        if wanted <= window { return true }
        try refresh()
        return tail &- consumedSeen &+ recordBytes(length) &+ 8 <= window
    }

    /// Reads the peer's position: it may only advance, and not beyond what was published.
    mutating func refresh() throws(ShmViolation) {
        // Acquire: pairs with ShmConsumer.release; the peer has read what lies before.
        let position = unsafe consumed.pointee.load(ordering: .acquiring)
        guard position &- consumedSeen <= published &- consumedSeen, position & 7 == 0 else { throw ShmViolation() }
        consumedSeen = position
    }

    /// Where the payload of the next record goes; there must be room for it.
    @inline(__always)
    func payload() -> UnsafeMutableRawPointer {
        unsafe ring + Int(truncatingIfNeeded: tail & mask) + 8
    }

    /// Completes the record whose payload was put at `payload()`.
    @inline(__always)
    mutating func commit(_ kind: ShmRecordKind, _ length: Int) {
        let header = UInt64(kind.rawValue) << 32 | UInt64(UInt32(truncatingIfNeeded: length))
        let next = tail &+ recordBytes(length)
        unsafe word(next).pointee.store(0, ordering: .relaxed)
        unsafe rf_prefetch_write(ring + Int(truncatingIfNeeded: (next &+ prefetchDistance) & mask))
        if tail == published {
            withheld = header
        } else {
            unsafe word(tail).pointee.store(header, ordering: .relaxed)
        }
        tail = next
    }

    /// Whether enough has gathered for a batch.
    @inline(__always)
    var batchIsFull: Bool { tail &- published >= batch }

    /// Shows the peer what was appended. False when there was nothing.
    @inline(__always)
    mutating func publish() -> Bool {
        guard tail != published else { return false }
        // Release: pairs with ShmConsumer.header; makes the whole batch visible.
        // The first header of a batch says how long the batch is, in words.
        let header = withheld | ((tail &- published) >> 3) << 40
        unsafe word(published).pointee.store(header, ordering: .releasing)
        published = tail
        return true
    }

    @inline(__always)
    private func word(_ position: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>> {
        // SAFETY: the place is inside of the ring and 8-byte aligned, as all positions are.
        unsafe (ring + Int(truncatingIfNeeded: position & mask)).assumingMemoryBound(to: Atomic<UInt64>.self)
    }
}

/// Takes records from the peer's ring.
@safe
struct ShmConsumer: ~Copyable {
    // SAFETY: `ring` is mapped readable for twice `capacity` bytes, `consumed` writable, for as long
    // as this value lives; its owner sees to that. Nobody else writes `consumed`.
    private let ring: UnsafeRawPointer
    private let consumed: UnsafeMutablePointer<Atomic<UInt64>>
    private let mask: UInt64
    /// No valid record has a longer payload; at most half of the ring.
    private let maximumLength: UInt32

    /// The next record.
    private(set) var position: UInt64 = 0
    /// What the peer knows of it.
    private var released: UInt64 = 0
    /// How far the peer says that it has published; for prefetching only.
    private var batchEnd: UInt64 = 0

    init(
        ring: UnsafeRawPointer, capacity: Int, consumed: UnsafeMutablePointer<Atomic<UInt64>>, maximumLength: Int
    ) {
        precondition(maximumLength <= capacity / 2)
        unsafe self.ring = ring
        unsafe self.consumed = consumed
        mask = UInt64(capacity) - 1
        self.maximumLength = UInt32(maximumLength)
    }

    /// The header of the next record; 0 when there is none.
    @inline(__always)
    func header() -> UInt64 {
        // SAFETY: the place is inside of the ring and 8-byte aligned, as all positions are.
        // Acquire: pairs with ShmProducer.publish.
        unsafe (ring + Int(truncatingIfNeeded: position & mask)).assumingMemoryBound(to: Atomic<UInt64>.self)
            .pointee.load(ordering: .acquiring)
    }

    /// Takes the record that `header` describes: its kind and payload. The payload stays valid until
    /// `release`; a hostile peer may still change it.
    @inline(__always)
    mutating func take(_ header: UInt64) throws(ShmViolation) -> (ShmRecordKind, UnsafeRawBufferPointer) {
        let length = UInt32(truncatingIfNeeded: header)
        guard length <= maximumLength,
            let kind = ShmRecordKind(rawValue: UInt8(truncatingIfNeeded: header >> 32))
        else { throw ShmViolation() }
        if header >> 40 != 0 { noteBatch((header >> 40) << 3) }
        if batchEnd > position &+ prefetchDistance { prefetch(position &+ prefetchDistance) }
        // SAFETY: at most half of a ring from a place in the ring: inside of the ring and its mirror.
        let start = unsafe ring + Int(truncatingIfNeeded: position & mask) + 8
        position &+= recordBytes(Int(length))
        return unsafe (kind, UnsafeRawBufferPointer(start: start, count: Int(length)))
    }

    /// Fetches the start of a batch into the cache; the rest follows record by record.
    private mutating func noteBatch(_ count: UInt64) {
        batchEnd = position &+ count
        let end = min(batchEnd, position &+ prefetchDistance)
        var place = position &+ 64
        while place < end {
            prefetch(place)
            place &+= 128
        }
    }

    /// Fetches two lines: records are rarely as short as one. A hint, harmless wherever it points.
    @inline(__always)
    private func prefetch(_ place: UInt64) {
        let line = unsafe ring + Int(truncatingIfNeeded: place & mask)
        unsafe rf_prefetch(line)
        unsafe rf_prefetch(line + 64)
    }

    /// Bytes that were taken and not released.
    @inline(__always)
    var unreleased: UInt64 { position &- released }

    /// Gives all that was taken back to the peer. False when there was nothing.
    mutating func release() -> Bool {
        guard position != released else { return false }
        // Release: pairs with ShmProducer.refresh; our reads of the payloads are done.
        unsafe consumed.pointee.store(position, ordering: .releasing)
        released = position
        return true
    }
}
