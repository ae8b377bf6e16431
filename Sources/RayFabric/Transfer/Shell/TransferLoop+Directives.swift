// What the machines want done, done.

internal import RayCore

extension TransferLoop where Wire: ~Copyable {
    /// Runs directives until there are none: running one may make others.
    func runDirectives() {
        while !pullDirectives.isEmpty || !serveDirectives.isEmpty {
            let pulls = pullDirectives
            pullDirectives.removeAll(keepingCapacity: true)
            for directive in pulls { run(directive) }
            let serves = serveDirectives
            serveDirectives.removeAll(keepingCapacity: true)
            for directive in serves { run(directive) }
        }
    }

    // MARK: Pulling

    private func run(_ directive: PullDirective) {
        let now = Timestamp.now
        switch directive {
        case .connect(let node): reconnect(node, now)
        case .send(let call, let connection): send(.call(call), on: connection)
        case .allocate(let pull, let id, let size, let metadataSize):
            allocate(pull, id, size, metadataSize, now)
        case .read(let read): start(read, now)
        case .cancelRead(let connection, let token): transport.cancel(token: token, on: connection)
        case .publish(let pull): publish(pull, now)
        case .deliverInline(let pull, let id, let size, let metadataSize, let payload):
            deliver(pull, id, size, metadataSize, payload, now)
        case .abort(let pull): drafts[pull.index] = nil
        case .finished(let waiter, let failure):
            let id = waiting.removeValue(forKey: waiter)
            if let id, let failure {
                failed(id, TransferControl.session(ofWaiter: waiter), TransferControl.token(ofWaiter: waiter), failure)
            }
        }
    }

    private func reconnect(_ node: NodeID, _ now: Timestamp) {
        if let connection = connections[node]?.first {
            pulls.connected(node, connection, now: now, into: &pullDirectives)
        } else if let address = addresses[node] {
            connect(to: address, node: node, deadline: now + .seconds(5), nil)
        } else {
            pulls.connectFailed(node, TransportFailure(.unreachable), now: now, into: &pullDirectives)
        }
    }

    /// How long the store may keep this thread, which serves all peers, waiting for memory. What comes
    /// later is there when the machine asks again.
    private static var memoryLimit: Duration { .milliseconds(20) }

    private func allocate(_ pull: PullID, _ id: ObjectID, _ size: Int, _ metadataSize: Int, _ now: Timestamp) {
        do throws(FabricError) {
            let draft = try store.create(
                size: size, metadataSize: metadataSize, id: id, flags: .secondary, deadline: now + Self.memoryLimit)
            try tell(offset: draft.arenaOffset, bytes: size + metadataSize)
            drafts[pull.index] = DraftBox(draft)
            pulls.allocated(pull, now: now, into: &pullDirectives)
        } catch {
            // Memory that is being prepared comes soon; a full store says so at once.
            let retry = error.code == .deadlineExceeded
            pulls.allocationFailed(pull, error.code, retry: retry, now: now, into: &pullDirectives)
        }
    }

    /// Tells the transport of the memory behind an object, as far as it was not told when the memory came.
    private func tell(offset: UInt64, bytes: Int) throws(FabricError) {
        guard kind == .verbs, bytes > 0 else { return }
        for segment in store.segments.segments(offset: offset, bytes: UInt64(bytes)) { try tell(segment: segment) }
    }

    /// Tells the transport of a segment's memory, once, if it has to know.
    func tell(segment: Int) throws(FabricError) {
        let generation = store.directory.segmentGeneration(segment)
        // No generation: the memory has gone again.
        guard kind == .verbs, generation != 0, toldSegments[segment] != generation else { return }
        let start = UInt64(segment * store.geometry.segmentBytes)
        let count = UInt64(store.geometry.segmentBytes)
        // Kernels before 6.3 do not let a device read memory that is shared and mapped read-only.
        try store.ensureMapped(offset: start, bytes: count, writable: true, by: .now + .seconds(5))
        toldSegments[segment] = generation
        transport.memoryCame(to: region, range: start..<(start + count))
    }

    private func start(_ read: ChunkRead, _ now: Timestamp) {
        guard let draft = drafts[read.pull.index] else { preconditionFailure("a read without a draft") }
        let local = RegionLocation(key: region, offset: draft.arenaOffset + UInt64(read.offset))
        do throws(FabricError) {
            let isStarted = try transport.read(
                read.remote, into: local, length: read.length, on: read.connection, token: read.token,
                deadline: read.deadline)
            if !isStarted { pulls.readRefused(token: read.token, now: now, into: &pullDirectives) }
        } catch {
            pulls.completed(
                token: read.token, failure: TransportFailure(error.code, errno: error.errno), now: now,
                into: &pullDirectives)
        }
    }

    private func publish(_ pull: PullID, _ now: Timestamp) {
        guard let draft = drafts.removeValue(forKey: pull.index) else { preconditionFailure("nothing to publish") }
        do throws(FabricError) {
            try draft.seal()
            pulls.published(pull, now: now, into: &pullDirectives)
        } catch {
            pulls.publishFailed(pull, error.code, retry: false, now: now, into: &pullDirectives)
        }
    }

    /// A small object came inside the message that is being handled: one copy into the store.
    private func deliver(
        _ pull: PullID, _ id: ObjectID, _ size: Int, _ metadataSize: Int, _ payload: Range<Int>, _ now: Timestamp
    ) {
        do throws(FabricError) {
            var draft = try store.create(
                size: size, metadataSize: metadataSize, id: id, flags: .secondary, deadline: now + Self.memoryLimit)
            try draft.writeWithMetadata(transport.message.extracting(payload))
            _ = try draft.seal()
            pulls.published(pull, now: now, into: &pullDirectives)
        } catch {
            if error.code == .objectExists {
                pulls.published(pull, now: now, into: &pullDirectives)
            } else {
                let retry = error.code == .deadlineExceeded
                pulls.publishFailed(pull, error.code, retry: retry, now: now, into: &pullDirectives)
            }
        }
    }

    // MARK: Serving

    private func run(_ directive: ServeDirective) {
        switch directive {
        case .lookup(let lookup, let id): look(lookup, id)
        case .send(let reply, let connection): send(.reply(reply), on: connection)
        case .sendLocated(let reply, let connection, let pin):
            if let extents = grantedExtents(of: pin, to: connection) {
                send(.reply(reply), extents: extents, on: connection)
            }
        case .sendInline(let reply, let connection, let pin):
            if let served = pins[pin] { send(reply, inline: served.object, on: connection) }
        case .unpin(let pin):
            guard let served = pins.removeValue(forKey: pin) else { return }
            if let key = served.grant, !transport.revoke(key) {
                ending[key] = served.object
            } else {
                store.unpin(served.object)
            }
        }
    }

    /// What the puller may read for a pin, opened to it the first time.
    /// - Returns: nil when that can not be done now.
    private func grantedExtents(of pin: UInt64, to connection: Connection) -> [RemoteExtent]? {
        guard let served = pins[pin] else { preconditionFailure("a place without a pin") }
        let length = served.object.size + UInt64(served.object.metadataSize)
        guard length > 0 else { return [] }
        if served.grant == nil {
            let part = RegionLocation(key: region, offset: served.object.offset)
            pins[pin]?.grant = (try? transport.grant(part, length: Int(length), to: connection)) ?? nil
        }
        return pins[pin]?.grant.map { [RemoteExtent(key: $0, offset: 0, length: length)] }
    }

    private func look(_ lookup: LookupID, _ id: ObjectID) {
        do throws(FabricError) {
            // A seal that the host has not seen yet counts: `contains` asks it.
            var found = try store.pin(id)
            if found == nil, try store.contains(id) { found = try store.pin(id) }
            guard let found else { return serves.notFound(lookup, .notFound, into: &serveDirectives) }
            do throws(FabricError) {
                try tell(offset: found.offset, bytes: Int(found.size) + Int(found.metadataSize))
            } catch {
                store.unpin(found)
                throw error
            }
            let pin = nextPin
            nextPin += 1
            pins[pin] = ServedObject(object: found)
            serves.found(
                lookup, pin: pin, size: Int(found.size), metadataSize: Int(found.metadataSize), now: .now,
                into: &serveDirectives)
        } catch {
            serves.notFound(lookup, .notServing, into: &serveDirectives)
        }
    }

    // MARK: Sending

    private func send(_ message: TransferMessage, extents: [RemoteExtent] = [], on connection: Connection) {
        var count = 0
        do {
            var span = scratch.mutableSpan
            // SAFETY: any bytes are valid UInt8 values.
            var writer = WireWriter(unsafe span.mutableBytes)
            message.write(to: &writer, extents: extents)
            count = writer.count
        }
        submit(Array(scratch[..<count]), on: connection)
    }

    private func send(_ reply: TransferReply, inline object: PinnedEntry, on connection: Connection) {
        let length = Int(object.size) + Int(object.metadataSize)
        var bytes = [UInt8](repeating: 0, count: TransferMessage.inlineHeaderByteCount + length)
        do {
            var span = bytes.mutableSpan
            // SAFETY: any bytes are valid UInt8 values.
            var writer = WireWriter(unsafe span.mutableBytes)
            TransferMessage.reply(reply).write(to: &writer)
            store.withBytes(of: object) { writer.raw($0) }
        }
        submit(bytes, on: connection)
    }

    private func submit(_ bytes: [UInt8], on connection: Connection) {
        if unsent[connection] != nil || !transmit(bytes, on: connection) {
            unsent[connection, default: UnsentMessages()].append(bytes)
        }
    }

    /// - Returns: false when the connection's queue is full.
    private func transmit(_ bytes: [UInt8], on connection: Connection) -> Bool {
        do throws(FabricError) {
            // SAFETY: any bytes are valid UInt8 values.
            return try transport.send(unsafe bytes.span.bytes, on: connection)
        } catch {
            // The connection is closing: its `closed` event settles everything.
            return true
        }
    }

    func sendUnsent(_ connection: Connection) {
        guard var messages = unsent.removeValue(forKey: connection) else { return }
        messages.send { transmit($0, on: connection) }
        if !messages.isEmpty { unsent[connection] = messages }
    }
}
