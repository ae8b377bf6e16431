// The connection manager of RDMA, librdmacm: finds ports and routes for IP addresses, and carries what two ends have to
// know of each other's queue pairs.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// RDMA reads that a queue pair has under way at a time.
    struct ReadLimits: Hashable, Sendable {
        /// Of the peer.
        var served: UInt8
        /// Of its own.
        var asked: UInt8

        func limited(to other: ReadLimits) -> ReadLimits {
            ReadLimits(served: min(served, other.served), asked: min(asked, other.asked))
        }
    }

    /// Which queue pair an identifier of the connection manager belongs to.
    struct PairName: Hashable, Sendable {
        enum Place: Hashable, Sendable {
            case messages
            case path(UInt8)
        }

        var rail: UInt16
        var place: Place

        init(rail: UInt16, place: Place) {
            self.rail = rail
            self.place = place
        }

        /// Never zero.
        var rawValue: UInt {
            switch place {
            case .messages: UInt(rail) << 16 | 1
            case .path(let number): UInt(rail) << 16 | UInt(number) << 8 | 2
            }
        }

        init?(_ rawValue: UInt) {
            rail = UInt16(truncatingIfNeeded: rawValue >> 16)
            switch rawValue & 0xff {
            case 1: place = .messages
            case 2: place = .path(UInt8(truncatingIfNeeded: rawValue >> 8))
            default: return nil
            }
        }
    }

    /// What the connection manager tells of an identifier.
    struct ManagerReport {
        enum Kind {
            case addressResolved, routeResolved, answered, established
            case failed(String)
            case disconnected, deviceRemoved, addressChanged
        }

        /// nil for one that waits for peers.
        var name: PairName?
        var kind: Kind
        /// What the peer has shown, if it was to show something.
        var token: RailToken?
        var limits: ReadLimits
    }

    enum ManagerEvent {
        case report(ManagerReport)
        /// Somebody wants to connect. Until it is accepted it has no name.
        case request(ManagedIdentifier, RailToken?, ReadLimits)
    }

    /// Where all that the connection manager has to tell a transport comes out. Nothing here waits.
    @safe
    final class ConnectionManager {
        // SAFETY: the channel is valid from init to deinit; identifiers hold this object.
        let functions: rf_cm
        let verbs: rf_verbs
        fileprivate let channel: UnsafeMutablePointer<rdma_event_channel>

        /// - Throws: `rdmaUnavailable` where the library or the kernel's side of it is missing.
        init(of provider: VerbsProvider) throws(FabricError) {
            let library = try provider.library()
            guard let channel = library.manager.create_event_channel() else {
                throw FabricError(
                    .rdmaUnavailable, errno: rf_errno(), "open the RDMA connection manager (modprobe rdma_ucm)")
            }
            unsafe _ = rf_set_nonblocking(channel.pointee.fd)
            functions = library.manager
            verbs = library.functions
            unsafe self.channel = channel
        }

        deinit { unsafe functions.destroy_event_channel(channel) }

        /// Readable when there is something to tell.
        var descriptor: Int32 { unsafe channel.pointee.fd }

        func next() -> ManagerEvent? {
            while true {
                var found: UnsafeMutablePointer<rdma_cm_event>?
                guard unsafe functions.get_cm_event(channel, &found) == 0, let event = unsafe found else { return nil }
                // SAFETY: the event is valid until it is acknowledged, and nothing of it is kept.
                let read = unsafe read(event.pointee)
                // An identifier waits for this when it goes.
                unsafe _ = functions.ack_cm_event(event)
                if let read { return read }
            }
        }

        /// - Returns: nil for events that mean nothing to us.
        private func read(_ event: rdma_cm_event) -> ManagerEvent? {
            guard let identifier = unsafe event.id else { return nil }
            let (token, limits) = unsafe shown(event.param.conn)
            if unsafe event.event == RDMA_CM_EVENT_CONNECT_REQUEST {
                return unsafe .request(ManagedIdentifier(identifier, of: self), token, limits)
            }
            guard let kind = unsafe kind(event.event, event.status) else { return nil }
            let name = PairName(UInt(bitPattern: unsafe identifier.pointee.context))
            return .report(ManagerReport(name: name, kind: kind, token: token, limits: limits))
        }

        private func shown(_ parameters: rdma_conn_param) -> (RailToken?, ReadLimits) {
            let limits = unsafe ReadLimits(
                served: parameters.responder_resources, asked: parameters.initiator_depth)
            guard let data = unsafe parameters.private_data else { return (nil, limits) }
            let bytes = unsafe UnsafeRawBufferPointer(start: data, count: Int(parameters.private_data_len))
            return (RailToken(unsafe Array(bytes)), limits)
        }

        private func kind(_ event: rdma_cm_event_type, _ status: Int32) -> ManagerReport.Kind? {
            switch event {
            case RDMA_CM_EVENT_ADDR_RESOLVED: .addressResolved
            case RDMA_CM_EVENT_ROUTE_RESOLVED: .routeResolved
            case RDMA_CM_EVENT_CONNECT_RESPONSE: .answered
            case RDMA_CM_EVENT_ESTABLISHED: .established
            case RDMA_CM_EVENT_ADDR_ERROR:
                .failed("the connection manager finds no way to the peer's address, status \(status)")
            case RDMA_CM_EVENT_ROUTE_ERROR:
                .failed("the connection manager finds no route to the peer, status \(status)")
            case RDMA_CM_EVENT_CONNECT_ERROR: .failed("the connection manager could not connect, status \(status)")
            case RDMA_CM_EVENT_UNREACHABLE:
                .failed("the peer's connection manager does not answer, status \(status)")
            case RDMA_CM_EVENT_REJECTED: .failed("the peer's connection manager has refused, reason \(status)")
            case RDMA_CM_EVENT_DISCONNECTED: .disconnected
            case RDMA_CM_EVENT_DEVICE_REMOVAL: .deviceRemoved
            case RDMA_CM_EVENT_ADDR_CHANGE: .addressChanged
            default: nil
            }
        }

        /// librdmacm keeps each device open that it has used, and drivers may wait with the removal of a device until
        /// nobody has it open. It lets go of those that are gone when it is asked for the others.
        func forgetRemovedDevices() {
            if let list = functions.get_devices(nil) { unsafe functions.free_devices(list) }
        }
    }

    /// What the connection manager knows one end of a connection by, or where it waits for peers.
    @safe
    final class ManagedIdentifier {
        // SAFETY: valid from init to deinit; the manager outlives it.
        private let pointer: UnsafeMutablePointer<rdma_cm_id>
        private let manager: ConnectionManager
        private var functions: rf_cm { manager.functions }

        /// Milliseconds that address and route may take each.
        private static var patience: Int32 { 2000 }

        /// Takes over what a peer's wish to connect has brought.
        fileprivate init(_ pointer: UnsafeMutablePointer<rdma_cm_id>, of manager: ConnectionManager) {
            unsafe self.pointer = pointer
            self.manager = manager
            unsafe pointer.pointee.context = nil
        }

        /// - Parameter name: nil for one that waits for peers.
        init(of manager: ConnectionManager, name: PairName?) throws(FabricError) {
            var made: UnsafeMutablePointer<rdma_cm_id>?
            let context = unsafe UnsafeMutableRawPointer(bitPattern: name?.rawValue ?? 0)
            guard unsafe manager.functions.create_id(manager.channel, &made, context, RDMA_PS_TCP) == 0,
                let made = unsafe made
            else { throw Self.error("make an identifier of the connection manager") }
            unsafe pointer = made
            self.manager = manager
        }

        deinit { unsafe _ = manager.functions.destroy_id(pointer) }

        private static func error(_ what: String) -> FabricError {
            FabricError(.rdmaUnavailable, errno: rf_errno(), what)
        }

        private func check(_ status: Int32, _ what: @autoclosure () -> String) throws(FabricError) {
            guard status == 0 else { throw Self.error(what()) }
        }

        /// Device and port that the connection manager has found for the address.
        var port: (device: String, number: UInt8)? {
            guard let context = unsafe pointer.pointee.verbs, let device = unsafe context.pointee.device,
                let name = unsafe manager.verbs.get_device_name(device)
            else { return nil }
            return unsafe (String(cString: name), pointer.pointee.port_num)
        }

        func isAt(_ port: RDMAPort) -> Bool { self.port.map { $0 == (port.device, port.number) } ?? false }

        // MARK: Waiting for peers

        /// - Returns: the number of the port that it waits at.
        func listen(at address: SocketAddress) throws(FabricError) -> UInt16 {
            let name = address.literal.map { "\($0)" } ?? "an address"
            let status = unsafe address.withName { name, _ in unsafe functions.bind_addr(pointer, Self.name(name)) }
            try check(status, "bind the connection manager to \(name)")
            try check(unsafe functions.listen(pointer, 128), "let the connection manager listen at \(name)")
            return UInt16(bigEndian: unsafe functions.get_src_port(pointer))
        }

        /// The library takes addresses that it only reads as ones that it may change.
        private static func name(_ address: UnsafePointer<sockaddr_storage>) -> UnsafeMutablePointer<sockaddr> {
            // SAFETY: every socket address begins like sockaddr.
            unsafe UnsafeMutableRawPointer(mutating: UnsafeRawPointer(address)).assumingMemoryBound(to: sockaddr.self)
        }

        // MARK: Connecting

        func resolve(_ peer: SocketAddress, from own: SocketAddress) throws(FabricError) {
            let status = unsafe own.withName { own, _ in
                unsafe peer.withName { peer, _ in
                    unsafe functions.resolve_addr(pointer, Self.name(own), Self.name(peer), Self.patience)
                }
            }
            try check(status, "resolve the address of the peer's RDMA port")
        }

        func resolveRoute() throws(FabricError) {
            try check(
                unsafe functions.resolve_route(pointer, Self.patience), "resolve the route to the peer's RDMA port")
        }

        func connect(_ pair: UInt32, showing token: RailToken, _ limits: ReadLimits) throws(FabricError) {
            let status = unsafe with(pair, token, limits) { unsafe functions.connect(pointer, &$0) }
            try check(status, "connect to the peer's RDMA port")
        }

        func accept(
            _ pair: UInt32, as name: PairName, showing token: RailToken, _ limits: ReadLimits
        ) throws(FabricError) {
            unsafe pointer.pointee.context = UnsafeMutableRawPointer(bitPattern: name.rawValue)
            let status = unsafe with(pair, token, limits) { unsafe functions.accept(pointer, &$0) }
            try check(status, "accept the peer's queue pair")
        }

        private func with(
            _ pair: UInt32, _ token: RailToken, _ limits: ReadLimits, _ body: (inout rdma_conn_param) -> Int32
        ) -> Int32 {
            unsafe token.bytes.withUnsafeBytes { bytes in
                var parameters = unsafe rdma_conn_param()
                unsafe parameters.private_data = bytes.baseAddress
                unsafe parameters.private_data_len = UInt8(bytes.count)
                unsafe parameters.responder_resources = limits.served
                unsafe parameters.initiator_depth = limits.asked
                unsafe parameters.retry_count = 7
                unsafe parameters.rnr_retry_count = 6
                unsafe parameters.qp_num = pair
                return unsafe body(&parameters)
            }
        }

        func establish() throws(FabricError) {
            try check(unsafe functions.establish(pointer), "tell the peer that its queue pair is connected")
        }

        func reject() { unsafe _ = functions.reject(pointer, nil, 0) }

        /// What a queue pair has to be told to get into a state.
        func attributes(for state: ibv_qp_state) throws(FabricError) -> (ibv_qp_attr, mask: Int32) {
            var attributes = ibv_qp_attr()
            var mask: Int32 = 0
            attributes.qp_state = state
            try check(unsafe functions.init_qp_attr(pointer, &attributes, &mask), "ask how to connect a queue pair")
            return (attributes, mask)
        }
    }
#endif
