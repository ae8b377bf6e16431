// One-sided operations: those of this side, and what this side does for the peer's.

internal import CLinux
public import RayCore

extension UringTransport {
    /// Operations up to this size travel on lane 0: two small copies cost less than two trips
    /// through the ring.
    static let inlineBytes = 16 << 10

    var operationLimit: Int { min(configuration.maximumOperations, WireLimits.operations) }

    // MARK: Ours

    public mutating func read(
        _ remote: RegionLocation, into local: RegionLocation, length: Int,
        on id: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        guard let (connection, wireToken) = try begin(.read, local, length, id, token, deadline) else { return false }
        queue(.readRequest(token: wireToken, source: remote, length: UInt64(length)), on: connection)
        if length > Self.inlineBytes { wantLanes(connection) }
        return true
    }

    public mutating func write(
        _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
        on id: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        guard let (connection, wireToken) = try begin(.write, local, length, id, token, deadline) else { return false }
        let transfer = Transfer(
            purpose: .writing(target: remote, notification: notification), token: wireToken, memory: local,
            length: UInt64(length))
        start(transfer, connection)
        return true
    }

    /// - Returns: nil when too many operations are in flight.
    private mutating func begin(
        _ kind: Operation.Kind, _ local: RegionLocation, _ length: Int, _ id: Connection, _ token: UInt64,
        _ deadline: Timestamp
    ) throws(FabricError) -> (UringConnection, UInt64)? {
        let connection = try usable(id)
        guard unsafe regions.local(local, length: length) != nil else {
            throw FabricError(.invalidArgument, "\(length) bytes at \(local.offset) are outside of the local region")
        }
        guard connection.operations.count < operationLimit else {
            connection.owesWritable = true
            return nil
        }
        schedule(deadline)
        let operation = Operation(kind: kind, token: token, local: local, length: UInt64(length), deadline: deadline)
        return (connection, connection.operations.insert(operation))
    }

    public mutating func cancel(token: UInt64, on id: Connection) {
        guard let connection = find(id), connection.isOpen else { return }
        for entry in connection.operations.all where entry.operation.token == token {
            giveUp(entry.wireToken, entry.operation, .cancelled, connection)
        }
    }

    /// Ends an operation for the user before the peer has ended it. Its memory is free afterwards.
    private mutating func giveUp(
        _ wireToken: UInt64, _ operation: Operation, _ code: FabricError.Code, _ connection: UringConnection
    ) {
        switch operation.kind {
        case .read:
            releaseTargets(of: connection) { $0 == .read(token: wireToken) }
            connection.operations.remove(wireToken)
            queue(.readCancel(token: wireToken), on: connection)
        case .write:
            releaseSources(of: connection) { !$0.sendingIsServing && $0.sendingToken == wireToken }
            let left = connection.transfers.removeAll { !$0.isServing && $0.token == wireToken }
            connection.operations.abandon(wireToken)
            if let transfer = left.first {
                if transfer.handed == 0 {
                    // The peer never heard of it.
                    connection.operations.remove(wireToken)
                } else {
                    queue(
                        .writeWithheld(token: wireToken, withheld: transfer.remaining, total: transfer.length),
                        on: connection)
                }
            }
        }
        // Ended meanwhile: its last events say so.
        guard connection.isOpen else { return }
        complete(operation.token, TransportFailure(code), connection)
    }

    /// The local region of a write was deregistered before all of it was sent.
    mutating func writeAborted(_ transfer: Transfer, _ connection: UringConnection) {
        guard let operation = connection.operations[transfer.token] else { return }
        connection.transfers.appendFirst(transfer)
        giveUp(transfer.token, operation, .invalidState, connection)
    }

    private mutating func complete(_ token: UInt64, _ failure: TransportFailure?, _ connection: UringConnection) {
        events.append(.completed(connection.id, token: token, failure: failure))
        offerRoom(on: connection)
        leaveIfDone(connection)
    }

    mutating func checkDeadlines(of connection: UringConnection) {
        guard connection.operations.waiting > 0 else { return }
        if now >= connection.operations.earliestDeadline {
            for entry in connection.operations.all where entry.operation.deadline <= now {
                giveUp(entry.wireToken, entry.operation, .deadlineExceeded, connection)
            }
        }
        schedule(connection.operations.earliestDeadline)
    }

    // MARK: Replies

    /// A piece of a read, or its failure, came on lane 0.
    mutating func readArrived(
        token: UInt64, offset: UInt64, status: FabricError.Code?, _ payload: UnsafeRawBufferPointer,
        _ connection: UringConnection
    ) {
        guard let operation = connection.operations[token], operation.kind == .read else { return }
        if let status {
            releaseTargets(of: connection) { $0 == .read(token: token) }
            connection.operations.remove(token)
            return complete(operation.token, TransportFailure(status), connection)
        }
        switch place(of: payload.count, at: offset, operation) {
        case .invalid: fail(connection, TransportFailure(.protocolViolation))
        case .gone: break
        case .memory(let target):
            if payload.count > 0 { unsafe target.copyMemory(from: payload) }
            readMoved(payload.count, token: token, connection)
        }
    }

    @safe
    enum Place {
        case memory(UnsafeMutableRawBufferPointer)
        /// The local region was deregistered.
        case gone
        /// No such bytes were asked for.
        case invalid
    }

    /// Where a piece of a read belongs.
    func place(of count: Int, at offset: UInt64, _ operation: Operation) -> Place {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
        guard !overflow, end <= operation.length, operation.moved + UInt64(count) <= operation.length else {
            return .invalid
        }
        let location = RegionLocation(key: operation.local.key, offset: operation.local.offset + offset)
        return unsafe regions.local(location, length: count).map { unsafe .memory($0) } ?? .gone
    }

    /// Bytes of a read are in place.
    mutating func readMoved(_ count: Int, token: UInt64, _ connection: UringConnection) {
        counters.bytesReceived += UInt64(count)
        connection.operations.move(UInt64(count), of: token)
        guard let operation = connection.operations[token], operation.moved == operation.length else { return }
        connection.operations.remove(token)
        complete(operation.token, nil, connection)
    }

    mutating func writeReplied(token: UInt64, status: FabricError.Code?, _ connection: UringConnection) {
        guard let operation = connection.operations[token], operation.kind == .write else { return }
        // A failure may come before all pieces were sent.
        releaseSources(of: connection) { !$0.sendingIsServing && $0.sendingToken == token }
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

    mutating func serve(token: UInt64, source: RegionLocation, length: UInt64, _ connection: UringConnection) {
        guard connection.servedReads < WireLimits.operations else {
            return fail(connection, TransportFailure(.protocolViolation))
        }
        guard unsafe regions.remote(source, length: length, access: .read) != nil else {
            return queue(.readReply(token: token, offset: 0, status: .remoteAccessDenied), on: connection)
        }
        connection.servedReads += 1
        start(Transfer(purpose: .serving, token: token, memory: source, length: length), connection)
    }

    mutating func serveNoMore(token: UInt64, _ connection: UringConnection) {
        connection.servedReads -= connection.transfers.removeAll { $0.isServing && $0.token == token }.count
    }

    /// A piece of the peer's write came on lane 0.
    mutating func writeArrived(
        token: UInt64, target: RegionLocation, total: UInt64, notification: UInt64?,
        _ payload: UnsafeRawBufferPointer, _ connection: UringConnection
    ) {
        let memory = unsafe regions.remote(target, length: UInt64(payload.count), access: .write)
        if let memory = unsafe memory, payload.count > 0 { unsafe memory.copyMemory(from: payload) }
        let failure: FabricError.Code? = unsafe (memory == nil) ? .remoteAccessDenied : nil
        counters.bytesReceived += UInt64(payload.count)
        account(
            UInt64(payload.count), of: token, total: total, notification: notification, failure: failure, connection)
    }

    /// Counts bytes of the peer's write; when none is missing any more, replies.
    mutating func account(
        _ count: UInt64, of token: UInt64, total: UInt64, notification: UInt64?, failure: FabricError.Code?,
        _ connection: UringConnection
    ) {
        var write = connection.incomingWrites[token] ?? IncomingWrite(total: total, notification: notification)
        guard write.total == total, count <= total - write.accounted,
            write.accounted > 0 || connection.incomingWrites.count < WireLimits.operations
        else { return fail(connection, TransportFailure(.protocolViolation)) }
        write.accounted += count
        write.failure = write.failure ?? failure
        write.notification = write.notification ?? notification
        guard write.accounted == total else {
            connection.incomingWrites[token] = write
            return
        }
        if write.accounted != count { connection.incomingWrites[token] = nil }
        if write.failure == nil, let notification = write.notification {
            events.append(.notified(connection.id, notification))
        }
        queue(.writeReply(token: token, status: write.failure), on: connection)
    }
}
