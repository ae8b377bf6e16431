// The handshake machine, played against itself and against strangers.

import RayCore
import Testing

@testable import RayFabric

private let initiatorNode = NodeID(value: 0xa1, incarnation: 3)
private let responderNode = NodeID(value: 0xb2, incarnation: 7)

private func clusterKey(_ byte: UInt8) throws -> ClusterKey { try ClusterKey([UInt8](repeating: byte, count: 32)) }

private func offer(
    _ node: NodeID, seed: UInt64, session: UInt64 = 0, lane: UInt16 = 0, lanes: UInt16 = 2,
    features: WireFeatures = .bulkLanes, versions: ClosedRange<UInt16> = 1...1
) -> HandshakeOffer {
    var random = SeededRandom(seed: seed)
    return HandshakeOffer(
        node: node, session: session, lane: lane, laneCount: lanes, nonce: HandshakeNonce(using: &random),
        features: features, versions: versions)
}

private func initiator(key: ClusterKey?, seed: UInt64 = 1, lane: UInt16 = 0, lanes: UInt16 = 2) -> Handshake {
    Handshake(initiator: offer(initiatorNode, seed: seed, session: 99, lane: lane, lanes: lanes), key: key)
}

private func responder(key: ClusterKey?, seed: UInt64 = 2, lanes: UInt16 = 4) -> Handshake {
    Handshake(responder: offer(responderNode, seed: seed, lanes: lanes), key: key)
}

/// Feeds bytes as a shell does; gives all output and the first outcome that is not `proceed`, or
/// `proceed` when the machine wants more bytes than there are.
private func feed(_ machine: inout Handshake, _ bytes: [UInt8]) -> (output: [UInt8], outcome: HandshakeStep.Outcome) {
    var rest = bytes[...]
    var output: [UInt8] = []
    while rest.count >= machine.expectedByteCount {
        let part = Array(rest.prefix(machine.expectedByteCount))
        rest = rest.dropFirst(part.count)
        let step = unsafe machine.receive(part.span.bytes)
        output += step.output
        if step.outcome != .proceed { return (output, step.outcome) }
    }
    return (output, .proceed)
}

private struct Played {
    var initiator: HandshakeStep.Outcome
    var responder: HandshakeStep.Outcome
    /// What each side sent, in order.
    var fromInitiator: [[UInt8]] = []
    var fromResponder: [[UInt8]] = []
}

/// Plays both machines until one has ended.
private func play(
    _ left: Handshake, _ right: Handshake, refusing code: FabricError.Code? = nil
) -> Played {
    var (left, right) = (left, right)
    var result = Played(initiator: .proceed, responder: .proceed)
    var toRight = left.start()
    while !toRight.isEmpty {
        result.fromInitiator.append(toRight)
        var answer = feed(&right, toRight)
        if case .verified = answer.outcome {
            let step = code.map { right.refuse($0) } ?? right.accept()
            answer = (step.output, step.outcome)
        }
        result.responder = answer.outcome
        if answer.output.isEmpty { break }
        result.fromResponder.append(answer.output)
        let back = feed(&left, answer.output)
        result.initiator = back.outcome
        toRight = back.output
    }
    return result
}

@Suite struct HandshakeTests {
    @Test func bothLearnWhoTheOtherIs() throws {
        let key = try clusterKey(1)
        let played = play(initiator(key: key), responder(key: key))
        #expect(
            played.initiator
                == .established(
                    HandshakePeer(
                        node: responderNode, session: 99, lane: 0, laneCount: 2, features: .bulkLanes, version: 1)))
        #expect(
            played.responder
                == .established(
                    HandshakePeer(
                        node: initiatorNode, session: 99, lane: 0, laneCount: 2, features: .bulkLanes, version: 1)))
    }

    @Test func theSmallerLaneCountIsTaken() throws {
        let played = play(initiator(key: nil, lanes: 8), responder(key: nil, lanes: 3))
        guard case .established(let peer) = played.initiator else {
            Issue.record("\(played.initiator)")
            return
        }
        #expect(peer.laneCount == 3)
    }

    @Test func aLaneBeyondTheAgreedCountIsRefused() throws {
        let played = play(initiator(key: nil, lane: 4, lanes: 4), responder(key: nil, lanes: 3))
        #expect(played.responder == .failed(.protocolViolation))
        #expect(played.initiator == .failed(.protocolViolation))
    }

    @Test func withoutFeatureThereAreNoLanes() throws {
        let plain = Handshake(responder: offer(responderNode, seed: 2, features: []), key: nil)
        guard case .established(let peer) = play(initiator(key: nil), plain).initiator else {
            Issue.record("not established")
            return
        }
        #expect(peer.laneCount == 0 && peer.features == [])
    }

    @Test func anotherKeyFailsOnBothSides() throws {
        let played = play(initiator(key: try clusterKey(1)), responder(key: try clusterKey(2)))
        #expect(played.responder == .failed(.authenticationFailed))
        #expect(played.initiator == .failed(.authenticationFailed))
    }

    @Test(arguments: [true, false])
    func keyedAndUnkeyedDoNotMeet(initiatorKeyed: Bool) throws {
        let key = try clusterKey(0)  // zero bytes are what HMAC pads a missing key with
        let played = play(
            initiator(key: initiatorKeyed ? key : nil), responder(key: initiatorKeyed ? nil : key))
        #expect(played.responder == .failed(.authenticationFailed))
        #expect(played.initiator == .failed(.authenticationFailed))
    }

    @Test func aResponderWithoutTheKeyIsNotBelieved() throws {
        let key = try clusterKey(1)
        let genuine = play(initiator(key: key), responder(key: key))
        var proof = genuine.fromResponder[1]
        proof[20] ^= 1
        var machine = initiator(key: key)
        _ = machine.start()
        _ = feed(&machine, genuine.fromResponder[0])
        #expect(feed(&machine, proof).outcome == .failed(.authenticationFailed))
    }

    @Test func aRecordedHandshakeIsWorthNothing() throws {
        let key = try clusterKey(1)
        let recorded = play(initiator(key: key), responder(key: key))
        var fresh = responder(key: key, seed: 77)
        _ = feed(&fresh, recorded.fromInitiator[0])
        #expect(feed(&fresh, recorded.fromInitiator[1]).outcome == .failed(.authenticationFailed))

        var again = initiator(key: key, seed: 78)
        _ = again.start()
        _ = feed(&again, recorded.fromResponder[0])
        #expect(feed(&again, recorded.fromResponder[1]).outcome == .failed(.authenticationFailed))
    }

    @Test func theSameMessagesAgainAreAcceptedOnlyWithTheSameNonces() throws {
        // The counterpart of the test above: what it replays would have been good enough.
        let key = try clusterKey(1)
        let recorded = play(initiator(key: key), responder(key: key))
        var same = responder(key: key)
        _ = feed(&same, recorded.fromInitiator[0])
        guard case .verified = feed(&same, recorded.fromInitiator[1]).outcome else {
            Issue.record("the recorded proof is not genuine")
            return
        }
    }

    @Test func aMirrorIsNotAPeer() throws {
        let key = try clusterKey(1)
        // An attacker without the key sends the initiator's own hello back as a challenge, ...
        var machine = initiator(key: key)
        var mirrored = machine.start()
        mirrored[8] = 2
        #expect(feed(&machine, mirrored).outcome == .failed(.authenticationFailed))
        // ... or its proof as the responder's.
        machine = initiator(key: key)
        var attacker = responder(key: try clusterKey(9))
        let challenge = feed(&attacker, machine.start()).output
        var proof = feed(&machine, challenge).output
        proof[8] = 4
        #expect(feed(&machine, proof).outcome == .failed(.authenticationFailed))
    }

    @Test func otherVersionsAreToldSo() throws {
        let old = Handshake(responder: offer(responderNode, seed: 2, versions: 1...4), key: nil)
        let new = Handshake(initiator: offer(initiatorNode, seed: 1, versions: 5...9), key: nil)
        let played = play(new, old)
        #expect(played.responder == .failed(.versionMismatch))
        #expect(played.initiator == .failed(.versionMismatch))
    }

    @Test func theHighestCommonVersionIsTaken() throws {
        let old = Handshake(responder: offer(responderNode, seed: 2, versions: 1...4), key: nil)
        let new = Handshake(initiator: offer(initiatorNode, seed: 1, versions: 2...9), key: nil)
        guard case .established(let peer) = play(new, old).initiator else {
            Issue.record("not established")
            return
        }
        #expect(peer.version == 4)
    }

    @Test func aLongerHelloOfALaterVersionIsAVersionMismatch() throws {
        var hello = Handshake(initiator: offer(initiatorNode, seed: 1, versions: 5...9), key: nil).started()
        hello[10] = 100
        hello += [UInt8](repeating: 0xee, count: 36)
        var machine = responder(key: nil)
        #expect(feed(&machine, hello).outcome == .failed(.versionMismatch))
    }

    @Test(arguments: [FabricError.Code.connectionLimit, .staleIncarnation])
    func aRefusalSaysWhy(code: FabricError.Code) throws {
        let played = play(initiator(key: nil), responder(key: nil), refusing: code)
        #expect(played.responder == .failed(code))
        #expect(played.initiator == .failed(code))
    }

    @Test func strangersGetNoAnswer() throws {
        let strangers: [[UInt8]] = [
            Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), Array("SSH-2.0-OpenSSH_9.2\r\n".utf8),
            [UInt8](repeating: 0, count: 64), [0x16, 0x03, 0x01] + [UInt8](repeating: 7, count: 64),
        ]
        for bytes in strangers {
            for var machine in [responder(key: nil), initiator(key: nil)] {
                _ = machine.start()
                let result = feed(&machine, bytes)
                #expect(result.outcome == .failed(.notOurProtocol))
                #expect(result.output.isEmpty)
            }
        }
    }

    @Test func aMessageOutOfTurnIsAViolation() throws {
        let recorded = play(initiator(key: nil), responder(key: nil))
        var machine = responder(key: nil)
        #expect(feed(&machine, recorded.fromInitiator[1]).outcome == .failed(.protocolViolation))
        var other = initiator(key: nil)
        _ = other.start()
        #expect(feed(&other, recorded.fromResponder[1]).outcome == .failed(.protocolViolation))
    }

    @Test func lengthsAreCheckedBeforeTheBodyIsAwaited() throws {
        for length: [UInt8] in [[0, 0], [3, 0], [0xff, 0xff], [1, 4]] {
            var machine = responder(key: nil)
            var hello = Handshake(initiator: offer(initiatorNode, seed: 1), key: nil).started()
            hello.replaceSubrange(10...11, with: length)
            #expect(feed(&machine, Array(hello.prefix(12))).outcome == .failed(.protocolViolation))
        }
        // A hello that is shorter than its version's, but long enough to tell the version.
        var machine = responder(key: nil)
        var hello = Handshake(initiator: offer(initiatorNode, seed: 1), key: nil).started()
        hello[10] = 40
        #expect(feed(&machine, Array(hello.prefix(52))).outcome == .failed(.protocolViolation))
    }

    @Test func everyTruncationOnlyAsksForMore() throws {
        let key = try clusterKey(1)
        let recorded = play(initiator(key: key), responder(key: key))
        let stream = recorded.fromInitiator[0] + recorded.fromInitiator[1]
        for count in 0..<stream.count {
            var machine = responder(key: key)
            #expect(feed(&machine, Array(stream.prefix(count))).outcome == .proceed)
        }
    }

    @Test func everyAlteredBitIsNoticed() throws {
        let key = try clusterKey(1)
        let recorded = play(initiator(key: key), responder(key: key))
        let stream = recorded.fromInitiator[0] + recorded.fromInitiator[1]
        for bit in 0..<(stream.count * 8) {
            var altered = stream
            altered[bit / 8] ^= 1 << (bit % 8)
            var machine = responder(key: key)
            if case .verified = feed(&machine, altered).outcome { Issue.record("bit \(bit) is not covered") }
        }
    }

    @Test func randomBytesNeverVerify() throws {
        var random = SeededRandom(seed: 5)
        let key = try clusterKey(1)
        let genuine = play(initiator(key: key), responder(key: key)).fromInitiator[0]
        for _ in 0..<2_000 {
            var machine = responder(key: key)
            var bytes = (0..<200).map { _ in UInt8.random(in: 0...255, using: &random) }
            // Most of them with a good start, so as to get past the magic.
            if random.chance(0.9) { bytes.replaceSubrange(0..<12, with: genuine.prefix(12)) }
            if case .verified = feed(&machine, bytes).outcome { Issue.record("random bytes verified") }
        }
    }
}

extension Handshake {
    fileprivate func started() -> [UInt8] {
        var machine = self
        return machine.start()
    }
}
