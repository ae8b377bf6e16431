// The serve machine, one behaviour at a time.

import RayCore
import Testing

@testable import RayFabric

@Suite struct ServeMachineTests {
    let peer = connection(node(1))
    var machine = ServeMachine()
    var now = Timestamp(nanoseconds: 1_000_000_000)
    var directives: [ServeDirective] = []

    mutating func receive(_ call: TransferCall, from connection: Connection? = nil) {
        machine.received(call, from: connection ?? peer, now: now, into: &directives)
    }

    mutating func take() -> [ServeDirective] {
        defer { directives.removeAll() }
        return directives
    }

    mutating func request(_ request: UInt64, attempt: UInt32 = 1, inlineLimit: UInt32 = 0) -> LookupID? {
        receive(.request(request, attempt: attempt, object(1), inlineLimit: inlineLimit))
        guard case .lookup(let lookup, object(1)) = directives.last else { return nil }
        directives.removeLast()
        return lookup
    }

    mutating func found(_ lookup: LookupID, pin: UInt64 = 77) {
        machine.found(
            lookup, pin: pin, size: 200, metadataSize: 20, now: now, into: &directives)
    }

    func located(_ request: UInt64, grant: UInt32 = 1, pin: UInt64 = 77) -> ServeDirective {
        let reply = TransferReply.located(request, size: 200, metadataSize: 20, lease: 10_000, grant: grant)
        return .sendLocated(reply, peer, pin: pin)
    }

    @Test mutating func repeatGetsTheSameAnswerFromTheSamePin() throws {
        let lookup = try #require(request(5))
        #expect(request(5, attempt: 2) == nil, "the lookup is still under way")
        found(lookup)
        #expect(take() == [located(5)])
        #expect(request(5, attempt: 3) == nil)
        #expect(take() == [located(5)])
        receive(.release(5))
        receive(.release(5))
        #expect(take() == [.unpin(77)])
        #expect(machine.openRequests == 0)
    }

    @Test mutating func smallObjectIsSentInlineAndUnpinned() throws {
        let lookup = try #require(request(5, inlineLimit: 220))
        found(lookup)
        let reply = TransferReply.inline(5, size: 200, metadataSize: 20, payload: 21..<241)
        #expect(take() == [.sendInline(reply, peer, pin: 77), .unpin(77)])
        let larger = try #require(request(6, inlineLimit: 219))
        found(larger)
        #expect(take() == [located(6)])
    }

    @Test(arguments: NegativeReason.allCases) mutating func negativeAnswer(reason: NegativeReason) throws {
        let lookup = try #require(request(5))
        machine.notFound(lookup, reason, into: &directives)
        machine.notFound(lookup, reason, into: &directives)
        #expect(take() == [.send(.negative(5, reason), peer)])
        #expect(machine.openRequests == 0)
    }

    @Test mutating func pinThatComesAfterTheReleaseIsGivenBack() throws {
        let lookup = try #require(request(5))
        receive(.release(5))
        found(lookup)
        #expect(take() == [.unpin(77)])
        let another = try #require(request(6))
        machine.connectionClosed(peer, into: &directives)
        found(another, pin: 78)
        #expect(take() == [.unpin(78)])
    }

    @Test mutating func closedConnectionGivesUpItsPinsAndNoOthers() throws {
        found(try #require(request(5)), pin: 1)
        found(try #require(request(6)), pin: 2)
        let other = connection(node(2))
        receive(.request(5, attempt: 1, object(1), inlineLimit: 0), from: other)
        guard case .lookup(let lookup, _) = directives.last else { return }
        found(lookup, pin: 3)
        _ = take()
        machine.connectionClosed(peer, into: &directives)
        #expect(take() == [.unpin(1), .unpin(2)])
        machine.connectionClosed(peer, into: &directives)
        #expect(take().isEmpty)
        #expect(machine.pins == 1)
    }

    @Test mutating func silentPullerLosesItsPin() throws {
        found(try #require(request(5)), pin: 1)
        now = now + .seconds(4)
        found(try #require(request(6)), pin: 2)
        now = now + .seconds(4)
        receive(.renew(5, grant: 1, attempt: 2))
        #expect(take().last == .send(.renewed(5, attempt: 2), peer))
        #expect(machine.nextDeadline == now + .seconds(6))
        machine.tick(now: now + .seconds(6), into: &directives)
        #expect(take() == [.unpin(2)])
        receive(.renew(6, grant: 2, attempt: 2))
        #expect(take() == [.send(.negative(6, .expired), peer)])
        machine.tick(now: now + .seconds(10), into: &directives)
        #expect(take() == [.unpin(1)])
        #expect(machine.nextDeadline == .never)
    }

    @Test mutating func renewalOfAnEarlierPinIsExpired() throws {
        found(try #require(request(5)), pin: 1)
        machine.tick(now: now + .seconds(10), into: &directives)
        found(try #require(request(5, attempt: 2)), pin: 2)
        _ = take()
        receive(.renew(5, grant: 1, attempt: 3))
        #expect(take() == [.send(.negative(5, .expired), peer)])
        receive(.renew(5, grant: 2, attempt: 3))
        #expect(take() == [.send(.renewed(5, attempt: 3), peer)])
    }

    @Test mutating func limitsAreAnsweredWithBusy() {
        var configuration = ServeConfiguration()
        configuration.requestsPerPeer = 1
        configuration.maximumRequests = 2
        machine = ServeMachine(configuration: configuration)
        receive(.request(1, attempt: 1, object(1), inlineLimit: 0))
        receive(.request(2, attempt: 1, object(1), inlineLimit: 0))
        #expect(take().last == .send(.negative(2, .busy), peer))
        for number: UInt64 in 2...3 {
            receive(.request(1, attempt: 1, object(1), inlineLimit: 0), from: connection(node(number)))
        }
        #expect(take().last == .send(.negative(1, .busy), connection(node(3))))
    }

    @Test mutating func nodeThatDoesNotServeSaysSo() {
        machine.isServing = false
        receive(.request(1, attempt: 1, object(1), inlineLimit: 0))
        #expect(take() == [.send(.negative(1, .notServing), peer)])
    }
}
