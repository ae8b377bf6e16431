// Objects that move between nodes: two fabrics in one process, over loopback.

import RayCore
import RayFabric
import Testing

@Suite struct PullTests {
    #if NIO
        private static let kinds: [TransportKind] = [.loopback, .uring, .nio]
    #else
        private static let kinds: [TransportKind] = [.loopback, .uring]
    #endif

    private struct Pair {
        let near: Fabric
        let far: Fabric

        init(capacity: ByteCount = .mebibytes(64), over kind: TransportKind = .loopback) throws {
            let network = LoopbackNetwork()
            func node(_ name: String) throws -> Fabric {
                var configuration = FabricConfiguration(
                    capacity: capacity, listen: kind == .loopback ? "loopback:\(name)" : "127.0.0.1:0")
                switch kind {
                case .loopback, .shm: configuration.network?.transport = .loopback(network)
                case .uring: configuration.network?.transport = .uring
                case .verbs: configuration.network?.transport = .verbs
                case .nio: configuration.network?.transport = .nio
                }
                return try Fabric(configuration)
            }
            near = try node("near")
            far = try node("far")
            try near.connect(to: #require(far.address).description)
        }
    }

    private static let bytes = {
        var random = SeededRandom(seed: 1)
        let block = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }
        return (0..<2048).flatMap { [UInt8(truncatingIfNeeded: $0)] + block[1...] }
    }()
    private func pattern(_ size: Int) -> [UInt8] { Array(Self.bytes[..<size]) }

    @Test(
        arguments: kinds,
        [0, 1, 64, 1000, 100 << 10, (100 << 10) + 1, 1 << 20, (5 << 20) + 3])
    func anObjectComesFromTheOtherNode(kind: TransportKind, size: Int) throws {
        let pair = try Pair(over: kind)
        let bytes = pattern(size)
        let id = try pair.far.put(bytes, metadata: [9, 8, 7])
        let object = try pair.near.get(id, within: .seconds(10))
        let isSame = object.withBytes { $0.elementsEqual(bytes) }
        #expect(isSame)
        let metadata = object.metadataBytes
        #expect(metadata == [9, 8, 7])
        #expect(try pair.near.inspect().map(\.isSecondary) == [true])
    }

    @Test func bothWaysOverOneConnection() throws {
        let pair = try Pair()
        let id = try pair.near.put(pattern(300_000))
        #expect(try pair.far.get(id, within: .seconds(10)).size == 300_000)
    }

    @Test func aClosedFabricAnswersAtOnce() throws {
        let pair = try Pair()
        let address = try #require(pair.far.address).description
        pair.near.close()
        #expect(throws: FabricError.self) { try pair.near.transferStatistics() }
        #expect(throws: FabricError.self) { try pair.near.connect(to: address) }
    }

    @Test func whatNobodyHasIsNotFound() throws {
        let pair = try Pair()
        let id = try pair.far.put([1])
        try pair.far.delete(id)
        #expect(try !pair.far.contains(id))
        do {
            _ = try pair.near.get(id, within: .seconds(10))
            Issue.record("the object was deleted")
        } catch {
            #expect(error.code == .objectNotFound)
        }
    }

    @Test func asynchronousGetPulls() async throws {
        let pair = try Pair()
        let id = try pair.far.put(pattern(2 << 20))
        let size = try await pair.near.get(id, within: .seconds(10)).size
        #expect(size == 2 << 20)
    }

    /// The owner is gone, another node has a copy.
    @Test func aCopyServesInPlaceOfItsOwner() throws {
        let network = LoopbackNetwork()
        func node(_ name: String) throws -> Fabric {
            var configuration = FabricConfiguration(capacity: .mebibytes(32), listen: "loopback:\(name)")
            configuration.network?.transport = .loopback(network)
            return try Fabric(configuration)
        }
        let (owner, holder, asker) = (try node("owner"), try node("holder"), try node("asker"))
        let address = try #require(owner.address).description
        try holder.connect(to: address)
        try asker.connect(to: address)
        try asker.connect(to: #require(holder.address).description)
        for size in [1000, 3 << 20] {
            let id = try owner.put(pattern(size))
            #expect(try holder.get(id, within: .seconds(10)).size == size)
            if size > 1000 { owner.close() } else { try owner.delete(id) }
            let object = try asker.get(id, within: .seconds(10))
            let isSame = object.withBytes { $0.elementsEqual(pattern(size)) }
            #expect(isSame)
        }
    }

    @Test func copiesAreEvictedForNewOnes() throws {
        let pair = try Pair(capacity: .mebibytes(8))
        for _ in 0..<40 {
            let id = try pair.far.put(pattern(1 << 20))
            #expect(try pair.near.get(id, within: .seconds(10)).size == 1 << 20)
            try pair.far.delete(id)
        }
        #expect(try pair.near.usage().evictions > 20)
    }
}

extension Object {
    var metadataBytes: [UInt8] { (0..<metadata.byteCount).map { metadata.byte(at: $0) } }
}
