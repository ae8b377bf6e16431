// Lane 0: messages and control frames.

internal import CLinux
public import RayCore

extension UringTransport {
    /// So much queued output is sent at once, without waiting for the next poll.
    private static let flushBytes = 64 << 10
    /// Room for control frames and small payload beyond the queue of messages. A peer that keeps to
    /// the limit of operations never needs more; one that does not read its replies does.
    private static let controlBytes = 1 << 20

    // MARK: Sending

    public mutating func send(_ message: RawSpan, on id: Connection) throws(FabricError) -> Bool {
        guard message.byteCount <= WireLimits.messageBytes else {
            throw FabricError(.messageTooLarge, "\(message.byteCount) bytes, at most \(WireLimits.messageBytes)")
        }
        let connection = try usable(id)
        let queued = connection.output.count
        guard queued == 0 || queued + message.byteCount <= configuration.sendQueueBytes else {
            connection.owesWritable = true
            return false
        }
        connection.output.append(message: message)
        counters.messagesSent += 1
        counters.bytesSent += UInt64(message.byteCount)
        markDirty(connection)
        if connection.output.count >= Self.flushBytes { flush(connection) }
        return true
    }

    mutating func markDirty(_ connection: UringConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection)
    }

    /// Queues a control frame.
    mutating func queue(_ frame: Frame, on connection: UringConnection) {
        connection.output.append(frame)
        markDirty(connection)
        if connection.output.count > configuration.sendQueueBytes + Self.controlBytes {
            fail(connection, TransportFailure(.protocolViolation))
        }
    }

    mutating func flushAll() {
        while let connection = dirty.popLast() {
            connection.isDirty = false
            flush(connection)
        }
    }

    /// Hands queued output to the socket, as far as it takes it.
    mutating func flush(_ connection: UringConnection) {
        guard let socket = connection.socket, socket.role == .messages, !socket.isEnding else { return }
        while connection.output.count > 0, !connection.isOutputBlocked {
            let count = unsafe connection.output.withBytes { bytes in
                unsafe rf_send(socket.descriptor.number, bytes.baseAddress, bytes.count)
            }
            counters.systemCalls += 1
            if count >= 0 {
                connection.output.remove(count)
                connection.lastSent = now
                continue
            }
            switch rf_errno() {
            case EINTR: continue
            case EAGAIN:
                connection.isOutputBlocked = true
                armOutput(socket)
            default:
                // The reason may still be in the receive buffer: a goodbye, or at least an error.
                connection.isOutputBlocked = true
                expectReason(on: connection)
            }
        }
        offerRoom(on: connection)
        if !connection.transfers.isEmpty, connection.output.count == 0 { pump(connection) }
        if connection.goodbyeReceived { leaveIfDone(connection) }
    }

    /// Says `writable` once there is room again, if a call was refused for want of it.
    mutating func offerRoom(on connection: UringConnection) {
        guard connection.owesWritable, connection.isOpen,
            connection.output.count <= configuration.sendQueueBytes / 2,
            connection.operations.count < operationLimit
        else { return }
        connection.owesWritable = false
        events.append(.writable(connection.id))
    }

    // MARK: Receiving

    /// Reads what has come, without waiting.
    mutating func receive(_ connection: UringConnection) {
        guard let socket = connection.socket, connection.endOfInput == nil else { return }
        let input = connection.input ?? inputBuffers.popLast() ?? InputBuffer()
        connection.input = input
        // Where it is full, what is there has to be parsed first.
        guard let result = input.receive(from: socket.descriptor.number) else { return markReadable(connection) }
        counters.systemCalls += 1
        if result > 0 {
            connection.lastReceived = now
            markReadable(connection)
            return
        }
        if result == 0 {
            connection.endOfInput = TransportFailure(.connectionLost)
        } else {
            let error = rf_errno()
            if error == EAGAIN || error == EINTR { return }
            connection.endOfInput = lostConnection(error)
        }
        markReadable(connection)
    }

    /// Takes frames from what was received until one is an event.
    mutating func parse(_ connection: UringConnection) -> TransportEvent? {
        while connection.isOpen, let input = connection.input, input.count >= FramePrefix.byteCount {
            // SAFETY: eight bytes are there, and every bit pattern is an integer.
            let word = unsafe UInt64(littleEndian: input.start.loadUnaligned(as: UInt64.self))
            guard let prefix = try? FramePrefix(word: word, onBulkLane: false) else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            let length = prefix.headerByteCount + prefix.payloadByteCount
            guard input.count >= length else { break }
            let start = unsafe input.start
            input.consume(length)
            if prefix.kind == .message { return unsafe received(start + FramePrefix.byteCount, prefix, connection) }
            // SAFETY: header and payload lie at `start`; nothing is received while they are handled.
            let body = unsafe RawSpan(_unsafeStart: start + FramePrefix.byteCount, byteCount: prefix.kind.bodyByteCount)
            guard let frame = try? Frame(prefix: prefix, body: body) else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            let payload = unsafe UnsafeRawBufferPointer(
                start: start + prefix.headerByteCount, count: prefix.payloadByteCount)
            if let event = unsafe take(frame, payload, connection) { return event }
        }
        if connection.isOpen, let failure = connection.endOfInput { fail(connection, failure) }
        return nil
    }

    private mutating func received(
        _ start: UnsafeMutableRawPointer, _ prefix: FramePrefix, _ connection: UringConnection
    ) -> TransportEvent? {
        guard !connection.finishReceived else {
            fail(connection, TransportFailure(.protocolViolation))
            return nil
        }
        unsafe messageStart = UnsafeRawPointer(start)
        messageCount = prefix.payloadByteCount
        messageConnection = connection.id
        counters.messagesReceived += 1
        counters.bytesReceived += UInt64(messageCount)
        return .message(connection.id)
    }

    private mutating func take(
        _ frame: Frame, _ payload: UnsafeRawBufferPointer, _ connection: UringConnection
    ) -> TransportEvent? {
        switch frame {
        case .message, .ping: break
        case .control:
            guard offersRails, connection.peer?.features.contains(.rails) == true,
                payload.count <= RailMessage.maximumBytes
            else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            unsafe controls.append((connection.id, Array(payload)))
        case .finish: return finishReceived(connection)
        case .goodbye(let code): goodbyeReceived(code, connection)
        case .openLanes:
            guard connection.isInitiator else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            openLanes(of: connection)
        case .readRequest(let token, let source, let length):
            serve(token: token, source: source, length: length, connection)
        case .readReply(let token, let offset, let status):
            unsafe readArrived(token: token, offset: offset, status: status, payload, connection)
        case .readCancel(let token): serveNoMore(token: token, connection)
        case .write(let token, let target, let total, let notification):
            unsafe writeArrived(
                token: token, target: target, total: total, notification: notification, payload, connection)
        case .writeWithheld(let token, let withheld, let total):
            account(
                withheld, of: token, total: total, notification: nil, failure: .cancelled, connection)
        case .writeReply(let token, let status): writeReplied(token: token, status: status, connection)
        }
        return nil
    }
}
