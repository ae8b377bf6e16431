// The handshake of the TCP transports as a machine without I/O: who is at the other end, which
// version both speak, and proof that both hold the cluster key. Nothing else is parsed before it ends.

package import RayCore

/// Who proved itself, and what was agreed.
package struct HandshakePeer: Hashable, Sendable {
    package let node: NodeID
    package let session: UInt64
    /// 0 carries messages; 1 and up are bulk lanes.
    package let lane: UInt16
    /// Bulk lanes that both sides want.
    package let laneCount: UInt16
    package let features: WireFeatures
    package let version: UInt16
}

/// Bytes to send, and what came of the bytes received.
package struct HandshakeStep: Sendable {
    package enum Outcome: Hashable, Sendable {
        /// Send the output, then read `expectedByteCount` more bytes.
        case proceed
        /// Responder only: the initiator has proven itself. Call `accept` or `refuse`.
        case verified(HandshakePeer)
        /// Send the output; after it the connection carries frames.
        case established(HandshakePeer)
        /// Send the output, then close.
        case failed(FabricError.Code)
    }

    package let output: [UInt8]
    package let outcome: Outcome
}

/// One side of one handshake.
///
///     initiator                                  responder
///     hello(offer)            ->
///                             <-                 challenge(offer)
///     proof                   ->                 verified: the shell admits or refuses
///     established             <-                 proof, established
///
/// Each proof is HMAC-SHA256 with the cluster key over the role and all messages before it. Both
/// sides put a fresh nonce into that, so a recorded handshake is worth nothing, and the roles
/// differ, so neither is a proof sent back to its sender. Either side may send a reject instead.
package struct Handshake: Sendable {
    private enum Phase {
        case idle, hello, challenge, initiatorProof, admission, responderProof, ended
    }

    private let offer: HandshakeOffer
    private let key: ClusterKey?
    private var phase: Phase
    /// The prefix of the message whose body is to be read next.
    private var prefix: HandshakePrefix?
    private var prefixBytes: [UInt8] = []
    /// All messages so far, each whole.
    private var transcript: [UInt8] = []
    private var peer: HandshakePeer?

    /// How many bytes to read, exactly, before the next call of `receive`.
    package var expectedByteCount: Int { prefix?.bodyByteCount ?? HandshakePrefix.byteCount }

    /// The side that made the connection. `offer` is sent as it is.
    package init(initiator offer: HandshakeOffer, key: ClusterKey?) {
        self.offer = offer
        self.key = key
        phase = .idle
    }

    /// The side that was connected to: `session` and `lane` of its `offer` are taken from the other's.
    package init(responder offer: HandshakeOffer, key: ClusterKey?) {
        self.offer = offer
        self.key = key
        phase = .hello
    }

    /// The initiator's first bytes; none for the responder.
    package mutating func start() -> [UInt8] {
        guard phase == .idle else { return [] }
        phase = .challenge
        return appended(HandshakeEncoder.offer(offer, kind: .hello))
    }

    /// Takes exactly `expectedByteCount` bytes.
    package mutating func receive(_ bytes: RawSpan) -> HandshakeStep {
        precondition(bytes.byteCount == expectedByteCount, "the shell reads what the machine expects")
        do throws(TransportFailure) {
            guard let prefix else { return try receivePrefix(bytes) }
            self.prefix = nil
            return try receiveBody(prefix.kind, bytes)
        } catch {
            return failed(error.code)
        }
    }

    /// Lets a verified initiator in.
    package mutating func accept() -> HandshakeStep {
        guard phase == .admission, let peer else { preconditionFailure("accept in phase \(phase)") }
        phase = .ended
        let message = HandshakeEncoder.proof(proof(of: .responder), kind: .responderProof)
        return HandshakeStep(output: message, outcome: .established(peer))
    }

    /// Turns a verified initiator away, for example with `connectionLimit` or `staleIncarnation`.
    package mutating func refuse(_ code: FabricError.Code) -> HandshakeStep {
        precondition(phase == .admission, "refuse in phase \(phase)")
        return failed(code)
    }

    // MARK: Messages

    private mutating func receivePrefix(_ bytes: RawSpan) throws(TransportFailure) -> HandshakeStep {
        let prefix = try HandshakePrefix(decoding: bytes)
        let length: ClosedRange<Int>
        switch (prefix.kind, phase) {
        // Other versions may have longer offers; the version is looked at before the length.
        case (.hello, .hello), (.challenge, .challenge): length = 4...HandshakePrefix.maximumBodyBytes
        case (.initiatorProof, .initiatorProof), (.responderProof, .responderProof):
            length = HandshakeEncoder.proofByteCount...HandshakeEncoder.proofByteCount
        case (.reject, .challenge), (.reject, .responderProof), (.reject, .initiatorProof):
            length = 2...HandshakePrefix.maximumBodyBytes
        case (.hello, _), (.challenge, _), (.initiatorProof, _), (.responderProof, _), (.reject, _):
            throw TransportFailure(.protocolViolation)
        }
        guard length.contains(prefix.bodyByteCount) else { throw TransportFailure(.protocolViolation) }
        self.prefix = prefix
        prefixBytes = Array(copying: bytes)
        return HandshakeStep(output: [], outcome: .proceed)
    }

    private mutating func receiveBody(
        _ kind: HandshakePrefix.Kind, _ body: RawSpan
    ) throws(TransportFailure) -> HandshakeStep {
        switch kind {
        case .hello: return try receiveHello(body)
        case .challenge: return try receiveChallenge(body)
        case .initiatorProof:
            try verify(body, of: .initiator)
            record(body)
            phase = .admission
            guard let peer else { preconditionFailure("a proof is awaited only after a hello") }
            return HandshakeStep(output: [], outcome: .verified(peer))
        case .responderProof:
            try verify(body, of: .responder)
            phase = .ended
            guard let peer else { preconditionFailure("a proof is awaited only after a challenge") }
            return HandshakeStep(output: [], outcome: .established(peer))
        case .reject:
            phase = .ended
            return HandshakeStep(output: [], outcome: .failed(Self.reason(body)))
        }
    }

    private mutating func receiveHello(_ body: RawSpan) throws(TransportFailure) -> HandshakeStep {
        let hello = try decode(body)
        record(body)
        guard hello.nonce != offer.nonce else { throw TransportFailure(.authenticationFailed) }
        let version = min(hello.versions.upperBound, offer.versions.upperBound)
        var answer = offer
        answer.versions = version...version
        answer.features = offer.features.intersection(hello.features)
        answer.session = hello.session
        answer.lane = hello.lane
        answer.laneCount = answer.features.contains(.bulkLanes) ? min(offer.laneCount, hello.laneCount) : 0
        guard answer.lane <= answer.laneCount else { throw TransportFailure(.protocolViolation) }
        peer = HandshakePeer(
            node: hello.node, session: hello.session, lane: hello.lane, laneCount: answer.laneCount,
            features: answer.features, version: version)
        phase = .initiatorProof
        return HandshakeStep(
            output: appended(HandshakeEncoder.offer(answer, kind: .challenge)), outcome: .proceed)
    }

    private mutating func receiveChallenge(_ body: RawSpan) throws(TransportFailure) -> HandshakeStep {
        let challenge = try decode(body)
        record(body)
        guard challenge.nonce != offer.nonce else { throw TransportFailure(.authenticationFailed) }
        guard challenge.versions.count == 1, challenge.session == offer.session, challenge.lane == offer.lane,
            challenge.laneCount <= offer.laneCount, challenge.features.isSubset(of: offer.features)
        else { throw TransportFailure(.protocolViolation) }
        peer = HandshakePeer(
            node: challenge.node, session: offer.session, lane: offer.lane, laneCount: challenge.laneCount,
            features: challenge.features, version: challenge.versions.lowerBound)
        phase = .responderProof
        let message = HandshakeEncoder.proof(proof(of: .initiator), kind: .initiatorProof)
        return HandshakeStep(output: appended(message), outcome: .proceed)
    }

    /// An offer whose versions overlap with ours and whose form is that of our version.
    private func decode(_ body: RawSpan) throws(TransportFailure) -> HandshakeOffer {
        guard let versions = try? HandshakeOffer.versions(in: body) else { throw TransportFailure(.protocolViolation) }
        guard versions.overlaps(offer.versions) else { throw TransportFailure(.versionMismatch) }
        guard body.byteCount == HandshakeOffer.byteCount, let offer = try? HandshakeOffer(decoding: body) else {
            throw TransportFailure(.protocolViolation)
        }
        return offer
    }

    /// What the other side says about why it turned us away; it has proven nothing, so only
    /// reasons that make sense here are believed.
    private static func reason(_ body: RawSpan) -> FabricError.Code {
        var reader = WireReader(body)
        let believed: [FabricError.Code] = [
            .versionMismatch, .authenticationFailed, .connectionLimit, .staleIncarnation, .closed,
        ]
        return (try? reader.uint16()).map(FabricError.Code.init(rawValue:)).flatMap { code in
            believed.first { $0 == code }
        } ?? .protocolViolation
    }

    private mutating func failed(_ code: FabricError.Code) -> HandshakeStep {
        phase = .ended
        // Strangers get no answer: whatever they speak, it is not this.
        let output = code == .notOurProtocol ? [] : HandshakeEncoder.reject(code, versions: offer.versions)
        return HandshakeStep(output: output, outcome: .failed(code))
    }

    // MARK: Transcript and proofs

    private enum Prover: String {
        case initiator = "rayfabric handshake 1 initiator"
        case responder = "rayfabric handshake 1 responder"
    }

    private mutating func appended(_ message: [UInt8]) -> [UInt8] {
        transcript += message
        return message
    }

    private mutating func record(_ body: RawSpan) {
        transcript += prefixBytes
        transcript += Array(copying: body)
    }

    /// The role, whether there is a key at all, and every message before the proof.
    private func statement(of prover: Prover) -> [UInt8] {
        Array(prover.rawValue.utf8) + [0, key == nil ? 0 : 1] + transcript
    }

    private var authentication: MessageAuthentication { MessageAuthentication(key: key?.bytes ?? []) }

    private func proof(of prover: Prover) -> [UInt8] { authentication.code(for: statement(of: prover)) }

    /// Compares in constant time.
    private func verify(_ body: RawSpan, of prover: Prover) throws(TransportFailure) {
        guard authentication.isValid(Array(copying: body), for: statement(of: prover))
        else { throw TransportFailure(.authenticationFailed) }
    }
}

extension Array<UInt8> {
    package init(copying bytes: RawSpan) {
        // SAFETY: the buffer is read within the closure only.
        self = unsafe bytes.withUnsafeBytes { buffer in unsafe Array(buffer) }
    }
}
