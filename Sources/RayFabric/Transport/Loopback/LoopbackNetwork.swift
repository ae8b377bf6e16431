// The medium of loopback endpoints: who listens, what time it is, and which faults are on.

public import RayCore
internal import Synchronization

/// Connects the `LoopbackTransport`s of one process. Any thread may use it.
///
/// With the virtual clock a run repeats exactly: time stands still until somebody sets it or an
/// endpoint waits, all randomness comes from the seed, and one thread drives all endpoints.
public final class LoopbackNetwork: Sendable {
    /// Where the time comes from.
    public enum Clock: Sendable {
        /// The monotonic clock of the machine.
        case real
        /// Starts at zero. `advance(to:)` moves it, and so does an endpoint's `wait`, which sleeps
        /// for no real time: it moves the clock on to what it waited for.
        case virtual
    }

    let core: Mutex<LoopbackCore>

    /// The network that endpoints share unless they are given another one.
    public static let process = LoopbackNetwork()

    /// - Parameters:
    ///   - clock: whether links wait for the real time or for one that a test moves.
    ///   - seed: the source of the delays and region keys.
    public init(clock: Clock = .real, seed: UInt64 = 0) {
        core = Mutex(LoopbackCore(clock: clock, random: SeededRandom(seed: seed)))
    }

    /// What the endpoints take as the present.
    public var now: Timestamp { core.withLock { $0.now } }

    /// Moves the virtual clock on. Does nothing if `time` has passed.
    /// - Precondition: the clock is virtual.
    public func advance(to time: Timestamp) { core.withLock { $0.advance(to: time) } }

    /// When an endpoint next has something to do without being asked: a packet that arrives, a
    /// deadline. Nil if never; not later than `now` if it has it already.
    public var nextEvent: Timestamp? {
        core.withLock { core in
            let due = core.endpoints.values.map { core.nextDue(of: $0) }.min() ?? .never
            return due == .never ? nil : due
        }
    }

    /// Packets sent from now on take a random time within the range. Those of one connection and
    /// direction stay in order.
    public func setDelay(_ range: ClosedRange<Duration>) { core.withLock { $0.delay = range } }

    /// Nothing goes from one node to the other any more. Packets are held, as a network's senders
    /// would repeat them, and arrive when the route is healed and the connection still lives.
    public func cut(from source: NodeID, to target: NodeID) {
        core.withLock { core in
            let route = LoopbackRoute(source: source.value, target: target.value)
            if core.cuts[route] == nil { core.cuts[route] = core.now }
        }
    }

    /// Cuts both directions.
    public func cut(between left: NodeID, and right: NodeID) {
        cut(from: left, to: right)
        cut(from: right, to: left)
    }

    /// Undoes the cuts between two nodes.
    public func heal(between left: NodeID, and right: NodeID) {
        core.withLock { core in
            core.cuts[LoopbackRoute(source: left.value, target: right.value)] = nil
            core.cuts[LoopbackRoute(source: right.value, target: left.value)] = nil
            for endpoint in core.endpoints.values { core.wake(endpoint) }
        }
    }

    /// Ends the endpoints of a node as a kill would: they do nothing any more, and their peers see
    /// `connectionLost`.
    public func drop(_ node: NodeID) {
        core.withLock { core in
            let numbers = core.endpoints.filter { $0.value.configuration.identity == node }.keys.sorted()
            for number in numbers { core.remove(number) }
        }
    }
}

/// One direction between two nodes.
struct LoopbackRoute: Hashable {
    let source: UInt64
    let target: UInt64
}

/// All that the lock guards. `LoopbackCore+*.swift` hold what endpoints do with it.
final class LoopbackCore {
    private let clock: LoopbackNetwork.Clock
    private var virtualNow = Timestamp.zero
    var random: SeededRandom
    var delay: ClosedRange<Duration> = .zero ... .zero
    /// The cut routes, and since when.
    var cuts: [LoopbackRoute: Timestamp] = [:]
    var listeners: [String: LoopbackEndpoint] = [:]
    var endpoints: [Int: LoopbackEndpoint] = [:]
    private var nextEndpoint = 0
    var nextOperation: UInt64 = 0
    private var nextName = 0

    init(clock: LoopbackNetwork.Clock, random: SeededRandom) {
        self.clock = clock
        self.random = random
    }

    var isVirtual: Bool { clock == .virtual }
    var now: Timestamp { isVirtual ? virtualNow : .now }

    func advance(to time: Timestamp) {
        precondition(isVirtual, "only a virtual clock can be set")
        virtualNow = max(virtualNow, time)
    }

    func add(_ configuration: TransportConfiguration, waker: Waker) -> Int {
        let number = nextEndpoint
        nextEndpoint += 1
        endpoints[number] = LoopbackEndpoint(configuration, waker: waker, now: now)
        return number
    }

    /// Forgets an endpoint; its peers see `connectionLost`.
    func remove(_ number: Int) {
        guard let endpoint = endpoints.removeValue(forKey: number) else { return }
        for name in endpoint.listening { listeners[name] = nil }
        for side in endpoint.sides { end(side, TransportFailure(.connectionLost), telling: .connectionLost) }
    }

    func listen(_ endpoint: LoopbackEndpoint, at name: String) throws(FabricError) -> String {
        var chosen = name
        while chosen.isEmpty || (name.isEmpty && listeners[chosen] != nil) {
            nextName += 1
            chosen = "endpoint-\(nextName)"
        }
        guard listeners[chosen] == nil else { throw FabricError(.addressInUse, "listen at loopback:\(chosen)") }
        listeners[chosen] = endpoint
        endpoint.listening.append(chosen)
        return chosen
    }

    func wake(_ endpoint: LoopbackEndpoint) {
        if endpoint.isWaiting { endpoint.waker.signal() }
    }

    /// Puts a packet on its way to the other side of `side`.
    func transmit(_ packet: LoopbackPacket, from side: LoopbackSide) {
        guard let far = side.far, !far.isClosed else { return }
        var arrival = now
        if delay.upperBound > .zero {
            let span = delay.lowerBound.saturatedNanoseconds...delay.upperBound.saturatedNanoseconds
            arrival = arrival + .nanoseconds(Int64.random(in: span, using: &random))
        }
        if let last = far.inbound.last { arrival = max(arrival, last.arrival) }
        if case .message(let bytes) = packet { far.inboundBytes += bytes.count }
        far.inbound.append(LoopbackDelivery(packet: packet, arrival: arrival))
        wake(far.endpoint)
    }

    /// Since when nothing comes to `side` from the other end; nil while the route is whole.
    func cutTime(to side: LoopbackSide) -> Timestamp? {
        guard !cuts.isEmpty, let far = side.far else { return nil }
        return cuts[
            LoopbackRoute(
                source: far.endpoint.configuration.identity.value,
                target: side.endpoint.configuration.identity.value)]
    }
}
