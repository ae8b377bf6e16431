// The end of a fabric: every call says so at once, and what is held stays.

import CLinux
import RayCore
import Synchronization
import Testing

@testable import RayFabric

@Suite struct ClosedTests {
    private func configuration(_ network: LoopbackNetwork, path: String? = nil) -> FabricConfiguration {
        var configuration = FabricConfiguration(capacity: .mebibytes(4), path: path, listen: "loopback:here")
        configuration.network?.transport = .loopback(network)
        return configuration
    }

    /// The codes of all calls, in the host's process or in another one.
    private func codes(_ fabric: Fabric, _ id: ObjectID) async -> [FabricError.Code?] {
        var codes = [
            code { try fabric.put([1]) }, code { try fabric.create(size: 1).size },
            code { try fabric.get(id, within: .seconds(60)).size },
            code { try fabric.get([id], within: .seconds(60)).count },
            code { try fabric.contains(id) }, code { try fabric.delete(id) }, code { try fabric.delete([]) },
            code { try fabric.usage() }, code { try fabric.inspect() },
        ]
        codes.append(await endOfWait(fabric, id))
        return codes
    }

    /// Who looks for its own end, is held up, and then finds that the host has ended: it was closed here meanwhile.
    @Test func closingOnesOwnStoreIsNoLossOfTheHost() {
        func code(_ endings: [FabricError.Code?], hostHasEnded: Bool) -> FabricError.Code? {
            var rest = endings[...]
            return StoreClient.endCode(ending: { rest.popFirst()??.rawValue ?? 0 }, hostHasEnded: { hostHasEnded })
        }
        #expect(code([nil, .closed], hostHasEnded: true) == .closed)
        #expect(code([nil, nil], hostHasEnded: true) == .hostLost)
        #expect(code([.closed], hostHasEnded: false) == .closed)
        #expect(code([nil], hostHasEnded: false) == nil)
    }

    @Test func everyCallSaysSo() async throws {
        let path = temporaryPath("closed")
        let host = try Fabric(configuration(LoopbackNetwork(), path: path))
        let client = try Fabric(attachingTo: path)
        let id = try host.put([1])
        client.close()
        client.close()
        #expect(await codes(client, id) == Array(repeating: .closed, count: 10))
        host.close()
        host.close()
        #expect(await codes(host, id) == Array(repeating: .closed, count: 10))
        #expect(code { try host.connect(to: "loopback:there") } == .closed)
        #expect(code { try host.transferStatistics() } == .closed)
    }

    @Test func heldObjectsStayReadableAndDraftsEnd() throws {
        var host: Fabric? = try Fabric(configuration(LoopbackNetwork()))
        let id = try #require(try host?.put([1, 2, 3]))
        let object = try #require(host).get(id, within: .seconds(10))
        let draft = try #require(host).create(size: 100)
        let dropped = try #require(host).create(size: 100)
        host?.close()
        host = nil
        do {
            _ = try draft.seal()
            Issue.record("sealed after the end")
        } catch {
            #expect(error.code == .closed)
        }
        dropped.abort()
        let isSame = object.withBytes { $0.elementsEqual([1, 2, 3]) }
        #expect(isSame)
    }

    @Test func whoHoldsAnObjectKeepsItWhenTheFabricGoes() throws {
        func object() throws -> Object {
            let fabric = try Fabric(configuration(LoopbackNetwork()))
            return try fabric.get(fabric.put([7]), within: .seconds(10))
        }
        let held = try object()
        let byte = held.withBytes { $0.byte(at: 0) }
        #expect(byte == 7)
    }

    private final class Waits: Sendable {
        let begun = Atomic(0)
        let ends = Mutex<[FabricError.Code?]>([])
    }

    /// Threads that wait for what never comes, while several threads close.
    @Test func manyCloseWhileOthersWait() throws {
        for _ in 0..<5 {
            let fabric = try Fabric(configuration(LoopbackNetwork()))
            let id = try fabric.create(size: 1).id
            let waits = Waits()
            let readers = (0..<4).map { _ in
                TestThread {
                    waits.begun.add(1, ordering: .relaxed)
                    let end = code { try fabric.get(id, within: .seconds(60)).size }
                    waits.ends.withLock { $0.append(end) }
                }
            }
            while waits.begun.load(ordering: .relaxed) < 4 { _ = sched_yield() }
            let closers = (0..<4).map { _ in TestThread { fabric.close() } }
            for thread in readers + closers { thread.join() }
            #expect(waits.ends.withLock { $0 } == Array(repeating: .closed, count: 4))
        }
    }
}

/// How an asynchronous get ends; nil when it finds the object.
func endOfWait(_ fabric: Fabric, _ id: ObjectID) async -> FabricError.Code? {
    do throws(FabricError) {
        _ = try await fabric.get(id, within: .seconds(60)).size
        return nil
    } catch {
        return error.code
    }
}
