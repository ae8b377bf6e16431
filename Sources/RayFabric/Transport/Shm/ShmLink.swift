// An open connection: both rings, the socket beside them, and what is in flight.

internal import CLinux
internal import CSharedLayout
internal import RayCore
internal import Synchronization

/// What all links of a transport share.
struct ShmContext: ~Copyable {
    var events = ShmQueue<TransportEvent>()
    var regions: ShmRegions
    var statistics = TransportStatistics()
    /// When the clock was last read.
    var now: Timestamp
}

/// The state of an open connection. It moves bytes; the transport decides when.
struct ShmLink: ~Copyable {
    /// The answer to an operation of the peer, until there is room for it in the ring.
    struct Response {
        var operation: UInt64
        var code: FabricError.Code?
    }

    /// A read of the peer that this end serves.
    struct Job {
        var operation: UInt64
        var location: RegionLocation
        var remaining: UInt64
        var progress: UInt64
    }

    enum Finish { case open, requested, sent }

    let connection: Connection
    let peer: NodeID
    let socket: FileDescriptor
    // Kept mapped for the pointers into them.
    let own: ShmSegment
    private let theirs: ShmSegment
    var producer: ShmProducer
    var consumer: ShmConsumer
    /// Most bytes of messages in the ring.
    let window: UInt64
    /// The peer wants room back after this many bytes at the latest.
    let releaseThreshold: UInt64
    /// Most operations that this end serves at a time.
    let serviceLimit: Int

    var operations: ShmOperations
    var remotes: ShmRemoteRegions
    var responses = ShmQueue<Response>()
    var jobs = ShmQueue<Job>()
    /// Reads of this end that the peer need not answer any more.
    var cancels = ShmQueue<UInt64>()
    /// Packets that the socket did not take yet, without and with a descriptor.
    var questions = ShmQueue<RegionKey>()
    var answers = ShmQueue<RegionKey>()

    var finish = Finish.open
    var peerFinished = false
    /// The socket is at its end; what is in the ring is still good.
    var hungUp = false {
        didSet { if !oldValue { hangUpPosition = consumer.position } }
    }
    private var hangUpPosition: UInt64 = 0
    /// Why the peer said it would go.
    var farewell: FabricError.Code?
    /// The size of a message that was refused; -1 when an operation was; nil when nothing was.
    var refused: Int?

    // Membership in the transport's lists.
    var isDirty = false
    var isWorking = false
    var isHot = false
    /// When something last arrived, in the transport's count of polls.
    var lastArrival: UInt64 = 0

    private var sleepEpoch: UInt64 = 0
    private var isArmed = false
    private var bellRung: UInt64 = 0
    private var heartbeat: UInt64 = 0
    private var heartbeatSeen: UInt64 = 0
    var silence = Duration.zero

    init(
        connection: Connection, peer: NodeID, socket: consuming FileDescriptor, own: consuming ShmSegment,
        theirs: consuming ShmSegment, remotes: consuming ShmRemoteRegions, setup: rf_shm_setup,
        configuration: TransportConfiguration
    ) {
        self.connection = connection
        self.peer = peer
        self.socket = socket
        producer = unsafe ShmProducer(
            ring: own.ring, capacity: own.ringBytes, consumed: UnsafePointer(theirs.consumed))
        consumer = unsafe ShmConsumer(
            ring: UnsafeRawPointer(theirs.ring), capacity: theirs.ringBytes, consumed: own.consumed,
            maximumLength: Int(RF_SHM_MAXIMUM_LENGTH))
        window = UInt64(min(configuration.sendQueueBytes, own.ringBytes))
        releaseThreshold = min(UInt64(theirs.ringBytes) / 8, setup.window / 4)
        serviceLimit = configuration.maximumOperations
        operations = ShmOperations(
            capacity: min(configuration.maximumOperations, Int(setup.maximum_operations)))
        self.own = own
        self.theirs = theirs
        self.remotes = remotes
    }

    /// A peer that hung up and goes on writing: more came than its ring holds.
    var isDrainedTooLong: Bool { hungUp && consumer.position &- hangUpPosition > UInt64(theirs.ringBytes) }

    // MARK: Publishing and sleeping

    /// Shows the peer what was appended, and wakes it if it sleeps.
    mutating func publish(_ context: inout ShmContext) {
        guard producer.publish() else { return }
        ringBell(ifSleep: 1, &context)
    }

    /// Gives the room of what was read back to the peer, and wakes it if it sleeps for want of room.
    mutating func release(_ context: inout ShmContext) {
        guard consumer.release() else { return }
        ringBell(ifSleep: 2, &context)
    }

    private mutating func ringBell(ifSleep flag: UInt64, _ context: inout ShmContext) {
        // Between our store and this load; pairs with the fence between the peer's `arm` and its
        // last look at the rings: one of the two sees the other's store.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        let word = unsafe theirs.sleep.pointee.load(ordering: .relaxed)
        // Once per sleep is enough.
        guard word & flag != 0, word != bellRung else { return }
        bellRung = word
        context.statistics.systemCalls += 1
        // A full socket means that there is enough in it to wake the peer.
        _ = sendPacket(rf_shm_packet(RF_SHM_BELL))
    }

    /// Asks the peer to ring for what it publishes, and for room if that is wanted. The caller puts
    /// a full fence behind it and then looks at the rings once more.
    mutating func arm() {
        guard !isArmed else { return }
        isArmed = true
        sleepEpoch += 1
        let wantsRoom: UInt64 = isWorking ? 2 : 0
        unsafe own.sleep.pointee.store(sleepEpoch << 2 | wantsRoom | 1, ordering: .relaxed)
    }

    mutating func disarm() {
        guard isArmed else { return }
        isArmed = false
        unsafe own.sleep.pointee.store(sleepEpoch << 2, ordering: .relaxed)
    }

    /// Shows that this end is served, and looks whether the peer is.
    mutating func beat(after elapsed: Duration) {
        heartbeat += 1
        unsafe own.heartbeat.pointee.store(heartbeat, ordering: .relaxed)
        let seen = unsafe theirs.heartbeat.pointee.load(ordering: .relaxed)
        if seen != heartbeatSeen {
            heartbeatSeen = seen
            silence = .zero
        } else {
            silence += elapsed
        }
    }

    // MARK: The socket

    func sendPacket(_ packet: rf_shm_packet, descriptor: Int32? = nil) -> Bool {
        var packet = packet
        var number = descriptor ?? -1
        let count = unsafe withUnsafeBytes(of: &packet) { bytes in
            unsafe rf_send_with_fds(
                socket.number, bytes.baseAddress, bytes.count, &number, descriptor == nil ? 0 : 1, RF_MSG_DONTWAIT)
        }
        return count >= 0
    }

    /// Sends what is asked and answered about regions, as far as the socket takes it.
    mutating func flushPackets(_ context: borrowing ShmContext) {
        while let key = questions.first {
            guard sendPacket(rf_shm_packet(RF_SHM_REGION_QUERY, key: key)) else { return }
            _ = questions.popFirst()
        }
        while let key = answers.first {
            var packet = rf_shm_packet(RF_SHM_REGION_ANSWER, key: key)
            var sent: Bool
            if let region = context.regions.sharedRegion(key) {
                packet.offset = UInt64(region.offset)
                packet.length = UInt64(region.length)
                packet.access = UInt32(region.access.rawValue)
                sent = sendPacket(packet, descriptor: region.descriptor.number)
            } else {
                packet = rf_shm_packet(RF_SHM_REGION_ANSWER, key: key, code: .remoteAccessDenied)
                sent = sendPacket(packet)
            }
            guard sent else { return }
            _ = answers.popFirst()
        }
    }

    /// Reads the packets that are there.
    mutating func drainSocket(_ context: inout ShmContext) throws(ShmViolation) {
        // Bounded, so that a peer that sends without end does not hold us.
        for _ in 0..<64 {
            var packet = rf_shm_packet()
            var descriptors = ShmDescriptors()
            context.statistics.systemCalls += 1
            let count = unsafe withUnsafeMutableBytes(of: &packet) { bytes in
                unsafe descriptors.receive(from: socket.number, into: bytes)
            }
            if count < 0, rf_errno() == EAGAIN || rf_errno() == EINTR { break }
            if count <= 0 {
                hungUp = true
                break
            }
            guard count == MemoryLayout<rf_shm_packet>.size else { throw ShmViolation() }
            try take(packet, descriptors.takeFirst())
        }
        flushPackets(context)
    }

    private mutating func take(_ packet: rf_shm_packet, _ descriptor: consuming FileDescriptor?) throws(ShmViolation) {
        switch Int32(truncatingIfNeeded: packet.kind) {
        case RF_SHM_BELL: break
        case RF_SHM_REGION_QUERY:
            guard answers.count < serviceLimit else { throw ShmViolation() }
            answers.append(RegionKey(rawValue: packet.key))
        case RF_SHM_REGION_ANSWER:
            guard remotes.takeAnswer(packet, descriptor) else { throw ShmViolation() }
        case RF_SHM_GOODBYE:
            farewell = FabricError.Code(rawValue: UInt16(truncatingIfNeeded: packet.status))
        default: throw ShmViolation()
        }
    }
}
