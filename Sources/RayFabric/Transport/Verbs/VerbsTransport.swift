// The RDMA transport: sockets for messages, liveness and proof of the key, queue pairs for payload.

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
    /// A connection begins as one of the uring transport, which authenticates the peer, carries messages
    /// and notices its death. Both ends then make a reliable queue pair on the device that has the
    /// connection's address, and tell each other of their registered memory. One-sided reads and writes
    /// are the device's from then on: no copy by a CPU, no work for the peer. Writes with a notification,
    /// and memory that no device knows, go by sockets.
    ///
    /// Threads: as `UringTransport`.
    @safe
    public struct VerbsTransport: ~Copyable, Transport {
        var sockets: UringTransport
        let policy: RDMAPolicy
        let provider: VerbsProvider
        var devices: [VerbsDevice] = []
        var rails: [Connection: Rail] = [:]
        var railOfNumber: [UInt16: Rail] = [:]
        var lastRail: UInt16 = 0
        /// Own memory by device, in the order of `devices`.
        var memory: [RailMemory<LocalPart>] = []
        /// All that was registered, for devices that are opened later.
        var registered: [RegionKey: Registration] = [:]
        var operations: [RailOperation?] = []
        var freeOperations: [Int] = []
        var earliestDeadline = Timestamp.never
        var nextCheck = Timestamp.zero
        var events = FIFO<TransportEvent>()
        var completions = [ibv_wc](repeating: ibv_wc(), count: 32)
        var directives: [RailDirective] = []
        var railOperations: UInt64 = 0
        var railsLost: UInt64 = 0
        var railBytes: (read: UInt64, written: UInt64) = (0, 0)
        let spin: Duration

        /// - Throws: what the uring transport throws; with `required` also `rdmaUnavailable` when this
        ///   machine has no library or no active port.
        public init(configuration: TransportConfiguration, policy: RDMAPolicy = .automatic) throws(FabricError) {
            try self.init(configuration: configuration, policy: policy, provider: .system)
        }

        init(
            configuration: TransportConfiguration, policy: RDMAPolicy, provider: VerbsProvider
        ) throws(FabricError) {
            let ports = provider.ports()
            if policy == .required {
                _ = try provider.library()
                guard ports.contains(where: \.isActive) else {
                    throw FabricError(.rdmaUnavailable, "this machine has no active RDMA port")
                }
            }
            var transport = try UringTransport(configuration: configuration)
            transport.offersRails = ports.contains(where: \.isActive)
            sockets = transport
            self.policy = policy
            self.provider = provider
            spin = configuration.spin.unlessOnOneProcessor
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
            return ports.map { port in
                let identifier = port.identifiers.first { $0.type == "RoCE v2" } ?? port.identifiers.first
                return "\(port.device) port \(port.number) \(port.state), \(port.linkLayer), GID "
                    + (identifier.map { "\($0.index) \($0.text) \($0.type) on \($0.interface)" } ?? "none")
            }.joined(separator: "; ")
        }

        public var maximumMessageBytes: Int { sockets.maximumMessageBytes }
        public var waker: Waker { sockets.waker }
        public func peer(of connection: Connection) -> NodeID? { sockets.peer(of: connection) }

        public var message: RawSpan {
            @_lifetime(borrow self) get { sockets.message }
        }

        public var statistics: TransportStatistics {
            var result = sockets.statistics
            result.railOperations = railOperations
            result.railsLost = railsLost
            result.bytesReceived += railBytes.read
            result.bytesSent += railBytes.written
            return result
        }

        // MARK: Connections

        public mutating func listen(at address: Address) throws(FabricError) -> Address {
            try sockets.listen(at: address)
        }

        public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
            try sockets.connect(to: address, deadline: deadline)
        }

        public mutating func send(_ message: RawSpan, on id: Connection) throws(FabricError) -> Bool {
            try checkNotFinishing(id)
            return try sockets.send(message, on: id)
        }

        /// Queued operations are done first, as messages are sent first.
        public mutating func finish(_ id: Connection) {
            if let rail = rails[id], rail.operations > 0 {
                rail.isFinishing = true
            } else {
                sockets.finish(id)
            }
        }

        public mutating func close(_ id: Connection) { sockets.close(id) }

        func checkNotFinishing(_ id: Connection) throws(FabricError) {
            if rails[id]?.isFinishing == true { throw FabricError(.closed, "connection \(id.index)") }
        }

        // MARK: Progress

        public mutating func poll() -> TransportEvent? {
            if let event = events.popFirst() { return event }
            takeCompletions()
            while events.isEmpty {
                let event = sockets.poll()
                takeControls()
                guard let event else { break }
                pass(event)
            }
            checkTime()
            return events.popFirst()
        }

        public mutating func wait(until deadline: Timestamp) {
            guard events.isEmpty else { return }
            let busy = devices.filter { device in rails.values.contains { $0.device === device && $0.operations > 0 } }
            guard !busy.isEmpty else { return sockets.wait(until: min(deadline, nextTime)) }
            let spinEnd = Timestamp.now + spin
            repeat {
                takeCompletions()
                if !events.isEmpty { return }
                if let event = sockets.poll() {
                    takeControls()
                    pass(event)
                    return
                }
                takeControls()
                if !events.isEmpty { return }
            } while Timestamp.now < min(spinEnd, deadline)
            for device in busy {
                device.arm()
                sockets.watch(device.eventDescriptor)
            }
            // What came before the device was armed makes no event.
            takeCompletions()
            if events.isEmpty { sockets.wait(until: min(deadline, nextTime)) }
        }

        /// When something is due without an event.
        private var nextTime: Timestamp {
            let negotiation = rails.values.map(\.deadline).min() ?? .never
            return min(negotiation, earliestDeadline)
        }

        /// Passes an event of the sockets on, unless it is about a connection that the user does not know of.
        private mutating func pass(_ event: TransportEvent) {
            switch event {
            case .connected(let id): connected(id)
            case .closed(let id, let failure): closed(id, failure)
            case .writable(let id):
                rails[id]?.owesWritable = false
                events.append(event)
            case .message, .completed, .notified, .finished: events.append(event)
            }
        }
    }
#endif
