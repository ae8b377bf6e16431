// What the network knows of one endpoint, and its life cycle: polling, timers, liveness.

internal import RayCore

/// One endpoint. Touched only with the network's lock held.
final class LoopbackEndpoint {
    let configuration: TransportConfiguration
    let waker: Waker
    /// Names in the network's table of listeners.
    var listening: [String] = []
    /// Every side that is not closed, in the order of their making.
    var sides: [LoopbackSide] = []
    /// Where the next poll begins, so that no connection waits for ever.
    var cursor = 0
    /// Slots of connections: the side, if it is in use, and the generation.
    var slots: [(side: LoopbackSide?, generation: UInt32)] = []
    var events = LoopbackQueue<LoopbackEvent>()
    var regions: [RegionKey: LoopbackRegion] = [:]
    /// The highest incarnation of each node that was ever connected.
    var incarnations: [UInt64: UInt32] = [:]
    var halfOpen = 0
    var isWaiting = false
    var lastPoll: Timestamp
    /// Polled without a long break since then: a peer is not blamed for our own silence.
    var awakeSince: Timestamp
    var statistics = TransportStatistics()

    init(_ configuration: TransportConfiguration, waker: Waker, now: Timestamp) {
        self.configuration = configuration
        self.waker = waker
        lastPoll = now
        awakeSince = now
    }

    func side(of connection: Connection) -> LoopbackSide? {
        let index = Int(connection.index)
        guard index < slots.count, slots[index].generation == connection.generation else { return nil }
        return slots[index].side
    }

    var connectionCount: Int { slots.count { $0.side != nil } }

    /// Gives a side a slot, so that the user can name it.
    func assignSlot(to side: LoopbackSide) -> Connection {
        let index = slots.firstIndex { $0.side == nil } ?? slots.count
        if index == slots.count { slots.append((nil, 0)) }
        slots[index].side = side
        let connection = Connection(index: UInt32(index), generation: slots[index].generation)
        side.connection = connection
        return connection
    }

    func releaseSlot(of connection: Connection) {
        slots[Int(connection.index)].side = nil
        slots[Int(connection.index)].generation &+= 1
    }
}

/// An event and the bytes that belong to it.
struct LoopbackEvent {
    let event: TransportEvent
    var message: [UInt8] = []
}

/// What one step of polling gave.
enum LoopbackStep {
    case event(LoopbackEvent)
    /// Something was done; there may be more.
    case again
    case idle
}

extension LoopbackCore {
    /// Does one piece of work for an endpoint: an event, a packet, or part of a long copy.
    func step(_ endpoint: LoopbackEndpoint) -> LoopbackStep {
        let now = now
        if now - endpoint.lastPoll > endpoint.configuration.heartbeatInterval { endpoint.awakeSince = now }
        endpoint.lastPoll = now
        if let event = endpoint.events.popFirst() { return .event(event) }
        let count = endpoint.sides.count
        for offset in 0..<count {
            let index = (endpoint.cursor + offset) % count
            let side = endpoint.sides[index]
            guard receive(on: side, now: now) || expire(side, now: now) else { continue }
            endpoint.cursor = index + 1
            return endpoint.events.popFirst().map { .event($0) } ?? .again
        }
        return .idle
    }

    func post(_ event: TransportEvent, message: [UInt8] = [], to endpoint: LoopbackEndpoint) {
        endpoint.events.append(LoopbackEvent(event: event, message: message))
        wake(endpoint)
    }

    /// Ends what has run out of time.
    /// - Returns: whether anything had.
    private func expire(_ side: LoopbackSide, now: Timestamp) -> Bool {
        switch side.phase {
        case .dialing(let deadline):
            guard now >= deadline else { return false }
            end(side, TransportFailure(.deadlineExceeded), telling: .connectionLost)
            return true
        case .halfOpen(let deadline):
            guard now >= deadline else { return false }
            side.endpoint.statistics.rejected += 1
            end(side, TransportFailure(.deadlineExceeded), telling: .connectionLost)
            return true
        case .open:
            if now >= heard(side, now: now) + side.endpoint.configuration.livenessTimeout {
                end(side, TransportFailure(.peerUnresponsive), telling: .connectionLost)
                return true
            }
            return now >= side.earliestDeadline && expireOperations(of: side, now: now)
        case .closed:
            return false
        }
    }

    /// The last time at which the other end gave a sign of life, as far as it can be counted.
    private func heard(_ side: LoopbackSide, now: Timestamp) -> Timestamp {
        guard let far = side.far else { return now }
        var time = far.endpoint.isWaiting ? now : far.endpoint.lastPoll
        if let cut = cutTime(to: side) { time = min(time, cut) }
        return max(time, side.begun, side.endpoint.awakeSince)
    }

    /// When `step` next has something to do without further calls.
    func nextDue(of endpoint: LoopbackEndpoint) -> Timestamp {
        if !endpoint.events.isEmpty { return .zero }
        let now = now
        var due = Timestamp.never
        for side in endpoint.sides {
            if let first = side.inbound.first, cutTime(to: side) == nil { due = min(due, first.arrival) }
            switch side.phase {
            case .dialing(let deadline), .halfOpen(let deadline): due = min(due, deadline)
            case .open:
                due = min(due, side.earliestDeadline)
                due = min(due, heard(side, now: now) + endpoint.configuration.livenessTimeout)
            case .closed: break
            }
        }
        return due
    }

    /// Ends a side: completes its operations, tells its user and its far end.
    func end(_ side: LoopbackSide, _ failure: TransportFailure, telling code: FabricError.Code) {
        guard !side.isClosed else { return }
        transmit(.gone(TransportFailure(code)), from: side)
        if case .halfOpen = side.phase { side.endpoint.halfOpen -= 1 }
        side.phase = .closed
        side.far = nil
        side.inbound = LoopbackQueue()
        side.endpoint.sides.removeAll { $0 === side }
        guard let connection = side.connection else { return }
        for (_, operation) in side.operations.sorted(by: { $0.key < $1.key }) {
            post(.completed(connection, token: operation.token, failure: failure), to: side.endpoint)
        }
        side.operations = [:]
        post(.closed(connection, failure), to: side.endpoint)
        side.endpoint.releaseSlot(of: connection)
    }
}
