// What a link takes from its peer's ring. Every record is copied once and checked before use.

internal import CSharedLayout
internal import RayCore

extension ShmLink {
    /// Takes in a record that is not a message.
    /// - Returns: the event for the user, if it is one.
    mutating func receive(
        _ kind: ShmRecordKind, _ payload: UnsafeRawBufferPointer, _ context: inout ShmContext
    ) throws(ShmViolation) -> TransportEvent? {
        if kind == .finish {
            guard !peerFinished, payload.count == 0 else { throw ShmViolation() }
            peerFinished = true
            return .finished(connection)
        }
        let head = MemoryLayout<rf_shm_operation>.size
        guard payload.count >= head else { throw ShmViolation() }
        // SAFETY: the range was checked, and any bit pattern is a valid record.
        let record = unsafe payload.loadUnaligned(as: rf_shm_operation.self)
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: payload[head...])
        guard bytes.count == 0 || kind == .write || kind == .data else { throw ShmViolation() }
        switch kind {
        case .notify:
            try requireOpenPeer()
            return .notified(connection, record.notification)
        case .write:
            return unsafe try receiveWrite(record, bytes, &context)
        case .read:
            try requireOpenPeer()
            try requireServiceRoom()
            jobs.append(
                Job(
                    operation: record.operation,
                    location: RegionLocation(key: RegionKey(rawValue: record.key), offset: record.offset),
                    remaining: record.remaining, progress: 0))
        case .data: unsafe try receiveData(record, bytes, &context)
        case .done: try receiveDone(record, &context)
        case .cancel:
            if jobs.remove(where: { $0.operation == record.operation }) { respond(record.operation, .cancelled) }
        case .message, .finish: preconditionFailure("\(kind) is no operation")
        }
        return nil
    }

    /// A peer that has finished begins nothing.
    private func requireOpenPeer() throws(ShmViolation) {
        guard !peerFinished else { throw ShmViolation() }
    }

    /// A peer has no more operations in flight than it was told that we serve.
    private func requireServiceRoom() throws(ShmViolation) {
        guard jobs.count + responses.count < serviceLimit else { throw ShmViolation() }
    }

    /// A part of a write of the peer. The range of the whole rest of the write is checked, so that
    /// nothing of a write that reaches out of the region is done.
    private mutating func receiveWrite(
        _ record: rf_shm_operation, _ bytes: UnsafeRawBufferPointer, _ context: inout ShmContext
    ) throws(ShmViolation) -> TransportEvent? {
        try requireOpenPeer()
        let location = RegionLocation(key: RegionKey(rawValue: record.key), offset: record.offset)
        let count = bytes.count
        let (rest, overflow) = record.remaining.addingReportingOverflow(UInt64(count))
        let target = unsafe overflow ? nil : context.regions.remote(location, length: rest, access: .write)
        if let target = unsafe target {
            // SAFETY: `rest`, and so the target, is at least as long as the bytes.
            unsafe target.copyMemory(from: bytes)
            context.statistics.bytesReceived += UInt64(count)
        }
        guard record.remaining == 0 else { return nil }
        try requireServiceRoom()
        respond(record.operation, unsafe target == nil ? .remoteAccessDenied : nil)
        guard unsafe target != nil, record.flags & UInt32(RF_SHM_FLAG_NOTIFY) != 0 else { return nil }
        return .notified(connection, record.notification)
    }

    /// A part of the answer to a read of ours.
    private mutating func receiveData(
        _ record: rf_shm_operation, _ bytes: UnsafeRawBufferPointer, _ context: inout ShmContext
    ) throws(ShmViolation) {
        guard let slot = operations.slot(wireName: record.operation) else { throw ShmViolation() }
        let operation = operations[slot]
        let count = bytes.count
        guard !operation.isWrite, operation.phase != .queued, record.offset == UInt64(operation.progress),
            count <= operation.length - operation.progress,
            record.remaining == UInt64(operation.length - operation.progress - count)
        else { throw ShmViolation() }
        if operation.phase == .requested, count > 0, let local = unsafe operation.local {
            // SAFETY: the range was checked against the operation's, which is within its region.
            unsafe UnsafeMutableRawBufferPointer(start: local + operation.progress, count: count)
                .copyMemory(from: bytes)
            context.statistics.bytesReceived += UInt64(count)
        }
        operations[slot].progress += count
        if record.remaining == 0 { endAnswered(slot, nil, &context) }
    }

    /// The peer has ended an operation of ours.
    private mutating func receiveDone(_ record: rf_shm_operation, _ context: inout ShmContext) throws(ShmViolation) {
        guard let slot = operations.slot(wireName: record.operation), operations[slot].phase != .queued else {
            throw ShmViolation()
        }
        switch FabricError.Code(rawValue: UInt16(truncatingIfNeeded: record.status)) {
        case .remoteAccessDenied: endAnswered(slot, TransportFailure(.remoteAccessDenied), &context)
        case .cancelled where operations[slot].phase == .abandoned: endAnswered(slot, nil, &context)
        case FabricError.Code(rawValue: 0) where operations[slot].isWrite: endAnswered(slot, nil, &context)
        default: throw ShmViolation()
        }
    }

    private mutating func endAnswered(_ slot: UInt32, _ failure: TransportFailure?, _ context: inout ShmContext) {
        if operations[slot].phase == .abandoned {
            operations.remove(slot)
        } else {
            complete(slot, failure, answered: true, &context)
        }
    }
}
