// The network of the transfer simulation, and the faults of its script.

import RayCore

@testable import RayFabric

extension TransferSimulation {
    // MARK: Links

    func link(_ connection: Connection) -> Int { Int(connection.index) }

    private func end(of link: Int, at place: Int) -> Int { links[link].places.0 == place ? 0 : 1 }

    func handle(_ link: Int, at place: Int) -> Connection {
        Connection(index: UInt32(link), generation: UInt32(end(of: link, at: place)) + 1)
    }

    func peer(of link: Int, from place: Int) -> Int {
        end(of: link, at: place) == 0 ? links[link].places.1 : links[link].places.0
    }

    func incarnation(of place: Int, on link: Int) -> UInt32 {
        end(of: link, at: place) == 0 ? links[link].incarnations.0 : links[link].incarnations.1
    }

    func isOpen(_ link: Int, at place: Int) -> Bool {
        nodes[place].isAlive && nodes[place].id.incarnation == incarnation(of: place, on: link)
            && (end(of: link, at: place) == 0 ? links[link].isOpen.0 : links[link].isOpen.1)
    }

    mutating func connect(_ place: Int, to node: NodeID) {
        let target = Int(node.value) - 1
        let known = links.indices.last {
            (links[$0].places == (place, target) || links[$0].places == (target, place))
                && isOpen($0, at: place) && isOpen($0, at: target)
        }
        if let known, nodes[target].id == node {
            return nodes[place].pull.connected(node, handle(known, at: place), now: now, into: &pullDirectives)
        }
        let failure: FabricError.Code? =
            if !nodes[target].isAlive { .connectionRefused } else if nodes[target].id != node {
                .staleIncarnation
            } else if partitions[place][target] > now { .unreachable } else if !isCalm, random.chance(0.1) {
                .peerUnresponsive
            } else { nil }
        if let failure {
            return nodes[place].pull.connectFailed(node, TransportFailure(failure), now: now, into: &pullDirectives)
        }
        links.append(
            Link(places: (place, target), incarnations: (nodes[place].id.incarnation, nodes[target].id.incarnation)))
        let link = links.count - 1
        nodes[place].pull.connected(node, handle(link, at: place), now: now, into: &pullDirectives)
        schedule(.accepted(link: link), after: .zero, place: target)
    }

    mutating func accepted(_ link: Int, at place: Int) {
        guard isOpen(link, at: place) else { return }
        let peer = peer(of: link, from: place)
        let id = NodeID(value: UInt64(peer) + 1, incarnation: incarnation(of: peer, on: link))
        nodes[place].pull.connected(id, handle(link, at: place), now: now, into: &pullDirectives)
    }

    /// One end learns that the link is gone; its reads complete first.
    mutating func linkDown(_ link: Int, at place: Int, _ code: FabricError.Code) {
        guard isOpen(link, at: place) else { return }
        if end(of: link, at: place) == 0 { links[link].isOpen.0 = false } else { links[link].isOpen.1 = false }
        let connection = handle(link, at: place)
        let failure = TransportFailure(code)
        let tokens = nodes[place].outstanding.filter { $0.value.read.connection == connection }.keys.sorted()
        for token in tokens { completeRead(link, token, failure, at: place) }
        nodes[place].pull.disconnected(connection, failure, now: now, into: &pullDirectives)
        nodes[place].serve.connectionClosed(connection, into: &serveDirectives)
    }

    // MARK: Messages

    mutating func send(
        _ message: TransferMessage, _ extents: [RemoteExtent], payload: [UInt8] = [],
        over connection: Connection, from place: Int
    ) {
        let link = link(connection)
        guard isOpen(link, at: place) else { return }
        // A shell may drop what it can not queue.
        if !isCalm, random.chance(0.01) { return reached("message dropped") }
        let bytes = encoded(message, extents) + payload
        let target = peer(of: link, from: place)
        let end = end(of: link, at: target)
        var arrival = max(now + delay(), partitions[place][target])
        if isCalm || !random.chance(0.02) {
            arrival = max(arrival, end == 0 ? links[link].lastArrival.0 : links[link].lastArrival.1)
            if end == 0 { links[link].lastArrival.0 = arrival } else { links[link].lastArrival.1 = arrival }
        } else {
            reached("message out of order")
        }
        let incarnation = incarnation(of: target, on: link)
        schedule(.deliver(link: link, to: end, bytes), at: arrival, place: target, incarnation: incarnation)
        if !isCalm, random.chance(0.02) {
            reached("message repeated")
            let late = arrival + .microseconds(Int.random(in: 1...1_500_000, using: &random))
            schedule(.deliver(link: link, to: end, bytes), at: late, place: target, incarnation: incarnation)
        }
    }

    mutating func deliver(_ bytes: [UInt8], _ link: Int, to end: Int) throws(SimulationFailure) {
        let place = end == 0 ? links[link].places.0 : links[link].places.1
        let peer = peer(of: link, from: place)
        guard isOpen(link, at: place) else { return }
        guard partitions[place][peer] <= now else {
            return schedule(
                .deliver(link: link, to: end, bytes), at: partitions[place][peer], place: place,
                incarnation: nodes[place].id.incarnation)
        }
        message = bytes
        isFromHostile = peer == hostile
        let connection = handle(link, at: place)
        // SAFETY: every byte of an array of bytes is initialised.
        guard let message = unsafe try? TransferMessage.read(bytes.span.bytes, extents: &extents) else {
            throw SimulationFailure(description: "a message that can not be read")
        }
        switch message {
        case .call(let call):
            nodes[place].serve.received(call, from: connection, now: now, into: &serveDirectives)
        case .reply(let reply):
            nodes[place].pull.received(
                reply, extents: extents, from: connection, now: now, into: &pullDirectives)
        }
    }

    // MARK: Faults

    mutating func inject(_ fault: Fault, _ given: Int) throws(SimulationFailure) {
        let place = isCalm ? given : Int.random(in: 0..<nodes.count, using: &random)
        let isActive = nodes[place].isAlive && nodes[place].pausedUntil <= now
        switch fault {
        case .pull: if isActive { pull(at: place) }
        case .pullMany: if isActive { for _ in 0..<8 { pull(at: place) } }
        case .cancel:
            guard isActive, let waiter = nodes[place].waiting.keys.sorted().randomElement(using: &random) else {
                return
            }
            nodes[place].pull.cancel(waiter: waiter, now: now, into: &pullDirectives)
        case .addSource:
            guard isActive, let waiter = nodes[place].waiting.keys.sorted().randomElement(using: &random) else {
                return
            }
            let object = nodes[place].waiting[waiter]!
            let node = nodes[Int.random(in: 0..<nodes.count, using: &random)].id
            if node != nodes[place].id {
                nodes[place].pull.addSource(node, of: object, now: now, into: &pullDirectives)
            }
        case .cutLink:
            guard let link = links.indices.randomElement(using: &random) else { return }
            cut(link, .connectionLost, after: .zero)
        case .partition: partition(place)
        case .kill: kill(place)
        case .restart: restart(place)
        case .pause:
            nodes[place].pausedUntil = now + .milliseconds(Int.random(in: 1...1200, using: &random))
        case .evict:
            guard nodes[place].isAlive, let object = objects.randomElement(using: &random) else { return }
            if nodes[place].evict(object, &random) { reached("eviction") }
        case .delete:
            guard let object = objects.randomElement(using: &random) else { return }
            deleted.insert(object)
            for place in nodes.indices { _ = nodes[place].evict(object, &random) }
        case .fillStore: nodes[place].isFull = true
        case .stall: stall(place)
        case .evictAll:
            for object in objects where nodes[given].isAlive { _ = nodes[given].evict(object, &random) }
        case .emptyStore:
            nodes[place].isFull = false
            if isActive, random.chance(0.5) { nodes[place].pull.storeHasRoom(now: now, into: &pullDirectives) }
        }
        if nodes[place].isAlive { try settle(place) }
    }

    private mutating func pull(at place: Int) {
        var object = objects.randomElement(using: &random)!
        if random.chance(0.05) { object = ObjectID(owner: object.owner, sequence: 1000) }
        guard nodes[place].store[object] == nil else { return }
        var sources: [NodeID] = []
        for other in nodes.indices where other != place && random.chance(0.7) {
            let id = nodes[other].id
            sources.append(random.chance(0.03) ? NodeID(value: id.value, incarnation: id.incarnation - 1) : id)
        }
        sources.shuffle(using: &random)
        let priority = PullPriority.allCases.randomElement(using: &random)!
        let patience = Duration.microseconds(Int.random(in: 0...2_000_000, using: &random))
        let waiter = nextWaiter
        nextWaiter += 1
        nodes[place].waiting[waiter] = object
        nodes[place].pull.pull(
            object, from: sources, priority: priority, deadline: random.chance(0.3) ? .never : now + patience,
            waiter: waiter, now: now, into: &pullDirectives)
    }

    /// Both ends learn of it, at different times.
    private mutating func cut(_ link: Int, _ code: FabricError.Code, after least: Duration) {
        for place in [links[link].places.0, links[link].places.1] where isOpen(link, at: place) {
            schedule(.linkDown(link: link, code), after: least + delay(), place: place)
        }
    }

    /// A short one delays messages, a long one ends the links.
    private mutating func partition(_ place: Int) {
        let other = Int.random(in: 0..<nodes.count, using: &random)
        let length = Duration.milliseconds(Int.random(in: 50...2000, using: &random))
        guard other != place else { return }
        partitions[place][other] = max(partitions[place][other], now + length)
        partitions[other][place] = partitions[place][other]
        guard length > .milliseconds(800) else { return }
        for link in links.indices
        where [links[link].places.0, links[link].places.1].sorted() == [place, other].sorted() {
            cut(link, .peerUnresponsive, after: .milliseconds(800))
        }
    }

    /// A node stops for longer than a lease, while its messages and reads are held up on their way
    /// and a source uses its memory for something else.
    private mutating func stall(_ given: Int) {
        let place = nodes.indices.first { nodes[$0].isAlive && !nodes[$0].outstanding.isEmpty } ?? given
        guard let token = nodes[place].outstanding.keys.min() else { return }
        let other = peer(of: link(nodes[place].outstanding[token]!.read.connection), from: place)
        let length = Duration.milliseconds(Int.random(in: 300...790, using: &random))
        nodes[place].pausedUntil = now + length
        partitions[place][other] = max(partitions[place][other], now + (length - .milliseconds(40)))
        partitions[other][place] = partitions[place][other]
        schedule(.fault(.evictAll), at: now + (length - .milliseconds(45)), place: other, incarnation: nil)
    }

    private mutating func kill(_ place: Int) {
        guard nodes[place].isAlive else { return }
        reached("kill")
        for link in links.indices where isOpen(link, at: place) { cut(link, .connectionLost, after: .zero) }
        nodes[place].isAlive = false
    }

    private mutating func restart(_ place: Int) {
        guard !nodes[place].isAlive else { return }
        nodes[place] = VirtualNode(place: place, incarnation: nodes[place].id.incarnation + 1, &random)
        for object in objects where !deleted.contains(object) && random.chance(0.5) {
            nodes[place].add(object, contents[object]!, &random)
        }
    }
}

/// The bytes of a message.
func encoded(_ message: TransferMessage, _ extents: [RemoteExtent] = []) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64 + 24 * extents.count)
    var span = bytes.mutableSpan
    // SAFETY: any byte is a valid element.
    var writer = unsafe WireWriter(span.mutableBytes)
    message.write(to: &writer, extents: extents)
    let count = writer.count
    return Array(bytes.prefix(count))
}
