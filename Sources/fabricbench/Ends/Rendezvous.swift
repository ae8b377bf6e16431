// The beginning of each benchmark: connections are made, and both ends learn each other's region.

internal import RayCore
internal import RayFabric

/// Memory that is registered with the transport of one end.
@safe
struct BenchmarkRegion {
    let memory: UnsafeMutableRawBufferPointer
    let key: RegionKey
    var byteCount: Int { unsafe memory.count }
}

/// What an end knows once it is connected.
struct Link {
    /// The connections, in the order that both ends use.
    var connections: [Connection]
    /// The peer's region; it has the size of ours.
    var peerRegion: RegionKey

    /// The number of a connection among the streams.
    @inline(__always)
    func stream(of connection: Connection) -> Int? {
        connections.count == 1 && connections[0] == connection ? 0 : connections.firstIndex(of: connection)
    }
}

/// Waits for all connections, then exchanges a greeting on each: its number and the sender's region.
/// The acceptor greets only after it was greeted on all connections, so that the initiator may begin
/// as soon as it is done.
struct Rendezvous {
    private static let magic: UInt32 = 0x5246_4248

    private let isInitiator: Bool
    private let region: BenchmarkRegion
    private let streams: Int
    private var connections: [Connection?]
    private var peerRegion = RegionKey(rawValue: 0)
    private var greeted = 0
    /// Whether the last step found nothing to do.
    private(set) var wasIdle = false

    /// - Parameter connecting: what the initiator has begun to connect; nil for the acceptor.
    init(connecting: [Connection]?, streams: Int, region: BenchmarkRegion) {
        isInitiator = connecting != nil
        self.region = region
        self.streams = streams
        connections = connecting ?? Array(repeating: nil, count: streams)
    }

    /// - Returns: the link, once both ends are greeted on all connections.
    mutating func step<Engine: Transport & ~Copyable>(_ transport: inout Engine) throws(FabricError) -> Link? {
        let event = transport.poll()
        wasIdle = event == nil
        switch event {
        case .connected(let connection):
            if isInitiator, let number = connections.firstIndex(of: connection) {
                try greet(connection, number: number, &transport)
            }
        case .message(let connection):
            let number = try readGreeting(transport.message)
            guard connections[number] == (isInitiator ? connection : nil) else { throw Self.malformed }
            connections[number] = connection
            greeted += 1
            if greeted == streams {
                let link = Link(connections: connections.compactMap { $0 }, peerRegion: peerRegion)
                if !isInitiator {
                    for (number, connection) in link.connections.enumerated() {
                        try greet(connection, number: number, &transport)
                    }
                }
                return link
            }
        case .closed(_, let failure): throw lost(failure)
        case .finished: throw lost(TransportFailure(.closed))
        case .completed, .notified, .revoked, .writable, nil: break
        }
        return nil
    }

    private func greet<Engine: Transport & ~Copyable>(
        _ connection: Connection, number: Int, _ transport: inout Engine
    ) throws(FabricError) {
        var bytes: [24 of UInt8] = InlineArray(repeating: 0)
        var span = bytes.mutableSpan
        var writer = unsafe WireWriter(span.mutableBytes)
        writer.integer(Self.magic)
        writer.integer(UInt32(number))
        writer.integer(region.key.rawValue)
        writer.integer(UInt64(region.byteCount))
        guard try unsafe transport.send(bytes.span.bytes, on: connection) else {
            throw FabricError(.busy, "a new connection took no message")
        }
    }

    /// - Returns: the number of the connection.
    private mutating func readGreeting(_ message: RawSpan) throws(FabricError) -> Int {
        do throws(WireError) {
            var reader = WireReader(message)
            let magic = try reader.uint32()
            let number = Int(try reader.uint32())
            let key = try reader.uint64()
            let bytes = try reader.uint64()
            try reader.finish()
            guard magic == Self.magic, number < streams, bytes == UInt64(region.byteCount) else {
                throw WireError.malformed
            }
            peerRegion = RegionKey(rawValue: key)
            return number
        } catch {
            throw Self.malformed
        }
    }

    private static var malformed: FabricError {
        FabricError(.protocolViolation, "the other end's greeting does not fit this benchmark")
    }
}
