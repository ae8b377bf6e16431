// One-sided operations: those of this side, and what this side does for the peer's.

#if NIO
    internal import NIOCore
    public import RayCore

    extension NIOTransport {
        var operationLimit: Int { min(configuration.maximumOperations, WireLimits.operations) }

        // MARK: Ours

        public mutating func read(
            _ remote: RegionLocation, into local: RegionLocation, length: Int,
            on id: Connection, token: UInt64, deadline: Timestamp
        ) throws(FabricError) -> Bool {
            guard let (connection, wireToken) = try begin(.read, local, length, id, token, deadline) else {
                return false
            }
            queue(.readRequest(token: wireToken, source: remote, length: UInt64(length)), on: connection)
            return true
        }

        public mutating func write(
            _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
            on id: Connection, token: UInt64, deadline: Timestamp
        ) throws(FabricError) -> Bool {
            guard let (connection, wireToken) = try begin(.write, local, length, id, token, deadline) else {
                return false
            }
            connection.transfers.append(
                Transfer(
                    purpose: .writing(target: remote, notification: notification), token: wireToken, memory: local,
                    length: UInt64(length)))
            markDirty(connection)
            return true
        }

        /// - Returns: nil when too many operations are in flight.
        private mutating func begin(
            _ kind: Operation.Kind, _ local: RegionLocation, _ length: Int, _ id: Connection, _ token: UInt64,
            _ deadline: Timestamp
        ) throws(FabricError) -> (NIOConnection, UInt64)? {
            let connection = try usable(id)
            guard unsafe regions.local(local, length: length) != nil else {
                throw FabricError(
                    .invalidArgument, "\(length) bytes at \(local.offset) are outside of the local region")
            }
            guard connection.operations.count < operationLimit else {
                connection.owesWritable = true
                return nil
            }
            schedule(deadline)
            let operation = Operation(
                kind: kind, token: token, local: local, length: UInt64(length), deadline: deadline)
            return (connection, connection.operations.insert(operation))
        }

        public mutating func cancel(token: UInt64, on id: Connection) {
            guard let connection = find(id), connection.isOpen else { return }
            for entry in connection.operations.all where entry.operation.token == token {
                giveUp(entry.wireToken, entry.operation, .cancelled, connection)
            }
        }

        /// Ends an operation for the user before the peer has ended it. Payload is copied when it is
        /// handed to the event loop or comes from it, so the memory is free at once.
        private mutating func giveUp(
            _ wireToken: UInt64, _ operation: Operation, _ code: FabricError.Code, _ connection: NIOConnection
        ) {
            switch operation.kind {
            case .read: connection.operations.remove(wireToken)
            case .write: connection.operations.abandon(wireToken)
            }
            complete(operation.token, TransportFailure(code), connection)
            switch operation.kind {
            case .read: queue(.readCancel(token: wireToken), on: connection)
            case .write: withhold(wireToken, connection)
            }
        }

        /// Sends no more of a write.
        private mutating func withhold(_ wireToken: UInt64, _ connection: NIOConnection) {
            let left = connection.transfers.removeAll { !$0.isServing && $0.token == wireToken }
            // Nothing is left when all of it is on its way: the reply ends it.
            guard let transfer = left.first else { return }
            if transfer.handed == 0 {
                // The peer never heard of it.
                connection.operations.remove(wireToken)
                offerRoom(on: connection)
                leaveIfDone(connection)
            } else {
                queue(
                    .writeWithheld(token: wireToken, withheld: transfer.remaining, total: transfer.length),
                    on: connection)
            }
        }

        private mutating func complete(_ token: UInt64, _ failure: TransportFailure?, _ connection: NIOConnection) {
            events.append(.completed(connection.id, token: token, failure: failure))
            offerRoom(on: connection)
            leaveIfDone(connection)
        }

        mutating func checkDeadlines(of connection: NIOConnection) {
            guard connection.operations.waiting > 0 else { return }
            if now >= connection.operations.earliestDeadline {
                for entry in connection.operations.all where entry.operation.deadline <= now && connection.isOpen {
                    giveUp(entry.wireToken, entry.operation, .deadlineExceeded, connection)
                }
            }
            schedule(connection.operations.earliestDeadline)
        }

        // MARK: Payload on its way out

        /// Puts the next piece of the first transfer into the output. Transfers take turns.
        mutating func loadPiece(_ connection: NIOConnection) {
            guard var transfer = connection.transfers.popFirst() else { return }
            let count = Int(min(transfer.remaining, UInt64(WireLimits.messageBytes)))
            let place = RegionLocation(key: transfer.memory.key, offset: transfer.memory.offset + transfer.handed)
            guard let memory = unsafe regions.local(place, length: count) else {
                return transferLost(transfer, connection)
            }
            let frame: Frame
            switch transfer.purpose {
            case .serving:
                frame = .readReply(token: transfer.token, offset: transfer.handed, status: nil)
            case .writing(let target, let notification):
                let remote = RegionLocation(key: target.key, offset: target.offset &+ transfer.handed)
                frame = .write(
                    token: transfer.token, target: remote, total: transfer.length, notification: notification)
            }
            append(frame, payload: count, to: connection.socket)
            unsafe connection.socket.output.writeBytes(UnsafeRawBufferPointer(memory))
            counters.bytesSent += UInt64(count)
            transfer.handed += UInt64(count)
            if transfer.remaining > 0 {
                connection.transfers.append(transfer)
            } else if transfer.isServing {
                connection.servedReads -= 1
            }
        }

        /// The region of a transfer was deregistered before all of it was sent.
        private mutating func transferLost(_ transfer: Transfer, _ connection: NIOConnection) {
            if transfer.isServing {
                connection.servedReads -= 1
                queue(.readReply(token: transfer.token, offset: 0, status: .remoteAccessDenied), on: connection)
            } else {
                queue(
                    .writeWithheld(token: transfer.token, withheld: transfer.remaining, total: transfer.length),
                    on: connection)
            }
        }

        // MARK: Replies

        /// A piece of a read came, or its failure.
        mutating func readArrived(
            token: UInt64, offset: UInt64, status: FabricError.Code?, _ payload: ByteBuffer, _ connection: NIOConnection
        ) {
            guard let operation = connection.operations[token], operation.kind == .read else { return }
            if let status {
                connection.operations.remove(token)
                return complete(operation.token, TransportFailure(status), connection)
            }
            let count = UInt64(payload.readableBytes)
            guard offset <= operation.length, count <= operation.length - offset,
                count <= operation.length - operation.moved
            else { return fail(connection, TransportFailure(.protocolViolation)) }
            let place = RegionLocation(key: operation.local.key, offset: operation.local.offset + offset)
            // Without a region the caller has broken the rule of `register`; nothing is written.
            if let target = unsafe regions.local(place, length: payload.readableBytes) {
                unsafe copy(payload, to: target)
            }
            counters.bytesReceived += count
            connection.operations.move(count, of: token)
            guard operation.moved + count == operation.length else { return }
            connection.operations.remove(token)
            complete(operation.token, nil, connection)
        }

        private func copy(_ payload: ByteBuffer, to target: UnsafeMutableRawBufferPointer) {
            unsafe payload.withUnsafeReadableBytes { bytes in
                if payload.readableBytes > 0 { unsafe target.copyMemory(from: bytes) }
            }
        }

        mutating func writeReplied(token: UInt64, status: FabricError.Code?, _ connection: NIOConnection) {
            guard let operation = connection.operations[token], operation.kind == .write else { return }
            // A failure may come before all pieces were sent.
            _ = connection.transfers.removeAll { !$0.isServing && $0.token == token }
            connection.operations.remove(token)
            if operation.isAbandoned {
                offerRoom(on: connection)
                leaveIfDone(connection)
            } else {
                complete(operation.token, status.map { TransportFailure($0) }, connection)
            }
        }

        // MARK: The peer's

        mutating func serve(token: UInt64, source: RegionLocation, length: UInt64, _ connection: NIOConnection) {
            guard connection.servedReads < WireLimits.operations else {
                return fail(connection, TransportFailure(.protocolViolation))
            }
            guard unsafe regions.remote(source, length: length, access: .read) != nil else {
                return queue(.readReply(token: token, offset: 0, status: .remoteAccessDenied), on: connection)
            }
            connection.servedReads += 1
            connection.transfers.append(Transfer(purpose: .serving, token: token, memory: source, length: length))
            markDirty(connection)
        }

        mutating func serveNoMore(token: UInt64, _ connection: NIOConnection) {
            connection.servedReads -= connection.transfers.removeAll { $0.isServing && $0.token == token }.count
        }

        /// A piece of the peer's write came.
        mutating func writeArrived(
            token: UInt64, target: RegionLocation, total: UInt64, notification: UInt64?, _ payload: ByteBuffer,
            _ connection: NIOConnection
        ) {
            let count = UInt64(payload.readableBytes)
            let memory = unsafe regions.remote(target, length: count, access: .write)
            if let memory = unsafe memory { unsafe copy(payload, to: memory) }
            let failure: FabricError.Code? = unsafe memory == nil ? .remoteAccessDenied : nil
            counters.bytesReceived += count
            account(count, of: token, total: total, notification: notification, failure: failure, connection)
        }

        /// Counts bytes of the peer's write; when none is missing any more, replies.
        mutating func account(
            _ count: UInt64, of token: UInt64, total: UInt64, notification: UInt64?, failure: FabricError.Code?,
            _ connection: NIOConnection
        ) {
            let known = connection.incomingWrites[token]
            var write = known ?? IncomingWrite(total: total, notification: notification)
            guard write.total == total, count <= total - write.accounted,
                known != nil || connection.incomingWrites.count < WireLimits.operations
            else { return fail(connection, TransportFailure(.protocolViolation)) }
            write.accounted += count
            write.failure = write.failure ?? failure
            write.notification = write.notification ?? notification
            guard write.accounted == total else {
                connection.incomingWrites[token] = write
                return
            }
            connection.incomingWrites[token] = nil
            if write.failure == nil, let notification = write.notification {
                events.append(.notified(connection.id, notification))
            }
            queue(.writeReply(token: token, status: write.failure), on: connection)
        }
    }
#endif
