// The RDMA side of one connection.

#if Verbs
    internal import RayCore

    /// The queue pairs of a connection: one for messages, and one for operations on each of its paths. Not one for
    /// both, because messages would wait behind the bytes of operations.
    final class Rail {
        enum State: Equatable {
            /// The two ends tell each other how to connect; the user does not know of the connection yet.
            case negotiating
            case open
            /// What was posted comes back.
            case closing
            /// Messages go by sockets, once each end knows what the other has received, and so do operations unless
            /// there are paths beside the first.
            case absent
        }

        /// How far the user's end of sending has got.
        enum Finish {
            case none
            /// For the last operation to end.
            case waiting
            /// For the peer to take out the last message; then the sockets are told.
            case ending
            case done
        }

        let connection: Connection
        /// In the names of its completions, so that late ones of another rail are told apart.
        let number: UInt16
        let isInitiator: Bool
        var state = State.negotiating
        /// In the order of their numbers. Empty without RDMA.
        var paths: [RailPath] = []
        /// nil when messages go by sockets.
        var lane: MessageLane?
        /// What the peer has received of the lane's stream before it broke.
        var peerReceived: UInt64?
        /// What the peer had not received was sent by sockets, where all that follows goes.
        var hasHandedOver = false
        var peerIsReady = false
        /// Why this end, which had told the peer that it answers, was lost before the peer had said the same.
        var earlyLoss: String?
        /// The negotiation, or the return of what was posted, ends then.
        var deadline: Timestamp
        /// Memory of the peer that its devices do not take, and why.
        var refusals: [RegionKey: FabricError.Code] = [:]
        /// Of queue pairs whose port has lost its link: when one goes, the connection manager tells the peer by that
        /// port, and Soft-RoCE of kernel 6.1 was seen to send nothing more for it after it could not send that.
        var identifiers: [ManagedIdentifier] = []
        var finish = Finish.none
        /// The user has closed the connection and wants no more messages of it.
        var isClosed = false
        var owesWritable = false
        /// Operations in flight.
        var operations = 0

        init(_ connection: Connection, number: UInt16, isInitiator: Bool, deadline: Timestamp) {
            self.connection = connection
            self.number = number
            self.isInitiator = isInitiator
            self.deadline = deadline
        }

        /// The lane that messages to the peer are put into.
        var outgoing: MessageLane? { hasHandedOver ? nil : lane }

        /// The device that carries the messages; nil without, and after its loss.
        var device: VerbsDevice? { paths.first?.device }
        /// This end's queue pairs answer the peer's.
        var isConnected: Bool { paths.first?.isConnected == true }
        /// This end has begun to connect its queue pairs, and has not done so.
        var isJoining: Bool {
            guard isInitiator, !isConnected, let pair = paths.first?.pair else { return false }
            return pair.join.state != .idle
        }

        /// Whether the device of the messages may have something to tell.
        var hasWork: Bool { state == .open || state == .closing }

        /// The path of a number that completions or the peer have named.
        func path(_ number: UInt8) -> RailPath? { number < paths.count ? paths[Int(number)] : nil }
    }

    /// A one-sided operation on a rail.
    struct RailOperation {
        var rail: Rail
        /// nil while it is held until the memory that it names is registered.
        var path: RailPath?
        var token: UInt64
        var isRead: Bool
        var local: RegionLocation
        var remote: RegionLocation
        var length: Int
        /// The peer is told this when a write is in place.
        var notification: UInt64?
        var deadline: Timestamp
        var slices: [RailSlice] = []
    }

    /// Memory of this node that a device knows.
    struct LocalPart: RailPart {
        var key: RegionKey
        var offset: UInt64
        var length: UInt64
        var address: UInt64
        var access: RemoteAccess
        var region: VerbsRegion

        /// What a peer is told of it on a path by the same device.
        func announcement(path: UInt8) -> RailMessage {
            .region(
                path: path,
                RailRegion(
                    key: key, offset: offset, length: length, access: access, address: address,
                    remoteKey: region.remoteKey))
        }
    }
#endif
