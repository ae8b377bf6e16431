// The transfer thread: drives a transport and runs the directives of the pull and serve machines.

internal import RayCore

/// Moves objects between this node's store and others. Belongs to one thread from `run` on.
final class TransferLoop<Wire: Transport & ~Copyable> {
    var transport: Wire
    let kind: TransportKind
    let store: StoreClient
    let control: TransferControl
    /// Reports pulls that failed to the store's host.
    let failed: @Sendable (ObjectID, _ session: UInt32, _ token: UInt32, FabricError.Code) -> Void
    var pulls: PullMachine
    var serves = ServeMachine()
    let region: RegionKey

    var pullDirectives: [PullDirective] = []
    var serveDirectives: [ServeDirective] = []
    var extents: [RemoteExtent] = []
    /// Drafts of pulls, by the index of the pull.
    var drafts: [UInt32: DraftBox] = [:]
    /// Objects pinned for other nodes.
    var pins: [UInt64: ServedObject] = [:]
    /// Those of which nobody needs the pin any more, but that a peer may still read.
    var ending: [RegionKey: PinnedEntry] = [:]
    var nextPin: UInt64 = 1
    /// Generations of the segments whose memory the transport was told of.
    var toldSegments: [Int: UInt64] = [:]
    /// The object of each waiter, to report failures.
    var waiting: [UInt64: ObjectID] = [:]
    /// Connections of each node, the one in use first.
    var connections: [NodeID: [Connection]] = [:]
    var nodes: [Connection: NodeID] = [:]
    /// Where nodes were reached before.
    var addresses: [NodeID: Address] = [:]
    var connecting: [Connection: (address: Address, promise: Promise<NodeID>?, node: NodeID?)] = [:]
    /// Messages that a full connection did not take yet.
    var unsent: [Connection: UnsentMessages] = [:]
    var scratch = [UInt8](repeating: 0, count: TransferMessage.maximumByteCount)
    private var isStopping = false

    /// - Throws: what `register` throws.
    init(
        _ transport: consuming Wire, kind: TransportKind, store: StoreClient, control: TransferControl,
        failed: @escaping @Sendable (ObjectID, UInt32, UInt32, FabricError.Code) -> Void
    ) throws(FabricError) {
        var transport = transport
        // SAFETY: the arena stays readable as long as the store client, which this loop keeps: parts
        // without memory are zeroes.
        region = try unsafe transport.register(store.segments.arena, access: .byGrant)
        control.connectWaker(transport.waker)
        self.transport = transport
        self.kind = kind
        self.store = store
        self.control = control
        self.failed = failed
        var configuration = PullConfiguration()
        configuration.budgetBytes = max(1 << 20, store.geometry.capacity / 2)
        configuration.maximumObjectBytes = store.geometry.capacity
        pulls = PullMachine(configuration: configuration)
    }

    func run() {
        while true {
            while let event = transport.poll() {
                handle(event)
                runDirectives()
            }
            for request in control.takeRequests() { handle(request) }
            if isStopping { break }
            let now = Timestamp.now
            pulls.tick(now: now, into: &pullDirectives)
            serves.tick(now: now, into: &serveDirectives)
            runDirectives()
            transport.wait(until: min(pulls.nextDeadline, serves.nextDeadline))
        }
        control.close()
        for attempt in connecting.values { attempt.promise?.fulfil(.failure(FabricError(.closed, "the fabric"))) }
    }

    // MARK: Requests of other threads

    private func handle(_ request: TransferControl.Request) {
        let now = Timestamp.now
        switch request {
        case .memoryCame(let segment):
            // What can not be mapped here is tried again when an object is asked for, where the failure can be told.
            try? tell(segment: segment)
        case .pull(let id, let waiter, let deadline):
            waiting[waiter] = id
            pulls.pull(
                id, from: sources(of: id), priority: .get, deadline: deadline, waiter: waiter, now: now,
                into: &pullDirectives)
        case .cancel(let waiter):
            pulls.cancel(waiter: waiter, now: now, into: &pullDirectives)
        case .connect(let address, let deadline, let promise):
            connect(to: address, node: nil, deadline: deadline, promise)
        case .statistics(let promise):
            promise.fulfil(.success(statistics))
        case .stop:
            isStopping = true
        }
    }

    /// Nodes that may have an object: its owner's first, then those that may have a copy, which are
    /// asked if the owner's fails or the object is large.
    private func sources(of id: ObjectID) -> [NodeID] {
        let owner = id.owner.node
        let others = connections.keys.filter { $0 != owner }.sorted()
        guard connections[owner] != nil || addresses[owner] != nil else { return others }
        return [owner] + others.prefix(Self.copiesAsked)
    }

    /// Nodes beside the owner's that are asked for a copy. Who has copies is the owner's knowledge, not
    /// this layer's: with many nodes, asking all of them would cost more than it finds.
    private static var copiesAsked: Int { 8 }

    private var statistics: TransferStatistics {
        TransferStatistics(
            transport: kind, peers: connections.count, objectsPulled: pulls.statistics.objectsPulled,
            bytesPulled: pulls.statistics.bytesRead + pulls.statistics.bytesInline,
            requestsRepeated: pulls.statistics.requestsRepeated, readsRepeated: pulls.statistics.readsWasted,
            pinsForPeers: serves.pins, wire: transport.statistics)
    }

    // MARK: Events of the transport

    private func handle(_ event: TransportEvent) {
        let now = Timestamp.now
        switch event {
        case .connected(let connection): connected(connection, now)
        case .message(let connection): received(on: connection, now)
        case .completed(_, let token, let failure):
            pulls.completed(token: token, failure: failure, now: now, into: &pullDirectives)
        case .notified: break
        case .revoked(let key):
            if let object = ending.removeValue(forKey: key) { store.unpin(object) }
        case .writable(let connection):
            sendUnsent(connection)
            pulls.writable(connection, now: now, into: &pullDirectives)
        case .finished(let connection): transport.close(connection)
        case .closed(let connection, let failure): closed(connection, failure, now)
        }
    }

    private func received(on connection: Connection, _ now: Timestamp) {
        let message: TransferMessage
        do throws(WireError) {
            message = try TransferMessage.read(transport.message, extents: &extents)
        } catch {
            // Not what this version sends: whatever it is, nothing good follows.
            return transport.close(connection)
        }
        switch message {
        case .call(let call): serves.received(call, from: connection, now: now, into: &serveDirectives)
        case .reply(let reply):
            pulls.received(reply, extents: extents, from: connection, now: now, into: &pullDirectives)
        }
    }

    // MARK: Connections

    func connect(to address: Address, node: NodeID?, deadline: Timestamp, _ promise: Promise<NodeID>?) {
        do throws(FabricError) {
            let connection = try transport.connect(to: address, deadline: deadline)
            connecting[connection] = (address, promise, node)
        } catch {
            promise?.fulfil(.failure(error))
            if let node {
                pulls.connectFailed(
                    node, TransportFailure(error.code, errno: error.errno), now: .now, into: &pullDirectives)
            }
        }
    }

    private func connected(_ connection: Connection, _ now: Timestamp) {
        guard let node = transport.peer(of: connection) else { return }
        if let attempt = connecting.removeValue(forKey: connection) {
            addresses[node] = attempt.address
            attempt.promise?.fulfil(.success(node))
            if let expected = attempt.node, expected != node {
                pulls.connectFailed(
                    expected, TransportFailure(.staleIncarnation), now: now, into: &pullDirectives)
            }
        }
        nodes[connection] = node
        connections[node, default: []].append(connection)
        pulls.connected(node, connection, now: now, into: &pullDirectives)
    }

    private func closed(_ connection: Connection, _ failure: TransportFailure, _ now: Timestamp) {
        unsent[connection] = nil
        if let attempt = connecting.removeValue(forKey: connection) {
            attempt.promise?.fulfil(.failure(failure.error("connect to \(attempt.address)")))
            if let node = attempt.node { pulls.connectFailed(node, failure, now: now, into: &pullDirectives) }
        }
        serves.connectionClosed(connection, into: &serveDirectives)
        pulls.disconnected(connection, failure, now: now, into: &pullDirectives)
        guard let node = nodes.removeValue(forKey: connection) else { return }
        let others = connections[node, default: []].filter { $0 != connection }
        connections[node] = others.isEmpty ? nil : others
        if let other = others.first { pulls.connected(node, other, now: now, into: &pullDirectives) }
    }
}

/// Keeps a draft where an array or dictionary needs a copyable value.
final class DraftBox {
    private var draft: Draft?
    /// Where the object begins in the arena.
    let arenaOffset: UInt64
    init(_ draft: consuming Draft) {
        arenaOffset = draft.arenaOffset
        self.draft = consume draft
    }

    func seal() throws(FabricError) {
        guard let draft = draft.take() else { preconditionFailure("sealed twice") }
        _ = try draft.seal()
    }
}

/// An object pinned for another node.
struct ServedObject {
    let object: PinnedEntry
    /// What its puller may read it by, once it was told where it is.
    var grant: RegionKey?
}

/// Messages that wait for room in a connection, the oldest first.
struct UnsentMessages {
    /// More than all answers that a puller waits for at once: who asks on and does not read gets none.
    static let maximumBytes = 64 << 20

    private(set) var messages: [[UInt8]] = []
    private var byteCount = 0

    var isEmpty: Bool { messages.isEmpty }

    /// Keeps a message, or drops it when too much is kept already: who misses it asks again.
    mutating func append(_ message: [UInt8]) {
        guard byteCount + message.count <= Self.maximumBytes else { return }
        byteCount += message.count
        messages.append(message)
    }

    /// Sends from the front for as long as `send` says that it did.
    mutating func send(_ send: ([UInt8]) -> Bool) {
        let sent = messages.prefix { send($0) }
        byteCount -= sent.reduce(0) { $0 + $1.count }
        messages.removeFirst(sent.count)
    }
}
