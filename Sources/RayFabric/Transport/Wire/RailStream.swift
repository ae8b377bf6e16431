// The stream of bytes that the packets of a rail carry: frames of messages and control messages.

package import RayCore

/// The head of a frame: its kind in the two high bits, the bytes that follow below, little-endian.
package struct RailFrameHead: Hashable, Sendable {
    package static let byteCount = 4

    package enum Kind: UInt32, Sendable {
        case message, control, finish
    }

    package var kind: Kind
    package var length: Int

    package init(_ kind: Kind, length: Int) {
        self.kind = kind
        self.length = length
    }

    package var rawValue: UInt32 { kind.rawValue << 30 | UInt32(length) }

    /// - Throws: `malformed` for a kind that does not exist or more bytes than a frame of it has.
    package init(_ rawValue: UInt32) throws(WireError) {
        guard let kind = Kind(rawValue: rawValue >> 30) else { throw .malformed }
        self.init(kind, length: Int(rawValue & 0x3fff_ffff))
        let longest =
            switch kind {
            case .message: WireLimits.messageBytes
            case .control: RailMessage.maximumBytes
            case .finish: 0
            }
        guard length <= longest else { throw .malformed }
    }
}

/// Finds the frames in a stream that arrives in packets. A frame that lies within one packet stays where
/// it is, one that spans several is put together.
package struct RailStreamParser: Sendable {
    package enum Frame: Hashable, Sendable {
        /// The bytes of the packet that hold it.
        case inPlace(RailFrameHead.Kind, Range<Int>)
        /// It came in several packets; head and bytes are in the buffer that `next` was given.
        case assembled(RailFrameHead.Kind)
    }

    /// Head and bytes of a frame of which not all has come.
    private var parts: [UInt8] = []

    package init() {}

    /// The next frame of a packet from `cursor` on; nil when the packet has no more.
    /// - Throws: `malformed`, after which the stream is of no more use.
    package mutating func next(
        in packet: RawSpan, at cursor: inout Int, into assembled: inout [UInt8]
    ) throws(WireError) -> Frame? {
        let start = cursor + RailFrameHead.byteCount
        if parts.isEmpty, start <= packet.byteCount {
            let head = try Self.head(packet.extracting(cursor..<start))
            if start + head.length <= packet.byteCount {
                cursor = start + head.length
                return .inPlace(head.kind, start..<cursor)
            }
        }
        take(RailFrameHead.byteCount - parts.count, packet, &cursor)
        guard parts.count >= RailFrameHead.byteCount else { return nil }
        let head = try Self.head(unsafe parts.span.bytes.extracting(first: RailFrameHead.byteCount))
        take(RailFrameHead.byteCount + head.length - parts.count, packet, &cursor)
        guard parts.count == RailFrameHead.byteCount + head.length else { return nil }
        swap(&parts, &assembled)
        parts.removeAll(keepingCapacity: true)
        return .assembled(head.kind)
    }

    /// Appends up to `wanted` bytes.
    private mutating func take(_ wanted: Int, _ packet: RawSpan, _ cursor: inout Int) {
        let count = min(max(wanted, 0), packet.byteCount - cursor)
        guard count > 0 else { return }
        let bytes = packet.extracting(cursor..<cursor + count)
        // SAFETY: the array takes bytes of any value.
        unsafe bytes.withUnsafeBytes { unsafe parts.append(contentsOf: $0) }
        cursor += count
    }

    private static func head(_ bytes: RawSpan) throws(WireError) -> RailFrameHead {
        var reader = WireReader(bytes)
        return try RailFrameHead(reader.uint32())
    }
}
