// How connections end: half-close, close, failure and silence.

internal import CLinux
internal import RayCore

extension UringTransport {
    // MARK: By this side

    public mutating func finish(_ id: Connection) {
        guard let connection = find(id), !connection.finishSent else { return }
        guard connection.isOpen else {
            if connection.state == .connecting { fail(connection, TransportFailure(.closed)) }
            return
        }
        connection.finishSent = true
        queue(.finish, on: connection)
        leaveIfDone(connection)
    }

    public mutating func close(_ id: Connection) { close(id, TransportFailure(.closed)) }

    /// Ends a connection for a reason that both sides are told.
    mutating func close(_ id: Connection, _ failure: TransportFailure) {
        guard let connection = find(id) else { return }
        fail(connection, failure)
        if messageConnection == id {
            messageCount = 0
            if case .message? = foundEvent { foundEvent = nil }
        }
    }

    /// Says goodbye once both sides have finished and nothing of ours is in flight, and ends the
    /// connection once both have said it.
    mutating func leaveIfDone(_ connection: UringConnection) {
        guard connection.isOpen, connection.finishSent, connection.finishReceived, connection.operations.count == 0
        else { return }
        if !connection.goodbyeSent {
            connection.goodbyeSent = true
            queue(.goodbye(.closed), on: connection)
        } else if connection.goodbyeReceived, connection.output.count == 0 {
            fail(connection, TransportFailure(.closed))
        }
    }

    // MARK: By the peer

    mutating func finishReceived(_ connection: UringConnection) -> TransportEvent? {
        guard !connection.finishReceived else {
            fail(connection, TransportFailure(.protocolViolation))
            return nil
        }
        connection.finishReceived = true
        leaveIfDone(connection)
        return .finished(connection.id)
    }

    mutating func goodbyeReceived(_ code: FabricError.Code, _ connection: UringConnection) {
        guard code == .closed, connection.finishSent, connection.finishReceived else {
            connection.goodbyeSent = true
            return fail(connection, TransportFailure(code))
        }
        connection.goodbyeReceived = true
        leaveIfDone(connection)
    }

    // MARK: Failure

    /// Ends a connection. Its operations complete and `closed` comes when the kernel has let go of
    /// their memory.
    mutating func fail(_ connection: UringConnection, _ failure: TransportFailure) {
        if case .ending = connection.state { return }
        if connection.isOpen { sayGoodbye(failure, to: connection) }
        if failure.code == .protocolViolation { counters.rejected += 1 }
        connection.state = .ending(failure)
        if !connection.isInitiator, let node = connection.peer?.node {
            sessions[SessionName(node: node, session: connection.session)] = nil
        }
        connection.input = nil
        // Every socket's end may end the connection; this count keeps it until all were told.
        connection.socketCount += 1
        for case let socket? in sockets where socket.connection === connection { end(socket) }
        connection.socketCount -= 1
        finalizeIfEnded(connection)
    }

    /// Tells the peer why, if it can still hear it.
    private mutating func sayGoodbye(_ failure: TransportFailure, to connection: UringConnection) {
        guard !connection.goodbyeSent else { return }
        connection.goodbyeSent = true
        connection.output.append(.goodbye(failure.code))
        flush(connection)
    }

    mutating func finalizeIfEnded(_ connection: UringConnection) {
        guard case .ending(let failure) = connection.state, connection.socketCount == 0 else { return }
        if connection.isAdmitted, let node = connection.peer?.node { directory.remove(node) }
        if connection.isAnnounced {
            for entry in connection.operations.all {
                events.append(.completed(connection.id, token: entry.operation.token, failure: failure))
            }
            events.append(.closed(connection.id, failure))
        }
        release(connection)
    }

    /// Frees the connection's index.
    mutating func release(_ connection: UringConnection) {
        let index = Int(connection.id.index)
        connection.socket = nil
        connection.lanes = []
        connections[index] = nil
        freeConnections.append(index)
    }

    /// A socket of the connection broke. If the peer had a reason, it comes on lane 0.
    mutating func expectReason(on connection: UringConnection) {
        guard connection.isOpen, connection.lossDeadline == .never else { return }
        connection.lossDeadline = now + .milliseconds(500)
        schedule(connection.lossDeadline)
        arrivals.append(connection)
    }

    // MARK: Time

    /// Makes sure that the timers run at `time`.
    mutating func schedule(_ time: Timestamp) {
        if time < nextTimer { nextTimer = time }
    }

    /// Everything that is due. Costs a walk over all connections, and so runs at most every
    /// `timerGrain` unless an exact deadline asks for it.
    mutating func runTimers() {
        // After a pause of this process, silence proves nothing about the peers.
        let wasAway = now - lastTimers > configuration.heartbeatInterval + configuration.livenessTimeout
        lastTimers = now
        nextTimer = .never
        while let listener = pausedListeners.popLast() { armInput(listener) }
        for case let socket? in sockets where socket.role == .handshake || socket.role == .connecting {
            if socket.isEnding { continue }
            if now >= socket.deadline { timedOut(socket) } else { schedule(socket.deadline) }
        }
        for case let connection? in connections where connection.isOpen {
            if wasAway { connection.lastReceived = now }
            checkLife(of: connection)
            if connection.isOpen { checkDeadlines(of: connection) }
        }
    }

    private static let timerGrain = Duration.milliseconds(10)

    private mutating func timedOut(_ socket: UringSocket) {
        handshakeFailed(socket, TransportFailure(socket.isHandshakeLimited ? .peerUnresponsive : .deadlineExceeded))
    }

    private mutating func checkLife(of connection: UringConnection) {
        // What has come and was not looked at yet is a sign of life.
        if connection.isReadable { connection.lastReceived = now }
        if now >= connection.lossDeadline { return fail(connection, TransportFailure(.connectionLost)) }
        let death = connection.lastReceived + configuration.livenessTimeout
        if now >= death { return fail(connection, TransportFailure(.peerUnresponsive)) }
        if now + Self.timerGrain >= connection.lastSent + configuration.heartbeatInterval,
            connection.output.count == 0
        {
            connection.lastSent = now
            queue(.ping, on: connection)
        }
        schedule(connection.lossDeadline)
        let heartbeat = max(now, connection.lastSent) + configuration.heartbeatInterval
        schedule(max(min(death, heartbeat), now + Self.timerGrain))
    }
}
