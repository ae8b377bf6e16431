// How loopback connections begin: the handshake, the incarnation rule and the limits.

internal import RayCore

extension LoopbackCore {
    func connect(
        _ endpoint: LoopbackEndpoint, to name: String, deadline: Timestamp
    ) throws(FabricError) -> Connection {
        guard endpoint.connectionCount < endpoint.configuration.maximumConnections else {
            throw FabricError(.connectionLimit, "connect to loopback:\(name)")
        }
        let now = now
        let side = LoopbackSide(endpoint: endpoint, phase: .dialing(deadline: deadline), begun: now)
        let connection = endpoint.assignSlot(to: side)
        endpoint.sides.append(side)
        guard let target = listeners[name] else {
            end(side, TransportFailure(.connectionRefused), telling: .connectionLost)
            return connection
        }
        guard target.halfOpen < target.configuration.maximumHalfOpen else {
            target.statistics.rejected += 1
            end(side, TransportFailure(.connectionLimit), telling: .connectionLost)
            return connection
        }
        let far = LoopbackSide(
            endpoint: target, phase: .halfOpen(deadline: now + target.configuration.handshakeTimeout), begun: now)
        target.halfOpen += 1
        target.sides.append(far)
        side.far = far
        far.far = side
        transmit(.hello, from: side)
        return connection
    }

    /// The dialler's part of the handshake.
    func receiveDialing(_ packet: LoopbackPacket, on side: LoopbackSide) {
        let configuration = side.endpoint.configuration
        switch packet {
        case .challenge:
            transmit(.proof(configuration.identity, key: configuration.clusterKey?.bytes), from: side)
        case .welcome(let peer):
            if let refusal = admit(peer, on: side) {
                end(side, TransportFailure(refusal), telling: refusal)
            } else {
                open(side, to: peer)
            }
        case .gone(let failure):
            end(side, failure, telling: .connectionLost)
        case .hello, .proof, .message, .request, .response, .finish:
            preconditionFailure("\(packet) during the handshake")
        }
    }

    /// The acceptor's part of the handshake.
    func receiveHalfOpen(_ packet: LoopbackPacket, on side: LoopbackSide) {
        let endpoint = side.endpoint
        switch packet {
        case .hello:
            transmit(.challenge, from: side)
        case .proof(let peer, let key):
            guard
                let refusal = key != endpoint.configuration.clusterKey?.bytes
                    ? .authenticationFailed : admit(peer, on: side)
            else {
                endpoint.halfOpen -= 1
                transmit(.welcome(endpoint.configuration.identity), from: side)
                _ = endpoint.assignSlot(to: side)
                open(side, to: peer)
                return
            }
            endpoint.statistics.rejected += 1
            end(side, TransportFailure(refusal), telling: refusal)
        case .gone(let failure):
            end(side, failure, telling: .connectionLost)
        case .challenge, .welcome, .message, .request, .response, .finish:
            preconditionFailure("\(packet) during the handshake")
        }
    }

    private func open(_ side: LoopbackSide, to peer: NodeID) {
        guard let connection = side.connection else { preconditionFailure("an open side without a slot") }
        side.phase = .open
        side.peer = peer
        post(.connected(connection), to: side.endpoint)
    }

    /// Why a proven peer may not connect; nil if it may. A newer incarnation ends the connections
    /// of the older one.
    private func admit(_ peer: NodeID, on side: LoopbackSide) -> FabricError.Code? {
        let endpoint = side.endpoint
        let known = endpoint.incarnations[peer.value] ?? 0
        if peer.incarnation < known { return .staleIncarnation }
        if peer.incarnation > known {
            endpoint.incarnations[peer.value] = peer.incarnation
            for other in endpoint.sides where other.peer?.value == peer.value {
                end(other, TransportFailure(.staleIncarnation), telling: .staleIncarnation)
            }
        }
        // A dialler counted its own slot when it asked for it.
        if side.connection == nil, endpoint.connectionCount >= endpoint.configuration.maximumConnections {
            return .connectionLimit
        }
        let ofPeer = endpoint.sides.count { $0.peer?.value == peer.value }
        return ofPeer < endpoint.configuration.maximumConnectionsPerPeer ? nil : .connectionLimit
    }
}
