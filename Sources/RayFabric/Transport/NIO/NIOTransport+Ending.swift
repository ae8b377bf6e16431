// How connections end: half-close, close, failure and silence.

#if NIO
    internal import NIOCore
    internal import RayCore

    extension NIOTransport {
        // MARK: By this side

        public mutating func finish(_ id: Connection) {
            guard let connection = find(id), !connection.finishSent else { return }
            guard connection.isOpen else { return fail(connection, TransportFailure(.closed)) }
            connection.finishSent = true
            queue(.finish, on: connection)
            leaveIfDone(connection)
        }

        public mutating func close(_ id: Connection) {
            guard let connection = find(id) else { return }
            fail(connection, TransportFailure(.closed))
            if messageConnection == id {
                received = ByteBuffer()
                if case .message? = foundEvent { foundEvent = nil }
            }
        }

        /// Says goodbye once both sides have finished and nothing of ours is in flight, and ends the
        /// connection once both have said it.
        mutating func leaveIfDone(_ connection: NIOConnection) {
            guard connection.isOpen, connection.finishSent, connection.finishReceived, connection.operations.count == 0
            else { return }
            if !connection.goodbyeSent {
                connection.goodbyeSent = true
                queue(.goodbye(.closed), on: connection)
            } else if connection.goodbyeReceived, connection.socket.output.readableBytes == 0 {
                fail(connection, TransportFailure(.closed))
            }
        }

        // MARK: By the peer

        mutating func finishReceived(_ connection: NIOConnection) -> TransportEvent? {
            guard !connection.finishReceived else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            connection.finishReceived = true
            events.append(.finished(connection.id))
            leaveIfDone(connection)
            return nil
        }

        mutating func goodbyeReceived(_ code: FabricError.Code, _ connection: NIOConnection) {
            guard code == .closed, connection.finishSent, connection.finishReceived else {
                // There is nobody to answer.
                connection.goodbyeSent = true
                return fail(connection, TransportFailure(code))
            }
            connection.goodbyeReceived = true
            leaveIfDone(connection)
        }

        // MARK: Failure

        /// Ends a connection: completes its operations, tells its user, and the peer if it can hear it.
        mutating func fail(_ connection: NIOConnection, _ failure: TransportFailure) {
            guard connection.state != .ended else { return }
            let wasAnnounced = connection.isOpen || connection.isInitiator
            if connection.isOpen, !connection.goodbyeSent {
                connection.socket.output.clear()
                append(.goodbye(failure.code), payload: 0, to: connection.socket)
                transmit(connection.socket.output, on: connection.socket)
            }
            if failure.code == .protocolViolation { counters.rejected += 1 }
            connection.state = .ended
            if connection.isAdmitted, let node = connection.peer { directory.remove(node) }
            if wasAnnounced {
                for entry in connection.operations.all {
                    events.append(.completed(connection.id, token: entry.operation.token, failure: failure))
                }
                events.append(.closed(connection.id, failure))
            }
            drop(connection.socket)
            // They know each other.
            connection.socket.connection = nil
            release(connection)
        }

        // MARK: Time

        /// Makes sure that the timers run at `time`.
        mutating func schedule(_ time: Timestamp) { nextTimer = min(nextTimer, time) }

        private static var timerGrain: Duration { .milliseconds(10) }

        /// Everything that is due. Costs a walk over all connections, and so runs at most every
        /// `timerGrain` unless an exact deadline asks for it.
        mutating func runTimers() {
            // After a pause of this process, silence proves nothing about the peers.
            let wasAway = now - lastTimers > configuration.heartbeatInterval + configuration.livenessTimeout
            lastTimers = now
            nextTimer = .never
            for socket in sockets.values where socket.deadline != .never {
                if now >= socket.deadline { timedOut(socket) } else { schedule(socket.deadline) }
            }
            for case let connection? in connections where connection.isOpen {
                if wasAway { connection.lastReceived = now }
                checkLife(of: connection)
                if connection.isOpen { checkDeadlines(of: connection) }
            }
        }

        private mutating func timedOut(_ socket: NIOSocket) {
            handshakeFailed(socket, TransportFailure(socket.isHandshakeLimited ? .peerUnresponsive : .deadlineExceeded))
        }

        private mutating func checkLife(of connection: NIOConnection) {
            // What has come and was not looked at yet is a sign of life.
            if connection.isReadable { connection.lastReceived = now }
            let death = connection.lastReceived + configuration.livenessTimeout
            if now >= death { return fail(connection, TransportFailure(.peerUnresponsive)) }
            if now + Self.timerGrain >= connection.lastSent + configuration.heartbeatInterval,
                connection.socket.output.readableBytes == 0
            {
                connection.lastSent = now
                queue(.ping, on: connection)
            }
            let heartbeat = max(now, connection.lastSent) + configuration.heartbeatInterval
            schedule(max(min(death, heartbeat), now + Self.timerGrain))
        }
    }
#endif
