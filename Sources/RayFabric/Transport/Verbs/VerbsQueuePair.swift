// A reliable connection of RDMA: made, connected, given work, and taken down.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// One piece of a one-sided operation, between two registered places.
    struct RailSlice: Hashable, Sendable {
        var local: UInt64
        var localKey: UInt32
        var remote: UInt64
        var remoteKey: UInt32
        var length: UInt32
    }

    /// A queue pair of type RC: for one-sided operations, or for packets.
    @safe
    final class VerbsQueuePair {
        // SAFETY: the pair is valid from init to deinit. Requests and elements have `depth` places each,
        // of which the first `staged` are linked and not posted yet. Who stages a slice or a packet, or
        // posts a receive, names registered memory that stays until the pair is gone.
        private let pair: UnsafeMutablePointer<ibv_qp>
        private let requests: UnsafeMutablePointer<ibv_send_wr>
        private let elements: UnsafeMutablePointer<ibv_sge>
        private var staged = 0
        let device: VerbsDevice
        /// Places in the send queue for packets and slices.
        let depth: Int
        private let places: Int
        /// Windows that may be opened or closed at once, and do.
        private let windowDepth: Int
        private var windowsChanging = 0
        var join = JoinMachine()
        /// How the two ends know each other.
        var invitation: RailInvitation?
        /// What the connection manager knows it by. Goes after the queue pair.
        var identifier: ManagedIdentifier?
        /// A packet of at most so many bytes is copied when it is posted.
        private let inlineBytes: Int

        /// - Parameters:
        ///   - depth: places in the send queue, less where the device has fewer.
        ///   - receives: places in the receive queue.
        /// - Throws: `rdmaUnavailable`.
        init(on device: VerbsDevice, depth: Int, receives: Int) throws(FabricError) {
            windowDepth = device.hasWindows ? 64 : 0
            let depth = min(Int(device.attributes.max_qp_wr) - windowDepth, depth)
            places = depth + receives + windowDepth
            guard depth >= 4, receives <= device.attributes.max_qp_wr, device.reserve(places) else {
                throw FabricError(.rdmaUnavailable, "\(device.port.device) has no room for another queue pair")
            }
            var attributes = unsafe ibv_qp_init_attr()
            unsafe attributes.send_cq = device.queue
            unsafe attributes.recv_cq = device.queue
            unsafe attributes.qp_type = IBV_QPT_RC
            unsafe attributes.cap.max_send_wr = UInt32(depth + windowDepth)
            unsafe attributes.cap.max_recv_wr = UInt32(max(receives, 1))
            unsafe attributes.cap.max_send_sge = 1
            unsafe attributes.cap.max_recv_sge = 1
            guard let pair = unsafe Self.create(device, &attributes, inline: receives > 0 ? [220, 60, 0] : [0]) else {
                device.giveBack(places)
                throw FabricError(.rdmaUnavailable, errno: rf_errno(), "create a queue pair on \(device.port.device)")
            }
            unsafe self.pair = pair
            unsafe requests = .allocate(capacity: depth)
            unsafe elements = .allocate(capacity: depth)
            unsafe requests.initialize(repeating: ibv_send_wr(), count: depth)
            unsafe elements.initialize(repeating: ibv_sge(), count: depth)
            self.device = device
            self.depth = depth
            inlineBytes = unsafe receives > 0 ? Int(attributes.cap.max_inline_data) : 0
        }

        /// Asks for as much inline data as the device gives.
        private static func create(
            _ device: VerbsDevice, _ attributes: inout ibv_qp_init_attr, inline sizes: [UInt32]
        ) -> UnsafeMutablePointer<ibv_qp>? {
            for size in sizes {
                unsafe attributes.cap.max_inline_data = size
                if let pair = unsafe device.verbs.create_qp(device.domain, &attributes) { return unsafe pair }
            }
            return nil
        }

        deinit {
            unsafe _ = device.verbs.destroy_qp(pair)
            unsafe requests.deallocate()
            unsafe elements.deallocate()
            device.giveBack(places)
        }

        private func modify(_ attributes: inout ibv_qp_attr, _ mask: Int32, _ what: String) throws(FabricError) {
            let status = unsafe device.verbs.modify_qp(pair, &attributes, mask)
            guard status == 0 else {
                throw FabricError(.rdmaUnavailable, errno: status, "\(what) a queue pair on \(device.port.device)")
            }
        }

        var number: UInt32 { unsafe pair.pointee.qp_num }

        // MARK: Connecting

        /// Readies it for receives.
        func prepare() throws(FabricError) {
            guard let identifier else { preconditionFailure("a queue pair that the manager does not know") }
            var (attributes, mask) = try identifier.attributes(for: IBV_QPS_INIT)
            attributes.qp_access_flags = UInt32(RF_VERBS_REMOTE_READ | RF_VERBS_REMOTE_WRITE)
            try modify(&attributes, mask, "prepare")
        }

        /// Connects it to the peer's.
        func connect(_ limits: ReadLimits) throws(FabricError) {
            guard let identifier else { preconditionFailure("a queue pair that the manager does not know") }
            var (receiving, receivingMask) = try identifier.attributes(for: IBV_QPS_RTR)
            receiving.max_dest_rd_atomic = limits.served
            receiving.min_rnr_timer = 12
            try modify(&receiving, receivingMask, "connect")
            var (sending, sendingMask) = try identifier.attributes(for: IBV_QPS_RTS)
            // 4.096 us * 2^14 = 67 ms until a packet is sent again, seven times; the manager would allow seconds.
            sending.timeout = 14
            sending.retry_cnt = 7
            sending.rnr_retry = 6
            sending.max_rd_atomic = limits.asked
            try modify(&sending, sendingMask, "connect")
        }

        /// Links a slice to those that `post` hands over.
        func stage(_ slice: RailSlice, isRead: Bool, name: UInt64, isSignalled: Bool) {
            let request = unsafe stage(
                ibv_sge(addr: slice.local, length: slice.length, lkey: slice.localKey), name: name,
                flags: isSignalled ? IBV_SEND_SIGNALED.rawValue : 0)
            unsafe request.pointee.opcode = isRead ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE
            unsafe request.pointee.wr.rdma.remote_addr = slice.remote
            unsafe request.pointee.wr.rdma.rkey = slice.remoteKey
        }

        /// Links a packet to those that `post` hands over.
        func stage(packet: ibv_sge, number: UInt32, name: UInt64, isSignalled: Bool) {
            var flags = isSignalled ? IBV_SEND_SIGNALED.rawValue : 0
            if packet.length > 0, packet.length <= inlineBytes { flags |= IBV_SEND_INLINE.rawValue }
            let request = unsafe stage(packet, name: name, flags: flags)
            unsafe request.pointee.opcode = IBV_WR_SEND_WITH_IMM
            unsafe request.pointee.imm_data = number.bigEndian
        }

        private func stage(
            _ memory: ibv_sge, name: UInt64, flags: UInt32
        ) -> UnsafeMutablePointer<ibv_send_wr> {
            precondition(staged < depth)
            let request = unsafe requests + staged
            let element = unsafe elements + staged
            unsafe element.pointee = memory
            unsafe request.pointee.wr_id = name
            unsafe request.pointee.next = nil
            unsafe request.pointee.sg_list = element
            unsafe request.pointee.num_sge = memory.length > 0 ? 1 : 0
            unsafe request.pointee.send_flags = flags
            if staged > 0 { unsafe requests[staged - 1].next = request }
            staged += 1
            return unsafe request
        }

        /// Gives the device a place for a packet.
        /// - Returns: false when the device refused it.
        func postReceive(_ memory: ibv_sge, name: UInt64) -> Bool {
            var memory = memory
            var refused: UnsafeMutablePointer<ibv_recv_wr>?
            return unsafe withUnsafeMutablePointer(to: &memory) { element in
                var request = unsafe ibv_recv_wr(wr_id: name, next: nil, sg_list: element, num_sge: 1)
                return unsafe rf_verbs_post_receive(pair, &request, &refused) == 0
            }
        }

        /// Windows that may be opened or closed now.
        var windowRoom: Int { windowDepth - windowsChanging }

        /// Binds a window, before what is posted from now on.
        /// - Returns: false when there is no room, or the device refused it.
        func bind(_ window: UnsafeMutablePointer<ibv_mw>, _ bind: inout ibv_mw_bind) -> Bool {
            guard windowRoom > 0, unsafe rf_verbs_bind_window(pair, window, &bind) == 0 else { return false }
            windowsChanging += 1
            return true
        }

        /// A binding has been completed.
        func windowChanged() {
            windowsChanging -= 1
            precondition(windowsChanging >= 0, "a window that nobody has bound")
        }

        /// Hands what is staged to the device: one doorbell.
        /// - Returns: false when the device refused some of it.
        func post() -> Bool {
            guard staged > 0 else { return true }
            staged = 0
            var refused: UnsafeMutablePointer<ibv_send_wr>?
            return unsafe rf_verbs_post(pair, requests, &refused) == 0
        }

        /// Ends its work: what was posted comes back flushed.
        func flush() {
            var attributes = ibv_qp_attr()
            attributes.qp_state = IBV_QPS_ERR
            unsafe _ = device.verbs.modify_qp(pair, &attributes, RF_VERBS_TO_STATE)
        }
    }
#endif
