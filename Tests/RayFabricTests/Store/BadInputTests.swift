// What users can get wrong, through the front door: each gets a clear error, and the fabric goes on.

import RayCore
import RayFabric
import Synchronization
import Testing

@Suite struct BadInputTests {
    private func makeFabric(_ adjust: (inout FabricConfiguration) -> Void = { _ in }) throws -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(4))
        adjust(&configuration)
        return try Fabric(configuration)
    }

    /// Ids of objects that nobody has made: of another node, or of this one.
    private func unknown(_ count: Int, node: NodeID = NodeID(value: 99, incarnation: 1)) -> [ObjectID] {
        (1...UInt64(count)).map { ObjectID(owner: WorkerID(node: node, number: 77), sequence: $0) }
    }

    private func expectUsable(_ fabric: Fabric) throws {
        let id = try fabric.put([1, 2, 3])
        #expect(try fabric.get(id, within: .seconds(10)).size == 3)
        try fabric.delete(id)
    }

    // MARK: Sizes

    @Test func impossibleSizes() throws {
        let fabric = try makeFabric()
        let capacity = 4 << 20
        for size in [-1, Int.min] { #expect(code { try fabric.create(size: size).size } == .invalidArgument) }
        for size in [capacity + 1, 1 << 47, Int.max] {
            #expect(code { try fabric.create(size: size).size } == .objectTooLarge)
        }
        let metadata = [UInt8](repeating: 1, count: 64 << 10)
        #expect(code { try fabric.put([], metadata: metadata + [1]) } == .invalidArgument)
        #expect(code { try fabric.create(size: capacity, metadata: [1]).size } == .objectTooLarge)
        let id = try fabric.put([], metadata: metadata)
        #expect(try fabric.get(id, within: .seconds(10)).metadata.byteCount == 64 << 10)
        try expectUsable(fabric)
    }

    @Test func writesOutsideOfADraft() throws {
        let fabric = try makeFabric()
        var draft = try fabric.create(size: 2)
        let bytes: [UInt8] = [1, 2]
        for offset in [-1, 1, 3, Int.min, Int.max] {
            do {
                try draft.write(unsafe bytes.span.bytes, at: offset)
                Issue.record("written at \(offset)")
            } catch {
                #expect(error.code == .invalidArgument)
            }
        }
        draft.abort()
    }

    @Test func abortedDraftsGiveTheirMemoryBack() throws {
        let fabric = try makeFabric()
        for _ in 0..<50 { try fabric.create(size: 3 << 20).abort() }
        for _ in 0..<50 { _ = try fabric.create(size: 3 << 20) }
        #expect(try fabric.usage().primaryBytes == 0)
        try expectUsable(fabric)
    }

    @Test func impossibleConfigurations() throws {
        for capacity in [0, -1, (64 << 10) - 1, (1 << 46) + 1, Int.max, Int.min] {
            #expect(code { try makeFabric { $0.store.capacity = .bytes(capacity) } } == .invalidArgument)
        }
        #expect(code { try makeFabric { $0.store.capacity = .gibibytes(1 << 40) } } == .invalidArgument)
        // What the machine does not have is not promised.
        #expect(code { try makeFabric { $0.store.capacity = .bytes(1 << 46) } } == .outOfMemory)
        for most in [0, -1, Int.max] {
            #expect(code { try makeFabric { $0.store.maximumObjects = most } } == .invalidArgument)
        }
        #expect(code { try ClusterKey([UInt8](repeating: 1, count: 15)) } == .invalidArgument)
        // Nonsense that has a meaning all the same.
        for bytes in [Int.min, 0, Int.max] {
            for duration in [Duration.seconds(-1), .zero, .seconds(Int64.max)] {
                let fabric = try makeFabric {
                    $0.store.prefault = .bytes(bytes)
                    $0.store.attachLimit = duration
                }
                try expectUsable(fabric)
            }
        }
    }

    // MARK: Identifiers

    @Test func getOfWhatIsNotThere() throws {
        let fabric = try makeFabric()
        let id = unknown(1, node: fabric.worker.node)[0]
        for limit in [Duration.zero, .nanoseconds(1), .seconds(-5), .seconds(Int64.min)] {
            #expect(code { try fabric.get(id, within: limit).size } == .deadlineExceeded)
            #expect(code { try fabric.get([id, id], within: limit).count } == .deadlineExceeded)
        }
        #expect(code { try fabric.delete(id) } == .objectNotFound)
        #expect(try !fabric.contains(id))
        try expectUsable(fabric)
    }

    @Test func aLimitBeyondAllTime() throws {
        let fabric = try makeFabric()
        let draft = try fabric.create(size: 10)
        let id = draft.id
        let size = Mutex(0)
        let reader = TestThread { size.withLock { $0 = (try? fabric.get(id, within: .seconds(Int64.max)).size) ?? -1 } }
        _ = try draft.seal()
        reader.join()
        #expect(size.withLock { $0 } == 10)
    }

    @Test func deletedTwice() throws {
        let fabric = try makeFabric()
        let (id, other) = (try fabric.put([1]), try fabric.put([2]))
        try fabric.delete(id)
        #expect(code { try fabric.get(id, within: .seconds(10)).size } == .objectDeleted)
        // Before the host has looked, a process's own object counts as one that is being sealed.
        #expect(try !fabric.contains(id))
        #expect(code { try fabric.delete(id) } == .objectNotFound)
        // The others are deleted all the same.
        #expect(code { try fabric.delete([id, other]) } == .objectNotFound)
        #expect(try !fabric.contains(other))
        try fabric.delete([])
    }

    @Test func countsThatDoNotFit() throws {
        let fabric = try makeFabric()
        let (id, none) = (try fabric.put([1]), unknown(1))
        for count in [-1, 2, Int.max, Int.min] {
            #expect(code { try fabric.get([id], count: count, within: .zero).count } == .invalidArgument)
        }
        #expect(try fabric.get([], within: .zero).count == 0)
        #expect(try !fabric.get(none, count: 0, within: .zero).isPresent(at: 0))
        let twice = try fabric.get([id, id] + none, count: 2, within: .seconds(10))
        #expect(twice.isPresent(at: 0) && twice.isPresent(at: 1) && !twice.isPresent(at: 2))
    }

    /// Nobody is cut off for it.
    @Test func tooManyWaits() async throws {
        let fabric = try makeFabric()
        let ids = unknown(40_000, node: fabric.worker.node)
        #expect(code { try fabric.get(ids, within: .seconds(10)).count } == .tooManyWaits)
        for _ in 0..<3 {
            #expect(code { try fabric.get(Array(ids[..<30_000]), within: .zero).count } == .deadlineExceeded)
        }
        try expectUsable(fabric)
    }

    /// Each of them has an answer, of which the caller needs the first only.
    @Test func manyThatNobodyHas() throws {
        let network = LoopbackNetwork()
        let fabric = try makeFabric {
            $0.network = NetworkConfiguration(listen: "loopback:alone")
            $0.network?.transport = .loopback(network)
        }
        for _ in 0..<5 {
            #expect(code { try fabric.get(unknown(20_000), within: .seconds(60)).count } == .sourceUnavailable)
        }
        try expectUsable(fabric)
    }

    @Test func cancelled() async throws {
        let fabric = try makeFabric()
        let id = unknown(1)[0]
        for delay in [Duration.zero, .milliseconds(5)] {
            let task = Task { await endOfWait(fabric, id) }
            try await Task.sleep(for: delay)
            task.cancel()
            #expect(await task.value == .cancelled)
        }
    }

    // MARK: Several

    @Test func twoFabricsInAProcess() throws {
        let (one, other) = (try makeFabric(), try makeFabric())
        let id = try one.put([1])
        #expect(try !other.contains(id))
        #expect(code { try other.get(id, within: .zero).size } == .deadlineExceeded)
        one.close()
        try expectUsable(other)
    }
}
