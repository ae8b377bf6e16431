// Frames: what travels on an authenticated connection of the TCP transports. See docs/protocol.md.

package import RayCore

/// Bounds of the protocol. A peer that exceeds one is cut off with `protocolViolation`.
package enum WireLimits {
    /// Most payload bytes of a frame on lane 0, and so the largest message.
    package static let messageBytes = 256 << 10
    /// Most payload bytes of a frame on a bulk lane.
    package static let pieceBytes = 1 << 20
    /// Most operations that one side may have in flight on one connection.
    package static let operations = 4096
    /// Most bulk lanes of a connection.
    package static let bulkLanes = 16
    /// The longest frame header: prefix and body.
    package static let headerBytes = 48
}

/// The first eight bytes of every frame: payload length (u32), kind (u8), flags (u8), code (u16),
/// little-endian.
@frozen
package struct FramePrefix: Hashable, Sendable {
    package static let byteCount = 8

    /// The kinds of frames, by their number on the wire.
    @frozen
    package enum Kind: UInt8, Sendable {
        case message = 1
        case ping = 2
        case finish = 3
        case goodbye = 4
        case openLanes = 5
        case readRequest = 6
        case readReply = 7
        case readCancel = 8
        case write = 9
        case writeWithheld = 10
        case writeReply = 11
        case control = 12

        /// Bytes between prefix and payload.
        package var bodyByteCount: Int {
            switch self {
            case .message, .control, .ping, .finish, .goodbye, .openLanes: 0
            case .readCancel, .writeReply: 8
            case .readReply: 16
            case .writeWithheld: 24
            case .readRequest: 32
            case .write: 40
            }
        }

        /// Whether a payload may follow the body.
        package var hasPayload: Bool {
            switch self {
            case .message, .control, .readReply, .write: true
            case .ping, .finish, .goodbye, .openLanes, .readRequest, .readCancel, .writeWithheld, .writeReply: false
            }
        }

        /// Whether the frame may travel on a bulk lane; every kind may travel on lane 0.
        package var isBulk: Bool { self == .readReply || self == .write }
    }

    /// In `flags`: the body of a write carries a notification.
    static let notificationFlag: UInt8 = 1

    package let kind: Kind
    package let flags: UInt8
    /// A `FabricError.Code` by its number, or zero for none.
    package let code: UInt16
    package let payloadByteCount: Int

    init(kind: Kind, flags: UInt8, code: UInt16, payloadByteCount: Int) {
        self.kind = kind
        self.flags = flags
        self.code = code
        self.payloadByteCount = payloadByteCount
    }

    /// Checks and takes apart the first eight bytes of a frame, read as a little-endian integer.
    /// - Throws: `malformed` for an unknown kind or flag, `tooLong` for a payload over the limit.
    package init(word: UInt64, onBulkLane bulk: Bool) throws(WireError) {
        guard let kind = Kind(rawValue: UInt8(truncatingIfNeeded: word >> 32)), !bulk || kind.isBulk else {
            throw .malformed
        }
        let flags = UInt8(truncatingIfNeeded: word >> 40)
        guard flags == 0 || (kind == .write && flags == Self.notificationFlag) else { throw .malformed }
        let payloadByteCount = Int(UInt32(truncatingIfNeeded: word))
        guard payloadByteCount == 0 || kind.hasPayload else { throw .malformed }
        guard payloadByteCount <= (bulk ? WireLimits.pieceBytes : WireLimits.messageBytes) else { throw .tooLong }
        self.init(
            kind: kind, flags: flags, code: UInt16(truncatingIfNeeded: word >> 48), payloadByteCount: payloadByteCount)
    }

    /// The eight bytes as a little-endian integer.
    package var word: UInt64 {
        UInt64(UInt32(payloadByteCount)) | UInt64(kind.rawValue) << 32 | UInt64(flags) << 40 | UInt64(code) << 48
    }

    /// Bytes of prefix and body.
    package var headerByteCount: Int { Self.byteCount + kind.bodyByteCount }

    /// The prefix of a message of `byteCount` bytes.
    package static func message(byteCount: Int) -> FramePrefix {
        FramePrefix(kind: .message, flags: 0, code: 0, payloadByteCount: byteCount)
    }
}

/// A frame without its payload.
package enum Frame: Hashable, Sendable {
    /// The payload is a message of the user.
    case message
    /// The payload is a message of the rails to each other; see docs/protocol.md.
    case control
    /// A sign of life. Nobody answers it.
    case ping
    /// The sender will start no more messages or operations.
    case finish
    /// The last frame of a connection, with the reason for its end.
    case goodbye(FabricError.Code)
    /// Asks the side that made the connection to open its bulk lanes.
    case openLanes
    /// Asks for `length` bytes at `source`.
    case readRequest(token: UInt64, source: RegionLocation, length: UInt64)
    /// The payload is the part of a read's bytes that starts at `offset` of the operation; with a
    /// status the read has failed.
    case readReply(token: UInt64, offset: UInt64, status: FabricError.Code?)
    /// The bytes of a read are no longer wanted.
    case readCancel(token: UInt64)
    /// The payload belongs at `target`; the whole operation has `total` bytes.
    case write(token: UInt64, target: RegionLocation, total: UInt64, notification: UInt64?)
    /// The sender gave the write up: `withheld` of its `total` bytes will not come.
    case writeWithheld(token: UInt64, withheld: UInt64, total: UInt64)
    /// All bytes of a write have come or were withheld; nil says that they are in place.
    case writeReply(token: UInt64, status: FabricError.Code?)

    package var kind: FramePrefix.Kind {
        switch self {
        case .message: .message
        case .control: .control
        case .ping: .ping
        case .finish: .finish
        case .goodbye: .goodbye
        case .openLanes: .openLanes
        case .readRequest: .readRequest
        case .readReply: .readReply
        case .readCancel: .readCancel
        case .write: .write
        case .writeWithheld: .writeWithheld
        case .writeReply: .writeReply
        }
    }

    /// Bytes of prefix and body.
    package var headerByteCount: Int { FramePrefix.byteCount + kind.bodyByteCount }

    /// The prefix of this frame when `payload` bytes follow its body.
    package func prefix(payload: Int = 0) -> FramePrefix {
        assert(payload == 0 || kind.hasPayload)
        let code: UInt16
        var flags: UInt8 = 0
        switch self {
        case .goodbye(let reason): code = reason.rawValue
        case .readReply(_, _, let status), .writeReply(_, let status): code = status?.rawValue ?? 0
        case .write(_, _, _, let notification):
            code = 0
            if notification != nil { flags = FramePrefix.notificationFlag }
        case .message, .control, .ping, .finish, .openLanes, .readRequest, .readCancel, .writeWithheld: code = 0
        }
        return FramePrefix(kind: kind, flags: flags, code: code, payloadByteCount: payload)
    }

    /// Writes prefix and body; `payload` bytes are to follow.
    package func encode(payload: Int = 0, into writer: inout WireWriter) {
        writer.integer(prefix(payload: payload).word)
        switch self {
        case .message, .control, .ping, .finish, .goodbye, .openLanes: break
        case .readRequest(let token, let source, let length):
            writer.integer(token)
            writer.integer(source.key.rawValue)
            writer.integer(source.offset)
            writer.integer(length)
        case .readReply(let token, let offset, _):
            writer.integer(token)
            writer.integer(offset)
        case .readCancel(let token), .writeReply(let token, _):
            writer.integer(token)
        case .write(let token, let target, let total, let notification):
            writer.integer(token)
            writer.integer(target.key.rawValue)
            writer.integer(target.offset)
            writer.integer(total)
            writer.integer(notification ?? 0)
        case .writeWithheld(let token, let withheld, let total):
            writer.integer(token)
            writer.integer(withheld)
            writer.integer(total)
        }
    }

    /// Takes apart a body of exactly `prefix.kind.bodyByteCount` bytes.
    /// - Throws: `truncated` for a shorter body, `malformed` for values that no sender has.
    package init(prefix: FramePrefix, body: RawSpan) throws(WireError) {
        var reader = WireReader(body)
        let code = prefix.code == 0 ? nil : FabricError.Code(rawValue: prefix.code)
        switch prefix.kind {
        case .message: self = .message
        case .control: self = .control
        case .ping: self = .ping
        case .finish: self = .finish
        case .goodbye: self = .goodbye(FabricError.Code(farewell: prefix.code))
        case .openLanes: self = .openLanes
        case .readRequest:
            self = .readRequest(
                token: try reader.uint64(), source: try reader.location(), length: try reader.uint64())
        case .readReply:
            guard code == nil || prefix.payloadByteCount == 0 else { throw .malformed }
            self = .readReply(token: try reader.uint64(), offset: try reader.uint64(), status: code)
        case .readCancel: self = .readCancel(token: try reader.uint64())
        case .write:
            let token = try reader.uint64()
            let target = try reader.location()
            let total = try reader.uint64()
            let notification = try reader.uint64()
            guard UInt64(prefix.payloadByteCount) <= total else { throw .malformed }
            self = .write(
                token: token, target: target, total: total,
                notification: prefix.flags == FramePrefix.notificationFlag ? notification : nil)
        case .writeWithheld:
            let token = try reader.uint64()
            let withheld = try reader.uint64()
            let total = try reader.uint64()
            guard withheld <= total else { throw .malformed }
            self = .writeWithheld(token: token, withheld: withheld, total: total)
        case .writeReply: self = .writeReply(token: try reader.uint64(), status: code)
        }
    }
}

extension FabricError.Code {
    /// Why a peer leaves. What is no reason to leave, or is none that this version knows, is a lost connection: a
    /// peer does not choose what a call of ours ends with.
    package init(farewell number: UInt16) {
        let code = Self(rawValue: number)
        switch code {
        case Self(rawValue: 0): self = .closed
        case .closed, .protocolViolation, .peerUnresponsive, .staleIncarnation, .connectionLimit, .outOfMemory,
            .authenticationFailed, .versionMismatch, .rdmaUnavailable, .lockedMemoryLimit:
            self = code
        default: self = .connectionLost
        }
    }
}

extension WireReader {
    fileprivate mutating func location() throws(WireError) -> RegionLocation {
        RegionLocation(key: RegionKey(rawValue: try uint64()), offset: try uint64())
    }
}
