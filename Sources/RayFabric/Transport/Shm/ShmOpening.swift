// A connection before it is open: dialling, the handshake, then the exchange of memory.

internal import CLinux
internal import CSharedLayout
internal import RayCore

/// A connection that is being set up. It talks over its socket only.
final class ShmOpening {
    enum Stage {
        /// The listener's queue was full.
        case dialing
        case proving
        /// The peer is known; its memory is awaited.
        case exchanging
    }

    /// What the transport has to do.
    enum Step {
        case wait
        /// The peer has proven itself; call `admit` or `refuse`.
        case proven(NodeID)
        /// The peer's memory is here; call `makeLink`.
        case open
        case failed(TransportFailure)
    }

    let connection: Connection
    let isInitiator: Bool
    let path: String
    let deadline: Timestamp
    private let configuration: TransportConfiguration
    /// This end's directory of regions, for the peer.
    private let directory: Int32
    private(set) var stage: Stage
    private(set) var peer: NodeID?
    /// The peer is counted in the transport's directory of peers.
    private(set) var isAdmitted = false
    private var socket: FileDescriptor?
    private var handshake: Handshake
    private var own: ShmSegment?
    private var theirs: ShmSegment?
    private var remotes: ShmRemoteRegions?
    private var setup = rf_shm_setup()
    /// The last packet, and how much of it the handshake has taken.
    private var packet: [UInt8] = []
    private var taken = 0

    /// The side that connects.
    init(
        connection: Connection, dialing path: String, deadline: Timestamp, directory: Int32,
        configuration: TransportConfiguration
    ) throws(FabricError) {
        self.connection = connection
        isInitiator = true
        self.path = path
        self.deadline = deadline
        self.configuration = configuration
        self.directory = directory
        stage = .dialing
        socket = try ShmSocket.open()
        handshake = Handshake(initiator: Self.offer(configuration), key: configuration.clusterKey)
    }

    /// The side that was connected to.
    init(
        connection: Connection, accepted socket: consuming FileDescriptor, deadline: Timestamp, directory: Int32,
        configuration: TransportConfiguration
    ) {
        self.connection = connection
        isInitiator = false
        path = ""
        self.deadline = deadline
        self.configuration = configuration
        self.directory = directory
        stage = .proving
        self.socket = consume socket
        handshake = Handshake(responder: Self.offer(configuration), key: configuration.clusterKey)
    }

    private static func offer(_ configuration: TransportConfiguration) -> HandshakeOffer {
        var random = SystemRandomNumberGenerator()
        return HandshakeOffer(
            node: configuration.identity, session: random.next(), lane: 0, laneCount: 0,
            nonce: HandshakeNonce(using: &random), features: [])
    }

    var descriptor: Int32 {
        guard let number = socket?.number else { preconditionFailure("the socket was given away") }
        return number
    }

    /// Tries to reach the listener.
    func dial() -> Step {
        switch ShmSocket.connect(descriptor, to: path) {
        case 0:
            guard ShmSocket.isOfOurUser(descriptor) else { return .failed(TransportFailure(.attachRefused)) }
            stage = .proving
            return transmit(handshake.start()) ?? .wait
        case EAGAIN: return .wait
        case ENOENT, ECONNREFUSED, EPROTOTYPE, ENOTSOCK:
            return .failed(TransportFailure(.connectionRefused, errno: rf_errno()))
        case let number: return .failed(TransportFailure(errorCode(number), errno: number))
        }
    }

    /// Reads what has come and goes on as far as possible.
    func proceed() -> Step {
        while true {
            switch stage {
            case .dialing: return dial()
            case .proving:
                if packet.count - taken < handshake.expectedByteCount {
                    guard taken == packet.count else { return .failed(TransportFailure(.protocolViolation)) }
                    if let stop = receivePacket() { return stop }
                    continue
                }
                let part = taken..<(taken + handshake.expectedByteCount)
                taken = part.upperBound
                // SAFETY: every byte of an array of bytes is initialised.
                let step = unsafe handshake.receive(packet.span.bytes.extracting(part))
                if let result = apply(step) { return result }
            case .exchanging:
                guard taken == packet.count else { return .failed(TransportFailure(.protocolViolation)) }
                return receiveSetup()
            }
        }
    }

    /// Nil when there is a packet.
    private func receivePacket() -> Step? {
        packet = [UInt8](repeating: 0, count: 2048)
        taken = 0
        var descriptors = ShmDescriptors()
        let count = unsafe packet.withUnsafeMutableBytes { buffer in
            unsafe descriptors.receive(from: descriptor, into: buffer)
        }
        packet.removeLast(packet.count - max(count, 0))
        if count > 0 { return nil }
        return endOfInput(count)
    }

    private func endOfInput(_ count: Int) -> Step {
        if count < 0, rf_errno() == EAGAIN || rf_errno() == EINTR { return .wait }
        return .failed(TransportFailure(.connectionLost, errno: count < 0 ? rf_errno() : 0))
    }

    private func apply(_ step: HandshakeStep) -> Step? {
        let failure = transmit(step.output)
        switch step.outcome {
        case .proceed: return failure
        case .verified(let peer): return .proven(peer.node)
        case .established(let peer):
            if isInitiator { return .proven(peer.node) }
            return failure ?? sendSetup()
        case .failed(let code): return .failed(TransportFailure(code))
        }
    }

    /// Lets the proven peer in.
    func admit(_ node: NodeID) -> Step {
        peer = node
        isAdmitted = true
        let step = isInitiator ? sendSetup() : apply(handshake.accept())
        return step ?? proceed()
    }

    /// Turns the proven peer away.
    func refuse(_ code: FabricError.Code) -> Step {
        if isInitiator {
            _ = send(rf_shm_setup(code: code), [])
        } else {
            _ = apply(handshake.refuse(code))
        }
        return .failed(TransportFailure(code))
    }

    // MARK: Exchange of memory

    /// Makes this end's segment and sends it with the directory. Nil when that went well.
    private func sendSetup() -> Step? {
        stage = .exchanging
        do throws(FabricError) {
            let wanted = min(max(configuration.sendQueueBytes, 1), Int(RF_SHM_MAXIMUM_RING))
            let ringBytes = max(Int(RF_SHM_MINIMUM_RING), Int(UInt(wanted - 1).nextPowerOfTwo))
            let file = try MemoryFile(
                name: "rayfabric-shm-segment", byteCount: ShmSegment.fileBytes(ringBytes: ringBytes))
            let segment = try ShmSegment(descriptor: file.descriptor.number, ringBytes: ringBytes, writable: true)
            segment.initialise()
            own = consume segment
            let setup = rf_shm_setup(
                ringBytes: ringBytes, window: wanted, maximumOperations: configuration.maximumOperations)
            return send(setup, [file.descriptor.number, directory])
        } catch {
            return .failed(TransportFailure(error.code, errno: error.errno))
        }
    }

    private func send(_ setup: rf_shm_setup, _ descriptors: [Int32]) -> Step? {
        var setup = setup
        return unsafe withUnsafeBytes(of: &setup) { bytes in unsafe transmit(bytes, descriptors) }
    }

    private func transmit(_ bytes: [UInt8]) -> Step? {
        if bytes.isEmpty { return nil }
        return unsafe bytes.withUnsafeBytes { buffer in unsafe transmit(buffer, []) }
    }

    /// A few small packets always fit into the socket of a peer that follows the protocol.
    private func transmit(_ bytes: UnsafeRawBufferPointer, _ descriptors: [Int32]) -> Step? {
        let count = unsafe rf_send_with_fds(
            descriptor, bytes.baseAddress, bytes.count, descriptors, Int32(descriptors.count), RF_MSG_DONTWAIT)
        if count == bytes.count { return nil }
        let number = rf_errno()
        // What the peer said before it left is in the socket still, and says more than this.
        if number == EPIPE || number == ECONNRESET { return nil }
        return .failed(TransportFailure(number == EAGAIN ? .protocolViolation : errorCode(number), errno: number))
    }

    private func receiveSetup() -> Step {
        var setup = rf_shm_setup()
        var descriptors = ShmDescriptors()
        let count = unsafe withUnsafeMutableBytes(of: &setup) { bytes in
            unsafe descriptors.receive(from: descriptor, into: bytes)
        }
        guard count > 0 else { return endOfInput(count) }
        guard count == MemoryLayout<rf_shm_setup>.size, setup.magic == RF_SHM_MAGIC else {
            return .failed(TransportFailure(.protocolViolation))
        }
        guard setup.version == UInt32(RF_SHM_VERSION) else { return .failed(TransportFailure(.versionMismatch)) }
        guard setup.code == 0 else { return .failed(TransportFailure(Self.refusal(setup.code))) }
        let ringBytes = setup.ring_bytes
        guard ringBytes.nonzeroBitCount == 1, setup.maximum_operations > 0,
            ringBytes >= UInt64(RF_SHM_MINIMUM_RING), ringBytes <= UInt64(RF_SHM_MAXIMUM_RING)
        else { return .failed(TransportFailure(.protocolViolation)) }
        // A peer that follows the protocol sends both; the system drops what exceeds our limit.
        guard let segment = descriptors.takeFirst(), let directory = descriptors.takeFirst() else {
            return .failed(TransportFailure(.descriptorLimit))
        }
        return map(setup, segment, directory)
    }

    private func map(_ setup: rf_shm_setup, _ segment: borrowing FileDescriptor, _ directory: borrowing FileDescriptor)
        -> Step
    {
        let ringBytes = Int(setup.ring_bytes)
        guard isSafeToMap(segment.number, byteCount: ShmSegment.fileBytes(ringBytes: ringBytes)),
            isSafeToMap(directory.number, byteCount: ShmRegions.directoryBytes)
        else { return .failed(TransportFailure(.protocolViolation)) }
        do throws(FabricError) {
            let theirs = try ShmSegment(descriptor: segment.number, ringBytes: ringBytes, writable: false)
            guard theirs.isInitialised else { return .failed(TransportFailure(.protocolViolation)) }
            self.theirs = consume theirs
            remotes = ShmRemoteRegions(
                directory: try Mapping(directory.number, byteCount: ShmRegions.directoryBytes, writable: false))
        } catch {
            return .failed(TransportFailure(error.code, errno: error.errno))
        }
        self.setup = setup
        return .open
    }

    /// What an admitted peer may say about why it turns us away.
    private static func refusal(_ code: UInt32) -> FabricError.Code {
        let believed: [FabricError.Code] = [.connectionLimit, .staleIncarnation, .outOfMemory, .descriptorLimit]
        return believed.first { UInt32($0.rawValue) == code } ?? .protocolViolation
    }

    /// The open connection, after the step `open`.
    func makeLink() -> ShmLink {
        guard let peer, let socket = socket.take(), let own = own.take(), let theirs = theirs.take(),
            let remotes = remotes.take()
        else { preconditionFailure("a link before the exchange of memory") }
        return ShmLink(
            connection: connection, peer: peer, socket: socket, own: own, theirs: theirs, remotes: remotes,
            setup: setup, configuration: configuration)
    }
}

extension UInt {
    /// The least power of two above this number.
    fileprivate var nextPowerOfTwo: UInt { 1 << UInt(UInt.bitWidth - leadingZeroBitCount) }
}
