// What is particular to the shm transport: its socket file, shared regions, sleeping links.

import CLinux
import RayCore
import Testing

@testable import RayFabric

@Suite(.serialized) struct ShmTransportTests {
    private let fixture = shmFixture()

    // MARK: The socket file

    @Test func aStalePathIsTakenOverAndALiveOneIsNot() throws {
        let path = freshSocketPath()
        // As a killed process leaves it: the file is there, the listener is not.
        let socket = try ShmSocket.open()
        #expect(ShmSocket.bind(socket.number, to: path) == 0)
        _ = consume socket
        #expect(unsafe access(path, F_OK) == 0)
        var first = try ShmTransport(fixture.configuration(1))
        _ = try first.listen(at: .unix(path: path))
        var second = try ShmTransport(fixture.configuration(2))
        let error = #expect(throws: FabricError.self) { _ = try second.listen(at: .unix(path: path)) }
        #expect(error?.code == .addressInUse)
    }

    @Test func nothingIsLeftInTheFileSystem() throws {
        let path = freshSocketPath()
        do {
            var transport = try ShmTransport(fixture.configuration(1))
            _ = try transport.listen(at: .unix(path: path))
            #expect(unsafe access(path, F_OK) == 0)
            // Keeps the transport until here.
            #expect(transport.poll() == nil)
        }
        #expect(unsafe access(path, F_OK) != 0)
    }

    @Test func aFileThatIsNoSocketIsNotRemoved() throws {
        let path = freshSocketPath()
        let file = unsafe rf_create(path, 0o600)
        defer {
            close(file)
            unsafe unlink(path)
        }
        var transport = try ShmTransport(fixture.configuration(1))
        let error = #expect(throws: FabricError.self) { _ = try transport.listen(at: .unix(path: path)) }
        #expect(error?.code == .addressInUse)
        #expect(unsafe access(path, F_OK) == 0)
    }

    /// In a process of its own, where no other test opens and closes.
    @Test func noDescriptorsAreLeftBehind() async throws {
        await #expect(processExitsWith: .success) {
            func count() -> Int { (0..<1024).count { rf_fcntl_int($0, F_GETFD, 0) >= 0 } }
            let fixture = ShmTransportTests().fixture
            do { _ = try fixture.pair() }
            let before = count()
            for _ in 0..<10 { _ = try fixture.pair() }
            #expect(count() == before)
        }
    }

    // MARK: Shared regions

    /// A pair, memory of the left one, and shared memory of the right one under a key.
    private func sharedPair(
        _ access: RemoteAccess,
        _ body: (
            inout Pair<ShmTransport>, borrowing TestMemory, RegionKey, borrowing SharedMemory, RegionKey
        ) throws -> Void
    ) throws {
        var pair = try fixture.pair()
        let local = TestMemory(1 << 20)
        let localKey = unsafe try pair.left.endpoint.register(local.buffer, access: [])
        let shared = try SharedMemory(byteCount: 1 << 20)
        let sharedKey = unsafe try pair.right.endpoint.registerShared(
            descriptor: shared.descriptor, offset: 4096,
            memory: UnsafeMutableRawBufferPointer(rebasing: shared.bytes[4096...]), access: access)
        try body(&pair, local, localKey, shared, sharedKey)
    }

    @Test func sharedMemoryIsWrittenAndReadWithoutThePeer() throws {
        try sharedPair([.read, .write]) { pair, local, localKey, shared, sharedKey in
            let here = RegionLocation(key: localKey, offset: 0)
            let there = RegionLocation(key: sharedKey, offset: 100)
            local.fill(3)
            let connection = pair.fromLeft
            #expect(try pair.left.write(here, to: there, 900_000, notification: 8, on: connection, token: 1))
            try fixture.drive(&pair.left, &pair.right, "write") { left, right in
                left.isCompleted(1) && right.notifications == [8]
            }
            #expect(pair.left.failure(1) == nil)
            let written = unsafe UnsafeRawBufferPointer(rebasing: shared.bytes[4196..<(4196 + 900_000)])
            let same = unsafe local.buffer.prefix(900_000).elementsEqual(written)
            #expect(same)
            // The region is known now: the peer's thread is not needed any more.
            local.clear(1 << 20)
            #expect(try pair.left.read(there, into: here, 900_000, on: connection, token: 2))
            try fixture.driveAlone(&pair.left, "read") { $0.isCompleted(2) }
            #expect(pair.left.failure(2) == nil)
            #expect(local.differences(3, 0..<900_000) == 0)
        }
    }

    @Test func sharedMemoryKeepsItsBoundsAndItsAccess() throws {
        try sharedPair([.read]) { pair, _, localKey, _, sharedKey in
            let here = RegionLocation(key: localKey, offset: 0)
            let size = (1 << 20) - 4096
            let connection = pair.fromLeft
            #expect(
                try pair.left.write(here, to: RegionLocation(key: sharedKey, offset: 0), 8, on: connection, token: 1))
            let behind = RegionLocation(key: sharedKey, offset: UInt64(size - 7))
            #expect(try pair.left.read(behind, into: here, 8, on: connection, token: 2))
            let far = RegionLocation(key: sharedKey, offset: .max - 3)
            #expect(try pair.left.read(far, into: here, 8, on: connection, token: 3))
            let end = RegionLocation(key: sharedKey, offset: UInt64(size - 8))
            #expect(try pair.left.read(end, into: here, 8, on: connection, token: 4))
            try fixture.drive(&pair.left, &pair.right, "four answers") { left, _ in left.completions.count == 4 }
            #expect((1...3).allSatisfy { pair.left.failure(UInt64($0)) == .remoteAccessDenied })
            #expect(pair.left.failure(4) == nil)
        }
    }

    @Test func aDeregisteredSharedRegionIsDenied() throws {
        try sharedPair([.read]) { pair, _, localKey, _, sharedKey in
            let here = RegionLocation(key: localKey, offset: 0)
            let there = RegionLocation(key: sharedKey, offset: 0)
            #expect(try pair.left.read(there, into: here, 8, on: pair.fromLeft, token: 1))
            try fixture.drive(&pair.left, &pair.right, "first read") { left, _ in left.isCompleted(1) }
            #expect(pair.left.failure(1) == nil)
            pair.right.endpoint.deregister(sharedKey)
            #expect(try pair.left.read(there, into: here, 8, on: pair.fromLeft, token: 2))
            try fixture.drive(&pair.left, &pair.right, "second read") { left, _ in left.isCompleted(2) }
            #expect(pair.left.failure(2) == .remoteAccessDenied)
        }
    }

    @Test func memoryThatCouldShrinkIsNotShared() throws {
        var transport = try ShmTransport(fixture.configuration(1))
        let memory = TestMemory(4096)
        let unsealed = unsafe rf_memfd_create("unsealed")
        defer { close(unsealed) }
        ftruncate(unsealed, 4096)
        let error = #expect(throws: FabricError.self) {
            _ = unsafe try transport.registerShared(descriptor: unsealed, offset: 0, memory: memory.buffer, access: [])
        }
        #expect(error?.code == .invalidArgument)
    }

    // MARK: Many links

    @Test func quietLinksRing() throws {
        var server = Station(try ShmTransport(fixture.configuration(1)))
        let address = try server.endpoint.listen(at: .unix(path: freshSocketPath()))
        var client = Station(try ShmTransport(fixture.configuration(2)))
        var connections: [Connection] = []
        for _ in 0..<20 { connections.append(try fixture.connect(&client, to: &server, at: address).left) }
        // Until the server has left all but a few to ring.
        let end = Timestamp.now + .seconds(20)
        while server.endpoint.hot.count > 4, Timestamp.now < end { _ = server.endpoint.poll() }
        let hot = server.endpoint.hot.count
        #expect(hot == 4)
        for (index, connection) in connections.enumerated() {
            #expect(try client.send([UInt8(index)], on: connection))
        }
        try fixture.drive(&client, &server, "a message from each") { _, server in server.messages.count == 20 }
        #expect(Set(server.messages.map { $0[0] }) == Set(0..<20))
    }

    @Test func aSleeperIsWokenByAMessageAndByRoom() throws {
        let path = freshSocketPath()
        let count = 20_000
        let thread = TestThread { [fixture] in
            do {
                var server = Station(try ShmTransport(fixture.configuration(1)))
                _ = try server.endpoint.listen(at: .unix(path: path))
                server.countsMessages = true
                try fixture.driveAlone(&server, "all messages") { $0.messageCount == count }
                #expect(server.outOfOrder == 0)
                #expect(server.endpoint.statistics.sleeps > 0)
            } catch { Issue.record(error) }
        }
        defer { thread.join() }
        var client = Station(try ShmTransport(fixture.configuration(2)))
        var connection: Connection?
        let end = Timestamp.now + .seconds(20)
        while connection == nil, Timestamp.now < end {
            let attempt = try client.endpoint.connect(to: .unix(path: path), deadline: end)
            try fixture.driveAlone(&client, "connect") { $0.connected.contains(attempt) || $0.closure(attempt) != nil }
            if client.connected.contains(attempt) { connection = attempt }
        }
        let open = try #require(connection)
        var sent = 0
        while sent < count, Timestamp.now < end {
            var bytes = [UInt8](repeating: 0, count: 1000)
            unsafe bytes.withUnsafeMutableBytes { unsafe $0.storeBytes(of: UInt64(sent), as: UInt64.self) }
            if try client.send(bytes, on: open) {
                sent += 1
                continue
            }
            client.reports = []
            try fixture.driveAlone(&client, "room") { $0.isWritable(open) }
        }
        // The server goes when it has them all.
        try fixture.driveAlone(&client, "the end") { $0.closure(open) != nil }
        #expect(client.closure(open)?.code == .connectionLost)
    }
}
