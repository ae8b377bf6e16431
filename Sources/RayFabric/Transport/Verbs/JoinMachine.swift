// How a queue pair is connected with the peer's, as a machine without I/O.

/// What the connection manager says of a queue pair.
enum JoinEvent: Hashable, Sendable {
    /// The peer's address is known; `isOwnPort` says whether the way there begins at the queue pair's port.
    case addressResolved(isOwnPort: Bool)
    case routeResolved
    /// Somebody wants to connect who has shown the token of this queue pair.
    case requested
    /// The peer has accepted; `isRight` says whether it has shown the other token.
    case answered(isRight: Bool)
    /// The peer knows that it was accepted.
    case established
    /// A step has failed, with this reason.
    case failed(String)
    case disconnected
    case deviceRemoved
    case addressChanged
}

/// What the shell has to do.
enum JoinDirective: Hashable, Sendable {
    case resolveRoute
    case connect
    case accept
    /// Somebody else has connected, or nobody is to.
    case reject
    /// Connect the queue pair, and tell the peer.
    case establish
    /// The queue pair is of no use, or of no more.
    case giveUp(String)
    /// Whatever uses the device is lost.
    case deviceRemoved
    /// The peer has let go of its end. Why it says over the connection, or that ends.
    case doubt
}

/// One end of the way to a connected queue pair, and what ends it afterwards.
///
/// One end is invited: it waits for who shows its token. The other one resolves address and route, connects, and
/// looks whether the answer is right.
struct JoinMachine: Hashable, Sendable {
    enum State: Hashable, Sendable {
        case idle
        case invited
        case resolvingAddress
        case resolvingRoute
        case connecting
        /// The peer may use its end.
        case accepted
        case established
        /// Given up, or not to be relied upon.
        case ended
    }

    private(set) var state = State.idle

    /// Whether this end of the queue pair answers the peer's.
    var isJoined: Bool { state == .accepted || state == .established }

    /// The peer is told how to connect.
    mutating func invite() {
        precondition(state == .idle, "invited in \(state)")
        state = .invited
    }

    /// The shell resolves the peer's address.
    mutating func begin() {
        precondition(state == .idle, "begun in \(state)")
        state = .resolvingAddress
    }

    /// - Returns: nil where nothing is to be done, as for what comes out of turn.
    mutating func handle(_ event: JoinEvent) -> JoinDirective? {
        switch event {
        case .addressResolved(let isOwnPort):
            guard state == .resolvingAddress else { return nil }
            guard isOwnPort else { return giveUp("the peer is reached by another port than that of the connection") }
            state = .resolvingRoute
            return .resolveRoute
        case .routeResolved:
            guard state == .resolvingRoute else { return nil }
            state = .connecting
            return .connect
        case .requested:
            guard state == .invited else { return .reject }
            state = .accepted
            return .accept
        case .answered(let isRight):
            guard state == .connecting else { return nil }
            guard isRight else { return giveUp("who answers at the peer's port does not know the token") }
            state = .established
            return .establish
        case .established:
            if state == .accepted { state = .established }
            return nil
        case .failed(let reason): return isActive ? giveUp(reason) : nil
        case .disconnected:
            if state == .connecting { return giveUp("the peer has disconnected") }
            guard isJoined else { return nil }
            state = .ended
            return .doubt
        case .deviceRemoved:
            state = .ended
            return .deviceRemoved
        case .addressChanged: return isActive ? giveUp("an address of the way to the peer has changed") : nil
        }
    }

    private var isActive: Bool { state != .idle && state != .ended }

    private mutating func giveUp(_ reason: String) -> JoinDirective {
        state = .ended
        return .giveUp(reason)
    }
}
