// What every transport is given at its start.

public import RayCore

/// Settings that all transports share. The defaults suit two nodes of a cluster.
public struct TransportConfiguration: Sendable {
    /// This node. A restarted node comes back with a higher incarnation.
    public var identity: NodeID
    /// The secret that all nodes of a cluster share. Without it a network listener binds to
    /// loopback addresses only.
    public var clusterKey: ClusterKey?
    /// A ping is sent after this much silence.
    public var heartbeatInterval: Duration = .seconds(1)
    /// A peer silent for this long is given up with `peerUnresponsive`; with RDMA also one whose queue pairs are not
    /// connected by then, and not within five seconds.
    public var livenessTimeout: Duration = .seconds(5)
    /// Time for a new connection to prove itself.
    public var handshakeTimeout: Duration = .seconds(3)
    /// How long `wait` spins before it sleeps; zero never spins.
    public var spin: Duration = .microseconds(20)
    /// Bulk lanes (sockets) a peer, 1...16, where the transport has lanes.
    public var lanes: Int = 2
    /// RDMA ports that one connection spreads its one-sided operations over, 1...16, where the transport has them.
    public var rdmaPorts: Int = 4
    /// Most connections, accepted and made.
    public var maximumConnections: Int = 4096
    /// Most connections that one peer node may hold.
    public var maximumConnectionsPerPeer: Int = 32
    /// Most accepted connections that have not proven themselves yet.
    public var maximumHalfOpen: Int = 128
    /// Bytes of messages that one connection may have queued before `send` returns false.
    public var sendQueueBytes: Int = 1 << 20
    /// One-sided operations in flight a connection before `read` and `write` return false.
    public var maximumOperations: Int = 256
    /// Told once of each thing that a person should know although nobody asked: something was lost that others
    /// took over. Called by the transport's thread; must not block.
    public var log: (@Sendable (String) -> Void)?

    public init(identity: NodeID, clusterKey: ClusterKey? = nil) {
        self.identity = identity
        self.clusterKey = clusterKey
    }
}

/// The secret shared by the nodes of a cluster. Never printed, never sent.
public struct ClusterKey: Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    /// At least 16 bytes, 32 random ones are right.
    /// - Throws: `invalidArgument` when the key is shorter.
    public init(_ bytes: [UInt8]) throws(FabricError) {
        guard bytes.count >= 16 else {
            throw FabricError(.invalidArgument, "a cluster key has at least 16 bytes, this one \(bytes.count)")
        }
        self.bytes = bytes
    }

    public var description: String { "ClusterKey(\(bytes.count) bytes)" }
}
