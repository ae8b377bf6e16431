// Poll and wait: what is done, in which order, and who sleeps when.

internal import CLiburing
internal import CLinux
public import RayCore

extension UringTransport {
    /// Sockets are looked at after this many events at the latest, so that a long run of messages
    /// holds up neither answers nor other connections.
    private static let eventsPerProgress = 32

    public mutating func poll() -> TransportEvent? {
        if let event = foundEvent.take() { return event }
        messageCount = 0
        pollsSinceProgress += 1
        if pollsSinceProgress < Self.eventsPerProgress, let event = nextEvent() { return event }
        pollsSinceProgress = 0
        progress()
        if let event = nextEvent() { return event }
        flushAll()
        ring.submit()
        return nil
    }

    public mutating func wait(until deadline: Timestamp) {
        guard foundEvent == nil else { return }
        messageCount = 0
        let start = Timestamp.now
        let spinEnd = min(deadline, max(start + spin, lastBulk + bulkSpin.limit))
        repeat {
            progress()
            foundEvent = nextEvent()
            if foundEvent != nil || !controls.isEmpty { return }
            if wasWoken {
                wasWoken = false
                return
            }
        } while now < spinEnd
        if now < deadline { sleep(until: deadline) }
    }

    private mutating func sleep(until deadline: Timestamp) {
        flushAll()
        for connection in hot { cool(connection) }
        hot.removeAll(keepingCapacity: true)
        let end = min(deadline, nextTimer)
        let time = max(.zero, end - now).saturatedNanoseconds
        counters.sleeps += 1
        let start = now
        ring.wait(nanoseconds: UInt64(time))
        now = .now
        let bulkBefore = lastBulk
        collect()
        if lastBulk != bulkBefore { bulkSpin.slept(now - start) }
        wasWoken = false
    }

    /// Queued events first, then what the received bytes say.
    mutating func nextEvent() -> TransportEvent? {
        if let event = events.popFirst() { return event }
        while let connection = readable.popFirst() {
            connection.isReadable = false
            let event = parse(connection)
            if let event {
                if !connection.isReadable, connection.isOpen { markReadable(connection) }
                return event
            }
            if let event = events.popFirst() { return event }
        }
        return nil
    }

    mutating func markReadable(_ connection: UringConnection) {
        guard !connection.isReadable else { return }
        connection.isReadable = true
        readable.append(connection)
    }

    /// One round of everything that can be done without waiting.
    mutating func progress() {
        now = .now
        flushAll()
        ring.submit()
        collect()
        for connection in arrivals { receiveArrival(connection) }
        arrivals.removeAll(keepingCapacity: true)
        readHot()
        if now >= nextTimer { runTimers() }
        flushAll()
        ring.submit()
    }

    /// Handles what the ring has completed.
    mutating func collect() {
        while let completion = ring.next() { handle(completion) }
    }

    private mutating func handle(_ completion: RingCompletion) {
        guard let work = RingWork(rawValue: UInt8(truncatingIfNeeded: completion.tag)) else {
            preconditionFailure("a tag that nobody made: \(completion.tag)")
        }
        let slot = RingWork.slot(ofTag: completion.tag)
        switch work {
        case .waker:
            waker.clear()
            wasWoken = true
            armWaker()
        case .watch:
            watched.remove(Int32(slot))
            wasWoken = true
        case .cancel: break
        case .pollInput, .pollOutput, .receive, .send:
            guard let socket = sockets[slot] else { preconditionFailure("slot \(slot) was freed too early") }
            handle(work, completion, on: socket)
        }
    }

    private mutating func handle(_ work: RingWork, _ completion: RingCompletion, on socket: UringSocket) {
        switch work {
        case .pollInput:
            socket.flights.remove(.pollInput)
            if !socket.isEnding { readable(socket) }
        case .pollOutput:
            socket.flights.remove(.pollOutput)
            if !socket.isEnding { writable(socket) }
        case .receive:
            lastBulk = now
            socket.flights.remove(.receive)
            if !socket.isEnding { bulkReceived(Int(completion.result), on: socket) }
        case .send:
            lastBulk = now
            if completion.isNotice {
                zeroCopyNoticed(completion, on: socket)
            } else {
                bulkSendCompleted(completion, on: socket)
            }
        case .waker, .watch, .cancel: break
        }
        retireIfEnded(socket)
    }

    private mutating func readable(_ socket: UringSocket) {
        switch socket.role {
        case .listener: acceptAll(socket)
        case .handshake: continueHandshake(socket)
        case .messages:
            if let connection = socket.connection { arrivals.append(connection) }
        case .connecting, .bulk: break
        }
    }

    private mutating func writable(_ socket: UringSocket) {
        switch socket.role {
        case .connecting: connectFinished(socket)
        case .messages:
            guard let connection = socket.connection else { return }
            connection.isOutputBlocked = false
            markDirty(connection)
        case .listener, .handshake, .bulk: break
        }
    }

    // MARK: Direct reading

    /// Input buffers kept for the next busy connection.
    private static let keptInputBuffers = 8

    private mutating func receiveArrival(_ connection: UringConnection) {
        guard connection.isOpen else { return }
        if !connection.isHot {
            if hot.count == Self.maximumHot { coolLongestQuiet() }
            if hot.count < Self.maximumHot {
                connection.isHot = true
                hot.append(connection)
            }
        }
        receive(connection)
        if !connection.isHot { cool(connection) }
    }

    private mutating func readHot() {
        var index = 0
        while index < hot.count {
            let connection = hot[index]
            if connection.isOpen, !connection.isReadable { receive(connection) }
            if connection.isOpen, connection.isHot, now - connection.lastReceived < hotTime {
                index += 1
            } else {
                hot.remove(at: index)
                cool(connection)
            }
        }
    }

    /// Makes room among the hot ones if one of them has nothing to do.
    private mutating func coolLongestQuiet() {
        guard let index = hot.indices.min(by: { hot[$0].lastReceived < hot[$1].lastReceived }),
            now - hot[index].lastReceived > .microseconds(50)
        else { return }
        cool(hot.remove(at: index))
    }

    /// Leaves it to the ring to say when there is something to read.
    mutating func cool(_ connection: UringConnection) {
        connection.isHot = false
        guard connection.isOpen, let socket = connection.socket else { return }
        armInput(socket)
        if let input = connection.input, input.count == 0 {
            connection.input = nil
            if inputBuffers.count < Self.keptInputBuffers { inputBuffers.append(input) }
        }
    }
}
