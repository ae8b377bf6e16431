// The store's brain, one promise at a time.

import RayCore
import Synchronization
import Testing

@testable import RayFabric

@Suite struct StoreCoreTests {
    // MARK: Ends of clients

    /// A living client that goes on writing can not hold up the host for more than one ring.
    @Test func detachingTakesAtMostOneRing() throws {
        let harness = try CoreHarness()
        let client = try harness.attach()
        while client.ring.push(StoreCommand(kind: .forget)) != nil {}
        let isWriting = Atomic(false)
        let isStopping = Atomic(false)
        let writer = try SystemThread(name: "writer") {
            isWriting.store(true, ordering: .relaxed)
            // Bounded, so that a host that takes them all fails this test and does not hang it.
            for _ in 0..<10_000_000 where !isStopping.load(ordering: .relaxed) {
                client.push(StoreCommand(kind: .forget))
            }
        }
        while !isWriting.load(ordering: .relaxed) {}
        harness.detach(client)
        isStopping.store(true, ordering: .relaxed)
        writer.join()
        #expect(client.commandsTaken == RingLayout.commandCount)
    }

    /// One thread of a killed client had claimed a place and not written to it yet; others had gone on.
    @Test func whatWasSealedBehindAnUnfinishedCommandStays() throws {
        let harness = try CoreHarness()
        let client = try harness.attach()
        let ids = [client.makeID(), client.makeID(), client.makeID()]
        for id in ids {
            let place = client.ledger.load(RingLayout.Ledger.tail)
            client.ledger.store(place + 1, at: RingLayout.Ledger.tail)
            client.push(StoreCommand(kind: .publish, id: id))
        }
        harness.turn()
        #expect(!client.isPresent(ids[0]))
        harness.detach(client)
        for id in ids { #expect(client.isPresent(id)) }
    }

    @Test func nothingIsTakenAfterAViolation() throws {
        let harness = try CoreHarness()
        let client = try harness.attach()
        let id = client.makeID()
        client.push(StoreCommand(kind: .giveBack, offset: 64, size: 64))
        client.push(StoreCommand(kind: .publish, id: id))
        harness.turn()
        #expect(harness.directives.contains(.cutOff(client: client.index)))
        #expect(client.isEvicted)
        #expect(!client.isPresent(id))
        #expect(harness.core.clients().isEmpty)
    }

    /// The number may already be another's when the shell gets to it.
    @Test func aViolationFoundWhileDetachingCutsNobodyOff() throws {
        let harness = try CoreHarness()
        let client = try harness.attach()
        client.push(StoreCommand(kind: .giveBack, offset: 64, size: 64))
        harness.core.detach(client.index, now: harness.now)
        #expect(!harness.core.takeDirectives().contains(.cutOff(client: client.index)))
    }

    @Test func objectsOfAClientThatWasCutOffAreDeleted() throws {
        let harness = try CoreHarness()
        let bad = try harness.attach(process: 10)
        let good = try harness.attach(process: 11)
        let doubtful = try #require(harness.seal(bad, bytes: 1000))
        let pinned = try #require(harness.seal(bad, bytes: 1000))
        let sound = try #require(harness.seal(good, bytes: 1000))
        #expect(good.pin(pinned) != nil)
        bad.push(StoreCommand(kind: .giveBack, offset: 1 << 40, size: 64))
        harness.turn()
        #expect(!good.isPresent(doubtful))
        #expect(!good.isPresent(pinned))
        #expect(good.isPresent(sound))
        good.push(StoreCommand(kind: .wait, id: doubtful, token: 5))
        harness.turn()
        #expect(good.replies() == [StoreReply(kind: .waitFailed, token: 5, code: .objectDeleted)])
        // What is pinned stays readable until it is released.
        #expect(harness.core.usage.objects == 2)
    }

    /// A dead client's object may end in a segment that has since been leased to another.
    @Test func objectsThatReachIntoItsSegmentsAreDeletedToo() throws {
        let harness = try CoreHarness(capacity: 256 << 10)
        let gone = try harness.attach(process: 10)
        let long = try #require(harness.seal(gone, bytes: 100_000))
        harness.detach(gone)
        harness.core.processEnded(10)
        let bad = try harness.attach(process: 11)
        let rest = try #require(harness.grant(bad, bytes: 65_536 * 2))
        let tail = try #require(harness.grant(bad, bytes: 20_000))
        #expect(rest.lowerBound == 2 * 65_536 && tail.lowerBound < 2 * 65_536)
        bad.push(StoreCommand(kind: .giveBack, offset: 1 << 40, size: 64))
        harness.turn()
        #expect(!bad.isPresent(long))
    }

    /// Others may write to memory only when a process that could write to it before can not any more.
    @Test func memoryOfALivingProcessIsLeasedToNobodyElse() throws {
        let harness = try CoreHarness(capacity: 128 << 10)
        #expect(harness.geometry.segmentCount == 2)
        let gone = try harness.attach(process: 10)
        let other = try harness.attach(process: 11)
        let kept = try #require(harness.seal(gone, bytes: 1000))
        let own = try #require(harness.seal(other, bytes: 60_000))
        harness.directives = []
        harness.detach(gone)
        #expect(harness.directives == [.watch(process: 10)])
        #expect(other.isPresent(kept))
        // There is room beside `kept`, but its writer may live.
        #expect(harness.grant(other, bytes: 30_000) == nil)
        harness.core.processEnded(10)
        #expect(harness.grant(other, bytes: 30_000) != nil)
        #expect(other.isPresent(kept) && other.isPresent(own))
    }

    @Test func emptyMemoryOfALivingProcessIsReplaced() throws {
        let harness = try CoreHarness(capacity: 128 << 10)
        let gone = try harness.attach(process: 10)
        let other = try harness.attach(process: 11)
        let kept = try #require(harness.seal(gone, bytes: 1000))
        _ = try #require(harness.seal(other, bytes: 60_000))
        harness.detach(gone)
        other.push(StoreCommand(kind: .delete, id: kept))
        harness.turn()
        harness.directives = []
        #expect(harness.grant(other, bytes: 30_000) != nil)
        #expect(harness.directives == [.fill(segment: 0, replacing: true)])
    }

    @Test func aProcessThatComesBackGetsItsMemoryBack() throws {
        let harness = try CoreHarness(capacity: 128 << 10)
        for _ in 0..<20 {
            let client = try harness.attach(process: 10)
            _ = try #require(harness.seal(client, bytes: 1000))
            harness.detach(client)
        }
        #expect(harness.core.usage.objects == 20)
    }

    // MARK: Replies

    /// More answers than the ring holds: each comes once, when there is room.
    @Test func repliesWaitForRoom() throws {
        let harness = try CoreHarness()
        let client = try harness.attach()
        let id = try #require(harness.seal(client, bytes: 0))
        client.push(StoreCommand(kind: .delete, id: id))
        let count = UInt32(RingLayout.replyCount) + 1000
        for token in 0..<count {
            client.push(StoreCommand(kind: .wait, id: id, token: token))
        }
        harness.turn()
        client.push(StoreCommand(kind: .grant, offset: 64, size: 64))
        harness.turn()
        var tokens: [UInt32] = []
        var grants = 0
        while true {
            let replies = client.replies()
            if replies.isEmpty { break }
            tokens += replies.filter { $0.kind == .waitFailed }.map(\.token)
            grants += replies.count { $0.kind == .grant }
            // The client rings only if it sees that it has to.
            guard client.hasUnsentReplies else { break }
            harness.turn()
        }
        let isComplete = tokens == Array(0..<count)
        #expect(isComplete, "\(tokens.count) answers to \(count) waits")
        #expect(grants == 1)
        #expect(!client.hasUnsentReplies)
    }

    @Test func aFailedSegmentAnswersInTurn() throws {
        let harness = try CoreHarness(capacity: 128 << 10, fills: false)
        let client = try harness.attach()
        let id = client.makeID()
        client.push(StoreCommand(kind: .publish, id: id))
        client.push(StoreCommand(kind: .delete, id: id))
        client.push(StoreCommand(kind: .grant, offset: 64, size: 64))
        harness.turn()
        for token in 0..<UInt32(RingLayout.replyCount) {
            client.push(StoreCommand(kind: .wait, id: id, token: token))
        }
        harness.turn()
        harness.core.segmentFailed(0, .outOfMemory)
        let first = client.replies()
        #expect(first.map(\.token) == Array(0..<UInt32(RingLayout.replyCount)))
        #expect(client.hasUnsentReplies)
        harness.turn()
        #expect(client.replies().map(\.code) == [.outOfMemory])
    }

    @Test func unansweredWaitsAreBounded() throws {
        var limits = StoreCore.Limits()
        limits.waitsPerClient = 3000
        let harness = try CoreHarness(limits: limits)
        let client = try harness.attach()
        let id = try #require(harness.seal(client, bytes: 0))
        client.push(StoreCommand(kind: .delete, id: id))
        for token in 0..<UInt32(6000) {
            client.push(StoreCommand(kind: .wait, id: id, token: token))
        }
        harness.turn()
        #expect(client.isEvicted)
    }

    // MARK: Waits

    /// A pull may end after its client has gone and another has taken its number.
    @Test func aLatePullFailureHitsNobodyElse() throws {
        let harness = try CoreHarness()
        let far = ObjectID(owner: WorkerID(node: NodeID(value: 9, incarnation: 1), number: 1), sequence: 1)
        let first = try harness.attach(index: 3)
        first.push(StoreCommand(kind: .wait, flags: [.pull], id: far, token: 1))
        harness.turn()
        harness.detach(first)
        let second = try harness.attach(index: 3)
        second.push(StoreCommand(kind: .wait, flags: [.pull], id: far, token: 1))
        harness.turn()
        let sessions = harness.directives.compactMap {
            if case .pull(far, let session, 1, _) = $0 { session } else { nil }
        }
        try #require(sessions.count == 2)
        #expect(harness.directives.contains(.cancelPull(far, session: sessions[0], token: 1)))
        harness.core.pullFailed(far, session: sessions[0], token: 1, .sourceUnavailable)
        #expect(second.replies().isEmpty)
        harness.core.pullFailed(far, session: sessions[1], token: 1, .sourceUnavailable)
        #expect(second.replies() == [StoreReply(kind: .waitFailed, token: 1, code: .sourceUnavailable)])
    }

    // MARK: Objects

    @Test func onlyTheOwnerPublishesUnderItsName() throws {
        let harness = try CoreHarness()
        let transfer = try harness.attach(process: nil)
        let client = try harness.attach()
        let other = try harness.attach()
        let brought = other.makeID()
        transfer.push(StoreCommand(kind: .publish, flags: .secondary, id: brought))
        let forged = other.makeID()
        client.push(StoreCommand(kind: .publish, id: forged))
        harness.turn()
        #expect(other.isPresent(brought))
        #expect(!other.isPresent(forged))
        #expect(client.isEvicted)
        #expect(!transfer.isEvicted)
    }

    @Test func grantsAreBounded() throws {
        var limits = StoreCore.Limits()
        limits.piecesPerClient = 100
        let harness = try CoreHarness(limits: limits)
        let client = try harness.attach()
        for _ in 0..<100 { #expect(harness.grant(client, bytes: 64) != nil) }
        #expect(harness.grant(client, bytes: 64) == nil)
        #expect(!client.isEvicted)
        client.push(StoreCommand(kind: .giveBack, offset: 0, size: 64))
        #expect(harness.grant(client, bytes: 64) != nil)
    }

    /// A copy that came just now has been used by nobody, and is still the last one to go.
    @Test func aFreshCopyIsNotEvictedFirst() throws {
        let harness = try CoreHarness(capacity: 128 << 10)
        let transfer = try harness.attach(process: nil)
        var copies: [ObjectID] = []
        for _ in 0..<4 {
            let id = try #require(harness.seal(transfer, bytes: 32_000, flags: .secondary))
            copies.append(id)
            if copies.count == 4 { break }
            transfer.unpin(try #require(transfer.pin(id)))
        }
        #expect(harness.grant(transfer, bytes: 32_000) != nil)
        #expect(copies.map(transfer.isPresent) == [false, true, true, true])
    }

    /// A client may seal as many objects without asking as there is room for, whoever else seals.
    @Test func theRoomThatIsPromisedIsThere() throws {
        let harness = try CoreHarness(maximumObjects: 100)
        let clients = [try harness.attach(), try harness.attach(), try harness.attach()]
        var sealed = 0
        while clients[0].room > 0 {
            let room = clients[0].room
            for client in clients {
                for _ in 0..<room { client.push(StoreCommand(kind: .publish, id: client.makeID())) }
            }
            harness.turn()
            sealed += room * clients.count
            #expect(harness.core.usage.objects == UInt64(sealed))
        }
        #expect(sealed > 90)
    }
}
