// Payload of one-sided operations on its way in: from the socket into its final memory.

internal import CLiburing
internal import CLinux
internal import RayCore

extension UringTransport {
    // MARK: Submissions

    /// Awaits the next header of a bulk lane.
    mutating func receiveHeader(_ socket: UringSocket) {
        guard let lane = socket.lane else { return }
        lane.purpose = nil
        lane.received = 0
        unsafe submitReceive(socket, lane.incomingHeader, BulkLane.headerBytes)
    }

    /// Awaits the rest of a payload, in its final memory or where it is thrown away.
    private mutating func receivePayload(_ socket: UringSocket, _ lane: BulkLane) {
        let rest = lane.payloadCount - lane.received
        if let target = unsafe lane.target, let base = target.baseAddress {
            unsafe submitReceive(socket, base + lane.received, rest)
        } else if let base = unsafe discarded.buffer().baseAddress {
            unsafe submitReceive(socket, base, rest)
        }
    }

    private mutating func submitReceive(_ socket: UringSocket, _ start: UnsafeMutableRawPointer, _ count: Int) {
        socket.flights.insert(.receive)
        let descriptor = socket.descriptor.number
        // SAFETY: headers lie in the lane, which outlives the submission; payload lies in a region
        // that is not let go of before the completion, see `releaseTargets`.
        ring.queue(tag: RingWork.receive.tag(slot: socket.slot)) { entry in
            unsafe io_uring_prep_recv(entry, descriptor, start, count, RF_MSG_WAITALL)
        }
    }

    // MARK: Completions

    mutating func bulkReceived(_ result: Int, on socket: UringSocket) {
        guard let lane = socket.lane, let connection = socket.connection else { return }
        if result > 0 {
            lane.received += result
            connection.lastReceived = now
        } else if result == -Int(EFAULT) {
            return fail(connection, TransportFailure(.system, errno: EFAULT))
        } else if ![EINTR, EAGAIN, ECANCELED].contains(Int32(-result)) {
            return expectReason(on: connection)
        }
        if lane.isDropping {
            lane.isDropping = false
            unsafe lane.target = nil
        }
        if lane.purpose != nil {
            if lane.received < lane.payloadCount { return receivePayload(socket, lane) }
            payloadArrived(lane, connection)
            if connection.isOpen { receiveHeader(socket) }
        } else if lane.received < BulkLane.headerBytes {
            unsafe submitReceive(
                socket, lane.incomingHeader + lane.received, BulkLane.headerBytes - lane.received)
        } else {
            headerArrived(socket, lane, connection)
        }
    }

    private mutating func headerArrived(_ socket: UringSocket, _ lane: BulkLane, _ connection: UringConnection) {
        // SAFETY: the header is whole, and every bit pattern is an integer.
        let word = unsafe UInt64(littleEndian: lane.incomingHeader.load(as: UInt64.self))
        guard let prefix = try? FramePrefix(word: word, onBulkLane: true) else {
            return fail(connection, TransportFailure(.protocolViolation))
        }
        let body = unsafe RawSpan(
            _unsafeStart: lane.incomingHeader + FramePrefix.byteCount, byteCount: prefix.kind.bodyByteCount)
        guard let frame = try? Frame(prefix: prefix, body: body),
            direct(frame, payload: prefix.payloadByteCount, into: lane, connection)
        else { return fail(connection, TransportFailure(.protocolViolation)) }
        lane.received = 0
        lane.payloadCount = prefix.payloadByteCount
        if lane.payloadCount > 0 { return receivePayload(socket, lane) }
        payloadArrived(lane, connection)
        if connection.isOpen { receiveHeader(socket) }
    }

    /// Finds out where the payload behind a header belongs.
    /// - Returns: false when no peer sends such a header.
    private mutating func direct(
        _ frame: Frame, payload count: Int, into lane: BulkLane, _ connection: UringConnection
    ) -> Bool {
        unsafe lane.target = nil
        switch frame {
        case .readReply(let token, let offset, nil):
            lane.purpose = .read(token: token)
            // An operation that is over leaves its late pieces without a place.
            guard let operation = connection.operations[token] else { return true }
            guard operation.kind == .read else { return false }
            switch place(of: count, at: offset, operation) {
            case .invalid: return false
            case .gone: return true
            case .memory(let memory):
                unsafe lane.target = memory
                lane.targetKey = operation.local.key
            }
        case .write(let token, let target, let total, let notification):
            lane.purpose = .write(token: token, total: total, notification: notification)
            if let memory = unsafe regions.remote(target, length: UInt64(count), access: .write) {
                unsafe lane.target = memory
                lane.targetKey = target.key
            }
        case .message, .control, .ping, .finish, .goodbye, .openLanes, .readRequest, .readReply, .readCancel,
            .writeWithheld,
            .writeReply:
            return false
        }
        return true
    }

    private mutating func payloadArrived(_ lane: BulkLane, _ connection: UringConnection) {
        guard let purpose = lane.purpose else { return }
        let isPlaced = unsafe lane.target != nil
        unsafe lane.target = nil
        switch purpose {
        case .read(let token):
            if isPlaced { readMoved(lane.payloadCount, token: token, connection) }
        case .write(let token, let total, let notification):
            counters.bytesReceived += UInt64(lane.payloadCount)
            account(
                UInt64(lane.payloadCount), of: token, total: total, notification: notification,
                failure: isPlaced ? nil : .remoteAccessDenied, connection)
        }
    }

    // MARK: Letting go of memory

    /// Takes the kernel off the memory of the payloads that fit: what still comes is thrown away.
    mutating func releaseTargets(of connection: UringConnection, where fits: (BulkLane.Purpose) -> Bool) {
        for socket in connection.lanes {
            guard let lane = socket.lane, let purpose = lane.purpose, fits(purpose) else { continue }
            release(lane, of: socket)
        }
    }

    private mutating func release(_ lane: BulkLane, of socket: UringSocket) {
        guard unsafe lane.target != nil, socket.flights.contains(.receive) else { return }
        lane.isDropping = true
        cancel(.receive, of: socket)
        while lane.isDropping, !socket.isEnding, socket.flights.contains(.receive) { awaitCompletion() }
    }

    /// Takes the kernel off a region that is about to go.
    mutating func letGo(of key: RegionKey) {
        for case let connection? in connections where !connection.lanes.isEmpty {
            releaseSources(of: connection) { $0.sourceKey == key }
            awaitNotices(of: connection)
            for socket in connection.lanes {
                if let lane = socket.lane, lane.targetKey == key { release(lane, of: socket) }
            }
        }
    }
}
