// What the two ends of a connection tell each other about RDMA: the payload of control frames.

package import RayCore

/// Proves to the connection manager's user at one end that it is the other one, which was told over the connection.
/// Drawn at random, and good for one queue pair.
package struct RailToken: Hashable, Sendable {
    package static let byteCount = 16

    private let high: UInt64
    private let low: UInt64

    /// Drawn by the system.
    package init() {
        high = .random(in: 0...UInt64.max)
        low = .random(in: 0...UInt64.max)
    }

    /// - Returns: nil where there are too few bytes; the connection manager adds some.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.byteCount else { return nil }
        func word(_ range: Range<Int>) -> UInt64 { bytes[range].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
        high = word(0..<8)
        low = word(8..<16)
    }

    init(from reader: inout WireReader) throws(WireError) {
        high = try reader.uint64()
        low = try reader.uint64()
    }

    func write(to writer: inout WireWriter) {
        writer.integer(high)
        writer.integer(low)
    }

    /// As the connection manager carries it.
    var bytes: [UInt8] { [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } } }
}

/// Where the peer's connection manager waits for who connects a queue pair, and how both ends know each other.
package struct RailInvitation: Hashable, Sendable {
    package var port: RailPort
    /// Number of the connection manager's port.
    package var service: UInt16
    /// What the end that connects shows.
    package var question: RailToken
    /// What the end that accepts shows.
    package var answer: RailToken

    package init(port: RailPort, service: UInt16) {
        self.port = port
        self.service = service
        question = RailToken()
        answer = RailToken()
    }

    init(from reader: inout WireReader) throws(WireError) {
        port = try RailPort(from: &reader)
        service = try reader.uint16()
        question = try RailToken(from: &reader)
        answer = try RailToken(from: &reader)
        guard service > 0 else { throw .malformed }
    }

    func write(to writer: inout WireWriter) {
        port.write(to: &writer)
        writer.integer(service)
        question.write(to: &writer)
        answer.write(to: &writer)
    }
}

extension RailPort {
    func write(to writer: inout WireWriter) {
        writer.integer(high.byteSwapped)
        writer.integer(low.byteSwapped)
    }

    init(from reader: inout WireReader) throws(WireError) {
        self.init(high: try reader.uint64().byteSwapped, low: try reader.uint64().byteSwapped)
    }
}

/// A port that a path may begin or end at, by its global identifier: 16 bytes in the order of the network.
package struct RailPort: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// - Parameter bytes: 16 of them.
    package init(_ bytes: [UInt8]) {
        precondition(bytes.count == 16)
        high = bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// In the order of the network.
    var bytes: [UInt8] {
        [high, low].flatMap { word in (1...8).map { UInt8(truncatingIfNeeded: word >> (64 - $0 * 8)) } }
    }

    /// Whether the first `count` bits are the same.
    package func shares(_ count: Int, with other: RailPort) -> Bool {
        func mask(_ count: Int) -> UInt64 { count <= 0 ? 0 : count >= 64 ? .max : ~(.max >> UInt64(count)) }
        return (high ^ other.high) & mask(count) == 0 && (low ^ other.low) & mask(count - 64) == 0
    }
}

/// Memory of a region that a peer may reach by RDMA: `length` bytes from `offset` of the region on.
package struct RailRegion: Sendable {
    package var key: RegionKey
    package var offset: UInt64
    package var length: UInt64
    package var access: RemoteAccess
    /// Where the device finds it, and the key that it asks for.
    package var address: UInt64
    package var remoteKey: UInt32
}

extension RailRegion: Hashable {
    package static func == (left: Self, right: Self) -> Bool {
        left.key == right.key && left.offset == right.offset && left.length == right.length
            && left.access == right.access && left.address == right.address && left.remoteKey == right.remoteKey
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(key)
        hasher.combine(offset)
    }
}

/// A message between rails. The end that accepted the connection sends an `offer` to connect two queue pairs, or
/// either end declines; both send `ready` once their queue pairs can answer; then regions as they come and go.
/// After a failure each says what it has `received` of the other's stream and gets the rest in pieces.
///
/// The end that accepted the connection tells of its other `ports`; the other end asks for a `path` to each that it
/// can reach. It is invited, and says `pathReady` once it has connected; or one of them says `pathBroken`.
package enum RailMessage: Hashable, Sendable {
    case offer(operations: RailInvitation, messages: RailInvitation)
    /// No queue pairs here; the code says why.
    case decline(FabricError.Code)
    case ready
    /// Memory that a path reaches.
    case region(path: UInt8, RailRegion)
    case regionGone(RegionKey)
    /// The sender's queue pairs are of no more use.
    case broken
    /// So many bytes of the stream have arrived; nothing more can.
    case received(UInt64)
    /// Bytes of the stream that had not arrived.
    case rest([UInt8])
    /// A write by RDMA is in place.
    case notification(UInt64)
    case ports([RailPort])
    /// The peer shall make a queue pair at a port of its own for a path.
    case path(UInt8, to: RailPort)
    case invited(path: UInt8, RailInvitation)
    /// The sender's queue pair of a path can answer, and will be used.
    case pathReady(UInt8)
    /// The sender's queue pair of a path is of no more use.
    case pathBroken(UInt8)
    /// Memory that the sender's device does not take; the code says why.
    case refused(RegionKey, FabricError.Code)
    /// The peer was told of all memory that the sender's device of a path had to be shown when it was opened.
    case registered(path: UInt8)

    /// Most ports in a message.
    package static let mostPorts = 64
    package static let maximumBytes = 4 << 10
    /// Most bytes of a `rest`.
    package static let restBytes = maximumBytes - 1

    package func encoded() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.maximumBytes)
        var count = 0
        do {
            var span = bytes.mutableSpan
            // SAFETY: any bytes are valid UInt8 values.
            var writer = WireWriter(unsafe span.mutableBytes)
            write(to: &writer)
            count = writer.count
        }
        return Array(bytes[..<count])
    }

    private func write(to writer: inout WireWriter) {
        switch self {
        case .offer(let operations, let messages):
            writer.integer(UInt8(1))
            operations.write(to: &writer)
            messages.write(to: &writer)
        case .decline(let code):
            writer.integer(UInt8(2))
            writer.integer(code.rawValue)
        case .ready: writer.integer(UInt8(3))
        case .region(let path, let region):
            writer.integer(UInt8(4))
            writer.integer(path)
            writer.integer(region.key.rawValue)
            writer.integer(region.offset)
            writer.integer(region.length)
            writer.integer(region.access.rawValue)
            writer.integer(region.address)
            writer.integer(region.remoteKey)
        case .regionGone(let key):
            writer.integer(UInt8(5))
            writer.integer(key.rawValue)
        case .broken: writer.integer(UInt8(6))
        case .received(let count):
            writer.integer(UInt8(7))
            writer.integer(count)
        case .rest(let bytes):
            writer.integer(UInt8(8))
            writer.raw(unsafe bytes.span.bytes)
        case .notification(let value):
            writer.integer(UInt8(9))
            writer.integer(value)
        case .ports(let ports):
            writer.integer(UInt8(10))
            writer.integer(UInt8(ports.count))
            for port in ports { port.write(to: &writer) }
        case .path(let number, let port):
            writer.integer(UInt8(11))
            writer.integer(number)
            port.write(to: &writer)
        case .invited(let number, let invitation):
            writer.integer(UInt8(12))
            writer.integer(number)
            invitation.write(to: &writer)
        case .pathReady(let number):
            writer.integer(UInt8(13))
            writer.integer(number)
        case .pathBroken(let number):
            writer.integer(UInt8(14))
            writer.integer(number)
        case .refused(let key, let code):
            writer.integer(UInt8(15))
            writer.integer(key.rawValue)
            writer.integer(code.rawValue)
        case .registered(let path):
            writer.integer(UInt8(16))
            writer.integer(path)
        }
    }

    /// - Throws: what the reader throws, and `malformed` for what nobody sends.
    package init(decoding bytes: RawSpan) throws(WireError) {
        var reader = WireReader(bytes)
        switch try reader.uint8() {
        case 1:
            self = .offer(
                operations: try RailInvitation(from: &reader), messages: try RailInvitation(from: &reader))
        case 2: self = .decline(try reader.reason())
        case 3: self = .ready
        case 4:
            let path = try reader.uint8()
            let region = RailRegion(
                key: RegionKey(rawValue: try reader.uint64()), offset: try reader.uint64(),
                length: try reader.uint64(), access: RemoteAccess(rawValue: try reader.uint8()),
                address: try reader.uint64(), remoteKey: try reader.uint32())
            guard region.length > 0, !region.offset.addingReportingOverflow(region.length).overflow,
                !region.address.addingReportingOverflow(region.length).overflow
            else { throw .malformed }
            self = .region(path: path, region)
        case 5: self = .regionGone(RegionKey(rawValue: try reader.uint64()))
        case 6: self = .broken
        case 7: self = .received(try reader.uint64())
        case 8:
            let bytes = try reader.take(bytes.byteCount - 1)
            // SAFETY: any bytes are valid UInt8 values.
            self = .rest(unsafe bytes.withUnsafeBytes { unsafe Array($0) })
        case 9: self = .notification(try reader.uint64())
        case 10:
            let count = Int(try reader.uint8())
            guard count <= Self.mostPorts else { throw .malformed }
            var ports: [RailPort] = []
            for _ in 0..<count { ports.append(try RailPort(from: &reader)) }
            self = .ports(ports)
        case 11: self = .path(try reader.uint8(), to: try RailPort(from: &reader))
        case 12: self = .invited(path: try reader.uint8(), try RailInvitation(from: &reader))
        case 13: self = .pathReady(try reader.uint8())
        case 14: self = .pathBroken(try reader.uint8())
        case 15:
            self = .refused(
                RegionKey(rawValue: try reader.uint64()), try reader.reason())
        case 16: self = .registered(path: try reader.uint8())
        default: throw .malformed
        }
        try reader.finish()
    }
}

extension WireReader {
    /// Why a peer has no RDMA. A code that this version does not know is one of that.
    fileprivate mutating func reason() throws(WireError) -> FabricError.Code {
        let code = FabricError.Code(rawValue: try uint16())
        return FabricError.Code.all.contains(code) ? code : .rdmaUnavailable
    }
}
