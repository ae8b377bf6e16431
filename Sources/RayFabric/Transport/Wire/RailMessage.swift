// What the two ends of a connection tell each other about RDMA: the payload of control frames.

package import RayCore

/// How to reach a queue pair.
package struct RailAddress: Hashable, Sendable {
    /// Global identifier of the port, as the device has it.
    package var gid: (high: UInt64, low: UInt64)
    /// Local identifier of an InfiniBand port; 0 on Ethernet.
    package var lid: UInt16
    package var queuePair: UInt32
    /// First packet number that it sends.
    package var packetNumber: UInt32
    /// The port's transmission unit, in the encoding of InfiniBand: 1 is 256 bytes, 5 is 4096.
    package var transmissionUnit: UInt8
    /// Reads that it answers at a time.
    package var readsServed: UInt8

    package static func == (left: Self, right: Self) -> Bool {
        left.gid == right.gid && left.lid == right.lid && left.queuePair == right.queuePair
            && left.packetNumber == right.packetNumber && left.transmissionUnit == right.transmissionUnit
            && left.readsServed == right.readsServed
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(queuePair) }
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

/// A message between rails. Both ends send `offer` or `decline` when the connection is made, and
/// `ready` once their queue pair can answer; then regions as they come and go.
package enum RailMessage: Hashable, Sendable {
    case offer(RailAddress)
    /// No queue pair here; the code says why.
    case decline(FabricError.Code)
    case ready
    case region(RailRegion)
    case regionGone(RegionKey)
    /// The sender's queue pair is of no more use.
    case broken

    package static let maximumBytes = 64

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
        case .offer(let address):
            writer.integer(UInt8(1))
            writer.integer(address.gid.high)
            writer.integer(address.gid.low)
            writer.integer(address.lid)
            writer.integer(address.queuePair)
            writer.integer(address.packetNumber)
            writer.integer(address.transmissionUnit)
            writer.integer(address.readsServed)
        case .decline(let code):
            writer.integer(UInt8(2))
            writer.integer(code.rawValue)
        case .ready: writer.integer(UInt8(3))
        case .region(let region):
            writer.integer(UInt8(4))
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
        }
    }

    /// - Throws: what the reader throws, and `malformed` for what nobody sends.
    package init(decoding bytes: RawSpan) throws(WireError) {
        var reader = WireReader(bytes)
        switch try reader.uint8() {
        case 1:
            let gid = (high: try reader.uint64(), low: try reader.uint64())
            let address = RailAddress(
                gid: gid, lid: try reader.uint16(), queuePair: try reader.uint32(),
                packetNumber: try reader.uint32(), transmissionUnit: try reader.uint8(),
                readsServed: try reader.uint8())
            guard (1...5).contains(address.transmissionUnit), address.queuePair < 1 << 24,
                address.packetNumber < 1 << 24
            else { throw .malformed }
            self = .offer(address)
        case 2: self = .decline(FabricError.Code(rawValue: try reader.uint16()))
        case 3: self = .ready
        case 4:
            let region = RailRegion(
                key: RegionKey(rawValue: try reader.uint64()), offset: try reader.uint64(),
                length: try reader.uint64(), access: RemoteAccess(rawValue: try reader.uint8()),
                address: try reader.uint64(), remoteKey: try reader.uint32())
            guard region.length > 0, !region.offset.addingReportingOverflow(region.length).overflow,
                !region.address.addingReportingOverflow(region.length).overflow
            else { throw .malformed }
            self = .region(region)
        case 5: self = .regionGone(RegionKey(rawValue: try reader.uint64()))
        case 6: self = .broken
        default: throw .malformed
        }
        try reader.finish()
    }
}
