// What a link puts into its ring: messages, parts of operations, answers, the end.

internal import CSharedLayout
internal import RayCore

/// Most payload bytes of one WRITE or DATA record: small enough to stay in the cache of both ends.
private let partBytes = 64 << 10
/// Most bytes that a direct operation copies before others get their turn.
private let directBytes = 1 << 20

extension ShmLink {
    /// Operations use half of the ring, so that messages always find room.
    private var operationWindow: UInt64 { producer.capacity / 2 }

    /// Whether a message of `length` bytes may be queued now.
    @inline(__always)
    mutating func hasRoom(forMessage length: Int) throws(ShmViolation) -> Bool {
        if try producer.hasRoom(length, within: window) { return true }
        // A message larger than the window travels alone.
        return producer.occupied == 0
    }

    /// Queues a message. False when there is no room.
    @inline(__always)
    mutating func send(_ message: RawSpan) throws(ShmViolation) -> Bool {
        let length = message.byteCount
        guard try hasRoom(forMessage: length) else { return false }
        // SAFETY: `payload` has room for the largest message.
        unsafe message.withUnsafeBytes { bytes in
            unsafe copyBytes(from: bytes, to: producer.payload())
        }
        producer.commit(.message, length)
        return true
    }

    /// Moves on whatever waits for room or for its turn.
    /// - Returns: true when there is more that needs no event to go on.
    mutating func advance(_ context: inout ShmContext) throws(ShmViolation) -> Bool {
        try sendResponses()
        try serveReads(&context)
        let more = try moveOperations(&context)
        if finish == .requested, operations.isEmpty, try producer.hasRoom(0, within: producer.capacity) {
            producer.commit(.finish, 0)
            finish = .sent
        }
        try reportRoom(&context)
        publish(&context)
        return more
    }

    /// Whether `advance` has something to wait for.
    var hasWork: Bool {
        !responses.isEmpty || !cancels.isEmpty || !jobs.isEmpty || !operations.queue.isEmpty || refused != nil
            || finish == .requested
    }

    private mutating func reportRoom(_ context: inout ShmContext) throws(ShmViolation) {
        guard let length = refused else { return }
        if length < 0 {
            guard canBeginOperation(context) else { return }
        } else {
            // Half of the window at least, so that not every release is an event.
            guard try hasRoom(forMessage: max(length, Int(window / 2))) else { return }
        }
        refused = nil
        context.events.append(.writable(connection))
    }

    // MARK: Operations of this end

    /// The completions that the user has not taken count as operations in flight.
    func canBeginOperation(_ context: borrowing ShmContext) -> Bool {
        !operations.isFull && context.events.count < serviceLimit
    }

    private mutating func moveOperations(_ context: inout ShmContext) throws(ShmViolation) -> Bool {
        while let slot = operations.queue.first {
            let operation = operations[slot]
            switch remotes.route(to: operation.key) {
            case .direct(let region):
                switch try moveDirectly(operation, slot, region, &context) {
                case .done: continue
                case .blocked: return false
                case .more: return true
                }
            case .served:
                guard try sendParts(operation, slot, &context) else { return false }
            case .mustAsk:
                remotes.noteAsked(operation.key)
                questions.append(operation.key)
                flushPackets(context)
                return false
            case .asked: return false
            case .failed(let code): complete(slot, TransportFailure(code), &context)
            }
        }
        return false
    }

    private enum Move { case done, blocked, more }

    /// Copies between the local region and the peer's, which is mapped here.
    private mutating func moveDirectly(
        _ operation: ShmOperation, _ slot: UInt32, _ region: ShmRemoteRegions.Mapped, _ context: inout ShmContext
    ) throws(ShmViolation) -> Move {
        guard region.access.contains(operation.isWrite ? .write : .read), operation.offset <= region.length,
            UInt64(operation.length) <= region.length - operation.offset
        else {
            complete(slot, TransportFailure(.remoteAccessDenied), &context)
            return .done
        }
        let count = min(directBytes, operation.length - operation.progress)
        if count > 0, let local = unsafe operation.local {
            // SAFETY: the range was checked against the region; the local one when it was begun.
            let place = unsafe region.pointer(at: operation.offset + UInt64(operation.progress))
            let near = unsafe local + operation.progress
            if operation.isWrite {
                unsafe place.copyMemory(from: near, byteCount: count)
                context.statistics.bytesSent += UInt64(count)
            } else {
                unsafe near.copyMemory(from: place, byteCount: count)
                context.statistics.bytesReceived += UInt64(count)
            }
            operations[slot].progress += count
        }
        guard operation.progress + count == operation.length else { return .more }
        if let notification = operation.notification {
            guard try appendRecord(.notify, rf_shm_operation(notification: notification)) else { return .blocked }
        }
        complete(slot, nil, &context)
        return .done
    }

    /// Sends what the peer needs for an operation that it serves. False when the ring is full.
    private mutating func sendParts(
        _ operation: ShmOperation, _ slot: UInt32, _ context: inout ShmContext
    ) throws(ShmViolation) -> Bool {
        var record = rf_shm_operation(
            naming: operations.wireName(slot), key: operation.key.rawValue, offset: operation.offset,
            notification: operation.notification)
        if !operation.isWrite {
            record.remaining = UInt64(operation.length)
            guard try appendRecord(.read, record) else { return false }
            awaitAnswer(slot)
            return true
        }
        var progress = operation.progress
        repeat {
            let count = min(partBytes, operation.length - progress)
            record.offset = operation.offset + UInt64(progress)
            record.remaining = UInt64(operation.length - progress - count)
            let part = unsafe UnsafeRawBufferPointer(start: operation.local.map { unsafe $0 + progress }, count: count)
            guard unsafe try appendRecord(.write, record, part) else { return false }
            publish(&context)
            progress += count
            operations[slot].progress = progress
            context.statistics.bytesSent += UInt64(count)
        } while progress < operation.length
        awaitAnswer(slot)
        return true
    }

    private mutating func awaitAnswer(_ slot: UInt32) {
        operations[slot].phase = .requested
        _ = operations.queue.popFirst()
    }

    /// Ends an operation for the user and frees its slot, unless the peer still owes an answer.
    mutating func complete(
        _ slot: UInt32, _ failure: TransportFailure?, answered: Bool = false, _ context: inout ShmContext
    ) {
        let operation = operations[slot]
        context.events.append(.completed(connection, token: operation.token, failure: failure))
        if operation.phase == .queued {
            _ = operations.queue.remove { $0 == slot }
        } else if !answered {
            operations[slot].phase = .abandoned
            if !operation.isWrite { cancels.append(operations.wireName(slot)) }
            return
        }
        operations.remove(slot)
    }

    // MARK: Operations of the peer

    private mutating func sendResponses() throws(ShmViolation) {
        while let operation = cancels.first {
            guard try appendRecord(.cancel, rf_shm_operation(naming: operation)) else { return }
            _ = cancels.popFirst()
        }
        while let response = responses.first {
            let record = rf_shm_operation(naming: response.operation, code: response.code)
            guard try appendRecord(.done, record) else { return }
            _ = responses.popFirst()
        }
    }

    /// Sends the bytes that the peer wants to read.
    private mutating func serveReads(_ context: inout ShmContext) throws(ShmViolation) {
        while let job = jobs.first {
            let count = min(UInt64(partBytes), job.remaining)
            let record = rf_shm_operation(
                naming: job.operation, offset: job.progress, remaining: job.remaining - count)
            // Looked up for every part, because the region may be deregistered between two.
            guard let memory = unsafe context.regions.remote(job.location, length: job.remaining, access: .read) else {
                _ = jobs.popFirst()
                respond(job.operation, .remoteAccessDenied)
                continue
            }
            let part = unsafe UnsafeRawBufferPointer(rebasing: memory[..<Int(count)])
            guard unsafe try appendRecord(.data, record, part) else { return }
            publish(&context)
            context.statistics.bytesSent += count
            if record.remaining == 0 {
                _ = jobs.popFirst()
            } else {
                jobs.updateFirst { first in
                    first.location.offset += count
                    first.remaining -= count
                    first.progress += count
                }
            }
        }
    }

    mutating func respond(_ operation: UInt64, _ code: FabricError.Code?) {
        responses.append(Response(operation: operation, code: code))
    }

    // MARK: Records

    private mutating func appendRecord(
        _ kind: ShmRecordKind, _ record: rf_shm_operation
    ) throws(ShmViolation) -> Bool {
        unsafe try appendRecord(kind, record, nil)
    }

    /// Appends a record of an operation. False when operations have no room.
    private mutating func appendRecord(
        _ kind: ShmRecordKind, _ record: rf_shm_operation, _ bytes: UnsafeRawBufferPointer?
    ) throws(ShmViolation) -> Bool {
        let head = MemoryLayout<rf_shm_operation>.size
        let count = unsafe bytes?.count ?? 0
        guard try producer.hasRoom(head + count, within: operationWindow) else { return false }
        // SAFETY: there is room for both.
        let place = unsafe producer.payload()
        unsafe place.storeBytes(of: record, as: rf_shm_operation.self)
        if let bytes = unsafe bytes { unsafe copyBytes(from: bytes, to: place + head) }
        producer.commit(kind, head + count)
        return true
    }
}

/// SAFETY: `target` has room for all of `source`, and the two do not overlap.
@inline(__always)
private func copyBytes(from source: UnsafeRawBufferPointer, to target: UnsafeMutableRawPointer) {
    if let start = source.baseAddress, source.count > 0 {
        unsafe target.copyMemory(from: start, byteCount: source.count)
    }
}
