// One socket of the uring transport, and what the kernel is doing with it.

internal import CLiburing
internal import CLinux
internal import RayCore

/// What a completion is about; the lowest byte of its tag, the socket's slot above it, and for sends
/// the number of the header in the highest byte.
enum RingWork: UInt8 {
    case waker, watch, pollInput, pollOutput, receive, send, cancel

    func tag(slot: Int, header: Int = 0) -> UInt64 {
        UInt64(header) << 56 | UInt64(slot) << 8 | UInt64(rawValue)
    }

    static func slot(ofTag tag: UInt64) -> Int { Int(tag >> 8 & 0xffff_ffff_ffff) }
    static func header(ofTag tag: UInt64) -> Int { Int(tag >> 56) }
}

/// A socket: a listener, one in its handshake, lane 0 of a connection, or a bulk lane. Its slot is
/// not used again before every submission about it has completed.
final class UringSocket {
    enum Role {
        case listener, connecting, handshake, messages, bulk
    }

    /// Submissions without a completion yet, at most one of each kind.
    struct Flights: OptionSet {
        let rawValue: UInt8
        static let pollInput = Flights(rawValue: 1)
        static let pollOutput = Flights(rawValue: 2)
        static let receive = Flights(rawValue: 4)
        static let send = Flights(rawValue: 8)
    }

    let slot: Int
    let descriptor: FileDescriptor
    var role: Role
    var flights: Flights = []
    /// Zero-copy sends whose memory the kernel still holds.
    var zeroCopyNotices = 0
    var isEnding = false
    /// The connection that it belongs to; nil for listeners and strangers.
    var connection: UringConnection?
    /// Lane number that a connecting socket is to become.
    var laneNumber: UInt16 = 0
    /// Addresses left to try, while connecting.
    var candidates: [SocketAddress] = []
    /// When to give up, while connecting or in the handshake.
    var deadline: Timestamp = .never
    /// The deadline is that of the handshake, not the user's.
    var isHandshakeLimited = false
    var handshake: Handshake?
    var handshakeInput: [UInt8] = []
    /// The state of a bulk lane.
    var lane: BulkLane?

    init(slot: Int, descriptor: consuming FileDescriptor, role: Role) {
        self.slot = slot
        self.descriptor = descriptor
        self.role = role
    }

    /// Whether a bulk lane can send another piece now.
    var takesPiece: Bool { !flights.contains(.send) && !isEnding && lane?.hasFreeHeader == true }

    /// Whether the kernel works on memory of this process.
    var holdsMemory: Bool { !flights.isDisjoint(with: [.receive, .send]) || zeroCopyNotices > 0 }

    var isIdle: Bool { flights.isEmpty && zeroCopyNotices == 0 }
}

extension UringTransport {
    /// Gives a descriptor a slot.
    mutating func adopt(_ descriptor: consuming FileDescriptor, role: UringSocket.Role) -> UringSocket {
        let slot = freeSockets.popLast() ?? sockets.count
        let socket = UringSocket(slot: slot, descriptor: descriptor, role: role)
        if slot == sockets.count { sockets.append(socket) } else { sockets[slot] = socket }
        return socket
    }

    /// Asks for one completion when the socket is readable, or broken.
    func armInput(_ socket: UringSocket) {
        guard !socket.flights.contains(.pollInput), !socket.isEnding else { return }
        socket.flights.insert(.pollInput)
        ring.queuePoll(tag: RingWork.pollInput.tag(slot: socket.slot), descriptor: socket.descriptor.number)
    }

    /// Asks for one completion when the socket is writable, or broken.
    func armOutput(_ socket: UringSocket) {
        guard !socket.flights.contains(.pollOutput), !socket.isEnding else { return }
        socket.flights.insert(.pollOutput)
        let descriptor = socket.descriptor.number
        ring.queue(tag: RingWork.pollOutput.tag(slot: socket.slot)) { entry in
            unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLOUT))
        }
    }

    /// Asks the kernel to give up a submission; its completion still comes.
    func cancel(_ work: RingWork, of socket: UringSocket) {
        let target = work.tag(slot: socket.slot, header: work == .send ? socket.lane?.outgoing ?? 0 : 0)
        ring.queueCancel(tag: RingWork.cancel.tag(slot: socket.slot), of: target)
    }

    /// Closes the socket, at once or when the kernel has let go of it.
    mutating func end(_ socket: UringSocket) {
        guard !socket.isEnding else { return }
        socket.isEnding = true
        if socket.connection == nil, socket.role == .handshake { halfOpen -= 1 }
        if socket.isIdle {
            retire(socket)
        } else {
            shutDown(socket)
        }
    }

    func shutDown(_ socket: UringSocket) {
        if socket.zeroCopyNotices > 0 {
            // What is queued refers to memory that must go now, not when a dead peer confirms it.
            _ = rf_disconnect(socket.descriptor.number)
        } else {
            _ = shutdown(socket.descriptor.number, RF_SHUT_RDWR)
        }
        if socket.flights.contains(.pollInput) { cancel(.pollInput, of: socket) }
        if socket.flights.contains(.pollOutput) { cancel(.pollOutput, of: socket) }
        if socket.flights.contains(.receive) { cancel(.receive, of: socket) }
        if socket.flights.contains(.send) { cancel(.send, of: socket) }
    }

    mutating func retireIfEnded(_ socket: UringSocket) {
        // What the completion led to may have retired it already.
        if socket.isEnding, socket.isIdle, sockets[socket.slot] === socket { retire(socket) }
    }

    private mutating func retire(_ socket: UringSocket) {
        assert(socket.isIdle && sockets[socket.slot] === socket)
        sockets[socket.slot] = nil
        freeSockets.append(socket.slot)
        guard let connection = socket.connection else { return }
        socket.connection = nil
        connection.socketCount -= 1
        finalizeIfEnded(connection)
    }
}
