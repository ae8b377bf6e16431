// What `inspect` tells of an object.

public import RayCore

/// An object in the store and who holds it, as it was when it was asked for.
public struct ObjectDescription: Hashable, Sendable {
    public var id: ObjectID
    /// Bytes of payload.
    public var size: UInt64
    public var metadataSize: UInt32
    /// A copy of an object of another node, which may be evicted.
    public var isSecondary: Bool
    /// Deleted, and still here because it is pinned.
    public var isDeleted: Bool
    /// Time since it was sealed.
    public var age: Duration
    /// Number of the client that sealed it.
    public var creator: Int
    /// Clients that have it pinned, and how often; at most 32 of them.
    public var pins: [Pin]

    /// One client's hold on an object.
    public struct Pin: Hashable, Sendable {
        public var client: Int
        public var count: UInt32
    }

    init(entry: ObjectEntry, pins: [(Int, UInt32)], now: Timestamp) {
        id = entry.id
        size = entry.size
        metadataSize = entry.attributes.metadataSize
        isSecondary = entry.attributes.isSecondary
        isDeleted = entry.state == .dying
        age = now - Timestamp(nanoseconds: entry.sealedAt)
        creator = entry.attributes.creator
        self.pins = pins.prefix(ControlReply.pinsPerObject).map { Pin(client: $0.0, count: $0.1) }
    }

    func encode(to writer: inout WireWriter) {
        writer.objectID(id)
        writer.integer(size)
        writer.integer(metadataSize)
        writer.integer(UInt8((isSecondary ? 1 : 0) | (isDeleted ? 2 : 0)))
        writer.integer(age.saturatedNanoseconds)
        writer.integer(UInt16(creator))
        writer.integer(UInt8(pins.count))
        for pin in pins {
            writer.integer(UInt16(pin.client))
            writer.integer(pin.count)
        }
    }

    init(decoding reader: inout WireReader) throws(WireError) {
        id = try reader.objectID()
        size = try reader.uint64()
        metadataSize = try reader.uint32()
        let flags = try reader.uint8()
        isSecondary = flags & 1 != 0
        isDeleted = flags & 2 != 0
        age = .nanoseconds(try reader.integer(Int64.self))
        creator = Int(try reader.uint16())
        pins = []
        for _ in 0..<(try reader.uint8()) {
            pins.append(Pin(client: Int(try reader.uint16()), count: try reader.uint32()))
        }
    }
}
