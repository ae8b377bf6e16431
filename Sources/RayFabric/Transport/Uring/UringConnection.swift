// One connection of the uring transport.

internal import RayCore

/// A connection: its message socket, its bulk lanes and all that is queued or in flight on them.
final class UringConnection {
    enum State: Equatable {
        case connecting
        case open
        /// Waits for the kernel to let go of its sockets, then reports this failure.
        case ending(TransportFailure)
    }

    let id: Connection
    let isInitiator: Bool
    var state = State.connecting
    /// Proven; nil while connecting.
    var peer: HandshakePeer?
    /// The user knows of it.
    var isAnnounced: Bool
    /// Counted in the peer directory.
    var isAdmitted = false
    /// The session drawn or accepted.
    let session: UInt64
    /// Where the peer listens, for the bulk lanes; empty on the side that was connected to.
    var addresses: [SocketAddress] = []
    /// Lane 0.
    var socket: UringSocket?
    /// Sockets not yet retired, bulk lanes and connecting ones included.
    var socketCount = 0

    // Messages.
    var output = OutputQueue()
    var input: InputBuffer?
    var isHot = false
    var isDirty = false
    var isReadable = false
    /// A call returned false, so `writable` is due.
    var owesWritable = false
    /// The socket takes no more; `flush` waits for it.
    var isOutputBlocked = false
    /// Nothing more will come on lane 0, for this reason.
    var endOfInput: TransportFailure?

    // Bulk lanes.
    var lanes: [UringSocket] = []
    var lanesAreRequested = false
    var lanesAreOpened = false
    /// Pieces go out without a copy; until the kernel turns out to copy them.
    var sendsWithoutCopy = false

    // One-sided operations: ours, the bytes that we are to send, and the peer's writes to us.
    var operations = OperationTable()
    var transfers = FIFO<Transfer>()
    var servedReads = 0
    var incomingWrites: [UInt64: IncomingWrite] = [:]

    // Half-close.
    var finishSent = false
    var finishReceived = false
    var goodbyeSent = false
    var goodbyeReceived = false

    // Time.
    var lastReceived: Timestamp
    var lastSent: Timestamp
    /// A bulk lane was lost: the reason should follow on lane 0 until then.
    var lossDeadline: Timestamp = .never

    init(id: Connection, isInitiator: Bool, session: UInt64, now: Timestamp) {
        self.id = id
        self.isInitiator = isInitiator
        self.session = session
        isAnnounced = isInitiator
        lastReceived = now
        lastSent = now
    }

    var isOpen: Bool { state == .open }

    /// Bulk lanes that the two sides agreed on.
    var agreedLanes: Int { Int(peer?.laneCount ?? 0) }
}

/// Bytes of ours on their way to the peer: an own write, or a read that we serve.
struct Transfer {
    enum Purpose: Equatable {
        case serving
        case writing(target: RegionLocation, notification: UInt64?)
    }

    let purpose: Purpose
    /// Ours for a write, the peer's for a read.
    let token: UInt64
    let memory: RegionLocation
    let length: UInt64
    /// Bytes that were handed to a lane.
    var handed: UInt64 = 0

    var isServing: Bool { purpose == .serving }
    var remaining: UInt64 { length - handed }
}

/// A write of the peer of which some pieces have come.
struct IncomingWrite {
    let total: UInt64
    var notification: UInt64?
    /// Bytes that came or were withheld.
    var accounted: UInt64 = 0
    var failure: FabricError.Code?
}
