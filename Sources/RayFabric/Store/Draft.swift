// An object in the making.

public import RayCore

/// Memory of the store that only this process writes, until `seal` makes it an object. It is dropped
/// if it goes out of scope before. A draft may be moved between threads; one uses it at a time.
@safe
public struct Draft: ~Copyable, @unchecked Sendable {
    // SAFETY: [base, base + size + metadataSize) was granted to this client and allocated to this
    // draft alone; it stays mapped as long as `client` lives.
    private let base: UnsafeMutableRawPointer
    /// Nil once sealed: there is nothing to drop then.
    private var client: StoreClient?
    private let offset: UInt64
    /// The identifier that the object will have.
    public let id: ObjectID
    /// Bytes of payload.
    public let size: Int
    let metadataSize: Int
    private let flags: StoreCommand.Flags

    init(
        client: StoreClient, id: ObjectID, offset: UInt64, size: Int, metadataSize: Int, flags: StoreCommand.Flags
    ) {
        self.client = client
        self.id = id
        self.offset = offset
        self.size = size
        self.metadataSize = metadataSize
        self.flags = flags
        unsafe base = client.segments.base + Int(offset)
    }

    deinit { client?.discard(offset: offset, size: size, metadataSize: metadataSize) }

    /// The payload, to be written in place. 64-byte aligned; what it holds at first is undefined.
    public var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // SAFETY: exclusive for as long as self is borrowed mutably.
            let span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: size)
            return unsafe _overrideLifetime(span, mutating: &self)
        }
    }

    /// Calls `body` with the payload, to be written in place.
    public mutating func withMutableBytes<Result, Failure: Error>(
        _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // SAFETY: as above.
        var span = unsafe MutableRawSpan(_unsafeStart: base, byteCount: size)
        return try body(&span)
    }

    /// Copies bytes into the payload, from `offset` on.
    /// - Throws: `invalidArgument` when they do not fit.
    public mutating func write(_ bytes: RawSpan, at offset: Int = 0) throws(FabricError) {
        guard offset >= 0, offset <= size, bytes.byteCount <= size - offset else {
            throw FabricError(.invalidArgument, "\(bytes.byteCount) bytes at \(offset) of an object of \(size)")
        }
        unsafe copy(bytes, to: base + offset)
    }

    /// Writes the metadata, which follows the payload within the same allocation.
    mutating func writeMetadata(_ metadata: RawSpan) {
        precondition(metadata.byteCount == metadataSize)
        unsafe copy(metadata, to: base + size)
    }

    /// Writes payload and metadata at once.
    mutating func writeWithMetadata(_ bytes: RawSpan) throws(FabricError) {
        guard bytes.byteCount == size + metadataSize else {
            throw FabricError(.invalidArgument, "\(bytes.byteCount) bytes for an object of \(size + metadataSize)")
        }
        unsafe copy(bytes, to: base)
    }

    private func copy(_ bytes: RawSpan, to target: UnsafeMutableRawPointer) {
        // SAFETY: callers checked that it fits; a span never overlaps memory that is written exclusively.
        unsafe bytes.withUnsafeBytes { source in
            if let start = source.baseAddress { unsafe target.copyMemory(from: start, byteCount: source.count) }
        }
    }

    /// Makes the object visible to everyone, for ever unchanged. No copy, no system call as a rule.
    /// - Throws: `hostLost`, `tooManyObjects`; the object does not exist then.
    public consuming func seal() throws(FabricError) -> ObjectID {
        guard let client = client.take() else { preconditionFailure("sealed twice") }
        let isCertain: Bool
        do throws(FabricError) {
            isCertain = try client.publish(
                id, offset: offset, size: size, metadataSize: metadataSize, flags: flags)
        } catch {
            client.discard(offset: offset, size: size, metadataSize: metadataSize)
            throw error
        }
        if !isCertain { try client.confirm(id) }
        return id
    }

    /// Drops the draft; its memory is free again.
    public consuming func abort() {}

    /// Where the payload lies in the arena, for transports that write into it.
    package var arenaOffset: UInt64 { offset }
    /// Where the payload lies in memory. Valid as long as the draft.
    package var address: UnsafeMutableRawPointer { unsafe base }
}
