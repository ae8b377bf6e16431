// What the shell of a real node does with the directives, done by the simulation; every directive is
// checked against what the shell knows.

import RayCore

@testable import RayFabric

extension TransferSimulation {
    // MARK: Directives of the pull machine

    mutating func run(_ directive: PullDirective, at place: Int) throws(SimulationFailure) {
        switch directive {
        case .connect(let node):
            schedule(.connect(node), after: delay(), place: place)
        case .send(let call, let connection):
            try note(call, connection, at: place)
            send(.call(call), [], over: connection, from: place)
        case .allocate(let pull, let object, let size, let metadataSize):
            try check(nodes[place].drafts[pull] == nil, "\(pull) asks for a second draft")
            nodes[place].drafts[pull] = VirtualNode.Draft(object: object, size: size, metadataSize: metadataSize)
            try now(or: .allocate(pull), at: place)
        case .read(let read):
            try start(read, at: place)
        case .cancelRead(let connection, let token):
            // The read may have completed between the directive and now, but it did start.
            guard let outstanding = nodes[place].outstanding[token] else { return }
            try check(outstanding.read.connection == connection, "a read is cancelled on another connection")
            guard random.chance(0.7) else { return }
            let failure = TransportFailure(.cancelled)
            schedule(.completeRead(link: link(connection), token: token, failure), after: delay(), place: place)
        case .publish(let pull):
            guard let draft = nodes[place].drafts[pull], let bytes = draft.bytes, !draft.isPublishing else {
                throw SimulationFailure(description: "\(pull) has no draft to publish")
            }
            try checkNoReads(of: pull, at: place)
            if draft.sources.count > 1 { reached("several sources") }
            try check(draft.isTainted || bytes == contents[draft.object], "\(draft.object) has arrived wrong")
            nodes[place].drafts[pull]!.isPublishing = true
            try now(or: .publish(pull), at: place)
        case .deliverInline(let pull, let object, let size, let metadataSize, let payload):
            let bytes = Array(message[payload])
            try check(bytes.count == size + metadataSize, "an inline object of the wrong size")
            try check(isFromHostile || bytes == contents[object], "\(object) has arrived wrong inside a reply")
            reached("inline")
            nodes[place].drafts[pull] = VirtualNode.Draft(
                object: object, size: size, metadataSize: metadataSize, bytes: bytes, isPublishing: true,
                isInline: true)
            try now(or: .publish(pull), at: place)
        case .abort(let pull):
            let draft = nodes[place].drafts.removeValue(forKey: pull)
            try check(draft != nil && !draft!.isInline && draft!.bytes != nil, "\(pull) has no draft to abort")
            try checkNoReads(of: pull, at: place)
            reached("abort")
        case .finished(let waiter, let failure):
            guard let object = nodes[place].waiting.removeValue(forKey: waiter) else {
                throw SimulationFailure(description: "waiter \(waiter) has a second result")
            }
            guard let failure else {
                try check(nodes[place].store[object] != nil, "\(object) is not in the store")
                coverage.successes += 1
                return
            }
            coverage.outcomes[failure, default: 0] += 1
        }
    }

    /// Does what the shell is asked for at once, or lets it take its time.
    private mutating func now(or event: Event, at place: Int) throws(SimulationFailure) {
        if random.chance(0.3) {
            schedule(event, after: delay(), place: place)
        } else if case .allocate(let pull) = event {
            try allocate(pull, at: place)
        } else if case .publish(let pull) = event {
            try publish(pull, at: place)
        }
    }

    /// A request stays the same while it is repeated, and is released once, after its reads.
    private mutating func note(
        _ call: TransferCall, _ connection: Connection, at place: Int
    ) throws(SimulationFailure) {
        switch call {
        case .request(let request, attempt: let attempt, let object, inlineLimit: _):
            let known = nodes[place].requested.updateValue(object, forKey: request)
            try check((attempt == 1) == (known == nil) && (known ?? object) == object, "request \(request) changed")
            if attempt > 1 { reached("repeated request") }
        case .renew(let request, grant: _, attempt: _):
            try check(nodes[place].requested[request] != nil, "request \(request) is renewed and was never made")
            reached("renewal")
        case .release(let request):
            let object = nodes[place].requested.removeValue(forKey: request)
            try check(object != nil, "request \(request) is released and was never made")
            let isRead = nodes[place].outstanding.values.contains {
                $0.object == object && $0.read.connection == connection
            }
            try check(!isRead, "request \(request) is released while it is read")
        }
    }

    private func checkNoReads(of pull: PullID, at place: Int) throws(SimulationFailure) {
        let isRead = nodes[place].outstanding.values.contains { $0.read.pull == pull }
        try check(!isRead, "a read is in flight into the draft of \(pull)")
    }

    mutating func allocate(_ pull: PullID, at place: Int) throws(SimulationFailure) {
        guard let draft = nodes[place].drafts[pull] else { throw SimulationFailure(description: "no \(pull)") }
        let byteCount = draft.size + draft.metadataSize
        let failure: FabricError.Code? =
            if nodes[place].store[draft.object] != nil { .objectExists } else if byteCount > 4000 {
                .objectTooLarge
            } else if nodes[place].isFull { .storeFull } else { nil }
        if let failure {
            nodes[place].drafts[pull] = nil
            let retry = failure == .storeFull && random.chance(0.7)
            if retry { reached("allocation retried") }
            nodes[place].pull.allocationFailed(pull, failure, retry: retry, now: now, into: &pullDirectives)
        } else {
            nodes[place].drafts[pull]!.bytes = Array(repeating: 0, count: byteCount)
            nodes[place].pull.allocated(pull, now: now, into: &pullDirectives)
        }
    }

    mutating func publish(_ pull: PullID, at place: Int) throws(SimulationFailure) {
        guard let draft = nodes[place].drafts[pull] else { throw SimulationFailure(description: "no \(pull)") }
        if draft.isInline { nodes[place].drafts[pull] = nil }
        let failure: FabricError.Code? =
            if nodes[place].store[draft.object] != nil { .objectExists } else if draft.isInline, nodes[place].isFull {
                .storeFull
            } else if !isCalm, random.chance(0.02) { .tooManyObjects } else { nil }
        if let failure {
            let retry = failure == .storeFull && random.chance(0.7)
            if retry { reached("delivery retried") }
            nodes[place].pull.publishFailed(pull, failure, retry: retry, now: now, into: &pullDirectives)
        } else {
            nodes[place].drafts[pull] = nil
            nodes[place].add(draft.object, draft.bytes!, &random)
            nodes[place].pull.published(pull, now: now, into: &pullDirectives)
        }
    }

    // MARK: Reads

    private mutating func start(_ read: ChunkRead, at place: Int) throws(SimulationFailure) {
        guard let draft = nodes[place].drafts[read.pull], let bytes = draft.bytes, !draft.isPublishing else {
            throw SimulationFailure(description: "a read into \(read.pull), which has no draft")
        }
        try check(read.length > 0 && read.offset >= 0, "a read of nothing")
        try check(read.offset + read.length <= bytes.count, "a read past the end of its draft")
        let range = read.offset..<read.offset + read.length
        let clash = nodes[place].outstanding.values.contains {
            $0.read.pull == read.pull && range.overlaps($0.read.offset..<$0.read.offset + $0.read.length)
        }
        try check(!clash, "two reads of the same bytes")
        try check(nodes[place].outstanding[read.token] == nil && read.token >> 63 == 0, "a token used twice")
        let link = link(read.connection)
        guard isOpen(link, at: place) else {
            let failure = TransportFailure(.closed)
            return nodes[place].pull.completed(token: read.token, failure: failure, now: now, into: &pullDirectives)
        }
        if !isCalm, random.chance(0.04) {
            reached("read refused")
            nodes[place].pull.readRefused(token: read.token, now: now, into: &pullDirectives)
            return schedule(.writable(link: link), after: delay(), place: place)
        }
        if peer(of: link, from: place) == hostile {
            nodes[place].drafts[read.pull]!.isTainted = true
        } else if let bytes = nodes[peer(of: link, from: place)].memory[read.remote.key] {
            try check(Int(read.remote.offset) + read.length <= bytes.count, "a read past the end of an extent")
        }
        nodes[place].outstanding[read.token] = VirtualNode.Outstanding(read: read, object: draft.object)
        let source = peer(of: link, from: place)
        let arrival = max(now + delay(), partitions[place][source])
        schedule(
            .serveRead(link: link, token: read.token), at: arrival, place: source,
            incarnation: incarnation(of: source, on: link))
        schedule(
            .completeRead(link: link, token: read.token, TransportFailure(.deadlineExceeded)), at: read.deadline,
            place: place, incarnation: nodes[place].id.incarnation)
    }

    /// The source's end of a one-sided read: no machine is asked.
    mutating func serveRead(_ link: Int, _ token: UInt64, at place: Int) throws(SimulationFailure) {
        let puller = peer(of: link, from: place)
        guard isOpen(link, at: place), isOpen(link, at: puller),
            let outstanding = nodes[puller].outstanding[token], self.link(outstanding.read.connection) == link
        else { return }
        guard partitions[place][puller] <= now else {
            return schedule(
                .serveRead(link: link, token: token), at: partitions[place][puller], place: place,
                incarnation: nodes[place].id.incarnation)
        }
        let start = Int(clamping: outstanding.read.remote.offset)
        let arrival = max(now + delay(), partitions[place][puller])
        var failure: TransportFailure?
        if let bytes = nodes[place].memory[outstanding.read.remote.key], start <= bytes.count,
            outstanding.read.length <= bytes.count - start
        {
            nodes[puller].outstanding[token]!.bytes = Array(bytes[start..<start + outstanding.read.length])
        } else {
            reached("remote access denied")
            failure = TransportFailure(.remoteAccessDenied)
        }
        schedule(
            .completeRead(link: link, token: token, failure), at: arrival, place: puller,
            incarnation: nodes[puller].id.incarnation)
    }

    mutating func completeRead(_ link: Int, _ token: UInt64, _ failure: TransportFailure?, at place: Int) {
        guard let ended = nodes[place].outstanding[token], self.link(ended.read.connection) == link else { return }
        nodes[place].outstanding[token] = nil
        // A read that fails may have written some of its bytes, or other ones.
        let bytes = failure == nil ? ended.bytes! : Array(repeating: 0xbb, count: ended.read.length / 2)
        let start = ended.read.offset
        if failure == nil { nodes[place].drafts[ended.read.pull]!.sources.insert(peer(of: link, from: place)) }
        nodes[place].drafts[ended.read.pull]!.bytes!.replaceSubrange(start..<start + bytes.count, with: bytes)
        nodes[place].pull.completed(token: token, failure: failure, now: now, into: &pullDirectives)
        if random.chance(0.1) {
            let other: TransportFailure? = failure == nil ? TransportFailure(.connectionLost) : nil
            nodes[place].pull.completed(token: token, failure: other, now: now, into: &pullDirectives)
        }
    }

    // MARK: Directives of the serve machine

    mutating func run(_ directive: ServeDirective, at place: Int) throws(SimulationFailure) {
        switch directive {
        case .lookup(let lookup, let object):
            if random.chance(0.3) {
                schedule(.lookup(lookup, object), after: delay(), place: place)
            } else {
                answer(lookup, object, at: place)
            }
        case .send(let reply, let connection): send(.reply(reply), [], over: connection, from: place)
        case .sendLocated(let reply, let connection, let pin):
            guard let object = nodes[place].pins[pin], let stored = nodes[place].store[object] else {
                throw SimulationFailure(description: "an object is told of without a pin")
            }
            var extents = stored.extents
            let reply = place == hostile && random.chance(0.6) ? lie(reply, &extents) : reply
            send(.reply(reply), extents, over: connection, from: place)
        case .sendInline(let reply, let connection, let pin):
            guard let object = nodes[place].pins[pin], let stored = nodes[place].store[object] else {
                throw SimulationFailure(description: "an object is sent without a pin")
            }
            var bytes: [UInt8] = []
            for extent in stored.extents {
                let start = Int(extent.location.offset)
                bytes += nodes[place].memory[extent.location.key]![start..<start + Int(extent.length)]
            }
            send(.reply(reply), [], payload: bytes, over: connection, from: place)
        case .unpin(let pin):
            guard let object = nodes[place].pins.removeValue(forKey: pin) else {
                throw SimulationFailure(description: "pin \(pin) is given up twice")
            }
            nodes[place].store[object]!.pins -= 1
        }
    }

    mutating func answer(_ lookup: LookupID, _ object: ObjectID, at place: Int) {
        if deleted.contains(object) {
            nodes[place].serve.notFound(lookup, .deleted, into: &serveDirectives)
        } else if let stored = nodes[place].store[object] {
            let pin = nodes[place].nextPin
            nodes[place].nextPin += 1
            nodes[place].pins[pin] = object
            nodes[place].store[object]!.pins += 1
            let metadataSize = stored.byteCount / 5
            nodes[place].serve.found(
                lookup, pin: pin, size: stored.byteCount - metadataSize, metadataSize: metadataSize,
                now: now, into: &serveDirectives)
        } else {
            nodes[place].serve.notFound(lookup, .notFound, into: &serveDirectives)
        }
    }

    /// An answer as a broken or hostile source might make it.
    private mutating func lie(_ reply: TransferReply, _ extents: inout [RemoteExtent]) -> TransferReply {
        reached("lie")
        guard case .located(let request, var size, var metadataSize, var lease, let grant) = reply else {
            return reply
        }
        switch Int.random(in: 0...6, using: &random) {
        case 0: size = Int.random(in: 0...3000, using: &random)
        case 1: metadataSize = Int.random(in: 0...100, using: &random)
        case 2: lease = UInt32.random(in: 0...50, using: &random)
        case 3: if !extents.isEmpty { extents[0].length = .random(in: 0...UInt64.max, using: &random) }
        case 4: if !extents.isEmpty { extents[0].location.offset = .max - 3 }
        case 5: extents = Array(extents.dropFirst())
        default: (size, metadataSize) = (Int.max / 2, 0)
        }
        if size == Int.max / 2 {
            extents = [RemoteExtent(key: RegionKey(rawValue: 1), offset: 0, length: UInt64(size))]
        }
        return .located(request, size: size, metadataSize: metadataSize, lease: lease, grant: grant)
    }
}
