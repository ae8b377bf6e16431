// Peers that have the key and mean harm: a fabric survives what they ask for.

import RayCore
import Testing

@testable import RayFabric

@Suite struct HostilePeerTests {
    /// A transport that says what it likes, connected to a fabric.
    private struct Stranger: ~Copyable {
        var station: Station<UringTransport>
        let connection: Connection

        private init(_ endpoint: consuming UringTransport, _ connection: Connection) {
            station = Station(endpoint)
            self.connection = connection
        }

        static func connected(to fabric: Fabric) throws -> Stranger {
            let configuration = TransportConfiguration(identity: NodeID(value: 5, incarnation: 1))
            var endpoint = try UringTransport(configuration: configuration)
            let address = try #require(fabric.address)
            let connection = try endpoint.connect(to: address, deadline: .now + .seconds(10))
            var stranger = Stranger(endpoint, connection)
            try stranger.drive { $0.connected.contains(connection) }
            return stranger
        }

        mutating func drive(until isDone: (borrowing Station<UringTransport>) -> Bool) throws {
            let end = Timestamp.now + .seconds(20)
            while true {
                let moved = station.drain()
                if isDone(station) { return }
                guard Timestamp.now < end else { throw Overdue(description: "a hostile peer waits") }
                if !moved { station.endpoint.wait(until: .now + .milliseconds(5)) }
            }
        }

        mutating func say(_ call: TransferCall) throws -> Bool {
            var bytes = [UInt8](repeating: 0, count: TransferMessage.maximumByteCount)
            var count = 0
            do {
                var span = bytes.mutableSpan
                var writer = WireWriter(unsafe span.mutableBytes)
                TransferMessage.call(call).write(to: &writer)
                count = writer.count
            }
            return try station.send(Array(bytes[..<count]), on: connection)
        }
    }

    private func makeFabric() throws -> Fabric {
        try Fabric(FabricConfiguration(capacity: .mebibytes(64), listen: "127.0.0.1:0"))
    }

    /// The key of the store's region is in every reply; most of the region has no memory yet.
    @Test func readsOfMemoryThatIsNotThere() throws {
        let fabric = try makeFabric()
        let id = try fabric.put([UInt8](repeating: 7, count: 200_000))
        var stranger = try Stranger.connected(to: fabric)
        #expect(try stranger.say(.request(1, attempt: 1, id, inlineLimit: 0)))
        try stranger.drive { !$0.messages.isEmpty }
        var extents: [RemoteExtent] = []
        let reply = stranger.station.messages[0]
        _ = try TransferMessage.read(unsafe reply.span.bytes, extents: &extents)
        let key = try #require(extents.first).location.key
        let memory = TestMemory(1 << 20)
        let local = try unsafe stranger.station.endpoint.register(memory.buffer, access: [])
        let sizes = [1, 4096, 1 << 20]
        for (token, size) in sizes.enumerated() {
            let remote = RegionLocation(key: key, offset: UInt64((64 << 20) - size))
            #expect(
                try stranger.station.read(
                    remote, into: RegionLocation(key: local, offset: 0), size, on: stranger.connection,
                    token: UInt64(token)))
        }
        try stranger.drive { $0.completions.count == sizes.count }
        #expect(try fabric.get(id, within: .seconds(10)).size == 200_000)
    }

    /// Answers wait for room in the connection, and there is a bound to them.
    @Test func answersThatNobodyReads() {
        var unsent = UnsentMessages()
        let message = [UInt8](repeating: 1, count: 1 << 20)
        for _ in 0..<100 { unsent.append(message) }
        #expect(unsent.messages.count == UnsentMessages.maximumBytes >> 20)
        var room = 10
        unsent.send { _ in
            room -= 1
            return room >= 0
        }
        #expect(unsent.messages.count == (UnsentMessages.maximumBytes >> 20) - 10)
        for _ in 0..<100 { unsent.append(message) }
        #expect(unsent.messages.count == UnsentMessages.maximumBytes >> 20)
        unsent.send { _ in true }
        #expect(unsent.isEmpty)
    }
}
