// The calls of the contract: see `Transport` for what each promises.

internal import CLinux
internal import CSharedLayout
public import RayCore

extension ShmTransport: Transport {
    public var maximumMessageBytes: Int { Int(RF_SHM_MAXIMUM_MESSAGE) }
    public var statistics: TransportStatistics { context.statistics }

    public mutating func listen(at address: Address) throws(FabricError) -> Address {
        let listener = try ShmListener(path: try ShmSocket.path(of: address))
        try watch(listener.socket.number, as: Self.listenerTag)
        listeners.append(listener)
        return address
    }

    public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
        let path = try ShmSocket.path(of: address)
        guard links.count + openings.count(where: { $0.isInitiator }) < configuration.maximumConnections else {
            throw FabricError(.connectionLimit, "connect to \(address)")
        }
        let connection = takeSlot()
        do throws(FabricError) {
            let opening = try ShmOpening(
                connection: connection, dialing: path, deadline: deadline,
                directory: context.regions.directoryFile.descriptor.number, configuration: configuration)
            try begin(opening)
        } catch {
            freeSlot(connection)
            throw error
        }
        return connection
    }

    public func peer(of connection: Connection) -> NodeID? { anyLink(connection)?.link.peer }

    public mutating func register(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        try unsafe context.regions.register(memory, access: access)
    }

    /// Registers memory that is mapped from a memory file, so that peers can map it too and read and
    /// write it without this process's help.
    ///
    /// A peer gets the descriptor when it first names the region; it then reaches the whole file,
    /// for writing if `access` has `write`. After `deregister` it is told `remoteAccessDenied`, but
    /// a peer that breaks the protocol can keep its mapping.
    ///
    /// SAFETY: `memory` is a mapping of the file from `offset`; it must stay mapped until
    /// `deregister`, and until every operation that names the region has completed.
    /// - Throws: `invalidArgument` unless the descriptor is a memfd sealed against shrinking that
    ///   holds the range; `descriptorLimit`, `outOfMemory`.
    package mutating func registerShared(
        descriptor: Int32, offset: Int, memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        try unsafe context.regions.registerShared(
            descriptor: descriptor, offset: offset, memory: memory, access: access)
    }

    public mutating func deregister(_ key: RegionKey) { context.regions.deregister(key) }

    public mutating func grant(
        _ part: RegionLocation, length: Int, to connection: Connection
    ) throws(FabricError) -> RegionKey? {
        try context.regions.grant(part, length: length)
    }

    @inline(__always)
    public mutating func send(_ message: RawSpan, on connection: Connection) throws(FabricError) -> Bool {
        let handle = try openLink(connection)
        guard message.byteCount <= RF_SHM_MAXIMUM_MESSAGE else {
            throw FabricError(.messageTooLarge, "\(message.byteCount) bytes, at most \(RF_SHM_MAXIMUM_MESSAGE)")
        }
        do throws(ShmViolation) {
            if try handle.link.send(message) {
                context.statistics.messagesSent += 1
                context.statistics.bytesSent += UInt64(message.byteCount)
                if handle.link.producer.batchIsFull {
                    handle.link.publish(&context)
                } else {
                    noteDirty(handle)
                }
                return true
            }
        } catch {
            fail(handle, .protocolViolation)
            throw FabricError(.closed, "the peer broke the protocol")
        }
        handle.link.publish(&context)
        handle.link.refused = message.byteCount
        noteWorking(handle)
        return false
    }

    public mutating func read(
        _ remote: RegionLocation, into local: RegionLocation, length: Int,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        try begin(
            isWrite: false, remote, local, length: length, notification: nil, on: connection, token: token,
            deadline: deadline)
    }

    public mutating func write(
        _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        try begin(
            isWrite: true, remote, local, length: length, notification: notification, on: connection, token: token,
            deadline: deadline)
    }

    private mutating func begin(
        isWrite: Bool, _ remote: RegionLocation, _ local: RegionLocation, length: Int, notification: UInt64?,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        let handle = try openLink(connection)
        guard let memory = unsafe context.regions.local(local, length: length) else {
            throw FabricError(.invalidArgument, "\(length) bytes at \(local.offset) are not within the local region")
        }
        guard handle.link.canBeginOperation(context) else {
            handle.link.refused = -1
            noteWorking(handle)
            return false
        }
        let operation = unsafe ShmOperation(
            phase: .queued, isWrite: isWrite, token: token, deadline: deadline, key: remote.key,
            offset: remote.offset, local: memory.baseAddress, length: length, notification: notification)
        _ = handle.link.operations.insert(operation)
        nextDeadline = min(nextDeadline, deadline)
        noteWorking(handle)
        // Begun at once unless others wait already: a small direct write is over when this returns.
        if handle.link.operations.queue.count == 1 { advance(handle) }
        return true
    }

    public mutating func cancel(token: UInt64, on connection: Connection) {
        guard let handle = anyLink(connection), let slot = handle.link.operations.slot(token: token) else { return }
        handle.link.complete(slot, TransportFailure(.cancelled), &context)
        noteWorking(handle)
    }

    public mutating func finish(_ connection: Connection) {
        guard let handle = anyLink(connection), handle.link.finish == .open else { return }
        handle.link.finish = .requested
        noteWorking(handle)
    }

    public mutating func close(_ connection: Connection) {
        if let handle = anyLink(connection) {
            handle.link.publish(&context)
            end(handle, TransportFailure(.closed), telling: .closed)
        } else if let opening = openings.first(where: { $0.connection == connection }) {
            end(opening, TransportFailure(.closed))
        }
    }

    public var message: RawSpan {
        @_lifetime(borrow self) get {
            // SAFETY: the bytes stay in the ring until the next call of `poll`, `wait` or `close`.
            unsafe _overrideLifetime(RawSpan(_unsafeBytes: received), borrowing: self)
        }
    }
}
