// The messages of the handshake, byte for byte as in docs/protocol.md.

package import RayCore

/// What this version of the library speaks.
package enum WireProtocol {
    package static let versions: ClosedRange<UInt16> = 1...1
    /// First bytes of every handshake message. The first is not ASCII and the last is a line feed,
    /// so that neither text protocols nor transfers that alter line ends are taken for ours.
    static let magic: [UInt8] = [0x89, 0x52, 0x41, 0x59, 0x46, 0x41, 0x42, 0x0a]  // "\x89RAYFAB\n"
}

/// Optional parts of the protocol. Both sides use what both name.
package struct WireFeatures: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Payload of one-sided operations may travel on sockets of its own.
    package static let bulkLanes = WireFeatures(rawValue: 1)
    /// Messages and one-sided operations may go by RDMA: control frames say how rails are connected. Bit 1 was the
    /// same without the connection manager.
    package static let rails = WireFeatures(rawValue: 4)
}

/// A number used once. 32 bytes.
package struct HandshakeNonce: Hashable, Sendable {
    let words: (UInt64, UInt64, UInt64, UInt64)

    /// Draws a nonce; shells pass the system's generator.
    package init(using source: inout some RandomNumberGenerator) {
        words = (source.next(), source.next(), source.next(), source.next())
    }

    init(reading reader: inout WireReader) throws(WireError) {
        words = (try reader.uint64(), try reader.uint64(), try reader.uint64(), try reader.uint64())
    }

    package static func == (left: Self, right: Self) -> Bool { left.words == right.words }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }
}

/// What each side says about itself: the body of hello and of challenge.
package struct HandshakeOffer: Hashable, Sendable {
    package static let byteCount = 64

    /// Protocol versions that the side speaks; in a challenge exactly the chosen one.
    package var versions: ClosedRange<UInt16>
    package var features: WireFeatures
    package var node: NodeID
    /// Chosen at random by the initiator; the sockets of one connection share it.
    package var session: UInt64
    /// 0 carries messages; 1 and up are bulk lanes.
    package var lane: UInt16
    /// Bulk lanes that the side wants at most; in a challenge what both want.
    package var laneCount: UInt16
    package var nonce: HandshakeNonce

    package init(
        node: NodeID, session: UInt64, lane: UInt16, laneCount: UInt16, nonce: HandshakeNonce,
        features: WireFeatures = .bulkLanes, versions: ClosedRange<UInt16> = WireProtocol.versions
    ) {
        self.versions = versions
        self.features = features
        self.node = node
        self.session = session
        self.lane = lane
        self.laneCount = laneCount
        self.nonce = nonce
    }

    func encode(into writer: inout WireWriter) {
        writer.integer(versions.lowerBound)
        writer.integer(versions.upperBound)
        writer.integer(features.rawValue)
        writer.nodeID(node)
        writer.integer(session)
        writer.integer(lane)
        writer.integer(laneCount)
        writer.integer(nonce.words.0)
        writer.integer(nonce.words.1)
        writer.integer(nonce.words.2)
        writer.integer(nonce.words.3)
    }

    /// The range of versions, which stays at the start of the body in all versions of the protocol.
    static func versions(in body: RawSpan) throws(WireError) -> ClosedRange<UInt16> {
        var reader = WireReader(body)
        let lowest = try reader.uint16()
        let highest = try reader.uint16()
        guard lowest <= highest else { throw .malformed }
        return lowest...highest
    }

    init(decoding body: RawSpan) throws(WireError) {
        versions = try Self.versions(in: body)
        var reader = WireReader(body)
        _ = try reader.uint32()
        features = WireFeatures(rawValue: try reader.uint32())
        node = try reader.nodeID()
        session = try reader.uint64()
        lane = try reader.uint16()
        laneCount = try reader.uint16()
        nonce = try HandshakeNonce(reading: &reader)
        try reader.finish()
        guard laneCount <= WireLimits.bulkLanes, lane <= laneCount else { throw .malformed }
    }
}

/// The first bytes of a handshake message: magic, kind (u16) and length of the body (u16).
struct HandshakePrefix {
    static let byteCount = 12
    /// No message of any version is longer, so that a stranger can not make us wait for much.
    static let maximumBodyBytes = 1024

    enum Kind: UInt16 {
        case hello = 1
        case challenge = 2
        case initiatorProof = 3
        case responderProof = 4
        case reject = 5
    }

    let kind: Kind
    let bodyByteCount: Int

    /// - Throws: `notOurProtocol` for another magic, else `protocolViolation`.
    init(decoding bytes: RawSpan) throws(TransportFailure) {
        for (index, expected) in WireProtocol.magic.enumerated() {
            guard index < bytes.byteCount else { throw TransportFailure(.protocolViolation) }
            var reader = WireReader(bytes.extracting(index...))
            guard (try? reader.uint8()) == expected else { throw TransportFailure(.notOurProtocol) }
        }
        var reader = WireReader(bytes.extracting(WireProtocol.magic.count...))
        guard let kind = (try? reader.uint16()).flatMap(Kind.init(rawValue:)),
            let length = try? reader.uint16(), length <= Self.maximumBodyBytes
        else { throw TransportFailure(.protocolViolation) }
        self.kind = kind
        bodyByteCount = Int(length)
    }
}

/// Builds the bytes of handshake messages.
enum HandshakeEncoder {
    static let proofByteCount = 32
    static let rejectByteCount = 8

    static func offer(_ offer: HandshakeOffer, kind: HandshakePrefix.Kind) -> [UInt8] {
        message(kind, bodyByteCount: HandshakeOffer.byteCount) { writer in offer.encode(into: &writer) }
    }

    static func proof(_ proof: [UInt8], kind: HandshakePrefix.Kind) -> [UInt8] {
        message(kind, bodyByteCount: proofByteCount) { writer in
            // SAFETY: every byte of an array of bytes is initialised; so below.
            unsafe writer.raw(proof.span.bytes)
        }
    }

    /// Code (u16), then the versions that the sender speaks, then two zero bytes.
    static func reject(_ code: FabricError.Code, versions: ClosedRange<UInt16>) -> [UInt8] {
        message(.reject, bodyByteCount: rejectByteCount) { writer in
            writer.integer(code.rawValue)
            writer.integer(versions.lowerBound)
            writer.integer(versions.upperBound)
            writer.integer(UInt16(0))
        }
    }

    private static func message(
        _ kind: HandshakePrefix.Kind, bodyByteCount: Int, body: (inout WireWriter) -> Void
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: HandshakePrefix.byteCount + bodyByteCount)
        var span = bytes.mutableSpan
        var writer = unsafe WireWriter(span.mutableBytes)
        unsafe writer.raw(WireProtocol.magic.span.bytes)
        writer.integer(kind.rawValue)
        writer.integer(UInt16(bodyByteCount))
        body(&writer)
        assert(writer.remaining == 0)
        return bytes
    }
}
