// A sealed object, pinned and read in place.

public import RayCore

/// An object that stays where it is for as long as this value lives: reading it costs nothing. It
/// may be moved between threads and read by several at a time.
@safe
public struct Object: ~Copyable, @unchecked Sendable {
    // SAFETY: the entry is pinned, so that [base, base + size + metadataSize) is not reused before
    // deinit; the memory stays mapped as long as `client` lives, even if the host dies.
    private let client: StoreClient
    private let base: UnsafeRawPointer
    private let pin: PinnedEntry
    public let id: ObjectID

    @inline(__always)
    init(client: StoreClient, id: ObjectID, pin: PinnedEntry) {
        self.client = client
        self.id = id
        self.pin = pin
        unsafe base = UnsafeRawPointer(client.segments.base + Int(pin.offset))
    }

    @inline(__always)
    deinit { client.unpin(pin) }

    /// Bytes of payload.
    public var size: Int { Int(pin.size) }

    /// The payload, 64-byte aligned.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            // SAFETY: immutable while pinned.
            let span = unsafe RawSpan(_unsafeStart: base, byteCount: Int(pin.size))
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The user's metadata.
    public var metadata: RawSpan {
        @_lifetime(borrow self)
        get {
            let span = unsafe RawSpan(_unsafeStart: base + Int(pin.size), byteCount: Int(pin.metadataSize))
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Calls `body` with the payload.
    public func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(bytes)
    }

    /// Releases the pin. Letting the value go out of scope does the same.
    public consuming func release() {}

    /// Where the payload lies in the arena.
    package var arenaOffset: UInt64 { pin.offset }
    /// Where the payload lies in memory, and the metadata behind it. Valid as long as the object.
    package var address: UnsafeRawPointer { unsafe base }
    package var metadataSize: Int { Int(pin.metadataSize) }
}

/// Several objects, pinned together: the result of a get of many.
public struct ObjectBatch: ~Copyable, Sendable {
    private let client: StoreClient
    private let ids: [ObjectID]
    private var pins: [PinnedEntry?]

    init(client: StoreClient, ids: [ObjectID], pins: [PinnedEntry?]) {
        self.client = client
        self.ids = ids
        self.pins = pins
    }

    deinit {
        for case let pin? in pins { client.unpin(pin) }
    }

    /// Identifiers in the order in which they were asked for.
    public var count: Int { ids.count }
    public func id(at index: Int) -> ObjectID { ids[index] }

    /// Whether the object at `index` is among those that were found.
    public func isPresent(at index: Int) -> Bool { pins[index] != nil }

    /// Takes the object at `index` out of the batch; nil when it is not present.
    package mutating func take(at index: Int) -> Object? {
        guard let pin = pins[index].take() else { return nil }
        return Object(client: client, id: ids[index], pin: pin)
    }

    /// Calls `body` with the payload of the object at `index`; nil when it is not present.
    public func withBytes<Result, Failure: Error>(
        at index: Int, _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard let pin = pins[index] else { return nil }
        // SAFETY: pinned until deinit.
        let span = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(client.segments.base + Int(pin.offset)), byteCount: Int(pin.size))
        return try body(span)
    }
}

/// A pin and what it holds.
struct PinnedEntry: Sendable {
    var entry: Int
    var offset: UInt64
    var size: UInt64
    var metadataSize: UInt32
}
