// An open RDMA device: what its queue pairs and regions share.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// One port of a device, with one protection domain and one completion queue for all that goes through it.
    @safe
    final class VerbsDevice {
        // SAFETY: all pointers are valid from init to deinit; regions and queue pairs hold this object.
        let verbs: rf_verbs
        let context: UnsafeMutablePointer<ibv_context>
        let domain: UnsafeMutablePointer<ibv_pd>
        private let channel: UnsafeMutablePointer<ibv_comp_channel>
        let queue: UnsafeMutablePointer<ibv_cq>
        let port: RDMAPort
        let identifier: RDMAPort.Identifier
        let attributes: ibv_device_attr
        let portAttributes: ibv_port_attr
        private let gid: ibv_gid
        /// Completions that the queue has room for, less what its queue pairs may have posted.
        private(set) var room: Int
        /// Where the statistics of its transport count what it carries.
        var trafficIndex = 0
        /// Memory that there was when it was opened, and that it was not shown yet; nil once it was shown all.
        var unregistered: RegistrationQueue?
        private var isArmed = false
        /// The device or its port has failed: nothing more comes of it.
        private(set) var isLost = false
        /// Its port has lost its link, and may get it back.
        private(set) var isPortDown = false

        /// - Throws: `rdmaUnavailable` with what failed.
        init(
            _ port: RDMAPort, _ identifier: RDMAPort.Identifier, of provider: VerbsProvider
        ) throws(FabricError) {
            let verbs = try provider.library().functions
            let context = try unsafe Self.open(port.device, verbs)
            var close = true
            defer { if close { unsafe _ = verbs.close_device(context) } }
            var attributes = ibv_device_attr()
            var portAttributes = ibv_port_attr()
            var gid = ibv_gid()
            guard unsafe verbs.query_device(context, &attributes) == 0,
                unsafe verbs.query_port(context, port.number, &portAttributes) == 0,
                unsafe verbs.query_gid(context, port.number, Int32(identifier.index), &gid) == 0
            else { throw Self.error("query \(port.device)") }
            let bytes = unsafe withUnsafeBytes(of: gid) { unsafe Array($0) }
            guard bytes == identifier.bytes else {
                throw FabricError(.rdmaUnavailable, "\(port.device) has got other addresses")
            }
            guard let domain = unsafe verbs.alloc_pd(context) else { throw Self.error("allocate a protection domain") }
            let entries = min(Int(attributes.max_cqe), 16384)
            guard let channel = unsafe verbs.create_comp_channel(context),
                let queue = unsafe verbs.create_cq(context, Int32(entries), nil, channel, 0)
            else {
                unsafe _ = verbs.dealloc_pd(domain)
                throw Self.error("create a completion queue of \(entries)")
            }
            unsafe _ = rf_set_nonblocking(channel.pointee.fd)
            unsafe _ = rf_set_nonblocking(context.pointee.async_fd)
            close = false
            unsafe (self.verbs, self.context, self.domain) = (verbs, context, domain)
            unsafe (self.channel, self.queue) = (channel, queue)
            (self.port, self.identifier, self.attributes) = (port, identifier, attributes)
            (self.portAttributes, self.gid) = (portAttributes, gid)
            room = entries
        }

        deinit {
            unsafe _ = verbs.destroy_cq(queue)
            unsafe _ = verbs.destroy_comp_channel(channel)
            unsafe _ = verbs.dealloc_pd(domain)
            unsafe _ = verbs.close_device(context)
        }

        private static func open(
            _ name: String, _ verbs: rf_verbs
        ) throws(FabricError) -> UnsafeMutablePointer<ibv_context> {
            var count: Int32 = 0
            guard let list = unsafe verbs.get_device_list(&count) else { throw error("list the RDMA devices") }
            defer { unsafe verbs.free_device_list(list) }
            for index in 0..<Int(count) {
                guard let device = unsafe list[index], let text = unsafe verbs.get_device_name(device),
                    unsafe String(cString: text) == name
                else { continue }
                guard let context = unsafe verbs.open_device(device) else { throw error("open \(name)") }
                return unsafe context
            }
            throw FabricError(
                .rdmaUnavailable, "libibverbs has no provider for \(name) (apt-get install ibverbs-providers)")
        }

        private static func error(_ what: String) -> FabricError {
            FabricError(.rdmaUnavailable, errno: rf_errno(), what)
        }

        // MARK: Connecting

        /// Where the connection manager waits for peers that were invited; from the first invitation on.
        private var listener: (identifier: ManagedIdentifier, service: UInt16)?

        /// Reads that a queue pair may have under way at a time.
        var readLimits: ReadLimits {
            ReadLimits(
                served: UInt8(clamping: min(attributes.max_qp_rd_atom, 16)),
                asked: UInt8(clamping: min(attributes.max_qp_init_rd_atom, 16)))
        }

        /// The address of this port or of a peer that is reached by it.
        func address(_ port: RailPort, service: UInt16 = 0) -> SocketAddress {
            // fe80::/10
            let isLinkLocal = port.high >> 54 == 0x3fa
            let scope = unsafe isLinkLocal ? if_nametoindex(identifier.interface) : 0
            return SocketAddress(port, service: service, scope: scope)
        }

        /// Lets the connection manager wait for peers at the port's address.
        /// - Returns: the number of the port that it waits at.
        /// - Throws: `rdmaUnavailable`.
        @discardableResult
        func listen(by manager: ConnectionManager) throws(FabricError) -> UInt16 {
            if let listener { return listener.service }
            let identifier = try ManagedIdentifier(of: manager, name: nil)
            let service = try identifier.listen(at: address(ownAddress()))
            guard identifier.isAt(port) else {
                throw FabricError(
                    .rdmaUnavailable, "the connection manager finds the address of \(port.device) elsewhere")
            }
            listener = (identifier, service)
            return service
        }

        /// What peers find the port by, and it connects from.
        func ownAddress() throws(FabricError) -> RailPort {
            guard let own = identifier.railPort else {
                throw FabricError(.rdmaUnavailable, "\(port.device) has no address that peers can connect to")
            }
            return own
        }

        /// It was removed, as somebody else has noticed.
        func lose() { isLost = true }

        /// Nobody is invited any more.
        func stopListening() { listener = nil }

        /// Payload of the longest packet, in bytes. IBV_MTU_256 is 1, and each next one is twice as long.
        var packetBytes: Int { 128 << Int(portAttributes.active_mtu.rawValue) }

        /// What the link may carry, in bytes per second, as the port says; 1 GB/s where it says nothing.
        var nominalSpeed: Double {
            // Megabits a second of a lane, by the bits of `active_speed`, and lanes by those of `active_width`.
            let lanes = [1: 1, 2: 4, 4: 8, 8: 12, 16: 2]
            let speeds = [
                1: 2_500, 2: 5_000, 4: 10_000, 8: 10_000, 16: 14_000, 32: 25_000, 64: 50_000, 128: 100_000,
            ]
            guard let lanes = lanes[Int(portAttributes.active_width)],
                let speed = speeds[Int(portAttributes.active_speed)]
            else { return 1e9 }
            return Double(lanes * speed) * 1e6 / 8
        }

        /// Whether the port still has the GID that queue pairs were connected with.
        private var hasIdentifier: Bool {
            var found = ibv_gid()
            return unsafe verbs.query_gid(context, port.number, Int32(identifier.index), &found) == 0
                && found.global.subnet_prefix == gid.global.subnet_prefix
                && found.global.interface_id == gid.global.interface_id
        }

        func reserve(_ completions: Int) -> Bool {
            guard completions <= room else { return false }
            room -= completions
            return true
        }

        func giveBack(_ completions: Int) { room += completions }

        // MARK: Completions

        /// Takes completions, at most as many as there is room for.
        /// - Returns: how many; they are the first of `completions`.
        func poll(_ completions: inout [ibv_wc]) -> Int {
            let count = unsafe completions.withUnsafeMutableBufferPointer { buffer in
                unsafe rf_verbs_poll(queue, Int32(buffer.count), buffer.baseAddress)
            }
            if count < 0 { isLost = true }
            return Int(max(count, 0))
        }

        /// Readable after the next completion once `arm` was called.
        var eventDescriptor: Int32 { unsafe channel.pointee.fd }

        /// Drivers that can not take a device from under a process say nothing when it is removed, and wait.
        /// Its entry is gone by then.
        private var isBeingRemoved: Bool {
            guard let device = unsafe context.pointee.device else { return false }
            // SAFETY: the path ends with a zero within its field; empty where the provider knows none.
            return unsafe withUnsafeBytes(of: device.pointee.dev_path) { path in
                guard let start = path.baseAddress, unsafe path[0] != 0 else { return false }
                return unsafe access(start.assumingMemoryBound(to: CChar.self), F_OK) != 0
            }
        }

        /// Whether parts of regions can be opened by windows. Else the key of a region opens all of it.
        var hasWindows: Bool { attributes.device_cap_flags & RF_VERBS_HAS_WINDOWS != 0 && attributes.max_mw > 0 }

        /// Readable when the device has something to say of itself.
        var healthDescriptor: Int32 { unsafe context.pointee.async_fd }

        /// Asks for an event with the next completion. Look at the queue once more afterwards.
        func arm() {
            takeEvents()
            guard !isArmed else { return }
            isArmed = true
            unsafe _ = rf_verbs_request_event(queue)
        }

        private func takeEvents() {
            var source: UnsafeMutablePointer<ibv_cq>?
            var user: UnsafeMutableRawPointer?
            while unsafe verbs.get_cq_event(channel, &source, &user) == 0 {
                unsafe verbs.ack_cq_events(queue, 1)
                isArmed = false
            }
        }

        /// Reads what the device says of itself, without waiting.
        /// - Returns: the numbers of queue pairs that have failed.
        func checkHealth() -> [UInt32] {
            var failed: [UInt32] = []
            var event = unsafe ibv_async_event()
            while unsafe verbs.get_async_event(context, &event) == 0 {
                switch unsafe event.event_type {
                case IBV_EVENT_DEVICE_FATAL, IBV_EVENT_CQ_ERR: isLost = true
                case IBV_EVENT_PORT_ERR:
                    if unsafe event.element.port_num == Int32(port.number) { (isLost, isPortDown) = (true, true) }
                // Other addresses of the port come and go.
                case IBV_EVENT_GID_CHANGE: if !hasIdentifier { isLost = true }
                case IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR:
                    // SAFETY: a queue pair is destroyed only after its events were acknowledged.
                    if let pair = unsafe event.element.qp { failed.append(unsafe pair.pointee.qp_num) }
                default: break
                }
                unsafe verbs.ack_async_event(&event)
            }
            if isBeingRemoved { isLost = true }
            return failed
        }
    }

    /// Memory that a device knows; the device forgets it with this object.
    @safe
    final class VerbsRegion {
        // SAFETY: valid until deinit, which is the only place that gives it back.
        private let region: UnsafeMutablePointer<ibv_mr>
        private let device: VerbsDevice

        /// - Throws: `lockedMemoryLimit` when the process may not lock that much, `rdmaUnavailable` for
        ///   everything else, parts without memory among them.
        init(
            _ memory: UnsafeMutableRawBufferPointer, _ access: RemoteAccess, on device: VerbsDevice
        ) throws(FabricError) {
            var flags = RF_VERBS_LOCAL_WRITE
            if access.contains(.read) { flags |= RF_VERBS_REMOTE_READ }
            if access.contains(.write) { flags |= RF_VERBS_REMOTE_WRITE }
            if access.contains(.byGrant) { flags |= device.hasWindows ? RF_VERBS_BIND_WINDOW : RF_VERBS_REMOTE_READ }
            guard
                let region = unsafe device.verbs.reg_mr(device.domain, memory.baseAddress, memory.count, flags)
            else {
                let number = rf_errno()
                if number == ENOMEM {
                    throw FabricError(
                        .lockedMemoryLimit, errno: number,
                        "register \(memory.count) bytes with \(device.port.device), where this process may lock "
                            + Self.limit)
                }
                throw FabricError(.rdmaUnavailable, errno: number, "register memory with \(device.port.device)")
            }
            unsafe self.region = region
            self.device = device
        }

        deinit { unsafe _ = device.verbs.dereg_mr(region) }

        /// RLIMIT_MEMLOCK in words.
        private static var limit: String {
            var limit = rlimit()
            guard unsafe getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0,
                limit.rlim_cur < UInt64(Int64.max)
            else {
                return "any number of bytes, as far as there is memory"
            }
            return "\(limit.rlim_cur) bytes in all"
        }

        /// Where its memory begins.
        var address: UInt64 { UInt64(UInt(bitPattern: unsafe region.pointee.addr)) }
        /// Says which of its bytes a window is to open.
        func describe(_ range: Range<UInt64>, in binding: inout ibv_mw_bind_info) {
            unsafe binding.mr = region
            unsafe binding.addr = address + range.lowerBound
            unsafe binding.length = UInt64(range.count)
        }

        var localKey: UInt32 { unsafe region.pointee.lkey }
        var remoteKey: UInt32 { unsafe region.pointee.rkey }
    }
#endif
