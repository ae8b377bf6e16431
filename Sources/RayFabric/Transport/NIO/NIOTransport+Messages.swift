// Messages and control frames, and taking received bytes apart.

#if NIO
    internal import CLinux
    internal import NIOCore
    public import RayCore

    extension NIOTransport {
        /// Most bytes that the event loop holds for one socket before more is given to it.
        static let windowBytes = 1 << 20
        /// Room for control frames beyond the queue of messages. A peer that keeps to the limit of
        /// operations never needs more; one that does not read its replies does.
        private static let controlBytes = 1 << 20

        // MARK: Sending

        public mutating func send(_ message: RawSpan, on id: Connection) throws(FabricError) -> Bool {
            guard message.byteCount <= WireLimits.messageBytes else {
                throw FabricError(.messageTooLarge, "\(message.byteCount) bytes, at most \(WireLimits.messageBytes)")
            }
            let connection = try usable(id)
            let queued = connection.socket.output.readableBytes
            guard queued == 0 || queued + message.byteCount <= configuration.sendQueueBytes else {
                connection.owesWritable = true
                return false
            }
            connection.socket.output.writeInteger(
                FramePrefix.message(byteCount: message.byteCount).word, endianness: .little)
            connection.socket.output.writeBytes(message)
            counters.messagesSent += 1
            counters.bytesSent += UInt64(message.byteCount)
            markDirty(connection)
            return true
        }

        mutating func markDirty(_ connection: NIOConnection) {
            guard !connection.isDirty else { return }
            connection.isDirty = true
            dirty.append(connection)
        }

        /// Queues a control frame.
        mutating func queue(_ frame: Frame, on connection: NIOConnection) {
            guard connection.isOpen else { return }
            append(frame, payload: 0, to: connection.socket)
            markDirty(connection)
            if connection.socket.output.readableBytes > configuration.sendQueueBytes + Self.controlBytes {
                fail(connection, TransportFailure(.protocolViolation))
            }
        }

        /// Writes prefix and body of a frame; its payload is to follow.
        func append(_ frame: Frame, payload: Int, to socket: NIOSocket) {
            let count = frame.headerByteCount
            unsafe socket.output.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { bytes in
                guard let place = bytes.baseAddress else { preconditionFailure("a buffer without memory") }
                unsafe encodeFrame(frame, payload: payload, at: place)
                return count
            }
        }

        mutating func flushAll() {
            while let connection = dirty.popLast() {
                connection.isDirty = false
                flush(connection)
            }
        }

        /// Gives queued output to the event loop as far as the window allows; then payload.
        private mutating func flush(_ connection: NIOConnection) {
            let socket = connection.socket
            guard connection.isOpen else { return }
            while socket.outstanding < Self.windowBytes {
                if socket.output.readableBytes == 0 { loadPiece(connection) }
                guard connection.isOpen, socket.output.readableBytes > 0 else { break }
                let bytes = socket.output
                socket.output = ByteBuffer()
                connection.lastSent = now
                transmit(bytes, on: socket)
            }
            offerRoom(on: connection)
            leaveIfDone(connection)
        }

        /// Says `writable` once there is room again, if a call was refused for want of it.
        mutating func offerRoom(on connection: NIOConnection) {
            guard connection.owesWritable, connection.isOpen,
                connection.socket.output.readableBytes <= configuration.sendQueueBytes / 2,
                connection.operations.count < operationLimit
            else { return }
            connection.owesWritable = false
            events.append(.writable(connection.id))
        }

        // MARK: Receiving

        /// Takes frames from what was received until one is an event.
        mutating func parse(_ connection: NIOConnection) -> TransportEvent? {
            let socket = connection.socket
            while connection.isOpen,
                let word = socket.input.getInteger(
                    at: socket.input.readerIndex, endianness: .little, as: UInt64.self)
            {
                guard let prefix = try? FramePrefix(word: word, onBulkLane: false) else {
                    fail(connection, TransportFailure(.protocolViolation))
                    return nil
                }
                guard socket.input.readableBytes >= prefix.headerByteCount + prefix.payloadByteCount else { break }
                if let event = takeFrame(prefix, connection) { return event }
                // What the frame led to comes before what follows it.
                if let event = events.popFirst() { return event }
            }
            if connection.isOpen, let failure = socket.endOfInput { fail(connection, failure) }
            return nil
        }

        /// Takes one whole frame off the input.
        private mutating func takeFrame(_ prefix: FramePrefix, _ connection: NIOConnection) -> TransportEvent? {
            let header = connection.socket.take(prefix.headerByteCount)
            let payload = connection.socket.take(prefix.payloadByteCount)
            if prefix.kind == .message { return messageArrived(payload, connection) }
            guard
                let frame = try? Frame(
                    prefix: prefix, body: header.readableBytesSpan.extracting(FramePrefix.byteCount...))
            else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            return take(frame, payload, connection)
        }

        private mutating func messageArrived(_ payload: ByteBuffer, _ connection: NIOConnection) -> TransportEvent? {
            guard !connection.finishReceived else {
                fail(connection, TransportFailure(.protocolViolation))
                return nil
            }
            received = payload
            messageConnection = connection.id
            counters.messagesReceived += 1
            counters.bytesReceived += UInt64(payload.readableBytes)
            return .message(connection.id)
        }

        private mutating func take(
            _ frame: Frame, _ payload: ByteBuffer, _ connection: NIOConnection
        ) -> TransportEvent? {
            switch frame {
            case .message, .ping: break
            // This side never offers rails.
            case .control:
                fail(connection, TransportFailure(.protocolViolation))
            case .finish: return finishReceived(connection)
            case .goodbye(let code): goodbyeReceived(code, connection)
            // We agreed on no lanes, so nobody may ask for them.
            case .openLanes: fail(connection, TransportFailure(.protocolViolation))
            case .readRequest(let token, let source, let length):
                serve(token: token, source: source, length: length, connection)
            case .readReply(let token, let offset, let status):
                readArrived(token: token, offset: offset, status: status, payload, connection)
            case .readCancel(let token): serveNoMore(token: token, connection)
            case .write(let token, let target, let total, let notification):
                writeArrived(
                    token: token, target: target, total: total, notification: notification, payload, connection)
            case .writeWithheld(let token, let withheld, let total):
                account(withheld, of: token, total: total, notification: nil, failure: .cancelled, connection)
            case .writeReply(let token, let status): writeReplied(token: token, status: status, connection)
            }
            return nil
        }
    }
#endif
