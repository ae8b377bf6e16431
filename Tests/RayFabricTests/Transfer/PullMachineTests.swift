// The pull machine, one behaviour at a time.

import RayCore
import Testing

@testable import RayFabric

@Suite struct PullMachineTests {
    let a = node(1)
    let b = node(2)
    let c = node(3)

    // MARK: One object, one source

    @Test func connectsAsksAllocatesReadsPublishes() {
        var bench = PullBench()
        bench.pull(object(1), from: [a])
        #expect(bench.take() == [.connect(a)])
        bench.connect(a)
        let request = bench.directives.requests[0]
        #expect(bench.take() == [.send(.request(request, attempt: 1, object(1), inlineLimit: 0), connection(a))])
        bench.locate(request, at: a, size: 230, metadataSize: 20)
        let pull = bench.directives.allocations[0]
        #expect(bench.take() == [.allocate(pull, object(1), size: 230, metadataSize: 20)])
        bench.allocated(pull)
        let reads = bench.take().reads
        #expect(reads.map(\.offset) == [0, 100, 200])
        #expect(reads.map(\.length) == [100, 100, 50])
        #expect(reads.map(\.remote.offset) == [0, 100, 200])
        #expect(reads.allSatisfy { $0.pull == pull && $0.connection == connection(a) })
        for read in [reads[2], reads[0]] { bench.complete(read) }
        #expect(bench.take().isEmpty)
        bench.complete(reads[1])
        #expect(bench.take() == [.publish(pull), .send(.release(request), connection(a))])
        bench.published(pull)
        #expect(bench.take() == [.finished(waiter: 1, failure: nil)])
        #expect(bench.machine.nextDeadline == .never)
        #expect(bench.machine.draftBytes == 0)
    }

    @Test func emptyObjectIsPublishedWithoutReads() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.locate(bench.take().requests[0], at: a, size: 0)
        let pull = bench.take().allocations[0]
        bench.allocated(pull)
        #expect(bench.directives.reads.isEmpty)
        #expect(bench.take().published == [pull])
        bench.published(pull)
        #expect(bench.take().results == [1: nil])
    }

    @Test func inlineObjectIsDeliveredFromTheMessage() {
        var bench = PullBench { $0.inlineLimit = 50 }
        bench.connect(a)
        bench.pull(object(1), from: [a])
        let request = bench.take().requests[0]
        bench.receive(.inline(request, size: 40, metadataSize: 3, payload: 21..<64), from: a)
        guard
            case .deliverInline(let pull, object(1), size: 40, metadataSize: 3, payload: 21..<64) = bench.directives
                .first
        else { return #expect(Bool(false), "\(bench.directives)") }
        #expect(bench.take().count == 1, "an inline reply has no pin to release")
        bench.published(pull)
        #expect(bench.take().results == [1: nil])
    }

    @Test func inlineObjectIsAskedForAgainWhenTheStoreWasFull() {
        var bench = PullBench { $0.inlineLimit = 50 }
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.receive(.inline(bench.take().requests[0], size: 1, metadataSize: 0, payload: 21..<22), from: a)
        guard case .deliverInline(let pull, _, _, _, _) = bench.take()[0] else { return }
        bench.machine.publishFailed(pull, .storeFull, retry: true, now: bench.now, into: &bench.directives)
        #expect(bench.take().isEmpty)
        bench.advance(.milliseconds(20))
        #expect(bench.take().requestedObjects == [object(1)])
    }

    @Test func readsEndAtExtentsButChunksGoOn() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a])
        let extents = [
            RemoteExtent(key: RegionKey(rawValue: 7), offset: 1000, length: 130),
            RemoteExtent(key: RegionKey(rawValue: 8), offset: 5, length: 70),
        ]
        let reply = TransferReply.located(
            bench.take().requests[0], size: 200, metadataSize: 0, lease: 9000, grant: 0)
        bench.receive(reply, from: a, extents)
        let pull = bench.take().allocations[0]
        bench.allocated(pull)
        let first = bench.take().reads
        #expect(first.map(\.offset) == [0, 100])
        #expect(first.map(\.length) == [100, 30])
        bench.complete(first[1])
        let rest = bench.take().reads
        #expect(rest.map(\.offset) == [130])
        #expect(rest.map(\.length) == [70])
        #expect(rest.map(\.remote) == [RegionLocation(key: RegionKey(rawValue: 8), offset: 5)])
        bench.complete(rest[0])
        bench.complete(first[0])
        #expect(bench.take().published == [pull])
    }

    @Test func windowBoundsReadsInFlight() {
        var bench = PullBench { $0.readsPerSource = 2 }
        let reads = bench.startReading(object(1), from: [a], size: 500)
        #expect(reads.map(\.offset) == [0, 100])
        _ = bench.take()
        bench.complete(reads[1])
        #expect(bench.take().reads.map(\.offset) == [200])
    }

    @Test func refusedReadIsTriedAgainWhenWritable() {
        var bench = PullBench()
        let reads = bench.startReading(object(1), from: [a], size: 100)
        _ = bench.take()
        bench.machine.readRefused(token: reads[0].token, now: bench.now, into: &bench.directives)
        #expect(bench.take().isEmpty)
        bench.machine.writable(connection(a), now: bench.now, into: &bench.directives)
        #expect(bench.take().reads.map(\.offset) == [0])
    }

    // MARK: Waiters

    @Test func waitersOfOneObjectShareOneTransfer() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a], .taskArgument, waiter: 1)
        bench.pull(object(1), from: [a], .get, waiter: 2)
        #expect(bench.directives.requests.count == 1)
        bench.machine.cancel(waiter: 2, now: bench.now, into: &bench.directives)
        #expect(bench.directives.results == [2: .cancelled])
        bench.locate(bench.take().requests[0], at: a, size: 0)
        let pull = bench.take().allocations[0]
        bench.allocated(pull)
        bench.pull(object(1), from: [], .wait, waiter: 3)
        bench.published(pull)
        #expect(bench.take().results == [1: nil, 3: nil])
    }

    @Test func deadlineEndsTheWaiterAndThenThePull() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a], within: .milliseconds(5), waiter: 1)
        bench.pull(object(1), from: [a], within: .milliseconds(7), waiter: 2)
        let request = bench.take().requests[0]
        #expect(bench.machine.nextDeadline == bench.now + .milliseconds(5))
        bench.advance(.milliseconds(5))
        #expect(bench.take() == [.finished(waiter: 1, failure: .deadlineExceeded)])
        bench.advance(.milliseconds(2))
        #expect(bench.directives.results == [2: .deadlineExceeded])
        #expect(bench.take().releases == [request])
        #expect(bench.machine.nextDeadline == .never)
        bench.pull(object(1), from: [a], within: .zero, waiter: 3)
        #expect(bench.take() == [.finished(waiter: 3, failure: .deadlineExceeded)])
    }

    @Test func draftIsDroppedOnlyAfterItsReads() {
        var bench = PullBench()
        let reads = bench.startReading(object(1), from: [a], size: 200)
        let request = UInt64(1) << 32
        _ = bench.take()
        bench.machine.cancel(waiter: 1, now: bench.now, into: &bench.directives)
        #expect(bench.directives.cancelled == reads.map(\.token))
        #expect(bench.directives.aborted.isEmpty && bench.directives.releases.isEmpty)
        #expect(bench.take().results == [1: .cancelled])
        bench.complete(reads[0], .cancelled)
        #expect(bench.take().isEmpty)
        bench.complete(reads[1])
        #expect(bench.take() == [.send(.release(request), connection(a)), .abort(reads[0].pull)])
        #expect(bench.machine.draftBytes == 0)
    }

    @Test func newWaiterSavesADraftThatWasToBeDropped() {
        var bench = PullBench()
        let reads = bench.startReading(object(1), from: [a], size: 300)
        bench.complete(reads[0])
        bench.machine.cancel(waiter: 1, now: bench.now, into: &bench.directives)
        bench.complete(reads[1], .cancelled)
        _ = bench.take()
        bench.pull(object(1), from: [a], waiter: 2)
        bench.complete(reads[2], .cancelled)
        #expect(bench.directives.aborted.isEmpty)
        bench.locate(bench.directives.requests.last!, at: a, size: 300)
        #expect(bench.take().reads.map(\.offset) == [100, 200], "the first chunk is not fetched twice")
    }

    @Test func cancelWhileTheShellAllocatesDropsTheDraftOnceItIsMade() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.locate(bench.take().requests[0], at: a, size: 100)
        let pull = bench.take().allocations[0]
        bench.machine.cancel(waiter: 1, now: bench.now, into: &bench.directives)
        #expect(bench.take().aborted.isEmpty)
        bench.allocated(pull)
        #expect(bench.take() == [.abort(pull)])
    }

    // MARK: Priorities and budget

    @Test func requestsGoOutByPriorityThenInOrder() {
        var bench = PullBench { $0.requestsPerSource = 1 }
        bench.pull(object(1), from: [a], .taskArgument, waiter: 1)
        bench.pull(object(2), from: [a], .wait, waiter: 2)
        bench.pull(object(3), from: [a], .get, waiter: 3)
        bench.pull(object(4), from: [a], .get, waiter: 4)
        bench.pull(object(1), from: [a], .get, waiter: 5)
        bench.connect(a)
        var order: [ObjectID] = []
        for _ in 0..<4 {
            order += bench.directives.requestedObjects
            bench.receive(.negative(bench.take().requests[0], .notFound), from: a)
        }
        #expect(order == [object(3), object(4), object(1), object(2)])
    }

    @Test func chunksOfAGetGoBeforeThoseOfATaskArgument() {
        var bench = PullBench { $0.readsPerSource = 1 }
        let reads = bench.startReading(object(1), from: [a], size: 300, .taskArgument)
        let more = bench.startReading(object(2), from: [a], size: 200, .get, waiter: 2)
        #expect(more.isEmpty)
        var order: [Int] = []
        var read = reads[0]
        for _ in 0..<4 {
            _ = bench.take()
            bench.complete(read)
            read = bench.directives.reads[0]
            order.append(Int(read.pull.index))
        }
        #expect(order == [1, 1, 0, 0])
    }

    @Test func budgetIsHeldByDraftsOnlyAndGivenInOrder() {
        var bench = PullBench { $0.budgetBytes = 250 }
        for node in [a, b] { bench.connect(node) }
        bench.pull(object(1), from: [b], waiter: 1)  // b never answers: no budget for it
        bench.pull(object(2), from: [a], waiter: 2)
        bench.pull(object(3), from: [a], waiter: 3)
        bench.pull(object(4), from: [a], waiter: 4)
        let requests = bench.take().requests
        bench.locate(requests[1], at: a, size: 150)
        let first = bench.take().allocations[0]
        bench.locate(requests[2], at: a, size: 150)
        bench.locate(requests[3], at: a, size: 50)
        #expect(bench.take().allocations.isEmpty, "the small one must not pass the large one")
        #expect(bench.machine.draftBytes == 150)
        bench.allocated(first)
        for read in bench.take().reads { bench.complete(read) }
        bench.published(first)
        #expect(bench.take().allocations.count == 2)
        #expect(bench.machine.draftBytes == 200)
    }

    @Test func objectLargerThanTheBudgetIsPulledAlone() {
        var bench = PullBench { $0.budgetBytes = 100 }
        bench.connect(a)
        bench.pull(object(1), from: [a], waiter: 1)
        bench.pull(object(2), from: [a], waiter: 2)
        let requests = bench.take().requests
        bench.locate(requests[0], at: a, size: 10)
        bench.locate(requests[1], at: a, size: 1000)
        let first = bench.directives.allocations
        #expect(first.count == 1)
        _ = bench.take()
        bench.allocated(first[0])
        bench.complete(bench.take().reads[0])
        bench.published(first[0])
        #expect(bench.take().allocations.count == 1)
        #expect(bench.machine.draftBytes == 1000)
    }

    @Test func drawnOutWaitForBudgetDoesNotKeepADraftFromItsNextSource() {
        var bench = PullBench {
            $0.budgetBytes = 100; $0.requestsPerSource = 1; $0.failuresPerSource = 1
        }
        for node in [a, b] { bench.connect(node) }
        bench.pull(object(1), from: [a, b], waiter: 1)
        bench.locate(bench.take().requests[0], at: a, size: 100)
        bench.allocated(bench.take().allocations[0])
        let read = bench.take().reads[0]
        // Another object fills b's only place and waits for the budget that the first one holds.
        bench.pull(object(2), from: [b], waiter: 2)
        bench.locate(bench.take().requests[0], at: b, size: 100)
        bench.complete(read, .connectionLost)
        bench.disconnect(a)
        #expect(bench.take().requestedObjects == [object(1)])
    }

    @Test func sourceThatWaitsForItsTurnIsAskedOnceThePullHoldsBudget() {
        var bench = PullBench {
            $0.budgetBytes = 100; $0.requestsPerSource = 1
        }
        let first = bench.startReading(object(1), from: [c], size: 100)
        for node in [a, b] { bench.connect(node) }
        bench.pull(object(2), from: [b], .wait, waiter: 2)
        bench.pull(object(3), from: [a, b], .get, waiter: 3)
        let requests = Array(bench.take().requests.suffix(2))
        bench.locate(requests[0], at: b, size: 100)  // fills b's only place, and waits for budget
        bench.advance(.seconds(1))
        #expect(bench.take().requests == [requests[1]], "a is slow, and b has no place")
        bench.locate(requests[1], at: a, size: 100)
        bench.complete(first[0])
        bench.published(first[0].pull)
        #expect(bench.take().requestedObjects == [object(3)], "b is asked in case a fails again")
    }

    // MARK: Several sources

    @Test func largeObjectIsReadFromSeveralSources() {
        var bench = PullBench {
            $0.spreadBytes = 600; $0.readsPerSource = 2; $0.sourcesAtOnce = 2
        }
        let reads = bench.startReading(object(1), from: [a, b, c], size: 600)
        #expect(reads.count == 2)
        let request = bench.directives.requests[0]
        #expect(bench.directives.requests.count == 1, "two sources at once, not three")
        _ = bench.take()
        bench.locate(request, at: b, size: 600)
        let more = bench.take().reads
        #expect(more.map(\.offset) == [200, 300])
        #expect(more.allSatisfy { $0.connection == connection(b) })
        bench.complete(more[0])
        #expect(bench.take().reads.map(\.connection) == [connection(b)], "who is free takes the next chunk")
    }

    @Test func resumesFromAnotherSourceWithWhatIsMissing() {
        var bench = PullBench { $0.readsPerSource = 4 }
        let reads = bench.startReading(object(1), from: [a, b], size: 400)
        _ = bench.take()
        bench.complete(reads[0])
        bench.complete(reads[2])
        for read in [reads[1], reads[3]] { bench.complete(read, .connectionLost) }
        bench.disconnect(a)
        bench.locate(bench.take().requests[0], at: b, size: 400)
        let rest = bench.take().reads
        #expect(rest.map(\.offset) == [100, 300])
        for read in rest { bench.complete(read) }
        #expect(bench.take().published.count == 1)
    }

    @Test func sourceOfAnotherSizeIsDropped() {
        var bench = PullBench()
        let reads = bench.startReading(object(1), from: [a, b], size: 100)
        bench.complete(reads[0], .connectionLost)
        bench.disconnect(a)
        let request = bench.directives.requests.last!
        _ = bench.take()
        bench.locate(request, at: b, size: 101)
        #expect(bench.take().releases == [request])
        #expect(bench.machine.statistics.protocolViolations == 1)
        // The first source is tried again, and the transfer ends well.
        bench.advance(.milliseconds(50))
        #expect(bench.take().connects == [a])
    }

    @Test func addedSourceHelps() {
        var bench = PullBench()
        bench.connect(b)
        bench.pull(object(1), from: [a])
        _ = bench.take()
        bench.machine.addSource(b, of: object(1), now: bench.now, into: &bench.directives)
        #expect(bench.take().isEmpty, "the first one is not slow yet")
        bench.advance(.seconds(1))
        #expect(bench.take().requestedObjects == [object(1)])
        bench.machine.addSource(b, of: object(7), now: bench.now, into: &bench.directives)
        #expect(bench.take().isEmpty)
    }

    // MARK: Failures

    @Test func negativeReplyTriesTheNextSourceAndEndsExactly() {
        let cases: [([NegativeReason], FabricError.Code)] = [
            ([.notFound, .notFound], .objectNotFound), ([.notFound, .deleted], .objectDeleted),
            ([.deleted, .notFound], .objectDeleted), ([.notFound, .notServing], .sourceUnavailable),
            ([.busy, .busy], .busy),
        ]
        for (reasons, code) in cases {
            var bench = PullBench { $0.failuresPerSource = 1 }
            for node in [a, b] { bench.connect(node) }
            bench.pull(object(1), from: [a, b])
            for (reason, node) in zip(reasons, [a, b]) {
                bench.receive(.negative(bench.take().requests[0], reason), from: node)
            }
            #expect(bench.take().results == [1: code], "\(reasons)")
        }
    }

    @Test func pullWithoutSourcesFailsAtOnce() {
        var bench = PullBench()
        bench.pull(object(1), from: [])
        #expect(bench.take() == [.finished(waiter: 1, failure: .sourceUnavailable)])
    }

    @Test func lostConnectionIsMadeAgainUntilItIsHopeless() {
        var bench = PullBench { $0.failuresPerSource = 3 }
        bench.pull(object(1), from: [a])
        for pause in [50, 100] {
            #expect(bench.take().connects == [a])
            bench.connect(a)
            bench.disconnect(a)
            bench.advance(.milliseconds(pause - 1))
            #expect(bench.take().connects.isEmpty)
            bench.advance(.milliseconds(1))
        }
        bench.connect(a)
        bench.disconnect(a, .closed)
        #expect(bench.take().results == [1: .connectionLost])
    }

    @Test func refusedConnectionIsFinal() {
        var bench = PullBench()
        bench.pull(object(1), from: [a])
        let failure = TransportFailure(.connectionRefused)
        bench.machine.connectFailed(a, failure, now: bench.now, into: &bench.directives)
        #expect(bench.take().results == [1: .connectionRefused])
    }

    @Test func silentSourceIsAskedAgainThenGivenUp() {
        var bench = PullBench { $0.failuresPerSource = 1 }
        for node in [a, b] { bench.connect(node) }
        bench.pull(object(1), from: [a, b])
        let request = bench.take().requests[0]
        bench.advance(.seconds(1))
        let second = bench.directives.requests[1]
        #expect(
            bench.take() == [
                .send(.request(request, attempt: 2, object(1), inlineLimit: 0), connection(a)),
                .send(.request(second, attempt: 1, object(1), inlineLimit: 0), connection(b)),
            ])
        bench.advance(.seconds(1))
        bench.advance(.seconds(1))
        #expect(bench.take().releases == [request])
        bench.locate(request, at: a, size: 10)
        #expect(bench.take().isEmpty, "the late answer is to a request that was given up")
        bench.advance(.seconds(1))
        #expect(bench.take().results == [1: .sourceUnavailable])
    }

    @Test func lateAndRepeatedEventsAreHarmless() {
        var bench = PullBench()
        let reads = bench.startReading(object(1), from: [a], size: 200)
        let request = UInt64(1) << 32
        _ = bench.take()
        bench.locate(request, at: a, size: 200)
        bench.receive(.renewed(request, attempt: 7), from: a)
        bench.receive(.negative(request, .deleted), from: b)
        bench.receive(.inline(request, size: 1, metadataSize: 0, payload: 0..<1), from: a)
        bench.complete(reads[0])
        bench.complete(reads[0])
        bench.complete(reads[0], .connectionLost)
        bench.machine.completed(token: 0, failure: nil, now: bench.now, into: &bench.directives)
        bench.machine.completed(token: 77, failure: nil, now: bench.now, into: &bench.directives)
        bench.allocated(reads[0].pull)
        bench.published(reads[0].pull)
        #expect(bench.take().isEmpty)
        bench.complete(reads[1])
        #expect(bench.take().published == [reads[0].pull])
        bench.published(reads[0].pull)
        bench.published(reads[0].pull)
        bench.receive(.negative(request, .deleted), from: a)
        bench.machine.cancel(waiter: 1, now: bench.now, into: &bench.directives)
        bench.disconnect(b)
        #expect(bench.take() == [.finished(waiter: 1, failure: nil)])
    }

    // MARK: Hostile answers

    @Test(
        arguments: [
            (100, 0, [(0, 99)]), (100, 0, [(0, 101)]), (100, 0, []), (0, 0, [(0, 1)]),
            (100, 0, [(0, 100), (0, 0)]), (100, 0, [(UInt64.max - 50, 100)]), (100, 0, [(0, UInt64.max)]),
            (100, 0, [(0, 50), (0, UInt64.max - 49), (0, 100)]), (-1, 0, []), (0, -1, []), (-1, 1, []),
            (Int.max, 1, [(0, UInt64(Int.max))]), (Int.max, Int.max, []),
            (2000, 0, Array(repeating: (0, 1), count: 2000)),
        ] as [(Int, Int, [(UInt64, UInt64)])])
    func impossibleLocationIsAViolation(size: Int, metadataSize: Int, parts: [(UInt64, UInt64)]) {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a])
        let request = bench.take().requests[0]
        let extents = parts.map { RemoteExtent(key: RegionKey(rawValue: 1), offset: $0.0, length: $0.1) }
        let reply = TransferReply.located(
            request, size: size, metadataSize: metadataSize, lease: 9000, grant: 0)
        bench.receive(reply, from: a, extents)
        #expect(bench.directives.allocations.isEmpty)
        #expect(bench.directives.releases == [request])
        #expect(bench.take().results == [1: .protocolViolation])
    }

    @Test func inlineObjectThatNobodyAskedForInlineIsAViolation() {
        var bench = PullBench { $0.inlineLimit = 10 }
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.receive(.inline(bench.take().requests[0], size: 11, metadataSize: 0, payload: 21..<32), from: a)
        #expect(bench.take().results == [1: .protocolViolation])
    }

    @Test func objectOverTheLimitIsTooLarge() {
        var bench = PullBench { $0.maximumObjectBytes = 1000 }
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.locate(bench.take().requests[0], at: a, size: 1001)
        #expect(bench.take().results == [1: .objectTooLarge])
    }

    // MARK: Leases

    @Test func pinIsRenewedWhileItIsNeeded() {
        var bench = PullBench { $0.readsPerSource = 1 }
        let read = bench.startReading(object(1), from: [a], size: 200)[0]
        let request = UInt64(1) << 32
        _ = bench.take()
        bench.advance(.seconds(3))
        #expect(bench.take() == [.send(.renew(request, grant: 5, attempt: 2), connection(a))])
        bench.receive(.renewed(request, attempt: 2), from: a)
        bench.now = bench.now + .seconds(8)
        bench.complete(read)
        #expect(bench.take().reads.map(\.offset) == [100], "the lease of 9 s counts from the renewal")
    }

    @Test func bytesThatCameAfterTheLeaseAreNotTrusted() {
        var bench = PullBench()
        let read = bench.startReading(object(1), from: [a], size: 100)[0]
        _ = bench.take()
        bench.now = bench.now + .milliseconds(9001)
        bench.complete(read)
        #expect(bench.directives.published.isEmpty)
        #expect(bench.take().releases.count == 1)
        bench.advance(.milliseconds(50))
        #expect(bench.take().requestedObjects == [object(1)])
    }

    @Test func sourceThatGaveUpThePinIsAskedAgain() {
        var bench = PullBench()
        let read = bench.startReading(object(1), from: [a], size: 100)[0]
        _ = bench.take()
        bench.receive(.negative(UInt64(1) << 32, .expired), from: a)
        #expect(bench.take().cancelled == [read.token])
        bench.complete(read)
        bench.advance(.milliseconds(50))
        #expect(bench.take().requestedObjects == [object(1)], "what was read without a pin is read again")
    }

    // MARK: The store

    @Test func fullStoreIsAskedAgainWhenItHasRoom() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a], waiter: 1)
        bench.pull(object(2), from: [a], waiter: 2)
        let requests = bench.take().requests
        bench.locate(requests[0], at: a, size: 100)
        let pull = bench.take().allocations[0]
        bench.machine.allocationFailed(pull, .storeFull, retry: true, now: bench.now, into: &bench.directives)
        bench.locate(requests[1], at: a, size: 100)
        #expect(bench.take().isEmpty)
        #expect(bench.machine.draftBytes == 0)
        #expect(bench.machine.nextDeadline == bench.now + .milliseconds(20))
        bench.machine.storeHasRoom(now: bench.now, into: &bench.directives)
        #expect(bench.directives.allocations.first == pull, "ahead of those that came later")
        #expect(bench.take().allocations.count == 2)
        bench.machine.allocationFailed(pull, .storeFull, retry: true, now: bench.now, into: &bench.directives)
        bench.advance(.milliseconds(20))
        #expect(bench.take().allocations == [pull])
        bench.machine.allocationFailed(pull, .storeFull, retry: false, now: bench.now, into: &bench.directives)
        #expect(bench.take().results == [1: .storeFull])
    }

    @Test func objectThatIsInTheStoreByNowIsASuccess() {
        var bench = PullBench()
        bench.connect(a)
        bench.pull(object(1), from: [a])
        bench.locate(bench.take().requests[0], at: a, size: 100)
        let pull = bench.take().allocations[0]
        bench.machine.allocationFailed(pull, .objectExists, retry: false, now: bench.now, into: &bench.directives)
        #expect(bench.take().results == [1: nil])
    }

    @Test func publishingThatFailsDropsTheDraft() {
        var bench = PullBench()
        let read = bench.startReading(object(1), from: [a], size: 100)[0]
        bench.complete(read)
        _ = bench.take()
        bench.machine.publishFailed(
            read.pull, .tooManyObjects, retry: false, now: bench.now, into: &bench.directives)
        #expect(bench.take() == [.abort(read.pull), .finished(waiter: 1, failure: .tooManyObjects)])
        #expect(bench.machine.draftBytes == 0)
    }

    // MARK: Limits and inspection

    @Test func progressSaysWhatAPullWaitsFor() {
        var bench = PullBench()
        #expect(bench.machine.progress(of: object(1)) == nil)
        bench.pull(object(1), from: [a, b], waiter: 7)
        #expect(bench.machine.progress(of: object(1))?.description == "asking 2 sources")
        bench.machine.cancel(waiter: 7, now: bench.now, into: &bench.directives)
        _ = bench.take()
        let reads = bench.startReading(object(1), from: [a], size: 250)
        bench.complete(reads[2])
        let expected = PullProgress(
            stage: .reading, waiters: 1, byteCount: 250, bytesArrived: 50, locatedSources: 1, sources: 1)
        #expect(bench.machine.progress(of: object(1)) == expected)
        #expect(expected.description == "50 of 250 bytes arrived, from 1 sources")
    }

    @Test func limitsAreAnsweredWithBusy() {
        var bench = PullBench {
            $0.maximumPulls = 2; $0.maximumWaiters = 3; $0.maximumNodes = 1
        }
        bench.pull(object(1), from: [a], waiter: 1)
        bench.pull(object(2), from: [b], waiter: 2)
        #expect(bench.take().results == [2: .busy], "no room for another node")
        bench.pull(object(2), from: [a], waiter: 3)
        bench.pull(object(3), from: [a], waiter: 4)
        #expect(bench.take().results == [4: .busy], "no room for another object")
        bench.pull(object(2), from: [a], waiter: 5)
        bench.pull(object(2), from: [a], waiter: 6)
        #expect(bench.take().results == [6: .busy], "no room for another waiter")
    }
}
