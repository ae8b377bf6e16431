// The io_uring transport: TCP between nodes. State and the calls of the contract; the work is in
// the extensions beside this file. See docs/protocol.md for what travels.

internal import CLinux
public import RayCore

/// TCP over one io_uring.
///
/// Messages travel on one socket of a connection. While it is busy it is read and written directly,
/// which is the fastest way to move few bytes; otherwise it waits in the ring at no cost. Bulk
/// payload travels on sockets of its own (lanes), from registered memory on one side to registered
/// memory on the other without a copy between socket and memory.
///
/// The ring belongs to the thread that first calls `poll` or `wait`: all later calls must come from
/// it, and it must outlive the transport's operations.
@safe
public struct UringTransport: ~Copyable, Transport {
    let configuration: TransportConfiguration
    let ring: Ring
    public let waker: Waker
    var random = SystemRandomNumberGenerator()

    // Sockets by slot and connections by index.
    var sockets: [UringSocket?] = []
    var freeSockets: [Int] = []
    var halfOpen = 0
    var connections: [UringConnection?] = []
    var generations: [UInt32] = []
    var freeConnections: [Int] = []
    /// Accepted connections by what their bulk lanes will name.
    var sessions: [SessionName: UringConnection] = [:]
    var directory: PeerDirectory
    var regions = RegionTable()

    // Work that is known of.
    var events = FIFO<TransportEvent>()
    /// An event that `wait` found.
    var foundEvent: TransportEvent?
    /// Connections with bytes to parse.
    var readable = FIFO<UringConnection>()
    /// Connections with bytes to send.
    var dirty: [UringConnection] = []
    /// Connections whose socket the ring found readable.
    var arrivals: [UringConnection] = []
    /// Connections that are read directly, without asking the ring.
    var hot: [UringConnection] = []
    /// Listeners that wait until there are descriptors again.
    var pausedListeners: [UringSocket] = []
    var pollsSinceProgress = 0
    var wasWoken = false

    // The message that `poll` gave last.
    var messageConnection: Connection?
    var messageStart: UnsafeRawPointer?
    var messageCount = 0

    // Time.
    var now = Timestamp.now
    var nextTimer = Timestamp.never
    var lastTimers = Timestamp.now
    let spin: Duration
    /// How long to spin after the last bytes of a bulk lane: the next are often near.
    var bulkSpin: AdaptiveSpin
    var lastBulk = Timestamp.zero
    let hotTime: Duration

    var inputBuffers: [InputBuffer] = []
    let discarded = DiscardMemory()
    let bulkBufferBytes: Int32?
    var counters = TransportStatistics()
    /// Offers peers to move one-sided operations by RDMA, and to talk about that in control frames.
    var offersRails = false
    /// Control frames that came, before the event that was given last or together with none.
    var controls = FIFO<(connection: Connection, bytes: [UInt8])>()
    /// Descriptors of others that end a sleep when they are readable, while the ring watches them.
    var watched: Set<Int32> = []
    /// Sends without a copy even where the kernel is known to copy: for tests.
    package var forcesZeroCopy = false

    /// Sets up the ring.
    /// - Throws: `ioUringForbidden` where the system does not allow io_uring, `invalidArgument`,
    ///   `descriptorLimit`, `outOfMemory`, `system`.
    public init(configuration: TransportConfiguration) throws(FabricError) {
        guard (1...WireLimits.bulkLanes).contains(configuration.lanes) else {
            throw FabricError(.invalidArgument, "lanes: 1 to \(WireLimits.bulkLanes), not \(configuration.lanes)")
        }
        let ring = try Ring()
        let waker = try Waker()
        self.init(configuration, ring, waker)
    }

    private init(_ configuration: TransportConfiguration, _ ring: Ring, _ waker: Waker) {
        self.configuration = configuration
        self.ring = ring
        self.waker = waker
        directory = PeerDirectory(maximumConnectionsPerPeer: configuration.maximumConnectionsPerPeer)
        // With one processor, a spinning reader only keeps the writer from running.
        spin = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 ? configuration.spin : .zero
        bulkSpin = AdaptiveSpin(longest: min(Self.longestBulkSpin, spin * 16))
        hotTime = max(configuration.spin, Self.leastHotTime)
        bulkBufferBytes = SocketOptions.bulkBufferBytes()
        armWaker()
    }

    deinit {
        guard Self.release(ring, sockets) else { return }
        // Connections and their sockets hold each other.
        for case let connection? in connections {
            connection.socket = nil
            connection.lanes = []
        }
    }

    /// Longer than a piece takes on the fastest sockets. A wake-up would cost the sender, not only us.
    static let longestBulkSpin = Duration.microseconds(300)
    /// A connection is read directly for at least this long after its last bytes.
    static let leastHotTime = Duration.microseconds(200)
    /// Most connections that are read directly; each costs a system call a poll.
    static let maximumHot = 4

    public var maximumMessageBytes: Int { WireLimits.messageBytes }

    /// Whether both ends of an open connection speak of rails.
    func hasRails(_ id: Connection) -> Bool { find(id)?.peer?.features.contains(.rails) == true }

    /// Whether there is something that `poll` would send.
    var hasOutput: Bool { !dirty.isEmpty }

    func isInitiator(_ id: Connection) -> Bool { find(id)?.isInitiator == true }

    /// The address that this end of a connection has.
    func localAddress(of id: Connection) -> SocketAddress? {
        find(id)?.socket.flatMap { SocketAddress(ofSocket: $0.descriptor.number, peer: false) }
    }

    /// Sends a control frame. The peer has agreed to rails.
    mutating func sendControl(_ bytes: [UInt8], on id: Connection) {
        guard let connection = find(id), connection.isOpen else { return }
        unsafe bytes.withUnsafeBytes { unsafe connection.output.append(.control, payload: $0) }
        markDirty(connection)
    }

    /// Ends the next sleep when the descriptor is readable; once.
    mutating func watch(_ descriptor: Int32) {
        guard watched.insert(descriptor).inserted else { return }
        ring.queuePoll(tag: RingWork.watch.tag(slot: Int(descriptor)), descriptor: descriptor)
    }

    /// Before a watched descriptor is closed: what the ring waits for would keep its file open.
    mutating func unwatch(_ descriptor: Int32) {
        guard watched.remove(descriptor) != nil else { return }
        ring.queueCancel(tag: RingWork.cancel.tag(slot: 0), of: RingWork.watch.tag(slot: Int(descriptor)))
        ring.submit()
    }

    public func peer(of connection: Connection) -> NodeID? {
        guard let found = find(connection), found.isOpen else { return nil }
        return found.peer?.node
    }

    public var statistics: TransportStatistics {
        var result = counters
        result.systemCalls += ring.systemCalls
        return result
    }

    public var message: RawSpan {
        @_lifetime(borrow self) get {
            guard let start = unsafe messageStart, messageCount > 0 else { return RawSpan() }
            // SAFETY: the bytes lie in an input buffer that is not touched before the next `poll`,
            // `wait` or `close`, all of which need exclusive access to self.
            let span = unsafe RawSpan(_unsafeStart: start, byteCount: messageCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    // MARK: Regions

    public mutating func register(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        try unsafe regions.insert(memory, access: access, using: &random)
    }

    public mutating func deregister(_ key: RegionKey) {
        guard regions.remove(key) else { return }
        letGo(of: key)
    }

    public mutating func grant(
        _ part: RegionLocation, length: Int, to connection: Connection
    ) throws(FabricError) -> RegionKey? {
        try regions.grant(part, length: length, using: &random)
    }

    // MARK: Connections by name

    func find(_ id: Connection) -> UringConnection? {
        let index = Int(id.index)
        guard index < connections.count, let connection = connections[index], connection.id == id else { return nil }
        return connection
    }

    /// The connection, if messages and operations may be started on it.
    func usable(_ id: Connection) throws(FabricError) -> UringConnection {
        guard let connection = find(id), connection.isOpen, !connection.finishSent else {
            throw FabricError(.closed, "connection \(id.index)")
        }
        return connection
    }

    /// - Throws: `connectionLimit`.
    mutating func makeConnection(isInitiator: Bool, session: UInt64) throws(FabricError) -> UringConnection {
        let index: Int
        if let free = freeConnections.popLast() {
            index = free
        } else {
            index = connections.count
            guard index < configuration.maximumConnections else {
                throw FabricError(.connectionLimit, "\(index) connections")
            }
            connections.append(nil)
            generations.append(0)
        }
        generations[index] &+= 1
        let id = Connection(index: UInt32(index), generation: generations[index])
        let connection = UringConnection(id: id, isInitiator: isInitiator, session: session, now: now)
        connections[index] = connection
        return connection
    }

    func armWaker() {
        let descriptor = waker.descriptor
        ring.queuePoll(tag: RingWork.waker.tag(slot: 0), descriptor: descriptor)
    }

    /// Ends all sockets and waits until the kernel has let go of the memory of their operations.
    /// - Returns: whether it has; if not, that memory must stay for ever.
    private static func release(_ ring: Ring, _ sockets: [UringSocket?]) -> Bool {
        for case let socket? in sockets {
            _ = shutdown(socket.descriptor.number, RF_SHUT_RDWR)
            if socket.zeroCopyNotices > 0 { _ = rf_disconnect(socket.descriptor.number) }
        }
        var attempts = 0
        while attempts < 100, sockets.contains(where: { $0?.holdsMemory == true }) {
            attempts += 1
            guard ring.waitIfOwner(nanoseconds: 10_000_000) else { return false }
            while let completion = ring.next() {
                let slot = RingWork.slot(ofTag: completion.tag)
                guard slot < sockets.count, let socket = sockets[slot] else { continue }
                if completion.isNotice {
                    socket.zeroCopyNotices -= 1
                    continue
                }
                if completion.isFollowedByNotice { socket.zeroCopyNotices += 1 }
                switch RingWork(rawValue: UInt8(truncatingIfNeeded: completion.tag)) {
                case .receive: socket.flights.remove(.receive)
                case .send: socket.flights.remove(.send)
                case .waker, .watch, .pollInput, .pollOutput, .cancel, nil: continue
                }
            }
        }
        return !sockets.contains { $0?.holdsMemory == true }
    }
}

/// How the bulk lanes of an accepted connection name it.
struct SessionName: Hashable {
    let node: NodeID
    let session: UInt64
}

/// Where payload goes that nobody wants any more. Its content means nothing, so all lanes share it.
@safe
final class DiscardMemory {
    private var memory: UnsafeMutableRawBufferPointer?

    deinit { unsafe memory?.deallocate() }

    func buffer() -> UnsafeMutableRawBufferPointer {
        let buffer = unsafe memory ?? .allocate(byteCount: WireLimits.pieceBytes, alignment: 64)
        unsafe memory = buffer
        return unsafe buffer
    }
}
