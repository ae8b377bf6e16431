// The messages of the transfer protocol: what a puller says to a source, what it gets back, and
// their bytes on the wire.

package import RayCore

/// A run of an object's bytes in a region of the source.
package struct RemoteExtent: Hashable, Sendable {
    package var location: RegionLocation
    package var length: UInt64

    package init(key: RegionKey, offset: UInt64, length: UInt64) {
        location = RegionLocation(key: key, offset: offset)
        self.length = length
    }
}

/// What a puller says to a source. All three are idempotent.
package enum TransferCall: Hashable, Sendable {
    /// Asks for an object. A repeat has the same request and a higher attempt, and gets the same
    /// answer. Objects of at most `inlineLimit` bytes, metadata included, may come inside the reply.
    case request(UInt64, attempt: UInt32, ObjectID, inlineLimit: UInt32)
    /// Keeps the pin that a located reply granted for another lease.
    case renew(UInt64, grant: UInt32, attempt: UInt32)
    /// No more reads of this request will come: the source may unpin.
    case release(UInt64)
}

/// What a source answers.
package enum TransferReply: Hashable, Sendable {
    /// The object is pinned where the extents say. They cover `size` bytes and, right behind them,
    /// `metadataSize` bytes of metadata. The pin lasts for `lease` milliseconds from the last
    /// request or renewal that the source received; `grant` is the pin's number.
    case located(UInt64, size: Int, metadataSize: Int, lease: UInt32, grant: UInt32)
    /// The object itself: `payload` is where its bytes and then its metadata lie in the message.
    case inline(UInt64, size: Int, metadataSize: Int, payload: Range<Int>)
    case negative(UInt64, NegativeReason)
    /// The pin was there all the time and is kept for another lease.
    case renewed(UInt64, attempt: UInt32)
}

/// Why a source does not serve an object.
package enum NegativeReason: UInt8, CaseIterable, Sendable {
    case notFound = 1
    case deleted = 2
    /// The node does not serve objects, or no longer does.
    case notServing = 3
    /// A limit of the source was reached; try again later.
    case busy = 4
    /// A renewal came after the pin had been given up.
    case expired = 5

    /// The error that a pull ends with when no other source helps.
    package var code: FabricError.Code {
        switch self {
        case .notFound: .objectNotFound
        case .deleted: .objectDeleted
        case .notServing, .expired: .sourceUnavailable
        case .busy: .busy
        }
    }
}

/// A message of the transfer protocol. All start with one byte that tells them apart.
package enum TransferMessage: Hashable, Sendable {
    case call(TransferCall)
    case reply(TransferReply)

    /// First bytes of messages, for shells that carry other messages too.
    package static let firstBytes: ClosedRange<UInt8> = 0x10...0x16
    /// Most extents that a reply may have.
    package static let maximumExtents = 1024
    /// Bytes of an inline reply in front of the object's bytes.
    package static let inlineHeaderByteCount = 1 + 8 + 8 + 4
    /// Room for every message; for an inline reply, without the object's bytes.
    package static let maximumByteCount = 1 + 8 + 8 + 4 + 4 + 4 + 4 + maximumExtents * 24

    private enum Kind: UInt8 {
        case request = 0x10
        case renew, release, located, inline, negative, renewed
    }

    /// Decodes a whole message. The extents of a located reply replace what is in `extents`.
    /// - Throws: `WireError` for everything that `write` does not produce.
    package static func read(
        _ bytes: RawSpan, extents: inout [RemoteExtent]
    ) throws(WireError) -> TransferMessage {
        var reader = WireReader(bytes)
        guard let kind = Kind(rawValue: try reader.uint8()) else { throw .malformed }
        let request = try reader.uint64()
        let message: TransferMessage
        switch kind {
        case .request:
            let attempt = try reader.uint32()
            let object = try reader.objectID()
            message = .call(.request(request, attempt: attempt, object, inlineLimit: try reader.uint32()))
        case .renew:
            let grant = try reader.uint32()
            message = .call(.renew(request, grant: grant, attempt: try reader.uint32()))
        case .release:
            message = .call(.release(request))
        case .located:
            let (size, metadataSize) = try readSizes(&reader)
            let lease = try reader.uint32()
            let grant = try reader.uint32()
            try readExtents(&reader, into: &extents)
            message = .reply(
                .located(request, size: size, metadataSize: metadataSize, lease: lease, grant: grant))
        case .inline:
            let (size, metadataSize) = try readSizes(&reader)
            let start = bytes.byteCount - reader.remaining
            guard size + metadataSize == reader.remaining else { throw .malformed }
            _ = try reader.take(reader.remaining)
            message = .reply(
                .inline(request, size: size, metadataSize: metadataSize, payload: start..<bytes.byteCount))
        case .negative:
            guard let reason = NegativeReason(rawValue: try reader.uint8()) else { throw .malformed }
            message = .reply(.negative(request, reason))
        case .renewed:
            message = .reply(.renewed(request, attempt: try reader.uint32()))
        }
        try reader.finish()
        return message
    }

    /// Writes the message; `extents` belong to a located reply. Of an inline reply it writes the
    /// header, and the object's bytes must follow up to the end of the message.
    @_lifetime(writer: copy writer)
    package func write(to writer: inout WireWriter, extents: [RemoteExtent] = []) {
        switch self {
        case .call(.request(let request, let attempt, let object, let inlineLimit)):
            Self.start(.request, request, &writer)
            writer.integer(attempt)
            writer.objectID(object)
            writer.integer(inlineLimit)
        case .call(.renew(let request, let grant, let attempt)):
            Self.start(.renew, request, &writer)
            writer.integer(grant)
            writer.integer(attempt)
        case .call(.release(let request)):
            Self.start(.release, request, &writer)
        case .reply(.located(let request, let size, let metadataSize, let lease, let grant)):
            Self.start(.located, request, &writer)
            Self.writeSizes(size, metadataSize, &writer)
            writer.integer(lease)
            writer.integer(grant)
            writer.integer(UInt32(extents.count))
            for extent in extents {
                writer.integer(extent.location.key.rawValue)
                writer.integer(extent.location.offset)
                writer.integer(extent.length)
            }
        case .reply(.inline(let request, let size, let metadataSize, payload: _)):
            Self.start(.inline, request, &writer)
            Self.writeSizes(size, metadataSize, &writer)
        case .reply(.negative(let request, let reason)):
            Self.start(.negative, request, &writer)
            writer.integer(reason.rawValue)
        case .reply(.renewed(let request, let attempt)):
            Self.start(.renewed, request, &writer)
            writer.integer(attempt)
        }
    }

    /// Sizes whose sum is a valid `Int`, so that nobody after this has to think of overflow.
    private static func readSizes(_ reader: inout WireReader) throws(WireError) -> (Int, Int) {
        guard let size = Int(exactly: try reader.uint64()) else { throw .tooLong }
        let metadataSize = Int(try reader.uint32())
        guard !size.addingReportingOverflow(metadataSize).overflow else { throw .tooLong }
        return (size, metadataSize)
    }

    private static func readExtents(
        _ reader: inout WireReader, into extents: inout [RemoteExtent]
    ) throws(WireError) {
        let count = Int(try reader.uint32())
        guard count <= maximumExtents else { throw .tooLong }
        guard reader.remaining == count * 24 else { throw .malformed }
        extents.removeAll(keepingCapacity: true)
        for _ in 0..<count {
            let key = RegionKey(rawValue: try reader.uint64())
            let offset = try reader.uint64()
            extents.append(RemoteExtent(key: key, offset: offset, length: try reader.uint64()))
        }
    }

    @_lifetime(writer: copy writer)
    private static func start(_ kind: Kind, _ request: UInt64, _ writer: inout WireWriter) {
        writer.integer(kind.rawValue)
        writer.integer(request)
    }

    @_lifetime(writer: copy writer)
    private static func writeSizes(_ size: Int, _ metadataSize: Int, _ writer: inout WireWriter) {
        writer.integer(UInt64(size))
        writer.integer(UInt32(metadataSize))
    }
}
