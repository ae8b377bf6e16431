// Shows that the scripted devices do what real ones do, since other tests rely on that.

#if Verbs
    import CLinux
    import CVerbs
    import RayCore
    import Testing

    @testable import RayFabric

    /// One end: a queue pair with memory that it may use.
    @safe
    private final class End {
        let device: VerbsDevice
        let memory = TestMemory(8192)
        let region: VerbsRegion
        // SAFETY: valid until deinit.
        let pair: UnsafeMutablePointer<ibv_qp>
        private let queue: UnsafeMutablePointer<ibv_cq>
        let address: UInt64

        /// - Parameter completions: places in a completion queue of its own; nil for the device's.
        init(_ fabric: ScriptedFabric, device index: Int, completions: Int32? = nil) throws {
            let port = fabric.provider.recentPorts()[index]
            device = try VerbsDevice(port, try #require(port.identifiers.last), of: fabric.provider)
            region = try unsafe VerbsRegion(memory.buffer, [.read, .write], on: device)
            address = UInt64(UInt(bitPattern: unsafe memory.buffer.baseAddress))
            var attributes = unsafe ibv_qp_init_attr()
            if let completions {
                unsafe queue = try #require(unsafe device.verbs.create_cq(device.context, completions, nil, nil, 0))
            } else {
                unsafe queue = device.queue
            }
            unsafe attributes.send_cq = queue
            unsafe attributes.recv_cq = queue
            unsafe attributes.qp_type = IBV_QPT_RC
            unsafe attributes.cap = ibv_qp_cap(
                max_send_wr: 8, max_recv_wr: 8, max_send_sge: 2, max_recv_sge: 2, max_inline_data: 64)
            unsafe pair = try #require(unsafe device.verbs.create_qp(device.domain, &attributes))
            var initial = ibv_qp_attr()
            initial.qp_state = IBV_QPS_INIT
            initial.port_num = 1
            initial.qp_access_flags = UInt32(RF_VERBS_REMOTE_READ | RF_VERBS_REMOTE_WRITE)
            try #require(unsafe device.verbs.modify_qp(pair, &initial, ScriptedMask.toInit.rawValue) == 0)
        }

        deinit {
            unsafe _ = device.verbs.destroy_qp(pair)
            if unsafe queue != device.queue { unsafe _ = device.verbs.destroy_cq(queue) }
        }

        func connect(to peer: End) throws {
            var receiving = ibv_qp_attr()
            receiving.qp_state = IBV_QPS_RTR
            receiving.dest_qp_num = unsafe peer.pair.pointee.qp_num
            receiving.max_dest_rd_atomic = 16
            receiving.ah_attr.is_global = 1
            let gid = try #require(peer.device.identifier.bytes)
            unsafe withUnsafeMutableBytes(of: &receiving.ah_attr.grh.dgid) { unsafe $0.copyBytes(from: gid) }
            receiving.ah_attr.grh.sgid_index = 1
            receiving.ah_attr.port_num = 1
            try #require(unsafe device.verbs.modify_qp(pair, &receiving, ScriptedMask.toReceive.rawValue) == 0)
            var sending = ibv_qp_attr()
            sending.qp_state = IBV_QPS_RTS
            sending.max_rd_atomic = 16
            try #require(unsafe device.verbs.modify_qp(pair, &sending, ScriptedMask.toSend.rawValue) == 0)
        }

        func element(_ offset: Int, _ length: Int) -> ibv_sge {
            ibv_sge(addr: address + UInt64(offset), length: UInt32(length), lkey: region.localKey)
        }

        /// - Returns: what posting gave.
        func send(
            _ name: UInt64, _ operation: ibv_wr_opcode, _ elements: [ibv_sge], flags: ibv_send_flags? = nil,
            remote: UInt64 = 0, key: UInt32 = 0
        ) -> Int32 {
            var elements = elements
            return unsafe elements.withUnsafeMutableBufferPointer { buffer in
                var request = unsafe ibv_send_wr()
                unsafe request.wr_id = name
                unsafe request.sg_list = buffer.baseAddress
                unsafe request.num_sge = Int32(buffer.count)
                unsafe request.opcode = operation
                unsafe request.send_flags = flags?.rawValue ?? 0
                unsafe request.imm_data = 0x0102_0304
                unsafe request.wr.rdma.remote_addr = remote
                unsafe request.wr.rdma.rkey = key
                var refused: UnsafeMutablePointer<ibv_send_wr>?
                return unsafe rf_verbs_post(pair, &request, &refused)
            }
        }

        func receive(_ name: UInt64, _ elements: [ibv_sge]) -> Int32 {
            var elements = elements
            return unsafe elements.withUnsafeMutableBufferPointer { buffer in
                var request = unsafe ibv_recv_wr(
                    wr_id: name, next: nil, sg_list: buffer.baseAddress, num_sge: Int32(buffer.count))
                var refused: UnsafeMutablePointer<ibv_recv_wr>?
                return unsafe ibv_post_recv(pair, &request, &refused)
            }
        }

        func poll() -> [ibv_wc] {
            var completions = [ibv_wc](repeating: ibv_wc(), count: 16)
            let count = device.poll(&completions)
            return Array(completions[..<count])
        }

        func flush() {
            var attributes = ibv_qp_attr()
            attributes.qp_state = IBV_QPS_ERR
            unsafe _ = device.verbs.modify_qp(pair, &attributes, RF_VERBS_TO_STATE)
        }
    }

    @Suite struct ScriptedVerbsTests {
        private func ends(_ fabric: ScriptedFabric) throws -> (End, End) {
            let ends = try (End(fabric, device: 0), End(fabric, device: 1))
            try ends.0.connect(to: ends.1)
            try ends.1.connect(to: ends.0)
            return ends
        }

        @Test func messagesEndReceives() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let (left, right) = try ends(fabric)
                left.memory.fill(1)
                #expect(right.receive(1, [right.element(0, 100), right.element(200, 100)]) == 0)
                #expect(right.receive(2, [right.element(1000, 100)]) == 0)
                #expect(left.send(3, IBV_WR_SEND_WITH_IMM, [left.element(0, 70), left.element(70, 70)]) == 0)
                // What is posted inline may be overwritten at once.
                #expect(left.send(4, IBV_WR_SEND, [left.element(140, 8)], flags: IBV_SEND_INLINE) == 0)
                left.memory.clear(8192)
                let received = right.poll()
                #expect(received.map(\.wr_id) == [1, 2])
                #expect(received.allSatisfy { $0.status == IBV_WC_SUCCESS && $0.opcode == IBV_WC_RECV })
                #expect(received.map(\.byte_len) == [140, 8])
                #expect(received.map(\.wc_flags) == [IBV_WC_WITH_IMM.rawValue, 0])
                #expect(received[0].imm_data == 0x0102_0304)
                #expect(right.memory.differences(1, 0..<100) == 0)
                #expect(right.memory.differences(1, 200..<240, sourceOffset: 100) == 0)
                #expect(right.memory.isClear(240..<300) == true)
                #expect(right.memory.differences(1, 1000..<1008, sourceOffset: 140) == 0)
                // Nobody asked to hear of the sends.
                #expect(left.poll().isEmpty)
            }
            fabric.expectClean()
        }

        @Test func writesTellWhenAsked() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let (left, right) = try ends(fabric)
                left.memory.fill(1)
                #expect(right.receive(1, []) == 0)
                #expect(
                    left.send(
                        2, IBV_WR_RDMA_WRITE_WITH_IMM, [left.element(0, 64)], flags: IBV_SEND_SIGNALED,
                        remote: right.address + 4096, key: right.region.remoteKey) == 0)
                let received = right.poll()
                #expect(received.map(\.opcode) == [IBV_WC_RECV_RDMA_WITH_IMM] && received[0].byte_len == 64)
                #expect(left.poll().map(\.opcode) == [IBV_WC_RDMA_WRITE])
                #expect(right.memory.differences(1, 4096..<4160) == 0)
            }
            fabric.expectClean()
        }

        @Test func aMessageWithoutAReceiveIsCounted() throws {
            let fabric = ScriptedFabric(devices: 2)
            let (left, right) = try ends(fabric)
            #expect(left.send(1, IBV_WR_SEND, [left.element(0, 8)]) == 0)
            #expect(left.send(2, IBV_WR_SEND, [left.element(0, 8)]) == 0)
            #expect(left.poll().map(\.status) == [IBV_WC_RNR_RETRY_EXC_ERR, IBV_WC_WR_FLUSH_ERR])
            #expect(fabric.notReady == 1)
            // The other end knows nothing of it.
            #expect(right.poll().isEmpty)
        }

        /// A wrong key, a range that is too long, a key of the wrong kind: both ends fail.
        @Test(arguments: 0..<3) func forbiddenMemoryEndsBoth(_ mistake: Int) throws {
            let fabric = ScriptedFabric(devices: 2)
            let (left, right) = try ends(fabric)
            right.memory.fill(1)
            #expect(right.receive(9, []) == 0)
            let key = [right.region.remoteKey + 256, right.region.remoteKey, right.region.localKey][mistake]
            let place = right.address + (mistake == 1 ? 8100 : 0)
            #expect(left.send(1, IBV_WR_RDMA_READ, [left.element(0, 100)], remote: place, key: key) == 0)
            #expect(left.poll().map(\.status) == [IBV_WC_REM_ACCESS_ERR])
            #expect(right.poll().map(\.status) == [IBV_WC_WR_FLUSH_ERR])
            #expect(left.memory.isClear(0..<100) == true)
        }

        @Test func errorsFlushAllThatIsPosted() throws {
            let fabric = ScriptedFabric(devices: 2)
            do {
                let (left, right) = try ends(fabric)
                fabric.hold()
                #expect(left.receive(1, []) == 0)
                for name in 2...4 as ClosedRange<UInt64> {
                    #expect(
                        left.send(
                            name, IBV_WR_RDMA_READ, [left.element(0, 8)], remote: right.address,
                            key: right.region.remoteKey) == 0)
                }
                #expect(left.poll().isEmpty && fabric.outstanding == 3)
                left.flush()
                #expect(left.send(5, IBV_WR_SEND, []) == 0)
                let flushed = left.poll()
                #expect(flushed.allSatisfy { $0.status == IBV_WC_WR_FLUSH_ERR })
                #expect(flushed.map(\.wr_id).filter { $0 != 1 } == [2, 3, 4, 5] && flushed.count == 5)
                // The other end has seen nothing, and gets no answer.
                fabric.release()
                #expect(right.send(6, IBV_WR_SEND, []) == 0)
                #expect(right.poll().map(\.status) == [IBV_WC_RETRY_EXC_ERR])
            }
            fabric.expectClean()
        }

        @Test func limitsAreKept() throws {
            let fabric = ScriptedFabric(devices: 2)
            let (left, right) = try ends(fabric)
            for name in 0..<8 as Range<UInt64> { #expect(right.receive(name, []) == 0) }
            #expect(right.receive(8, []) == ENOMEM)
            for name in 0..<7 as Range<UInt64> { #expect(left.send(name, IBV_WR_SEND, []) == 0) }
            // Done, but nobody has heard of it: places become free with completions.
            #expect(left.send(7, IBV_WR_SEND, [], flags: IBV_SEND_SIGNALED) == 0)
            #expect(left.send(8, IBV_WR_SEND, []) == ENOMEM)
            #expect(left.poll().map(\.wr_id) == [7])
            #expect(left.send(9, IBV_WR_SEND, [left.element(0, 65)], flags: IBV_SEND_INLINE) == EINVAL)
            #expect(fabric.complaints.count == 3)
        }

        @Test func aQueueThatRunsOverIsNoticed() throws {
            let fabric = ScriptedFabric()
            do {
                let end = try End(fabric, device: 0, completions: 2)
                for name in 1...3 as ClosedRange<UInt64> { #expect(end.receive(name, []) == 0) }
                end.flush()
            }
            #expect(fabric.complaints == ["a completion queue of 2 ran over"])
            #expect(fabric.existing == .none)
        }

        @Test func eventsComeOnceForEachArming() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 1))
            do {
                let (left, right) = try ends(fabric)
                for name in 1...2 as ClosedRange<UInt64> { #expect(right.receive(name, []) == 0) }
                #expect(!isReadable(right.device.eventDescriptor))
                #expect(left.send(1, IBV_WR_SEND, []) == 0)
                right.device.arm()
                #expect(isReadable(right.device.eventDescriptor))
                #expect(left.send(2, IBV_WR_SEND, []) == 0)
                right.device.arm()
                #expect(isReadable(right.device.eventDescriptor))
                #expect(right.poll().count == 2)
                right.device.arm()
                #expect(!isReadable(right.device.eventDescriptor))
            }
            fabric.expectClean()
        }

        private func isReadable(_ descriptor: Int32) -> Bool {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            return unsafe CLinux.poll(&entry, 1, 0) == 1
        }
    }
#endif
