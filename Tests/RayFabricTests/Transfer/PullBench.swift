// A pull machine on the bench: a test plays its shell, its sources and its clock.

import RayCore

@testable import RayFabric

struct PullBench {
    var machine: PullMachine
    var now = Timestamp(nanoseconds: 1_000_000_000)
    /// What came out since it was last taken.
    var directives: [PullDirective] = []

    init(_ change: (inout PullConfiguration) -> Void = { _ in }) {
        var configuration = PullConfiguration()
        configuration.chunkBytes = 100
        configuration.inlineLimit = 0
        change(&configuration)
        machine = PullMachine(configuration: configuration)
    }

    /// All directives since the last time.
    mutating func take() -> [PullDirective] {
        defer { directives.removeAll() }
        return directives
    }

    // MARK: Inputs

    mutating func pull(
        _ object: ObjectID, from nodes: [NodeID], _ priority: PullPriority = .get, within: Duration = .seconds(60),
        waiter: UInt64 = 1
    ) {
        machine.pull(
            object, from: nodes, priority: priority, deadline: now + within, waiter: waiter, now: now,
            into: &directives)
    }

    mutating func connect(_ node: NodeID) { machine.connected(node, connection(node), now: now, into: &directives) }

    mutating func disconnect(_ node: NodeID, _ code: FabricError.Code = .connectionLost) {
        machine.disconnected(connection(node), TransportFailure(code), now: now, into: &directives)
    }

    mutating func receive(_ reply: TransferReply, from node: NodeID, _ extents: [RemoteExtent] = []) {
        machine.received(reply, extents: extents, from: connection(node), now: now, into: &directives)
    }

    /// Answers a request with one extent at offset 0 of a region named like the node.
    mutating func locate(_ request: UInt64, at node: NodeID, size: Int, metadataSize: Int = 0) {
        let byteCount = UInt64(size + metadataSize)
        let extent = RemoteExtent(key: RegionKey(rawValue: node.value), offset: 0, length: byteCount)
        let reply = TransferReply.located(request, size: size, metadataSize: metadataSize, lease: 9000, grant: 5)
        receive(reply, from: node, byteCount == 0 ? [] : [extent])
    }

    mutating func complete(_ read: ChunkRead, _ failure: FabricError.Code? = nil) {
        machine.completed(
            token: read.token, failure: failure.map { TransportFailure($0) }, now: now, into: &directives)
    }

    mutating func allocated(_ pull: PullID) { machine.allocated(pull, now: now, into: &directives) }
    mutating func published(_ pull: PullID) { machine.published(pull, now: now, into: &directives) }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        machine.tick(now: now, into: &directives)
    }

    // MARK: Shortcuts

    /// Pulls an object from connected nodes up to its first reads, and gives them.
    mutating func startReading(
        _ object: ObjectID, from nodes: [NodeID], size: Int, _ priority: PullPriority = .get, waiter: UInt64 = 1
    ) -> [ChunkRead] {
        for node in nodes { connect(node) }
        pull(object, from: nodes, priority, waiter: waiter)
        locate(take().requests[0], at: nodes[0], size: size)
        allocated(take().allocations[0])
        return directives.reads
    }
}

func connection(_ node: NodeID) -> Connection { Connection(index: UInt32(node.value), generation: node.incarnation) }
func node(_ value: UInt64) -> NodeID { NodeID(value: value, incarnation: 1) }
func object(_ sequence: UInt64) -> ObjectID { ObjectID(owner: WorkerID(node: node(9), number: 1), sequence: sequence) }

extension [PullDirective] {
    /// Requests made, repeats included.
    var requests: [UInt64] {
        compactMap {
            if case .send(.request(let request, attempt: _, _, inlineLimit: _), _) = $0 { request } else { nil }
        }
    }
    var requestedObjects: [ObjectID] {
        compactMap {
            if case .send(.request(_, attempt: _, let object, inlineLimit: _), _) = $0 { object } else { nil }
        }
    }
    var releases: [UInt64] {
        compactMap { if case .send(.release(let request), _) = $0 { request } else { nil } }
    }
    var allocations: [PullID] {
        compactMap { if case .allocate(let pull, _, size: _, metadataSize: _) = $0 { pull } else { nil } }
    }
    var reads: [ChunkRead] { compactMap { if case .read(let read) = $0 { read } else { nil } } }
    var cancelled: [UInt64] { compactMap { if case .cancelRead(_, let token) = $0 { token } else { nil } } }
    var published: [PullID] { compactMap { if case .publish(let pull) = $0 { pull } else { nil } } }
    var aborted: [PullID] { compactMap { if case .abort(let pull) = $0 { pull } else { nil } } }
    var connects: [NodeID] { compactMap { if case .connect(let node) = $0 { node } else { nil } } }
    /// Results by waiter; nil is success.
    var results: [UInt64: FabricError.Code?] {
        reduce(into: [:]) { if case .finished(let waiter, let failure) = $1 { $0[waiter] = .some(failure) } }
    }
}
