// The source's side of a transfer as a machine without I/O: requests in, pins and answers out.

package import RayCore

/// A lookup in the store that the shell was asked for.
package struct LookupID: Hashable, Sendable {
    package let index: UInt32
    package let generation: UInt32
}

/// What the shell of the serve machine has to do, in this order.
package enum ServeDirective: Hashable, Sendable {
    /// Find the object and pin it; answer with `found` or `notFound`.
    case lookup(LookupID, ObjectID)
    /// Encode and send. A message that can not be queued may be dropped: the puller asks again.
    case send(TransferReply, Connection)
    /// The same for a located reply: with extents that cover the bytes of the pinned object and then its metadata,
    /// and that this puller may read until `unpin`. At most `TransferMessage.maximumExtents` of them.
    case sendLocated(TransferReply, Connection, pin: UInt64)
    /// The same for an inline reply: the bytes of the pinned object, and then its metadata, follow
    /// the header.
    case sendInline(TransferReply, Connection, pin: UInt64)
    /// The pin that was given with `found` is not needed any more, nor what was opened to the puller for it.
    case unpin(UInt64)
}

/// Limits and times of the serve machine.
package struct ServeConfiguration: Sendable {
    /// How long a pin is kept after the last request or renewal of its puller.
    package var lease: Duration = .seconds(10)
    /// Objects of at most this many bytes, metadata included, are sent inside the reply.
    package var inlineLimit = 100 << 10
    /// Requests that one connection may have open. More than what a puller opens by default.
    package var requestsPerPeer = 1024
    /// Requests open at once.
    package var maximumRequests = 1 << 15

    package init() {}
}

/// Serves objects of the local store to pullers on other nodes.
///
/// Each request holds at most one pin. It is given up when the puller releases it, when the
/// connection closes, or when the puller has been silent about it for a lease; a renewal that comes
/// later is told `expired`, so that an answered renewal means that the pin was never gone. A repeat
/// gets the same answer, from the same pin. Whoever asks gets an answer, or a closed connection.
///
/// The shell answers each `lookup` once, at once or later, and runs the directives in order; see
/// `PullMachine` for how. One thread at a time.
package struct ServeMachine: Sendable {
    private let configuration: ServeConfiguration
    /// False refuses new requests with `notServing`; pins that are held stay.
    package var isServing = true

    private var requests: [Request] = []
    private var slots = SlotPool()
    private var requestOf: [Key: Int] = [:]
    private var peers: [Connection: IndexList] = [:]
    private var peerLinks = LinkTable()
    /// Pinned requests, the one whose lease ends first in front.
    private var leases = IndexList()
    private var leaseLinks = LinkTable()
    private var lastGrant: UInt32 = 0

    /// Requests open, pinned or being looked up.
    package var openRequests: Int { slots.used }
    /// Pins held.
    package var pins: Int { leases.count }

    private struct Key: Hashable {
        var connection: Connection
        var request: UInt64
    }

    private struct Request: Sendable {
        var request: UInt64 = 0
        var connection = Connection(index: 0, generation: 0)
        var generation: UInt32 = 0
        var inlineLimit = 0
        /// Nil while it is being looked up.
        var pin: UInt64?
        /// The pin's number on the wire. A late repeat of a request whose pin was given up gets a new
        /// pin, which a renewal of the old one must not keep.
        var grant: UInt32 = 0
        var size = 0
        var metadataSize = 0
        var leaseEnd = Timestamp.never
    }

    package init(configuration: ServeConfiguration = ServeConfiguration()) {
        precondition(configuration.lease >= .milliseconds(100), "pullers refuse leases below 100 ms")
        self.configuration = configuration
    }

    // MARK: Peers

    /// A puller has said something.
    package mutating func received(
        _ call: TransferCall, from connection: Connection, now: Timestamp, into directives: inout [ServeDirective]
    ) {
        switch call {
        case .request(let request, attempt: _, let object, let inlineLimit):
            if let index = requestOf[Key(connection: connection, request: request)] {
                guard requests[index].pin != nil else { return }
                extendLease(index, now)
                sendLocated(index, &directives)
            } else {
                open(request, object, Int(inlineLimit), connection, &directives)
            }
        case .renew(let request, let grant, let attempt):
            let index = requestOf[Key(connection: connection, request: request)]
            if let index, requests[index].pin != nil, requests[index].grant == grant {
                extendLease(index, now)
                directives.append(.send(.renewed(request, attempt: attempt), connection))
            } else {
                directives.append(.send(.negative(request, .expired), connection))
            }
        case .release(let request):
            guard let index = requestOf[Key(connection: connection, request: request)] else { return }
            close(index, &directives)
        }
    }

    /// The connection is gone, and with it what its puller held.
    package mutating func connectionClosed(
        _ connection: Connection, into directives: inout [ServeDirective]
    ) {
        while let list = peers[connection] { close(list.first, &directives) }
    }

    // MARK: The store

    /// The object is pinned.
    package mutating func found(
        _ lookup: LookupID, pin: UInt64, size: Int, metadataSize: Int, now: Timestamp,
        into directives: inout [ServeDirective]
    ) {
        guard let index = requestOf(lookup) else { return directives.append(.unpin(pin)) }
        if size + metadataSize <= min(requests[index].inlineLimit, configuration.inlineLimit) {
            let start = TransferMessage.inlineHeaderByteCount
            let reply = TransferReply.inline(
                requests[index].request, size: size, metadataSize: metadataSize,
                payload: start..<(start + size + metadataSize))
            directives.append(.sendInline(reply, requests[index].connection, pin: pin))
            directives.append(.unpin(pin))
            close(index, &directives)
        } else {
            lastGrant &+= 1
            requests[index].pin = pin
            requests[index].grant = lastGrant
            (requests[index].size, requests[index].metadataSize) = (size, metadataSize)
            requests[index].leaseEnd = now + configuration.lease
            leaseLinks.append(index, to: &leases)
            sendLocated(index, &directives)
        }
    }

    /// The object is not pinned, for this reason.
    package mutating func notFound(
        _ lookup: LookupID, _ reason: NegativeReason, into directives: inout [ServeDirective]
    ) {
        guard let index = requestOf(lookup) else { return }
        directives.append(.send(.negative(requests[index].request, reason), requests[index].connection))
        close(index, &directives)
    }

    // MARK: Time

    /// When `tick` is due.
    package var nextDeadline: Timestamp { leases.isEmpty ? .never : requests[leases.first].leaseEnd }

    /// Gives up pins whose puller has been silent for a lease.
    package mutating func tick(now: Timestamp, into directives: inout [ServeDirective]) {
        while nextDeadline <= now, !leases.isEmpty { close(leases.first, &directives) }
    }

    // MARK: Requests

    private func requestOf(_ lookup: LookupID) -> Int? {
        let index = Int(lookup.index)
        guard index < requests.count, requests[index].generation == lookup.generation else { return nil }
        return index
    }

    private mutating func open(
        _ request: UInt64, _ object: ObjectID, _ inlineLimit: Int, _ connection: Connection,
        _ directives: inout [ServeDirective]
    ) {
        let isBusy =
            slots.used >= configuration.maximumRequests
            || peers[connection, default: IndexList()].count >= configuration.requestsPerPeer
        guard isServing, !isBusy else {
            let reason = isServing ? NegativeReason.busy : .notServing
            return directives.append(.send(.negative(request, reason), connection))
        }
        let index = slots.take()
        if index == requests.count { requests.append(Request()) }
        requests[index].request = request
        requests[index].connection = connection
        requests[index].inlineLimit = inlineLimit
        requestOf[Key(connection: connection, request: request)] = index
        peerLinks.append(index, to: &peers[connection, default: IndexList()])
        directives.append(
            .lookup(LookupID(index: UInt32(index), generation: requests[index].generation), object))
    }

    private mutating func close(_ index: Int, _ directives: inout [ServeDirective]) {
        let connection = requests[index].connection
        if let pin = requests[index].pin {
            leaseLinks.remove(index, from: &leases)
            directives.append(.unpin(pin))
        }
        requestOf[Key(connection: connection, request: requests[index].request)] = nil
        if var list = peers[connection] {
            peerLinks.remove(index, from: &list)
            peers[connection] = list.isEmpty ? nil : list
        }
        requests[index].pin = nil
        requests[index].generation &+= 1
        slots.give(index)
    }

    private mutating func extendLease(_ index: Int, _ now: Timestamp) {
        requests[index].leaseEnd = now + configuration.lease
        leaseLinks.remove(index, from: &leases)
        leaseLinks.append(index, to: &leases)
    }

    private func sendLocated(_ index: Int, _ directives: inout [ServeDirective]) {
        guard let pin = requests[index].pin else { preconditionFailure("a place without a pin") }
        let milliseconds = configuration.lease.saturatedNanoseconds / 1_000_000
        let reply = TransferReply.located(
            requests[index].request, size: requests[index].size, metadataSize: requests[index].metadataSize,
            lease: UInt32(clamping: milliseconds), grant: requests[index].grant)
        directives.append(.sendLocated(reply, requests[index].connection, pin: pin))
    }
}
