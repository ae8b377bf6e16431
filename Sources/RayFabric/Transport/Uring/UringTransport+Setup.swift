// Listening, connecting and the handshake of every socket.

internal import CLinux
public import RayCore

extension UringTransport {
    // MARK: Listening

    public mutating func listen(at address: Address) throws(FabricError) -> Address {
        let candidates = try SocketAddress.resolve(address, toListen: true)
        try requireKey(configuration.clusterKey, toListenAt: candidates, named: address)
        guard let candidate = candidates.first, case .tcp(let host, _) = address else {
            throw FabricError(.addressInvalid, "\(address)")
        }
        let descriptor = try Self.makeSocket(candidate.family)
        _ = rf_set_option(descriptor.number, SOL_SOCKET, SO_REUSEADDR, 1)
        let bound = unsafe candidate.withName { name, length in unsafe rf_bind(descriptor.number, name, length) }
        guard bound == 0 else { throw systemError("bind \(address)") }
        guard rf_listen(descriptor.number, Self.backlog) == 0 else { throw systemError("listen \(address)") }
        guard let actual = SocketAddress(ofSocket: descriptor.number, peer: false) else {
            throw systemError("getsockname \(address)")
        }
        armInput(adopt(descriptor, role: .listener))
        return .tcp(host: host, port: actual.port)
    }

    private static let backlog: Int32 = 1024

    private static func makeSocket(_ family: Int32) throws(FabricError) -> FileDescriptor {
        let number = socket(family, RF_SOCK_STREAM | RF_SOCK_CLOEXEC | RF_SOCK_NONBLOCK, 0)
        guard number >= 0 else { throw systemError("socket") }
        return FileDescriptor(owning: number)
    }

    mutating func acceptAll(_ listener: UringSocket) {
        while true {
            let number = rf_accept(listener.descriptor.number)
            if number >= 0 {
                accepted(FileDescriptor(owning: number))
                continue
            }
            switch rf_errno() {
            case EAGAIN: armInput(listener)
            case EINTR, ECONNABORTED: continue
            default:
                // Out of descriptors or memory: asking at once again would only burn time.
                pausedListeners.append(listener)
                schedule(now + .milliseconds(100))
            }
            return
        }
    }

    private mutating func accepted(_ descriptor: consuming FileDescriptor) {
        guard halfOpen < configuration.maximumHalfOpen else {
            counters.rejected += 1
            return
        }
        SocketOptions.setNoDelay(descriptor.number)
        SocketOptions.unpaceWithinMachine(descriptor.number)
        let socket = adopt(descriptor, role: .handshake)
        halfOpen += 1
        socket.deadline = now + configuration.handshakeTimeout
        socket.isHandshakeLimited = true
        schedule(socket.deadline)
        socket.handshake = Handshake(responder: offer(session: 0, lane: 0), key: configuration.clusterKey)
        continueHandshake(socket)
    }

    private mutating func offer(session: UInt64, lane: UInt16) -> HandshakeOffer {
        HandshakeOffer(
            node: configuration.identity, session: session, lane: lane, laneCount: UInt16(configuration.lanes),
            nonce: HandshakeNonce(using: &random), features: offersRails ? [.bulkLanes, .rails] : .bulkLanes)
    }

    // MARK: Connecting

    public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
        let candidates = try SocketAddress.resolve(address, toListen: false)
        now = .now
        let connection = try makeConnection(isInitiator: true, session: .random(in: 1...UInt64.max, using: &random))
        connection.addresses = candidates
        do throws(FabricError) {
            try openSocket(of: connection, lane: 0, candidates: candidates, deadline: deadline)
        } catch {
            release(connection)
            throw error
        }
        return connection.id
    }

    /// Starts a socket towards the first of `candidates`; failures come later, as for a far host.
    /// - Throws: `descriptorLimit`, `outOfMemory`, `system`.
    mutating func openSocket(
        of connection: UringConnection, lane: UInt16, candidates: [SocketAddress], deadline: Timestamp
    ) throws(FabricError) {
        guard let candidate = candidates.first else { preconditionFailure("nothing to connect to") }
        let descriptor = try Self.makeSocket(candidate.family)
        SocketOptions.setNoDelay(descriptor.number)
        if lane > 0, let bytes = bulkBufferBytes { SocketOptions.setBuffers(descriptor.number, bytes: bytes) }
        let status = unsafe candidate.withName { name, length in unsafe rf_connect(descriptor.number, name, length) }
        let error = status == 0 ? 0 : rf_errno()
        let socket = adopt(descriptor, role: .connecting)
        socket.connection = connection
        connection.socketCount += 1
        socket.laneNumber = lane
        socket.candidates = Array(candidates.dropFirst())
        socket.deadline = deadline
        schedule(deadline)
        if lane == 0 { connection.socket = socket }
        if error == 0 || error == EINPROGRESS {
            armOutput(socket)
        } else {
            // Told through the same path as a refusal that comes over the network.
            connectFailed(socket, error)
        }
    }

    mutating func connectFinished(_ socket: UringSocket) {
        let error = rf_socket_error(socket.descriptor.number)
        guard error == 0, let connection = socket.connection else { return connectFailed(socket, error) }
        SocketOptions.unpaceWithinMachine(socket.descriptor.number)
        socket.role = .handshake
        let limit = now + configuration.handshakeTimeout
        socket.isHandshakeLimited = limit < socket.deadline
        socket.deadline = min(socket.deadline, limit)
        schedule(socket.deadline)
        var machine = Handshake(
            initiator: offer(session: connection.session, lane: socket.laneNumber), key: configuration.clusterKey)
        let hello = machine.start()
        socket.handshake = machine
        guard sendWhole(hello, on: socket) else { return handshakeFailed(socket, lostConnection()) }
        armInput(socket)
    }

    private mutating func connectFailed(_ socket: UringSocket, _ error: Int32) {
        guard let connection = socket.connection else { return }
        let (lane, candidates, deadline) = (socket.laneNumber, socket.candidates, socket.deadline)
        if !candidates.isEmpty {
            do throws(FabricError) {
                // The new socket is counted before the old one ends: the connection stays alive.
                try openSocket(of: connection, lane: lane, candidates: candidates, deadline: deadline)
                return end(socket)
            } catch {
                return handshakeFailed(socket, TransportFailure(error.code, errno: error.errno))
            }
        }
        handshakeFailed(socket, TransportFailure(errorCode(error), errno: error))
    }

    // MARK: Handshake

    /// Reads what the machine expects and does what it says, until there is nothing to read.
    mutating func continueHandshake(_ socket: UringSocket) {
        while !socket.isEnding, socket.role == .handshake {
            guard let expected = socket.handshake?.expectedByteCount else { return }
            let missing = expected - socket.handshakeInput.count
            if missing > 0 {
                switch Self.read(missing, from: socket) {
                case .success(true): continue
                case .success(false): return armInput(socket)
                case .failure(let failure): return handshakeFailed(socket, failure)
                }
            }
            let bytes = socket.handshakeInput
            socket.handshakeInput = []
            guard let step = unsafe socket.handshake?.receive(bytes.span.bytes) else { return }
            take(step, on: socket)
        }
    }

    /// - Returns: whether bytes came.
    private static func read(_ count: Int, from socket: UringSocket) -> Result<Bool, TransportFailure> {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = unsafe rf_receive(socket.descriptor.number, &bytes, count)
        if result > 0 {
            socket.handshakeInput += bytes.prefix(result)
            return .success(true)
        }
        if result == 0 { return .failure(TransportFailure(.connectionLost)) }
        let error = rf_errno()
        return error == EAGAIN || error == EINTR ? .success(false) : .failure(lostConnection(error))
    }

    private mutating func take(_ step: HandshakeStep, on socket: UringSocket) {
        if case .verified(let peer) = step.outcome { return admit(peer, on: socket) }
        let isSent = sendWhole(step.output, on: socket)
        switch step.outcome {
        case .proceed:
            if !isSent { handshakeFailed(socket, lostConnection()) }
        case .verified: break
        case .established(let peer):
            if isSent { established(peer, on: socket) } else { handshakeFailed(socket, lostConnection()) }
        case .failed(let code): handshakeFailed(socket, TransportFailure(code))
        }
    }

    /// The responder's decision about an initiator that has proven itself.
    private mutating func admit(_ peer: HandshakePeer, on socket: UringSocket) {
        guard var machine = socket.handshake else { return }
        let refusal = peer.lane == 0 ? admitConnection(peer, socket) : admitLane(peer, socket)
        let step = refusal.map { machine.refuse($0) } ?? machine.accept()
        socket.handshake = machine
        take(step, on: socket)
    }

    private mutating func admitConnection(_ peer: HandshakePeer, _ socket: UringSocket) -> FabricError.Code? {
        let name = SessionName(node: peer.node, session: peer.session)
        guard sessions[name] == nil else { return .protocolViolation }
        guard let connection = try? makeConnection(isInitiator: false, session: peer.session) else {
            return .connectionLimit
        }
        if let refusal = enroll(peer, connection) {
            release(connection)
            return refusal
        }
        sessions[name] = connection
        connection.socket = socket
        attach(socket, to: connection)
        return nil
    }

    private mutating func admitLane(_ peer: HandshakePeer, _ socket: UringSocket) -> FabricError.Code? {
        guard let connection = sessions[SessionName(node: peer.node, session: peer.session)], connection.isOpen else {
            return .closed
        }
        guard Int(peer.lane) <= connection.agreedLanes,
            !connection.lanes.contains(where: { $0.laneNumber == peer.lane })
        else { return .protocolViolation }
        socket.laneNumber = peer.lane
        attach(socket, to: connection)
        return nil
    }

    /// From now on the socket belongs to a connection and is no longer half-open.
    private mutating func attach(_ socket: UringSocket, to connection: UringConnection) {
        halfOpen -= 1
        socket.connection = connection
        connection.socketCount += 1
    }

    /// Counts the connection of a proven peer.
    /// - Returns: why it can not be.
    private mutating func enroll(_ peer: HandshakePeer, _ connection: UringConnection) -> FabricError.Code? {
        switch directory.admit(peer.node) {
        case .refused(let code): return code
        case .admitted: break
        case .supersedes:
            for case let other? in connections {
                guard let old = other.peer?.node, other.isOpen, old.value == peer.node.value,
                    old.incarnation < peer.node.incarnation
                else { continue }
                fail(other, TransportFailure(.staleIncarnation))
            }
        }
        connection.isAdmitted = true
        connection.peer = peer
        return nil
    }

    private mutating func established(_ peer: HandshakePeer, on socket: UringSocket) {
        guard let connection = socket.connection else { return }
        socket.handshake = nil
        socket.deadline = .never
        if peer.lane > 0 { return laneEstablished(peer, socket, connection) }
        socket.role = .messages
        connection.state = .open
        connection.lastReceived = now
        connection.lastSent = now
        schedule(now + configuration.heartbeatInterval)
        if connection.isInitiator, let refusal = enroll(peer, connection) {
            return fail(connection, TransportFailure(refusal))
        }
        connection.isAnnounced = true
        events.append(.connected(connection.id))
        arrivals.append(connection)
    }

    private mutating func laneEstablished(
        _ peer: HandshakePeer, _ socket: UringSocket, _ connection: UringConnection
    ) {
        guard connection.isOpen, peer.node == connection.peer?.node else {
            return handshakeFailed(socket, TransportFailure(.protocolViolation))
        }
        socket.role = .bulk
        startLane(socket, of: connection)
    }

    /// Ends a socket that did not get as far as frames.
    mutating func handshakeFailed(_ socket: UringSocket, _ failure: TransportFailure) {
        if let connection = socket.connection {
            if socket.laneNumber == 0 { return fail(connection, failure) }
            // A lane that can not be had is done without.
            end(socket)
            pump(connection)
        } else {
            counters.rejected += 1
            end(socket)
        }
    }

    /// Handshake messages are far smaller than an empty socket buffer: all or nothing.
    private func sendWhole(_ bytes: [UInt8], on socket: UringSocket) -> Bool {
        guard !bytes.isEmpty else { return true }
        let count = unsafe rf_send(socket.descriptor.number, bytes, bytes.count)
        return count == bytes.count
    }
}

/// The failure for a socket error that has just been seen.
func lostConnection(_ error: Int32 = rf_errno()) -> TransportFailure {
    let code = errorCode(error)
    return TransportFailure(code == .system ? .connectionLost : code, errno: error)
}
