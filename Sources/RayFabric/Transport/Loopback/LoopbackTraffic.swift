// What travels over open loopback connections: messages, one-sided operations, the two closes.

internal import RayCore

/// Registered memory.
struct LoopbackRegion {
    let address: UInt
    let length: Int
    let access: RemoteAccess

    /// The address of a range, if it lies within the region.
    func address(of offset: UInt64, length count: Int) -> UInt? {
        guard count >= 0, offset <= UInt64(length), UInt64(count) <= UInt64(length) - offset else { return nil }
        return address + UInt(offset)
    }
}

extension LoopbackCore {
    /// Longest copy with the lock held.
    private static let copyBytes = 1 << 20

    /// Takes the first packet of a side, if one has arrived.
    /// - Returns: whether there was one.
    func receive(on side: LoopbackSide, now: Timestamp) -> Bool {
        guard let delivery = side.inbound.first, delivery.arrival <= now, cutTime(to: side) == nil else { return false }
        if case .request(let number) = delivery.packet {
            serve(number, on: side)
            return true
        }
        _ = side.inbound.popFirst()
        switch side.phase {
        case .dialing: receiveDialing(delivery.packet, on: side)
        case .halfOpen: receiveHalfOpen(delivery.packet, on: side)
        case .open: receiveOpen(delivery.packet, on: side)
        case .closed: preconditionFailure("a closed side is polled")
        }
        return true
    }

    private func receiveOpen(_ packet: LoopbackPacket, on side: LoopbackSide) {
        guard let connection = side.connection else { preconditionFailure("an open side without a slot") }
        switch packet {
        case .message(let bytes):
            side.inboundBytes -= bytes.count
            side.endpoint.statistics.messagesReceived += 1
            side.endpoint.statistics.bytesReceived += UInt64(bytes.count)
            post(.message(connection), message: bytes, to: side.endpoint)
            if let far = side.far { offerMessageRoom(to: far) }
        case .response(let number, let failure):
            guard let operation = side.operations.removeValue(forKey: number) else { return }
            complete(operation, failure, on: side)
        case .finish:
            side.finishReceived = true
            post(.finished(connection), to: side.endpoint)
            endIfFinished(side)
        case .gone(let failure):
            end(side, failure, telling: .connectionLost)
        case .hello, .challenge, .proof, .welcome, .request:
            preconditionFailure("\(packet) on an open connection")
        }
    }

    // MARK: Messages

    func send(_ message: [UInt8], on side: LoopbackSide) -> Bool {
        let limit = side.endpoint.configuration.sendQueueBytes
        let queued = side.far?.inboundBytes ?? 0
        // One message fits always, or a small queue could never send a large one.
        guard queued == 0 || queued + message.count <= limit else {
            side.wantsMessageRoom = true
            return false
        }
        side.endpoint.statistics.messagesSent += 1
        side.endpoint.statistics.bytesSent += UInt64(message.count)
        transmit(.message(message), from: side)
        return true
    }

    private func offerMessageRoom(to side: LoopbackSide) {
        guard side.wantsMessageRoom, let queued = side.far?.inboundBytes, let connection = side.connection,
            queued <= side.endpoint.configuration.sendQueueBytes / 2
        else { return }
        side.wantsMessageRoom = false
        post(.writable(connection), to: side.endpoint)
    }

    // MARK: One-sided operations

    func start(_ operation: LoopbackOperation, on side: LoopbackSide) -> Bool {
        guard side.operations.count < side.endpoint.configuration.maximumOperations else {
            side.wantsOperationRoom = true
            return false
        }
        let number = nextOperation
        nextOperation += 1
        side.operations[number] = operation
        side.earliestDeadline = min(side.earliestDeadline, operation.deadline)
        transmit(.request(operation: number), from: side)
        return true
    }

    /// Copies for the first packet of `side`, a request of the other end, and answers it when done.
    private func serve(_ number: UInt64, on side: LoopbackSide) {
        guard let far = side.far, var operation = far.operations[number] else {
            // Given up in the meantime.
            _ = side.inbound.popFirst()
            return
        }
        let needed: RemoteAccess
        switch operation.kind {
        case .read: needed = .read
        case .write: needed = .write
        }
        guard let region = side.endpoint.regions[operation.remote.key], region.access.contains(needed),
            let remote = region.address(of: operation.remote.offset, length: operation.length)
        else {
            _ = side.inbound.popFirst()
            transmit(.response(operation: number, failure: TransportFailure(.remoteAccessDenied)), from: side)
            return
        }
        let count = min(operation.length - operation.progress, Self.copyBytes)
        let offset = UInt(operation.progress)
        switch operation.kind {
        case .read: copy(from: remote + offset, to: operation.local + offset, count)
        case .write: copy(from: operation.local + offset, to: remote + offset, count)
        }
        operation.progress += count
        far.operations[number] = operation
        if operation.progress == operation.length { finishServing(number, operation, on: side) }
    }

    private func finishServing(_ number: UInt64, _ operation: LoopbackOperation, on side: LoopbackSide) {
        guard let connection = side.connection else { preconditionFailure("an open side without a slot") }
        _ = side.inbound.popFirst()
        switch operation.kind {
        case .read:
            side.endpoint.statistics.bytesSent += UInt64(operation.length)
        case .write(let notification):
            side.endpoint.statistics.bytesReceived += UInt64(operation.length)
            if let notification { post(.notified(connection, notification), to: side.endpoint) }
        }
        transmit(.response(operation: number, failure: nil), from: side)
    }

    private func copy(from source: UInt, to target: UInt, _ count: Int) {
        guard count > 0, let from = unsafe UnsafeRawPointer(bitPattern: source),
            let to = unsafe UnsafeMutableRawPointer(bitPattern: target)
        else { return }
        // SAFETY: both ranges lie in registered regions. The one that serves is registered now; the
        // other one's owner keeps it until the operation completes, which needs the lock held here.
        // A range may be copied onto itself: memmove.
        unsafe to.copyMemory(from: from, byteCount: count)
    }

    private func complete(_ operation: LoopbackOperation, _ failure: TransportFailure?, on side: LoopbackSide) {
        guard let connection = side.connection else { preconditionFailure("an operation without a connection") }
        if failure == nil {
            switch operation.kind {
            case .read: side.endpoint.statistics.bytesReceived += UInt64(operation.length)
            case .write: side.endpoint.statistics.bytesSent += UInt64(operation.length)
            }
        }
        post(.completed(connection, token: operation.token, failure: failure), to: side.endpoint)
        if side.wantsOperationRoom {
            side.wantsOperationRoom = false
            post(.writable(connection), to: side.endpoint)
        }
        endIfFinished(side)
    }

    func cancel(token: UInt64, on side: LoopbackSide) {
        guard let number = side.operations.first(where: { $0.value.token == token })?.key,
            let operation = side.operations.removeValue(forKey: number)
        else { return }
        complete(operation, TransportFailure(.cancelled), on: side)
    }

    /// - Returns: whether any deadline had passed.
    func expireOperations(of side: LoopbackSide, now: Timestamp) -> Bool {
        let late = side.operations.filter { $0.value.deadline <= now }.keys.sorted()
        for number in late {
            guard let operation = side.operations.removeValue(forKey: number) else { continue }
            complete(operation, TransportFailure(.deadlineExceeded), on: side)
        }
        side.earliestDeadline = side.operations.values.map(\.deadline).min() ?? .never
        return !late.isEmpty
    }

    // MARK: The end

    func finish(_ side: LoopbackSide) {
        guard !side.finishSent else { return }
        side.finishSent = true
        transmit(.finish, from: side)
        endIfFinished(side)
    }

    /// Ends a connection that neither end will use any more.
    private func endIfFinished(_ side: LoopbackSide) {
        guard side.isOpen, side.finishSent, side.finishReceived, side.operations.isEmpty else { return }
        end(side, TransportFailure(.closed), telling: .closed)
    }
}
