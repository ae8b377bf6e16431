// Reliable queue pairs of scripted devices: their states and what is posted to them. What becomes of
// that is in ScriptedWork.swift.

#if Verbs
    import CLinux
    import CVerbs

    /// A queue pair of type RC.
    @safe
    final class ScriptedQueuePair {
        struct Request {
            var name: UInt64
            /// Its place among all that were posted.
            var number: Int
            var operation: ibv_wr_opcode
            var isSignalled: Bool
            var immediate: UInt32
            var remote: UInt64
            var remoteKey: UInt32
            var pieces: [ibv_sge]
            /// The bytes themselves, where the request was to be posted inline.
            var inlined: [UInt8]?
            var binding: ScriptedWindow.Binding?
        }

        struct Receive {
            var name: UInt64
            var pieces: [ibv_sge]
        }

        // SAFETY: valid from init to deinit, which `destroy_qp` brings about.
        let pointer: UnsafeMutablePointer<ibv_qp>
        let context: ScriptedContext
        let domain: UInt32
        let number: UInt32
        let sendQueue: ScriptedQueue
        let receiveQueue: ScriptedQueue
        let limits: ibv_qp_cap
        let signalsAll: Bool
        private(set) var access: Int32 = 0
        private(set) var peerGid: [UInt8] = []
        private(set) var peerNumber: UInt32 = 0
        private(set) var expectedPacket: UInt32 = 0
        private(set) var firstPacket: UInt32 = 0
        private(set) var readsAtOnce: UInt8 = 0
        private(set) var readsServed: UInt8 = 0
        /// Posted and not come back.
        var requests: [Request] = []
        /// Of `requests`, those from the front whose bytes have moved.
        var moved = 0
        private var posted = 0
        /// Up to here the send queue is free again: a completion of it, or of a later request, was taken.
        var retired = 0
        var receives: [Receive] = []
        /// Receives that were posted and whose completions were not taken yet.
        var receivesOut = 0

        var device: ScriptedAdapter { context.device }
        var fabric: ScriptedFabric { context.fabric }

        var state: ibv_qp_state {
            get { unsafe pointer.pointee.state }
            set { unsafe pointer.pointee.state = newValue }
        }

        init(
            _ domain: UnsafeMutablePointer<ibv_pd>, _ attributes: ibv_qp_init_attr, _ context: ScriptedContext,
            sendQueue: ScriptedQueue, receiveQueue: ScriptedQueue
        ) {
            self.context = context
            self.sendQueue = sendQueue
            self.receiveQueue = receiveQueue
            self.domain = unsafe domain.pointee.handle
            limits = unsafe attributes.cap
            signalsAll = unsafe attributes.sq_sig_all != 0
            number = context.fabric.freshNumber()
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_qp())
            unsafe pointer.pointee.context = context.pointer
            unsafe pointer.pointee.qp_context = attributes.qp_context
            unsafe pointer.pointee.pd = domain
            unsafe pointer.pointee.send_cq = attributes.send_cq
            unsafe pointer.pointee.recv_cq = attributes.recv_cq
            unsafe pointer.pointee.qp_num = number
            unsafe pointer.pointee.handle = number
            unsafe pointer.pointee.qp_type = IBV_QPT_RC
            unsafe pointer.pointee.state = IBV_QPS_RESET
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// Why attributes are refused; nil if they are fine.
        static func objection(to attributes: ibv_qp_init_attr) -> String? {
            let limits = unsafe attributes.cap
            if unsafe attributes.qp_type != IBV_QPT_RC || attributes.srq != nil {
                return "not RC with its own receives"
            }
            if max(limits.max_send_wr, limits.max_recv_wr) > ScriptedAdapter.mostRequests { return "too many requests" }
            if max(limits.max_send_sge, limits.max_recv_sge) > 4 { return "too many elements" }
            if limits.max_inline_data > ScriptedAdapter.mostInline { return "too many bytes inline" }
            return nil
        }

        // MARK: States

        func modify(_ attributes: ibv_qp_attr, _ mask: Int32) -> Int32 {
            guard !device.isLost else { return EIO }
            let mask = ScriptedMask(rawValue: mask)
            guard mask.rawValue & RF_VERBS_TO_STATE != 0 else { return refuse("modify without a state") }
            switch attributes.qp_state {
            case IBV_QPS_ERR, IBV_QPS_RESET:
                state = attributes.qp_state
                if state == IBV_QPS_RESET { (requests, receives, moved) = ([], [], 0) }
            case IBV_QPS_INIT:
                guard state == IBV_QPS_RESET, mask == .toInit, attributes.port_num == 1 else {
                    return refuse("to INIT from \(state.rawValue) with \(mask.rawValue)")
                }
                access = Int32(attributes.qp_access_flags)
                state = IBV_QPS_INIT
            case IBV_QPS_RTR: return receive(attributes, mask)
            case IBV_QPS_RTS:
                guard state == IBV_QPS_RTR, mask == .toSend else {
                    return refuse("to RTS from \(state.rawValue) with \(mask.rawValue)")
                }
                firstPacket = attributes.sq_psn
                readsAtOnce = attributes.max_rd_atomic
                state = IBV_QPS_RTS
            default: return refuse("to state \(attributes.qp_state.rawValue)")
            }
            return 0
        }

        private func receive(_ attributes: ibv_qp_attr, _ mask: ScriptedMask) -> Int32 {
            guard state == IBV_QPS_INIT, mask == .toReceive, attributes.ah_attr.is_global == 1,
                attributes.ah_attr.grh.sgid_index == ScriptedAdapter.gidIndex, attributes.ah_attr.port_num == 1
            else { return refuse("to RTR from \(state.rawValue) with \(mask.rawValue)") }
            peerGid = unsafe withUnsafeBytes(of: attributes.ah_attr.grh.dgid) { unsafe [UInt8]($0) }
            peerNumber = attributes.dest_qp_num
            expectedPacket = attributes.rq_psn
            readsServed = attributes.max_dest_rd_atomic
            state = IBV_QPS_RTR
            return 0
        }

        func refuse(_ what: String) -> Int32 {
            fabric.complain("queue pair: \(what)")
            return EINVAL
        }

        // MARK: Posting

        func post(
            _ first: UnsafeMutablePointer<ibv_send_wr>,
            _ refused: UnsafeMutablePointer<UnsafeMutablePointer<ibv_send_wr>?>?
        ) -> Int32 {
            var next = unsafe Optional(first)
            while let request = unsafe next {
                let status = unsafe accept(request.pointee)
                if status != 0 {
                    unsafe refused?.pointee = request
                    return status
                }
                unsafe next = request.pointee.next
            }
            return 0
        }

        func accept(_ work: ibv_send_wr, _ binding: ScriptedWindow.Binding? = nil) -> Int32 {
            guard !device.isLost else { return EIO }
            guard state == IBV_QPS_RTS || state == IBV_QPS_ERR else {
                return refuse("a request in state \(state.rawValue)")
            }
            guard posted - retired < limits.max_send_wr else {
                _ = refuse("more than \(limits.max_send_wr) requests")
                return ENOMEM
            }
            guard fabric.takesPost() else { return ENOMEM }
            guard let pieces = unsafe Self.pieces(work.sg_list, work.num_sge, limits.max_send_sge) else {
                return refuse("\(unsafe work.num_sge) elements")
            }
            let flags = unsafe work.send_flags
            let isRead = unsafe work.opcode == IBV_WR_RDMA_READ
            guard !isRead || readsAtOnce > 0 else { return refuse("a read where none were agreed") }
            var inlined: [UInt8]?
            if flags & IBV_SEND_INLINE.rawValue != 0 {
                let length = pieces.reduce(0) { $0 + Int($1.length) }
                guard !isRead, length <= limits.max_inline_data else { return refuse("\(length) bytes inline") }
                inlined = Self.bytes(pieces)
            }
            requests.append(
                Request(
                    name: unsafe work.wr_id, number: posted, operation: unsafe work.opcode,
                    isSignalled: signalsAll || flags & IBV_SEND_SIGNALED.rawValue != 0,
                    immediate: unsafe work.imm_data, remote: unsafe work.wr.rdma.remote_addr,
                    remoteKey: unsafe work.wr.rdma.rkey, pieces: pieces, inlined: inlined,
                    binding: binding))
            posted += 1
            return 0
        }

        func post(
            receives first: UnsafeMutablePointer<ibv_recv_wr>,
            _ refused: UnsafeMutablePointer<UnsafeMutablePointer<ibv_recv_wr>?>?
        ) -> Int32 {
            var next = unsafe Optional(first)
            while let receive = unsafe next {
                let status = unsafe accept(receive.pointee)
                if status != 0 {
                    unsafe refused?.pointee = receive
                    return status
                }
                unsafe next = receive.pointee.next
            }
            return 0
        }

        private func accept(_ work: ibv_recv_wr) -> Int32 {
            guard !device.isLost else { return EIO }
            guard state != IBV_QPS_RESET else { return refuse("a receive before INIT") }
            guard receivesOut < limits.max_recv_wr else {
                _ = refuse("more than \(limits.max_recv_wr) receives")
                return ENOMEM
            }
            guard let pieces = unsafe Self.pieces(work.sg_list, work.num_sge, limits.max_recv_sge) else {
                return refuse("\(unsafe work.num_sge) elements of a receive")
            }
            receives.append(Receive(name: unsafe work.wr_id, pieces: pieces))
            receivesOut += 1
            return 0
        }

        private static func pieces(
            _ list: UnsafeMutablePointer<ibv_sge>?, _ count: Int32, _ most: UInt32
        ) -> [ibv_sge]? {
            guard count >= 0, count <= most else { return nil }
            return unsafe Array(UnsafeBufferPointer(start: list, count: Int(count)))
        }

        /// Inline data is taken while it is posted, and needs no key.
        private static func bytes(_ pieces: [ibv_sge]) -> [UInt8] {
            // SAFETY: who posts says that the bytes are there.
            unsafe pieces.flatMap { piece in
                unsafe UnsafeRawBufferPointer(
                    start: UnsafeRawPointer(bitPattern: UInt(piece.addr)), count: Int(piece.length))
            }
        }
    }
#endif
