// What connects two loopback endpoints: two sides, and the packets that travel between them.
//
// Everything here is touched only with the network's lock held.

internal import RayCore

/// What travels over a link, in order.
enum LoopbackPacket {
    // The handshake, in this order; both ends have to poll for it to go on.
    case hello
    case challenge
    case proof(NodeID, key: [UInt8]?)
    case welcome(NodeID)
    // After the handshake.
    case message([UInt8])
    case request(operation: UInt64)
    case response(operation: UInt64, failure: TransportFailure?)
    case finish
    /// The sender's side is gone, for this reason.
    case gone(TransportFailure)
}

/// A packet and the time at which it can be seen.
struct LoopbackDelivery {
    var packet: LoopbackPacket
    let arrival: Timestamp
}

/// A one-sided operation in flight, kept at the side that started it.
struct LoopbackOperation {
    enum Kind {
        case read
        case write(notification: UInt64?)
    }
    let kind: Kind
    let token: UInt64
    /// Address of the first byte of this side.
    let local: UInt
    let remote: RegionLocation
    let length: Int
    let deadline: Timestamp
    /// Bytes moved so far.
    var progress = 0
}

/// One end of a connection.
final class LoopbackSide {
    enum Phase {
        /// Dialled; `connected` or `closed` will follow by the deadline.
        case dialing(deadline: Timestamp)
        /// Accepted, not proven; nobody was told of it.
        case halfOpen(deadline: Timestamp)
        case open
        case closed
    }

    let endpoint: LoopbackEndpoint
    /// The other end; nil once this one is closed.
    var far: LoopbackSide?
    var phase: Phase
    /// Set when the endpoint's user knows the connection.
    var connection: Connection?
    /// Who is at the other end, once it is proven.
    var peer: NodeID?
    /// Since when this side may hear from the other one.
    let begun: Timestamp

    /// Packets on their way to this side.
    var inbound = LoopbackQueue<LoopbackDelivery>()
    /// Message bytes within `inbound`.
    var inboundBytes = 0

    var operations: [UInt64: LoopbackOperation] = [:]
    /// No operation's deadline is earlier.
    var earliestDeadline = Timestamp.never
    var wantsMessageRoom = false
    var wantsOperationRoom = false
    var finishSent = false
    var finishReceived = false

    init(endpoint: LoopbackEndpoint, phase: Phase, begun: Timestamp) {
        self.endpoint = endpoint
        self.phase = phase
        self.begun = begun
    }

    var isOpen: Bool { if case .open = phase { true } else { false } }
    var isClosed: Bool { if case .closed = phase { true } else { false } }
}

/// First in, first out.
struct LoopbackQueue<Element> {
    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { head == storage.count }
    var count: Int { storage.count - head }
    var first: Element? { isEmpty ? nil : storage[head] }
    var last: Element? { isEmpty ? nil : storage[storage.count - 1] }

    mutating func append(_ element: Element) { storage.append(element) }

    mutating func popFirst() -> Element? {
        guard head < storage.count else { return nil }
        let element = storage[head].take()
        head += 1
        if head == storage.count {
            storage.removeAll(keepingCapacity: storage.count <= 1024)
            head = 0
        } else if head >= 1024, head * 2 >= storage.count {
            storage.removeFirst(head)
            head = 0
        }
        return element
    }
}
