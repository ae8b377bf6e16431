// The RDMA side of one connection.

#if Verbs
    internal import RayCore

    /// A queue pair with all that belongs to it.
    final class Rail {
        enum State: Equatable {
            /// The two ends tell each other how to connect; the user does not know of the connection yet.
            case negotiating
            case open
            /// What was posted comes back.
            case closing
            /// Everything goes by sockets.
            case absent
        }

        let connection: Connection
        /// In the names of its completions, so that late ones of another rail are told apart.
        let number: UInt16
        let isInitiator: Bool
        var state = State.negotiating
        var device: VerbsDevice?
        var pair: VerbsQueuePair?
        var machine = RailMachine(depth: 4)
        /// This end's queue pair answers the peer's.
        var isConnected = false
        var peerIsReady = false
        /// The negotiation, or the return of what was posted, ends then.
        var deadline: Timestamp
        var remote = RailMemory<RailRegion>()
        /// The user has finished; the sockets are told once the last operation has ended.
        var isFinishing = false
        var owesWritable = false
        /// Operations in flight.
        var operations = 0

        init(_ connection: Connection, number: UInt16, isInitiator: Bool, deadline: Timestamp) {
            self.connection = connection
            self.number = number
            self.isInitiator = isInitiator
            self.deadline = deadline
        }
    }

    /// A one-sided operation on a rail.
    struct RailOperation {
        var rail: Rail
        var token: UInt64
        var isRead: Bool
        var local: RegionLocation
        var remote: RegionLocation
        var length: Int
        var deadline: Timestamp
        var slices: [RailSlice]
    }

    /// Memory of this node that a device knows.
    struct LocalPart: RailPart {
        var key: RegionKey
        var offset: UInt64
        var length: UInt64
        var address: UInt64
        var access: RemoteAccess
        var region: VerbsRegion

        /// What peers are told of it.
        var announcement: RailMessage {
            .region(
                RailRegion(
                    key: key, offset: offset, length: length, access: access, address: address,
                    remoteKey: region.remoteKey))
        }
    }
#endif
