// Payload of one-sided operations on its way out: which lane takes which piece.

internal import CLiburing
internal import CLinux
internal import RayCore

extension UringTransport {
    /// Payload goes to lane 0 only while less than this is queued there.
    private static let inlineQueueBytes = 128 << 10

    // MARK: Lanes

    /// Sees to it that bulk lanes are opened, once.
    mutating func wantLanes(_ connection: UringConnection) {
        guard !connection.lanesAreRequested, connection.agreedLanes > 0 else { return }
        connection.lanesAreRequested = true
        if connection.isInitiator { openLanes(of: connection) } else { queue(.openLanes, on: connection) }
    }

    mutating func openLanes(of connection: UringConnection) {
        guard !connection.lanesAreOpened else { return }
        connection.lanesAreOpened = true
        connection.lanesAreRequested = true
        // Not `now`: a call of the user may come long after the last poll.
        let deadline = Timestamp.now + configuration.handshakeTimeout
        for lane in 0..<connection.agreedLanes {
            do throws(FabricError) {
                try openSocket(
                    of: connection, lane: UInt16(lane + 1), candidates: connection.addresses, deadline: deadline)
            } catch {
                // Without descriptors the lanes that there are have to do.
                return
            }
        }
    }

    mutating func startLane(_ socket: UringSocket, of connection: UringConnection) {
        if !connection.isInitiator, let bytes = bulkBufferBytes {
            SocketOptions.setBuffers(socket.descriptor.number, bytes: bytes)
        }
        socket.lane = BulkLane()
        connection.lanes.append(socket)
        chooseCopying(socket, of: connection)
        receiveHeader(socket)
        pump(connection)
    }

    // MARK: Pieces

    mutating func start(_ transfer: Transfer, _ connection: UringConnection) {
        if transfer.length > Self.inlineBytes { wantLanes(connection) }
        connection.transfers.append(transfer)
        pump(connection)
    }

    /// Hands out pieces, one of each transfer in turn, for as long as lanes take them.
    mutating func pump(_ connection: UringConnection) {
        guard connection.isOpen, let socket = connection.socket, socket.role == .messages else { return }
        while let transfer = connection.transfers.popFirst() {
            let usesLaneZero = transfer.remaining <= Self.inlineBytes || connection.lanes.isEmpty
            if usesLaneZero, connection.output.count < Self.inlineQueueBytes {
                sendInline(transfer, connection)
            } else if let lane = connection.lanes.first(where: \.takesPiece) {
                sendPiece(transfer, on: lane, connection)
            } else {
                connection.transfers.appendFirst(transfer)
                return
            }
            guard connection.isOpen else { return }
        }
    }

    /// What is sent when the region is gone: the reason instead of the bytes.
    private mutating func sendFailure(_ transfer: Transfer, _ connection: UringConnection) {
        switch transfer.purpose {
        case .serving:
            connection.servedReads -= 1
            queue(.readReply(token: transfer.token, offset: 0, status: .remoteAccessDenied), on: connection)
        case .writing:
            writeAborted(transfer, connection)
        }
    }

    private func frame(of piece: Int, _ transfer: Transfer) -> Frame {
        switch transfer.purpose {
        case .serving: .readReply(token: transfer.token, offset: transfer.handed, status: nil)
        case .writing(let target, let notification):
            .write(
                token: transfer.token,
                target: RegionLocation(key: target.key, offset: target.offset &+ transfer.handed),
                total: transfer.length, notification: notification)
        }
    }

    /// The next bytes of a transfer, at most `limit`; nil when its region is gone.
    private func piece(of transfer: Transfer, limit: Int) -> UnsafeMutableRawBufferPointer? {
        let count = Int(min(transfer.remaining, UInt64(limit)))
        let location = RegionLocation(
            key: transfer.memory.key, offset: transfer.memory.offset + transfer.handed)
        return unsafe regions.local(location, length: count)
    }

    /// Counts a piece as handed over; the transfer goes to the end of the queue if more is left.
    private mutating func handed(_ count: Int, of transfer: Transfer, _ connection: UringConnection) {
        var transfer = transfer
        transfer.handed += UInt64(count)
        counters.bytesSent += UInt64(count)
        if transfer.remaining > 0 {
            connection.transfers.append(transfer)
        } else if transfer.isServing {
            connection.servedReads -= 1
        }
    }

    private mutating func sendInline(_ transfer: Transfer, _ connection: UringConnection) {
        guard let payload = unsafe piece(of: transfer, limit: Self.inlineQueueBytes) else {
            return sendFailure(transfer, connection)
        }
        unsafe connection.output.append(frame(of: payload.count, transfer), payload: UnsafeRawBufferPointer(payload))
        markDirty(connection)
        handed(payload.count, of: transfer, connection)
    }

    private mutating func sendPiece(_ transfer: Transfer, on socket: UringSocket, _ connection: UringConnection) {
        guard let lane = socket.lane, let payload = unsafe piece(of: transfer, limit: WireLimits.pieceBytes) else {
            return sendFailure(transfer, connection)
        }
        unsafe lane.load(frame(of: payload.count, transfer), payload: payload)
        lane.sendingToken = transfer.token
        lane.sendingIsServing = transfer.isServing
        lane.sourceKey = transfer.memory.key
        submitSend(socket, lane)
        handed(payload.count, of: transfer, connection)
    }

    private func submitSend(_ socket: UringSocket, _ lane: BulkLane) {
        socket.flights.insert(.send)
        let descriptor = socket.descriptor.number
        // The rest of a piece whose region goes is sent from a copy that the next one may overwrite.
        let copies = socket.connection?.sendsWithoutCopy != true || lane.sourceKey.rawValue == 0
        let flags = UInt32(RF_MSG_WAITALL | RF_MSG_NOSIGNAL)
        // SAFETY: the lane keeps header, vectors and message until the completion, and the payload's
        // region is not let go of before it either, see `releaseSources`; until the notice, for a
        // send without a copy.
        ring.queue(tag: RingWork.send.tag(slot: socket.slot, header: lane.outgoing)) { entry in
            if copies {
                unsafe io_uring_prep_sendmsg(entry, descriptor, lane.message, flags)
            } else {
                unsafe io_uring_prep_sendmsg_zc(entry, descriptor, lane.message, flags)
                unsafe entry.pointee.ioprio = UInt16(RF_SEND_ZC_REPORT_USAGE)
            }
        }
    }

    // MARK: Zero copy

    /// Decides whether pieces go out without a copy. Within one machine the kernel always copies them,
    /// and takes up to twice as long.
    func chooseCopying(_ socket: UringSocket, of connection: UringConnection) {
        connection.sendsWithoutCopy =
            forcesZeroCopy || !SocketOptions.isWithinMachine(socket.descriptor.number)
    }

    /// The kernel has let go of the memory of a send without a copy, and says whether it was one.
    mutating func zeroCopyNoticed(_ completion: RingCompletion, on socket: UringSocket) {
        socket.zeroCopyNotices -= 1
        socket.lane?.noticeCame(RingWork.header(ofTag: completion.tag))
        guard let connection = socket.connection else { return }
        if completion.wasCopied {
            counters.zeroCopyCopied += 1
            if !forcesZeroCopy { connection.sendsWithoutCopy = false }
        } else {
            counters.zeroCopySends += 1
        }
        if !socket.isEnding { pump(connection) }
    }

    /// Whether the kernel can not send without a copy: it is too old, or may not keep more memory.
    private static func refusesZeroCopy(_ error: Int32) -> Bool { [EINVAL, EOPNOTSUPP, ENOMEM].contains(error) }

    mutating func bulkSendCompleted(_ completion: RingCompletion, on socket: UringSocket) {
        socket.flights.remove(.send)
        if completion.isFollowedByNotice {
            socket.zeroCopyNotices += 1
            socket.lane?.noticeIsDue(RingWork.header(ofTag: completion.tag))
        }
        guard !socket.isEnding, let lane = socket.lane, let connection = socket.connection else { return }
        let result = Int(completion.result)
        if result >= 0 {
            connection.lastSent = now
            lane.advance(result)
        } else if -completion.result == EFAULT {
            return fail(connection, TransportFailure(.system, errno: EFAULT))
        } else if connection.sendsWithoutCopy, Self.refusesZeroCopy(-completion.result) {
            connection.sendsWithoutCopy = false
        } else if ![EINTR, EAGAIN, ECANCELED].contains(-completion.result) {
            lane.sendingToken = nil
            return expectReason(on: connection)
        }
        if lane.isReleasing {
            lane.isReleasing = false
            lane.copyRest()
        }
        if lane.unsent > 0 { return submitSend(socket, lane) }
        lane.sendingToken = nil
        lane.sourceKey = RegionKey(rawValue: 0)
        pump(connection)
    }

    /// Takes the kernel off the memory of the pieces that fit: what is left of them is copied.
    mutating func releaseSources(of connection: UringConnection, where fits: (BulkLane) -> Bool) {
        for socket in connection.lanes {
            guard let lane = socket.lane, lane.sendingToken != nil, lane.sourceKey.rawValue != 0, fits(lane),
                socket.flights.contains(.send)
            else { continue }
            lane.isReleasing = true
            cancel(.send, of: socket)
            while lane.isReleasing, !socket.isEnding, socket.flights.contains(.send) { awaitCompletion() }
        }
    }

    /// Waits until no send without a copy refers to memory that is about to go. A peer that does not
    /// confirm what it got in time loses the connection.
    mutating func awaitNotices(of connection: UringConnection) {
        let deadline = Timestamp.now + .milliseconds(100)
        while connection.isOpen, connection.lanes.contains(where: { $0.zeroCopyNotices > 0 }) {
            guard Timestamp.now < deadline else { return fail(connection, TransportFailure(.peerUnresponsive)) }
            awaitCompletion()
        }
    }

    /// Sleeps until the ring completes something. Only for submissions that were just cancelled.
    mutating func awaitCompletion() {
        ring.wait(nanoseconds: 1_000_000)
        collect()
    }
}
