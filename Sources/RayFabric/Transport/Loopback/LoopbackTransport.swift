// The transport within one process, for tests, simulation and as the example of the contract.

internal import CLinux
public import RayCore
internal import Synchronization

/// Connects endpoints of one process through a `LoopbackNetwork`. Addresses are `loopback:NAME`;
/// an empty name lets the network choose one.
///
/// Copies: a message is copied when it is sent and handed over in place; a one-sided operation is
/// one copy, made by the thread that polls the peer. Every call takes the network's lock: this
/// transport shows behaviour, not speed.
public struct LoopbackTransport: ~Copyable, Transport {
    private let network: LoopbackNetwork
    private let number: Int
    private let configuration: TransportConfiguration
    private var received: [UInt8] = []
    public let waker: Waker

    public var maximumMessageBytes: Int { 256 << 10 }

    /// An endpoint of `network`; it exists there until the transport is released.
    /// - Throws: `descriptorLimit`.
    public init(
        _ configuration: TransportConfiguration, network: LoopbackNetwork = .process
    ) throws(FabricError) {
        let waker = try Waker()
        self.network = network
        self.configuration = configuration
        self.waker = waker
        number = network.core.withLock { $0.add(configuration, waker: waker) }
    }

    deinit { network.core.withLock { $0.remove(number) } }

    /// Runs `body` with the endpoint; nil when the network has dropped it.
    private func withEndpoint<Result: Sendable>(
        _ body: (LoopbackCore, LoopbackEndpoint) throws(FabricError) -> Result
    ) throws(FabricError) -> Result? {
        try network.core.withLock { core throws(FabricError) in
            guard let endpoint = core.endpoints[number] else { return nil }
            return try body(core, endpoint)
        }
    }

    private func withSide<Result: Sendable>(
        of connection: Connection, _ body: (LoopbackCore, LoopbackSide) throws(FabricError) -> Result
    ) throws(FabricError) -> Result? {
        let result = try withEndpoint { core, endpoint throws(FabricError) -> Result? in
            guard let side = endpoint.side(of: connection) else { return nil }
            return try body(core, side)
        }
        return result ?? nil
    }

    public mutating func listen(at address: Address) throws(FabricError) -> Address {
        let name = try Self.name(of: address)
        let chosen = try withEndpoint { core, endpoint throws(FabricError) in try core.listen(endpoint, at: name) }
        guard let chosen else { throw FabricError(.closed, "the network dropped this endpoint") }
        return .loopback(name: chosen)
    }

    public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
        let name = try Self.name(of: address)
        let connection = try withEndpoint { core, endpoint throws(FabricError) in
            try core.connect(endpoint, to: name, deadline: deadline)
        }
        guard let connection else { throw FabricError(.closed, "the network dropped this endpoint") }
        return connection
    }

    private static func name(of address: Address) throws(FabricError) -> String {
        switch address {
        case .loopback(let name): return name
        case .tcp, .unix: throw FabricError(.addressInvalid, "the loopback transport can not use \(address)")
        }
    }

    public func peer(of connection: Connection) -> NodeID? {
        (try? withSide(of: connection) { _, side in side.peer }) ?? nil
    }

    public mutating func register(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        let region = LoopbackRegion(
            address: UInt(bitPattern: memory.baseAddress), length: memory.count, access: access)
        let key = try withEndpoint { core, endpoint in Self.enter(region, core, endpoint) }
        guard let key else { throw FabricError(.closed, "the network dropped this endpoint") }
        return key
    }

    private static func enter(_ region: LoopbackRegion, _ core: LoopbackCore, _ endpoint: LoopbackEndpoint) -> RegionKey
    {
        var key: RegionKey
        repeat { key = RegionKey(rawValue: core.random.next()) } while endpoint.regions[key] != nil
        endpoint.regions[key] = region
        return key
    }

    public mutating func grant(
        _ part: RegionLocation, length: Int, to connection: Connection
    ) throws(FabricError) -> RegionKey? {
        let key = try withEndpoint { core, endpoint -> RegionKey? in
            guard let region = endpoint.regions[part.key], region.access.contains(.byGrant),
                let address = region.address(of: part.offset, length: length)
            else { return nil }
            return Self.enter(LoopbackRegion(address: address, length: length, access: .read), core, endpoint)
        }
        guard let key = key ?? nil else {
            throw FabricError(.invalidArgument, "\(length) bytes at \(part.offset) can not be granted to a peer")
        }
        return key
    }

    public mutating func deregister(_ key: RegionKey) {
        _ = try? withEndpoint { _, endpoint in endpoint.regions[key] = nil }
    }

    public mutating func send(_ message: RawSpan, on connection: Connection) throws(FabricError) -> Bool {
        let count = message.byteCount
        guard count <= maximumMessageBytes else {
            throw FabricError(.messageTooLarge, "\(count) of at most \(maximumMessageBytes) bytes")
        }
        let copy = unsafe message.withUnsafeBytes { unsafe [UInt8]($0) }
        return try withOpenSide(of: connection) { core, side in core.send(copy, on: side) }
    }

    /// Runs `body` if messages and operations may be started on the connection.
    private func withOpenSide(
        of connection: Connection, _ body: (LoopbackCore, LoopbackSide) throws(FabricError) -> Bool
    ) throws(FabricError) -> Bool {
        let result = try withSide(of: connection) { core, side throws(FabricError) -> Bool? in
            guard side.isOpen, !side.finishSent else { return nil }
            return try body(core, side)
        }
        guard let done = result ?? nil else { throw FabricError(.closed, "\(connection) is not open for sending") }
        return done
    }

    public mutating func read(
        _ remote: RegionLocation, into local: RegionLocation, length: Int,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        try start(.read, local, remote, length, connection, token, deadline)
    }

    public mutating func write(
        _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool {
        try start(.write(notification: notification), local, remote, length, connection, token, deadline)
    }

    private func start(
        _ kind: LoopbackOperation.Kind, _ local: RegionLocation, _ remote: RegionLocation, _ length: Int,
        _ connection: Connection, _ token: UInt64, _ deadline: Timestamp
    ) throws(FabricError) -> Bool {
        try withOpenSide(of: connection) { core, side throws(FabricError) in
            guard let address = side.endpoint.regions[local.key]?.address(of: local.offset, length: length) else {
                throw FabricError(
                    .invalidArgument, "\(length) bytes at \(local.offset) are not within a region of this endpoint")
            }
            let operation = LoopbackOperation(
                kind: kind, token: token, local: address, remote: remote, length: length, deadline: deadline)
            return core.start(operation, on: side)
        }
    }

    public mutating func cancel(token: UInt64, on connection: Connection) {
        _ = try? withSide(of: connection) { core, side in core.cancel(token: token, on: side) }
    }

    public mutating func finish(_ connection: Connection) {
        _ = try? withSide(of: connection) { core, side in
            if side.isOpen { core.finish(side) }
        }
    }

    public mutating func close(_ connection: Connection) {
        _ = try? withSide(of: connection) { core, side in
            core.end(side, TransportFailure(.closed), telling: .closed)
        }
    }

    public mutating func poll() -> TransportEvent? {
        while true {
            let step = (try? withEndpoint { core, endpoint in core.step(endpoint) }) ?? .idle
            switch step {
            case .event(let event):
                received = event.message
                return event.event
            case .again: continue
            case .idle: return nil
            }
        }
    }

    public var message: RawSpan {
        // SAFETY: a byte has no padding, so all bytes of the span are initialised.
        @_lifetime(borrow self) get { unsafe received.span.bytes }
    }

    public mutating func wait(until deadline: Timestamp) {
        if network.core.withLock({ $0.isVirtual }) {
            waitVirtually(until: deadline)
            return
        }
        let spinEnd = Timestamp.now + configuration.spin
        while Timestamp.now < min(spinEnd, deadline) {
            if dueTime() <= .now || waker.wait(until: .zero) { return }
            rf_cpu_pause()
        }
        // From here on whoever has news for this endpoint signals the waker.
        _ = try? withEndpoint { _, endpoint in endpoint.isWaiting = true }
        let end = min(deadline, dueTime())
        if end > .now {
            _ = try? withEndpoint { _, endpoint in endpoint.statistics.sleeps += 1 }
            _ = waker.wait(until: end)
        }
        endWait()
    }

    /// Nothing else runs meanwhile, so time may jump.
    private func waitVirtually(until deadline: Timestamp) {
        guard !waker.wait(until: .zero) else { return }
        let end = min(deadline, dueTime())
        if end != .never { network.advance(to: end) }
        endWait()
    }

    private func dueTime() -> Timestamp {
        (try? withEndpoint { core, endpoint in core.nextDue(of: endpoint) }) ?? .never
    }

    private func endWait() {
        _ = try? withEndpoint { core, endpoint in
            endpoint.isWaiting = false
            endpoint.lastPoll = core.now
        }
    }

    public var statistics: TransportStatistics {
        (try? withEndpoint { _, endpoint in endpoint.statistics }) ?? TransportStatistics()
    }
}
