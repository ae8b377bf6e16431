// Poll and wait: what is done, in which order, and who sleeps when.

#if NIO
    internal import CLinux
    internal import NIOCore
    public import RayCore

    extension NIOTransport {
        /// The inbox is looked at after this many events at the latest, so that a long run of messages
        /// holds up neither answers nor other connections.
        private static var eventsPerProgress: Int { 32 }

        public mutating func poll() -> TransportEvent? {
            if let event = foundEvent.take() { return event }
            pollsSinceProgress += 1
            if pollsSinceProgress < Self.eventsPerProgress, let event = nextEvent() { return event }
            pollsSinceProgress = 0
            progress()
            if let event = nextEvent() { return event }
            flushAll()
            return nil
        }

        public mutating func wait(until deadline: Timestamp) {
            guard foundEvent == nil else { return }
            let spinEnd = min(deadline, .now + configuration.spin)
            repeat {
                progress()
                foundEvent = nextEvent()
                if foundEvent != nil { return }
                flushAll()
                if waker.wait(until: .zero) { return }
            } while now < spinEnd
            guard now < deadline, inbox.startSleep() else { return inbox.endSleep() }
            counters.sleeps += 1
            _ = waker.wait(until: min(deadline, nextTimer))
            inbox.endSleep()
        }

        /// Queued events first, then what the received bytes say.
        private mutating func nextEvent() -> TransportEvent? {
            if let event = events.popFirst() { return event }
            while let connection = readable.popFirst() {
                connection.isReadable = false
                let event = parse(connection) ?? events.popFirst()
                if let event {
                    if connection.isOpen { markReadable(connection) }
                    return event
                }
            }
            return nil
        }

        mutating func markReadable(_ connection: NIOConnection) {
            guard !connection.isReadable else { return }
            connection.isReadable = true
            readable.append(connection)
        }

        /// One round of everything that can be done without waiting.
        private mutating func progress() {
            now = .now
            for arrival in inbox.takeAll() { take(arrival) }
            if now >= nextTimer { runTimers() }
            flushAll()
        }

        private mutating func take(_ arrival: NIOArrival) {
            switch arrival {
            case .accepted(let number, let channel, let credit): accepted(number, channel, credit)
            case .connected(let number, let channel): connected(number, channel)
            case .connectFailed(let number, let failure): connectFailed(number, failure)
            case .bytes(let number, let bytes):
                guard let socket = sockets[number] else { return }
                socket.received(bytes)
                inputChanged(socket)
            case .written(let number, let count):
                guard let socket = sockets[number] else { return }
                socket.outstanding -= count
                if let connection = socket.connection { markDirty(connection) }
            case .ended(let number, let failure):
                guard let socket = sockets[number] else { return }
                socket.endOfInput = failure
                inputChanged(socket)
            }
        }

        private mutating func inputChanged(_ socket: NIOSocket) {
            // A socket that is still connecting for us learns of its channel first.
            if socket.handshake != nil { continueHandshake(socket) }
            guard let connection = socket.connection, connection.isOpen else { return }
            connection.lastReceived = now
            markReadable(connection)
        }
    }
#endif
