// The SwiftNIO transport: TCP where the system forbids io_uring. State and the calls of the
// contract; the work is in the extensions beside this file. See docs/protocol.md for what travels.

#if NIO
    internal import CLinux
    internal import NIOCore
    internal import NIOPosix
    public import RayCore

    /// TCP over SwiftNIO, with the wire protocol of `UringTransport`.
    ///
    /// One event loop thread moves bytes between sockets and a bounded inbox; everything else happens
    /// within `poll` and `wait` on the caller's thread. Payload is copied once between socket buffers
    /// and memory on each side, and there are no bulk lanes: this transport is for systems where the
    /// other one can not run, not for speed.
    public struct NIOTransport: ~Copyable, Transport {
        let configuration: TransportConfiguration
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let inbox: NIOInbox
        public let waker: Waker
        var random = SystemRandomNumberGenerator()

        var sockets: [UInt64: NIOSocket] = [:]
        // Connections by index.
        var connections: [NIOConnection?] = []
        var generations: [UInt32] = []
        var freeConnections: [Int] = []
        var directory: PeerDirectory
        var regions = RegionTable()

        // Work that is known of.
        var events = FIFO<TransportEvent>()
        /// An event that `wait` found.
        var foundEvent: TransportEvent?
        /// Connections with bytes to parse.
        var readable = FIFO<NIOConnection>()
        /// Connections with bytes to send.
        var dirty: [NIOConnection] = []
        var pollsSinceProgress = 0

        /// The message that `poll` gave last.
        var received = ByteBuffer()
        var messageConnection: Connection?

        // Time.
        var now = Timestamp.now
        var nextTimer = Timestamp.never
        var lastTimers = Timestamp.now
        var counters = TransportStatistics()

        /// Starts the event loop thread; it ends with the transport.
        /// - Throws: `descriptorLimit`.
        public init(configuration: TransportConfiguration) throws(FabricError) {
            self.configuration = configuration
            waker = try Waker()
            inbox = NIOInbox(waker: waker, maximumHalfOpen: configuration.maximumHalfOpen)
            directory = PeerDirectory(maximumConnectionsPerPeer: configuration.maximumConnectionsPerPeer)
            Self.blockSignals(of: group)
        }

        deinit {
            // Closes all channels. It fails only when it is called twice.
            try? group.syncShutdownGracefully()
            // A socket and its connection know each other.
            for socket in sockets.values { socket.connection = nil }
        }

        public var maximumMessageBytes: Int { WireLimits.messageBytes }

        public func peer(of connection: Connection) -> NodeID? {
            guard let found = find(connection), found.isOpen else { return nil }
            return found.peer
        }

        public var statistics: TransportStatistics {
            var result = counters
            result.rejected += inbox.rejected
            return result
        }

        public var message: RawSpan {
            @_lifetime(borrow self) get { received.readableBytesSpan }
        }

        // MARK: Regions

        public mutating func register(
            _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
        ) throws(FabricError) -> RegionKey {
            try unsafe regions.insert(memory, access: access, using: &random)
        }

        /// Nothing refers to the memory outside of `poll`, so there is nothing to wait for.
        public mutating func deregister(_ key: RegionKey) { _ = regions.remove(key) }

        public mutating func grant(
            _ part: RegionLocation, length: Int, to connection: Connection
        ) throws(FabricError) -> RegionKey? {
            try regions.grant(part, length: length, using: &random)
        }

        // MARK: Connections by name

        func find(_ id: Connection) -> NIOConnection? {
            let index = Int(id.index)
            guard index < connections.count, let connection = connections[index], connection.id == id else {
                return nil
            }
            return connection
        }

        /// The connection, if messages and operations may be started on it.
        func usable(_ id: Connection) throws(FabricError) -> NIOConnection {
            guard let connection = find(id), connection.isOpen, !connection.finishSent else {
                throw FabricError(.closed, "connection \(id.index)")
            }
            return connection
        }

        /// - Throws: `connectionLimit`.
        mutating func makeConnection(isInitiator: Bool, socket: NIOSocket) throws(FabricError) -> NIOConnection {
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
            let connection = NIOConnection(id: id, isInitiator: isInitiator, socket: socket, now: now)
            connections[index] = connection
            socket.connection = connection
            return connection
        }

        /// Frees the connection's index.
        mutating func release(_ connection: NIOConnection) {
            let index = Int(connection.id.index)
            connections[index] = nil
            freeConnections.append(index)
        }
    }
#endif
