// Many threads on one store: what the thread sanitizer is to look at.

import RayCore
import Synchronization
import Testing

@testable import RayFabric

@Suite struct StoreThreadTests {
    private static let rounds = 300

    /// Threads that use a fabric each, or all the same one, put, get, wait for and delete objects of
    /// each other.
    @Test(arguments: [1, 3]) func threadsShareAStore(fabrics: Int) throws {
        let path = temporaryPath("threads")
        let host = try Fabric(FabricConfiguration(capacity: .mebibytes(16), path: path))
        let clients = try (0..<fabrics).map { try Fabric(attachingTo: path, name: "client \($0)") }
        // What one thread has put is for the next one to take.
        let handover = (0..<4).map { _ in Handover() }
        let failures = Mutex<[String]>([])
        let threads = try (0..<4).map { number in
            let client = clients[number % fabrics]
            return try SystemThread(name: "worker \(number)") {
                do {
                    for round in 0..<Self.rounds {
                        try Self.work(client, number, round, put: handover[number], take: handover[(number + 1) % 4])
                    }
                } catch {
                    failures.withLock { $0.append("\(error)") }
                    handover[number].end()
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 } == [])
        #expect(try host.usage().objects == 0)
        #expect(try host.usage().primaryBytes == 0)
    }

    private static func work(
        _ client: Fabric, _ number: Int, _ round: Int, put: Handover, take: Handover
    ) throws {
        let byte = UInt8(truncatingIfNeeded: number * 31 + round)
        var draft = try client.create(size: 100 + round % 7 * 5000)
        // Sometimes the other has to wait for it.
        let id = draft.id
        if round % 3 == 0 { put.give(id, byte) }
        draft.withMutableBytes { bytes in
            var index = 0
            while index < bytes.byteCount {
                bytes.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
                index += 1
            }
        }
        _ = try draft.seal()
        if round % 3 != 0 { put.give(id, byte) }
        if round % 5 == 0 { (try client.create(size: 3000)).abort() }
        guard let (other, expected) = take.take() else { throw FabricError(.cancelled, "another thread has failed") }
        let object = try client.get(other, within: .seconds(30))
        // Ranges and closures in a debug build take a lock of the runtime for each byte.
        let isSame = object.withBytes { bytes in
            var index = 0
            while index < bytes.byteCount, bytes.byte(at: index) == expected { index += 1 }
            return index == bytes.byteCount
        }
        guard isSame else { throw FabricError(.invalidState, "\(other) has changed") }
        try client.delete(other)
        object.release()
    }

    /// One place for an identifier, between two threads.
    private final class Handover: Sendable {
        private let place = Mutex<(id: ObjectID, byte: UInt8)?>(nil)
        private let hasEnded = Atomic(false)

        func end() { hasEnded.store(true, ordering: .relaxed) }

        func give(_ id: ObjectID, _ byte: UInt8) {
            while !hasEnded.load(ordering: .relaxed) {
                let isGiven = place.withLock { place in
                    guard place == nil else { return false }
                    place = (id, byte)
                    return true
                }
                if isGiven { return }
            }
        }

        func take() -> (ObjectID, UInt8)? {
            let deadline = Timestamp.now + .seconds(60)
            while !hasEnded.load(ordering: .relaxed), Timestamp.now < deadline {
                let taken = place.withLock { place in
                    defer { place = nil }
                    return place
                }
                if let taken { return (taken.id, taken.byte) }
            }
            return nil
        }
    }
}
