// The connection manager of scripted devices: identifiers, who waits at which port, and what each is told. The
// functions of the table are in ScriptedManagerTable.swift.

#if Verbs
    import CLinux
    import CVerbs
    import Testing

    @testable import RayFabric

    /// What goes wrong while queue pairs are connected.
    enum ScriptedJoinFault: String, CaseIterable, Sendable, CustomTestStringConvertible {
        /// There is no connection manager, or it does not let anybody listen.
        case noChannel, noIdentifier, noBinding, noListening
        case address, noAddressCall, route, noRouteCall
        /// The peer's connection manager knows of nobody there, does not answer, or never says anything.
        case refused, unreachable, silent
        /// What is shown is wrong, at either end.
        case wrongQuestion, wrongAnswer
        case noConnecting, noAccepting, noEstablishing, noAttributes
        /// The connection manager finds the address at another device.
        case otherDevice

        var testDescription: String { rawValue }
    }

    /// What an identifier is told.
    struct ScriptedNews {
        var type: rdma_cm_event_type
        var status: Int32 = 0
        let identifier: ScriptedIdentifier
        /// Of whom a peer wants something.
        var listener: ScriptedIdentifier?
        var offer: ScriptedOffer?
    }

    /// What one end has told the other of its queue pair.
    struct ScriptedOffer {
        var pair: UInt32
        var packet: UInt32
        var served: UInt8
        var asked: UInt8
        var data: [UInt8]
    }

    /// Where all that a program is told comes out.
    @safe
    final class ScriptedEventChannel {
        // SAFETY: valid from init to deinit, which `rdma_destroy_event_channel` brings about.
        let pointer: UnsafeMutablePointer<rdma_event_channel>
        let fabric: ScriptedFabric
        private let signal = ScriptedSignal()
        private var news: [ScriptedNews] = []

        init(_ fabric: ScriptedFabric) {
            self.fabric = fabric
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: rdma_event_channel(fd: signal.descriptor))
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        func tell(_ new: ScriptedNews) {
            news.append(new)
            signal.raise()
        }

        /// nil where there is nothing.
        func take() -> ScriptedNews? {
            guard ScriptedSignal.take(signal.descriptor), !news.isEmpty else { return nil }
            return news.removeFirst()
        }

        /// - Returns: who wanted to connect and was not heard of.
        func forget(_ identifier: ScriptedIdentifier) -> [ScriptedIdentifier] {
            let unseen = news.filter { $0.listener === identifier }.map(\.identifier)
            news.removeAll { $0.identifier === identifier || $0.listener === identifier }
            return unseen
        }
    }

    /// One end of a connection, or somebody who waits for peers.
    @safe
    final class ScriptedIdentifier {
        enum State {
            case idle, bound, listening, connecting, requested, accepted, established, over
        }

        // SAFETY: valid from init to deinit, which `rdma_destroy_id` brings about.
        let pointer: UnsafeMutablePointer<rdma_cm_id>
        let channel: ScriptedEventChannel
        var state = State.idle
        var device: ScriptedAdapter?
        /// The port that it waits at, or wants to connect to.
        var service: UInt16 = 0
        var destination: [UInt8] = []
        /// First packet number that its queue pair sends.
        let packet: UInt32
        var peers: ScriptedOffer?
        weak var peer: ScriptedIdentifier?
        var unacknowledged = 0

        init(_ channel: ScriptedEventChannel, context: UnsafeMutableRawPointer?) {
            self.channel = channel
            packet = .random(in: 0...0xff_ffff, using: &channel.fabric.random)
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: rdma_cm_id())
            unsafe pointer.pointee.channel = channel.pointer
            unsafe pointer.pointee.context = context
            unsafe pointer.pointee.ps = RDMA_PS_TCP
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// The connection manager has found the device of its address.
        func attach(_ device: ScriptedAdapter) {
            self.device = device
            unsafe pointer.pointee.verbs = device.managerContext
            unsafe pointer.pointee.port_num = 1
        }

        /// What `rdma_init_qp_attr` says; nil where it can not say anything yet.
        func attributes(_ state: ibv_qp_state) -> (ibv_qp_attr, ScriptedMask)? {
            var attributes = ibv_qp_attr()
            attributes.qp_state = state
            if state == IBV_QPS_INIT {
                guard device != nil else { return nil }
                attributes.port_num = 1
                return (attributes, .toInit)
            }
            guard let peers, let peer else { return nil }
            switch state {
            case IBV_QPS_RTR:
                guard let gid = peer.device?.gid else { return nil }
                attributes.path_mtu = IBV_MTU_1024
                attributes.dest_qp_num = peers.pair
                attributes.rq_psn = peers.packet
                attributes.max_dest_rd_atomic = peers.asked
                attributes.ah_attr.is_global = 1
                attributes.ah_attr.port_num = 1
                attributes.ah_attr.grh.sgid_index = UInt8(ScriptedAdapter.gidIndex)
                unsafe withUnsafeMutableBytes(of: &attributes.ah_attr.grh.dgid) { unsafe $0.copyBytes(from: gid) }
                return (attributes, .toReceive)
            case IBV_QPS_RTS:
                attributes.sq_psn = packet
                attributes.timeout = 18
                attributes.max_rd_atomic = peers.served
                return (attributes, .toSend)
            default: return nil
            }
        }
    }

    /// What `ibv_modify_qp` has to be given for each state.
    struct ScriptedMask: OptionSet {
        var rawValue: Int32

        private static func of(_ parts: ibv_qp_attr_mask...) -> ScriptedMask {
            ScriptedMask(rawValue: parts.reduce(0) { $0 | Int32($1.rawValue) })
        }

        static let toInit = of(IBV_QP_STATE, IBV_QP_PKEY_INDEX, IBV_QP_PORT, IBV_QP_ACCESS_FLAGS)
        static let toReceive = of(
            IBV_QP_STATE, IBV_QP_AV, IBV_QP_PATH_MTU, IBV_QP_DEST_QPN, IBV_QP_RQ_PSN, IBV_QP_MAX_DEST_RD_ATOMIC,
            IBV_QP_MIN_RNR_TIMER)
        static let toSend = of(
            IBV_QP_STATE, IBV_QP_TIMEOUT, IBV_QP_RETRY_CNT, IBV_QP_RNR_RETRY, IBV_QP_SQ_PSN, IBV_QP_MAX_QP_RD_ATOMIC)
    }

    extension ScriptedFabric {
        // MARK: For the connection manager; the lock is held

        /// - Parameter device: that of who connects, where that matters.
        func hasFault(_ fault: ScriptedJoinFault, of device: ScriptedAdapter? = nil) -> Bool {
            guard joinFault == fault else { return false }
            return joinFaultDevice.map { devices[$0] === device } ?? true
        }

        /// Something is going to be told, in this order.
        func announce(
            _ type: rdma_cm_event_type, _ status: Int32 = 0, to identifier: ScriptedIdentifier,
            listener: ScriptedIdentifier? = nil, offer: ScriptedOffer? = nil
        ) {
            managerNews.append(
                ScriptedNews(type: type, status: status, identifier: identifier, listener: listener, offer: offer))
            passAtOnce()
        }

        /// - Returns: false where there is nothing to tell.
        func tellNext() -> Bool {
            guard !managerNews.isEmpty else { return false }
            let next = managerNews.removeFirst()
            next.identifier.channel.tell(next)
            return true
        }

        func find(_ pointer: UnsafeMutablePointer<rdma_cm_id>) -> ScriptedIdentifier {
            guard let found = identifiers.first(where: { unsafe $0.pointer == pointer }) else {
                preconditionFailure("an identifier that is gone")
            }
            return found
        }

        func add(_ identifier: ScriptedIdentifier) {
            identifiers.append(identifier)
            resources.identifiers += 1
        }

        /// The device that has an address.
        func device(_ address: [UInt8]) -> ScriptedAdapter? {
            devices.first { $0.gid == address && $0.isUp }
        }

        /// One end wants to connect.
        func connect(_ client: ScriptedIdentifier, _ offer: ScriptedOffer) {
            client.state = .connecting
            if hasFault(.silent) { return }
            if hasFault(.unreachable) { return announce(RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, to: client) }
            let listener = identifiers.first {
                $0.state == .listening && $0.service == client.service && $0.device?.gid == client.destination
                    && $0.device?.isUp == true
            }
            guard let listener, !hasFault(.refused, of: client.device), let device = listener.device else {
                // "Invalid service"
                return announce(RDMA_CM_EVENT_REJECTED, 8, to: client)
            }
            let server = unsafe ScriptedIdentifier(
                listener.channel, context: listener.pointer.pointee.context)
            server.attach(device)
            server.state = .requested
            server.peers = offer
            (server.peer, client.peer) = (client, server)
            add(server)
            announce(RDMA_CM_EVENT_CONNECT_REQUEST, to: server, listener: listener, offer: offer)
        }

        func accept(_ server: ScriptedIdentifier, _ offer: ScriptedOffer) {
            server.state = .accepted
            guard let client = server.peer, client.state == .connecting else { return }
            client.peers = offer
            announce(RDMA_CM_EVENT_CONNECT_RESPONSE, to: client, offer: offer)
        }

        /// "Rejected by its user"
        func reject(_ server: ScriptedIdentifier) {
            server.state = .over
            if let client = server.peer, client.state == .connecting {
                announce(RDMA_CM_EVENT_REJECTED, 28, to: client)
            }
        }

        func establish(_ client: ScriptedIdentifier) {
            client.state = .established
            guard let server = client.peer, server.state == .accepted else { return }
            server.state = .established
            announce(RDMA_CM_EVENT_ESTABLISHED, to: server)
        }

        func end(_ identifier: ScriptedIdentifier) {
            if identifier.unacknowledged != 0 { complain("an identifier that still has events was to go") }
            // Peers that it was not told of yet go with it.
            let unseen =
                managerNews.filter { $0.listener === identifier }.map(\.identifier)
                + identifier.channel.forget(identifier)
            managerNews.removeAll { $0.identifier === identifier || $0.listener === identifier }
            let before = identifier.state
            identifier.state = .over
            identifiers.removeAll { $0 === identifier }
            resources.identifiers -= 1
            for server in unseen { end(server) }
            guard let peer = identifier.peer else { return }
            switch (before, peer.state) {
            case (.requested, .connecting), (.connecting, .accepted):
                announce(RDMA_CM_EVENT_REJECTED, 4, to: peer)
            case (.established, .established), (.established, .accepted), (.accepted, .established):
                peer.state = .over
                announce(RDMA_CM_EVENT_DISCONNECTED, to: peer)
            default: break
            }
        }

        /// All who use a device hear that it goes.
        func announceRemoval(of device: ScriptedAdapter) {
            for identifier in identifiers where identifier.device === device && identifier.state != .requested {
                announce(RDMA_CM_EVENT_DEVICE_REMOVAL, to: identifier)
            }
        }
    }
#endif
