// The RDMA transport: sockets for liveness and proof of the key, queue pairs for messages and payload.

#if Verbs
    internal import CLinux
    internal import CVerbs
    public import RayCore

    /// What a verbs transport does where RDMA can not be had.
    public enum RDMAPolicy: Sendable {
        /// One-sided operations go by RDMA with peers that both have it, else by sockets. When a queue pair
        /// fails, what it had to do is done by sockets.
        case automatic
        /// A connection without RDMA ends with `rdmaUnavailable`, one whose queue pair fails with
        /// `connectionLost`: nothing goes by sockets in silence.
        case required
    }

    /// What was said of a region: by `register`, and of its parts by `memoryCame`.
    struct Registration {
        var access: RemoteAccess
        var parts: Set<Range<UInt64>> = []
    }

    /// RDMA between nodes.
    ///
    /// A connection begins as one of the uring transport, which authenticates the peer and notices its
    /// death. Both ends then make reliable queue pairs on the device that has the connection's address, have
    /// the connection manager connect them, and tell each other of their registered memory. Messages go by
    /// one queue pair from then on, copied once into registered memory at the sender and read in place by the
    /// receiver; one-sided reads and writes by the other: no copy by a CPU, no work for the peer. A write's
    /// notification follows it as a message. Where both nodes have further ports in common networks, each pair of them
    /// gets a queue pair for operations as well, and an operation takes the one that would end it soonest.
    /// Memory that no device knows is reached by sockets, unless RDMA is required. A device that is opened is shown all
    /// memory in steps, one a poll; where RDMA is required operations wait for that.
    ///
    /// Threads: as `UringTransport`.
    @safe
    public struct VerbsTransport: ~Copyable, Transport {
        var sockets: UringTransport
        let policy: RDMAPolicy
        let provider: VerbsProvider
        /// Opened with the first connection that both ends have devices for.
        var manager: ConnectionManager?
        var devices: [VerbsDevice] = []
        var rails = RailTable()
        /// Own memory by device, in the order of `devices`.
        var memory: [RailMemory<LocalPart>] = []
        /// All that was registered, for devices that are opened later.
        var registered: [RegionKey: Registration] = [:]
        /// What of it a device did not take, and why.
        var refusals: [RegionKey: FabricError] = [:]
        /// What was granted to peers.
        var grants: [RegionKey: Grant] = [:]
        /// Windows that are open, or are being opened or closed; and those that are not in use.
        var windows: [GrantedWindow?] = []
        var freeWindows: [Int] = []
        var idleWindows: [VerbsWindow] = []
        var operations: [RailOperation?] = []
        var freeOperations: [Int] = []
        /// Operations that wait for memory.
        var held = 0
        var earliestDeadline = Timestamp.never
        var nextCheck = Timestamp.zero
        var news = FIFO<News>()
        /// The packet whose frames are being given out, and how far.
        var current: Packet?
        var cursor = 0
        /// Where the message of the last event is.
        var place = MessagePlace.sockets
        /// A message that came in several packets.
        var assembled: [UInt8] = []
        /// Rails whose lanes have something to post.
        var dirty: [Rail] = []
        var completions = [ibv_wc](repeating: ibv_wc(), count: 32)
        var directives: [RailDirective] = []
        var railOperations: UInt64 = 0
        var railsLost: UInt64 = 0
        /// So long may queue pairs take to be connected. Twice as long a peer may take that is alive.
        var joiningTime: Duration
        /// Some device is to be shown more memory.
        var isRegistering = false
        /// Bytes that a device is shown in a poll, which takes some milliseconds.
        var registrationStep: UInt64 = 32 << 20
        /// A device that is to be removed waits at most so long.
        private static let removalInterval = Duration.seconds(1)
        /// Since the sockets were looked at.
        private var pollsWithoutSockets = 0
        private var lastSockets: UInt64 = 0
        /// What went by RDMA.
        var carried = TransportStatistics()
        let spin: Duration

        /// - Throws: what the uring transport throws; with `required` also `rdmaUnavailable` when this
        ///   machine has no library or no active port.
        public init(configuration: TransportConfiguration, policy: RDMAPolicy = .automatic) throws(FabricError) {
            try self.init(configuration: configuration, policy: policy, provider: .system)
        }

        init(
            configuration: TransportConfiguration, policy: RDMAPolicy, provider: VerbsProvider
        ) throws(FabricError) {
            var ports = provider.recentPorts()
            if !ports.contains(where: \.isActive) { ports = provider.newestPorts() }
            if policy == .required {
                _ = try provider.library()
                guard ports.contains(where: \.isActive) else {
                    throw FabricError(.rdmaUnavailable, "this machine has no active RDMA port")
                }
                _ = try ConnectionManager(of: provider)
            }
            var transport = try UringTransport(configuration: configuration)
            transport.offersRails = ports.contains(where: \.isActive)
            sockets = transport
            self.policy = policy
            self.provider = provider
            spin = configuration.spin.unlessOnOneProcessor
            joiningTime = max(.seconds(5), configuration.livenessTimeout)
        }

        /// What there is of RDMA here, in words; for `fabricbench list` and `explain`.
        /// - Throws: `rdmaUnavailable` with what is missing.
        public static func availability() throws(FabricError) -> String {
            _ = try VerbsLibrary.get()
            let ports = RDMAPort.all()
            guard ports.contains(where: \.isActive) else {
                throw FabricError(
                    .rdmaUnavailable,
                    ports.isEmpty ? "this machine has no RDMA device" : "no RDMA port of this machine is active")
            }
            _ = try ConnectionManager(of: .system)
            return ports.map { port in
                let identifier = port.identifiers.first { $0.type == "RoCE v2" } ?? port.identifiers.first
                return "\(port.device) port \(port.number) \(port.state), \(port.linkLayer), GID "
                    + (identifier.map { "\($0.index) \($0.text) \($0.type) on \($0.interface)" } ?? "none")
            }.joined(separator: "; ")
        }

        public var maximumMessageBytes: Int { WireLimits.messageBytes }
        public var waker: Waker { sockets.waker }
        public func peer(of connection: Connection) -> NodeID? { sockets.peer(of: connection) }

        public var message: RawSpan {
            @_lifetime(borrow self) get {
                switch place {
                case .sockets: return sockets.message
                case .assembled(let range): return unsafe assembled.span.bytes.extracting(range)
                case .packet(let range):
                    guard case .place(let index, let count)? = current?.bytes, let lane = current?.rail.lane else {
                        return RawSpan()
                    }
                    let packet = unsafe lane.buffers.packet(index, count: count)
                    // SAFETY: the place is posted again when the packet is done with, in the next call of
                    // `poll`; until then `current` keeps the buffers.
                    let span = unsafe RawSpan(_unsafeBytes: packet).extracting(range)
                    return unsafe _overrideLifetime(span, borrowing: assembled)
                }
            }
        }

        public var statistics: TransportStatistics {
            var result = sockets.statistics
            result.railOperations = railOperations
            result.railsLost = railsLost
            result.rdmaPorts = carried.rdmaPorts
            result.bytesReceived += carried.bytesReceived
            result.bytesSent += carried.bytesSent
            result.messagesReceived += carried.messagesReceived
            result.messagesSent += carried.messagesSent
            return result
        }

        // MARK: Connections

        public mutating func listen(at address: Address) throws(FabricError) -> Address {
            try sockets.listen(at: address)
        }

        public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
            try sockets.connect(to: address, deadline: deadline)
        }

        public mutating func close(_ id: Connection) {
            rails[id]?.isClosed = true
            sockets.close(id)
        }

        // MARK: Progress

        public mutating func poll() -> TransportEvent? {
            if let event = nextEvent() { return event }
            postMessages()
            // Where messages keep coming by RDMA as well: heartbeats and deadlines are kept here.
            if isTimeForSockets() { pollSockets() }
            takeCompletions()
            if isRegistering { registerSome() }
            var event = nextEvent()
            if event == nil, held > 0 {
                resumeHeld()
                event = nextEvent()
            }
            postMessages()
            return event
        }

        /// To look at sockets costs several times what it costs to look at a completion queue, and messages come by
        /// that. So where there are queue pairs sockets have each 32nd turn; and each one of a caller that polls
        /// rarely, or when there is something to send.
        private mutating func isTimeForSockets() -> Bool {
            pollsWithoutSockets += 1
            guard
                pollsWithoutSockets >= Self.quietPolls || rails.isEmpty || sockets.hasOutput
                    || rf_cycles() &- lastSockets >= Self.rareCycles
            else { return false }
            pollsWithoutSockets = 0
            lastSockets = rf_cycles()
            return true
        }

        private static var quietPolls: Int { 32 }
        /// 100 us at 2.5 GHz; 250 us where the processor's cycles are not read.
        private static var rareCycles: UInt64 { 250_000 }

        private mutating func pollSockets() {
            while !hasNews {
                let event = sockets.poll()
                takeControls()
                guard let event else { break }
                // More may follow.
                pollsWithoutSockets = Self.quietPolls
                pass(event)
            }
            takeManagerEvents()
            checkTime()
        }

        private var hasNews: Bool { current != nil || !news.isEmpty }

        /// The next event of what is known, without looking for more.
        private mutating func nextEvent() -> TransportEvent? {
            if let event = nextMessage() { return event }
            while let first = news.popFirst() {
                switch first {
                case .event(let event):
                    if case .message = event { place = .sockets }
                    return event
                case .packet(let packet):
                    current = packet
                    cursor = 0
                    if let event = nextMessage() { return event }
                }
            }
            return nil
        }

        public mutating func wait(until deadline: Timestamp) {
            guard !hasNews, !isRegistering else { return }
            postMessages()
            guard devices.contains(where: { isBusy($0) }) else { return sleep(until: deadline) }
            let spinEnd = Timestamp.now + spin
            repeat {
                takeCompletions()
                if !hasNews, isTimeForSockets() { pollSockets() }
                // Room at the peer may be all that came.
                postMessages()
                if hasNews { return }
            } while Timestamp.now < min(spinEnd, deadline)
            // Not those that were lost meanwhile: what the ring waits for keeps a device from going.
            for device in devices where isBusy(device) {
                device.arm()
                sockets.watch(device.eventDescriptor)
                sockets.watch(device.healthDescriptor)
            }
            // What came before the device was armed makes no event.
            takeCompletions()
            postMessages()
            guard !hasNews else { return }
            sleep(until: deadline)
        }

        /// Whether a device may have something to tell.
        private func isBusy(_ device: VerbsDevice) -> Bool {
            rails.all.contains { rail in
                rail.device === device && rail.hasWork || rail.paths.contains { $0.device === device && $0.hasWork }
            }
        }

        /// What has ended the sleep is looked at first.
        private mutating func sleep(until deadline: Timestamp) {
            takeManagerEvents()
            guard !hasNews else { return }
            sockets.wait(until: min(deadline, nextTime))
            lastSockets = 0
            nextCheck = .zero
        }

        /// When something is due without an event.
        private var nextTime: Timestamp {
            let negotiation =
                rails.all.map { min($0.deadline, $0.paths.map(\.deadline).min() ?? .never) }.min() ?? .never
            let removal = devices.isEmpty ? .never : nextCheck + Self.removalInterval
            return min(negotiation, earliestDeadline, removal)
        }

        /// Passes an event of the sockets on, unless it is about a connection that the user does not know of.
        private mutating func pass(_ event: TransportEvent) {
            switch event {
            case .connected(let id): connected(id)
            case .closed(let id, let failure): closed(id, failure)
            case .writable(let id):
                rails[id]?.owesWritable = false
                emit(event)
            case .message, .completed, .notified, .revoked, .finished: emit(event)
            }
        }

        mutating func emit(_ event: TransportEvent) { news.append(.event(event)) }
    }
#endif
