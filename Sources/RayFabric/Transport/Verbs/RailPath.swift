// One way by RDMA between the two ends of a connection: a port here, a port there, a queue pair at each.

#if Verbs
    internal import RayCore

    /// What carries one-sided operations of a connection between two ports.
    ///
    /// Path 0 joins the ports that have the connection's own addresses. Its queue pair lives and dies with the one
    /// for messages, which is on the same device. The others join further ports of the two nodes; each may fail
    /// by itself.
    final class RailPath: PathCandidate {
        enum State: Equatable {
            /// The two ends tell each other how to connect.
            case joining
            case open
            /// What was posted comes back.
            case closing
            case gone
        }

        unowned let rail: Rail
        /// The same at both ends.
        let number: UInt8
        var state = State.joining
        var device: VerbsDevice?
        var pair: VerbsQueuePair?
        var machine: RailMachine
        /// Memory of the peer, as this path's port reaches it.
        var remote = RailMemory<RailRegion>()
        /// The peer has told of all memory that its device is to reach.
        var peerHasRegistered = false
        var speed: PathSpeed
        /// This end's queue pair answers the peer's.
        var isConnected = false
        /// Joining, or the return of what was posted, ends then; or the wait for what the peer says.
        var deadline = Timestamp.never

        /// Most paths of a connection: their numbers have four bits in the names of completions.
        static let most = 16

        init(_ number: UInt8, of rail: Rail, by pair: VerbsQueuePair) {
            self.rail = rail
            self.number = number
            self.pair = pair
            device = pair.device
            machine = RailMachine(depth: pair.depth)
            speed = PathSpeed(expected: pair.device.nominalSpeed)
        }

        var isOpen: Bool { state == .open }
        /// Whether its device may have something to tell.
        var hasWork: Bool { state == .open || state == .closing }
    }
#endif
