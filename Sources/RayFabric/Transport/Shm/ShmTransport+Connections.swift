// How connections begin and end: accepting, set-up, the incarnation rule, death of the peer.

internal import CLinux
internal import CSharedLayout
internal import RayCore

extension ShmTransport {
    // What the data word of an epoll event says: a kind, or the index of a connection.
    static let wakerTag = UInt64.max
    static let listenerTag = UInt64.max - 1

    func watch(_ descriptor: Int32, as tag: UInt64) throws(FabricError) {
        guard rf_epoll_add(epoll.number, descriptor, tag) == 0 else { throw systemError("watch a descriptor") }
    }

    private func unwatch(_ descriptor: Int32) {
        _ = rf_epoll_remove(epoll.number, descriptor)
    }

    /// How long a busy transport does not look at its sockets.
    private static let socketInterval = Duration.microseconds(100)

    /// Sees to sockets, listeners and the waker; waits for them for as long as it is told, or for
    /// ever.
    mutating func checkSockets(waiting limit: Duration?) {
        // Rounded up, because waking too early would mean to sleep once more.
        let timeout = limit.map { ($0.saturatedNanoseconds + 999_999) / 1_000_000 } ?? -1
        var tags = InlineArray<64, UInt64>(repeating: 0)
        context.statistics.systemCalls += 1
        var span = tags.mutableSpan
        let count = unsafe span.withUnsafeMutableBufferPointer { buffer in
            unsafe rf_epoll_wait(epoll.number, buffer.baseAddress, Int32(buffer.count), Int32(clamping: timeout))
        }
        context.now = .now
        nextSocketCheck = context.now + Self.socketInterval
        for index in 0..<max(0, Int(count)) {
            switch tags[index] {
            case Self.wakerTag:
                waker.clear()
                isWoken = true
            case Self.listenerTag: for listener in listeners { accept(from: listener) }
            case let tag: serveSocket(Int(tag))
            }
        }
    }

    private mutating func serveSocket(_ index: Int) {
        // It may have ended by an event before this one.
        if let handle = slots[index].link {
            serveSocket(handle)
        } else if let opening = openings.first(where: { $0.connection.index == UInt32(index) }) {
            carryOut(opening.proceed(), opening)
        }
    }

    private mutating func serveSocket(_ handle: ShmLinkHandle) {
        do throws(ShmViolation) {
            try handle.link.drainSocket(&context)
        } catch {
            return fail(handle, .protocolViolation)
        }
        if handle.link.hungUp { unwatch(handle.link.socket.number) }
        noteHot(handle)
    }

    // MARK: Set-up

    mutating func takeSlot() -> Connection {
        if let index = freeSlots.popLast() { return Connection(index: index, generation: slots[Int(index)].generation) }
        slots.append(Slot())
        return Connection(index: UInt32(slots.count - 1), generation: 0)
    }

    /// Makes a connection's name stale.
    mutating func freeSlot(_ connection: Connection) {
        let index = Int(connection.index)
        slots[index] = Slot(generation: slots[index].generation &+ 1)
        freeSlots.append(connection.index)
    }

    /// Takes up a set-up whose slot was taken.
    mutating func begin(_ opening: ShmOpening) throws(FabricError) {
        try watch(opening.descriptor, as: UInt64(opening.connection.index))
        openings.append(opening)
        carryOut(opening.proceed(), opening)
    }

    private mutating func accept(from listener: ShmListener) {
        while true {
            let number = rf_accept(listener.socket.number)
            if number < 0 {
                switch errorCode(rf_errno()) {
                case .descriptorLimit, .outOfMemory: pauseAccepting()
                default: break
                }
                return
            }
            let socket = FileDescriptor(owning: number)
            guard ShmSocket.isOfOurUser(number),
                openings.count(where: { !$0.isInitiator }) < configuration.maximumHalfOpen
            else {
                context.statistics.rejected += 1
                continue
            }
            let opening = ShmOpening(
                connection: takeSlot(), accepted: socket, deadline: context.now + configuration.handshakeTimeout,
                directory: context.regions.directoryFile.descriptor.number, configuration: configuration)
            do throws(FabricError) {
                try begin(opening)
            } catch {
                freeSlot(opening.connection)
            }
        }
    }

    /// Without a free descriptor the listener would stay readable, and no sleep would last.
    private mutating func pauseAccepting() {
        acceptPaused = true
        for listener in listeners { unwatch(listener.socket.number) }
    }

    mutating func resumeAccepting() {
        guard acceptPaused else { return }
        acceptPaused = false
        for listener in listeners {
            do throws(FabricError) {
                try watch(listener.socket.number, as: Self.listenerTag)
            } catch {
                acceptPaused = true
            }
        }
    }

    mutating func carryOut(_ first: ShmOpening.Step, _ opening: ShmOpening) {
        var step = first
        while true {
            switch step {
            case .wait: return
            case .failed(let failure): return end(opening, failure)
            case .proven(let node): step = decide(node, opening)
            case .open: return open(opening)
            }
        }
    }

    /// Lets a proven peer in, or not.
    private mutating func decide(_ node: NodeID, _ opening: ShmOpening) -> ShmOpening.Step {
        if !opening.isInitiator, links.count >= configuration.maximumConnections {
            return opening.refuse(.connectionLimit)
        }
        switch peers.admit(node) {
        case .refused(let code): return opening.refuse(code)
        case .admitted: return opening.admit(node)
        case .supersedes:
            for handle in links where handle.link.peer.value == node.value && handle.link.peer != node {
                end(handle, TransportFailure(.staleIncarnation), telling: .staleIncarnation)
            }
            for other in openings where other.peer.map({ $0.value == node.value && $0 != node }) ?? false {
                end(other, TransportFailure(.staleIncarnation))
            }
            return opening.admit(node)
        }
    }

    private mutating func open(_ opening: ShmOpening) {
        openings.removeAll { $0 === opening }
        let handle = ShmLinkHandle(opening.makeLink())
        slots[Int(opening.connection.index)].link = handle
        links.append(handle)
        handle.link.beat(after: .zero)
        noteHot(handle)
        context.events.append(.connected(opening.connection))
        // Packets may have come behind the peer's memory.
        serveSocket(handle)
    }

    // MARK: End

    mutating func end(_ opening: ShmOpening, _ failure: TransportFailure) {
        openings.removeAll { $0 === opening }
        if opening.isAdmitted, let peer = opening.peer { peers.remove(peer) }
        freeSlot(opening.connection)
        if opening.isInitiator {
            context.events.append(.closed(opening.connection, failure))
        } else {
            context.statistics.rejected += 1
        }
    }

    /// Cuts a connection off.
    mutating func fail(_ handle: ShmLinkHandle, _ code: FabricError.Code) {
        if code == .protocolViolation { context.statistics.rejected += 1 }
        end(handle, TransportFailure(code), telling: code == .protocolViolation ? code : .connectionLost)
    }

    /// Ends a connection whose peer is gone and whose ring is empty.
    mutating func endDrained(_ handle: ShmLinkHandle) {
        // Only reasons that a peer may give; whatever else it says, the connection is lost.
        let believed: [FabricError.Code] = [.closed, .staleIncarnation, .protocolViolation]
        let code = believed.first { $0 == handle.link.farewell } ?? .connectionLost
        end(handle, TransportFailure(code), telling: .connectionLost)
    }

    /// Ends a connection when both ends have said that they are done.
    mutating func endIfFinished(_ handle: ShmLinkHandle) {
        guard handle.link.finish == .sent, handle.link.peerFinished else { return }
        handle.link.publish(&context)
        end(handle, TransportFailure(.closed), telling: .closed)
    }

    /// Completes what is in flight, tells user and peer, and lets go of everything.
    mutating func end(_ handle: ShmLinkHandle, _ failure: TransportFailure, telling code: FabricError.Code) {
        let connection = handle.link.connection
        for slot in handle.link.operations.active {
            handle.link.complete(slot, failure, answered: true, &context)
        }
        context.events.append(.closed(connection, failure))
        if !handle.link.hungUp {
            _ = handle.link.sendPacket(rf_shm_packet(RF_SHM_GOODBYE, code: code))
        }
        peers.remove(handle.link.peer)
        // The message that was given last may lie in its ring.
        unsafe received = UnsafeRawBufferPointer(start: nil, count: 0)
        links.removeAll { $0 == handle }
        hot.removeAll { $0 == handle }
        dirty.removeAll { $0 == handle }
        working.removeAll { $0 == handle }
        freeSlot(connection)
        handle.destroy()
    }
}
