// Who may have how many connections, and which incarnation of a node is the newest: a machine
// without I/O that the TCP transports ask before they let a proven peer in.

package import RayCore

/// The peers of one transport.
package struct PeerDirectory: Sendable {
    private struct Peer {
        var incarnation: UInt32
        var connections: Int
    }

    /// Nodes remembered at most; those without connections are forgotten first.
    package static let limit = 1 << 16

    private let maximumConnectionsPerPeer: Int
    private var peers: [UInt64: Peer] = [:]

    package init(maximumConnectionsPerPeer: Int) {
        self.maximumConnectionsPerPeer = maximumConnectionsPerPeer
    }

    /// What to do with a peer that has proven itself.
    package enum Admission: Hashable, Sendable {
        /// Let it in, and count it until `remove`.
        case admitted
        /// Let it in, count it, and end the connections of its older incarnations with
        /// `staleIncarnation`.
        case supersedes
        /// Turn it away for this reason.
        case refused(FabricError.Code)
    }

    package mutating func admit(_ node: NodeID) -> Admission {
        guard var peer = peers[node.value] else {
            if peers.count >= Self.limit { peers = peers.filter { $0.value.connections > 0 } }
            guard peers.count < Self.limit else { return .refused(.connectionLimit) }
            peers[node.value] = Peer(incarnation: node.incarnation, connections: 1)
            return .admitted
        }
        if node.incarnation < peer.incarnation { return .refused(.staleIncarnation) }
        if node.incarnation > peer.incarnation {
            // The older incarnation's connections are about to end and are no longer counted.
            let supersedes = peer.connections > 0
            peers[node.value] = Peer(incarnation: node.incarnation, connections: 1)
            return supersedes ? .supersedes : .admitted
        }
        guard peer.connections < maximumConnectionsPerPeer else { return .refused(.connectionLimit) }
        peer.connections += 1
        peers[node.value] = peer
        return .admitted
    }

    /// A connection of an admitted peer has ended.
    package mutating func remove(_ node: NodeID) {
        guard var peer = peers[node.value], peer.incarnation == node.incarnation else { return }
        peer.connections -= 1
        assert(peer.connections >= 0)
        peers[node.value] = peer
    }
}
