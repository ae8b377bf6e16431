// What scripted devices do with what is posted: bytes move, completions are made, errors spread as
// they do between reliable queue pairs.

#if Verbs
    import CLinux
    import CVerbs

    extension ScriptedFabric {
        private enum Outcome {
            case moved
            case failed(ibv_wc_status)
            /// The peer's queue pair has seen the error too, and ends.
            case failedAtBoth(ibv_wc_status)
        }

        /// Does one thing that a queue pair has to do.
        /// - Returns: false when there is nothing that it can do now.
        func advance(_ pair: ScriptedQueuePair) -> Bool {
            guard !pair.device.isLost else { return false }
            if pair.state == IBV_QPS_ERR { return !losesFlushes && flushOne(pair) }
            guard pair.state == IBV_QPS_RTS, !isHeld else { return false }
            // Bytes that have moved are not told of at once.
            if pair.moved == 0 || Bool.random(using: &random), pair.moved < pair.requests.count, move(pair) {
                return true
            }
            guard pair.moved > 0 else { return false }
            complete(pair)
            return true
        }

        /// The queue pair ends with an error of its first request, as far as there is one.
        func fail(_ pair: ScriptedQueuePair, _ status: ibv_wc_status) {
            while pair.moved > 0 { complete(pair) }
            if !pair.requests.isEmpty { finish(pair, status) }
            pair.state = IBV_QPS_ERR
        }

        private func flushOne(_ pair: ScriptedQueuePair) -> Bool {
            if !pair.requests.isEmpty {
                if pair.moved > 0 {
                    pair.moved -= 1
                } else {
                    arriveLate(pair)
                }
                finish(pair, IBV_WC_WR_FLUSH_ERR)
                return true
            }
            guard !pair.receives.isEmpty else { return false }
            let receive = pair.receives.removeFirst()
            pair.receiveQueue.append(Self.failure(receive.name, IBV_WC_WR_FLUSH_ERR, of: pair), of: pair, request: nil)
            return true
        }

        /// What was under way when a queue pair failed may still arrive: only when its request has come
        /// back is its memory left alone.
        private func arriveLate(_ pair: ScriptedQueuePair) {
            let request = pair.requests[0]
            guard pace != .atOnce, Bool.random(using: &random), !Self.takesReceive(request.operation),
                let peer = peer(of: pair), peer.state == IBV_QPS_RTS
            else { return }
            _ = perform(request, of: pair, at: peer)
        }

        // MARK: Moving

        /// Moves the bytes of the next request.
        private func move(_ pair: ScriptedQueuePair) -> Bool {
            let request = pair.requests[pair.moved]
            if let binding = request.binding {
                binding.window.bind(binding)
                pair.moved += 1
                return true
            }
            let peer = peer(of: pair)
            if let peer, peer.state == IBV_QPS_INIT || peer.state == IBV_QPS_RESET { return false }
            let outcome: Outcome
            if let status = countRequest(of: pair.device) {
                outcome = .failed(status)
            } else if let peer {
                outcome = perform(request, of: pair, at: peer)
            } else {
                outcome = .failed(IBV_WC_RETRY_EXC_ERR)
            }
            switch outcome {
            case .moved: pair.moved += 1
            case .failed(let status): fail(pair, status)
            case .failedAtBoth(let status):
                fail(pair, status)
                peer?.state = IBV_QPS_ERR
            }
            return true
        }

        /// The other end of a connection; nil when nobody answers there.
        private func peer(of pair: ScriptedQueuePair) -> ScriptedQueuePair? {
            guard pair.device.isUp,
                let peer = pairs.first(where: { $0.number == pair.peerNumber && $0.device.gid == pair.peerGid }),
                peer.device.isUp, peer.state != IBV_QPS_ERR
            else { return nil }
            guard peer.state == IBV_QPS_RTR || peer.state == IBV_QPS_RTS else { return peer }
            guard peer.peerNumber == pair.number, peer.peerGid == pair.device.gid,
                peer.expectedPacket == pair.firstPacket, peer.readsServed >= pair.readsAtOnce
            else {
                complain("queue pairs that do not belong together")
                return nil
            }
            return peer
        }

        private func perform(
            _ request: ScriptedQueuePair.Request, of pair: ScriptedQueuePair, at peer: ScriptedQueuePair
        ) -> Outcome {
            let isRead = request.operation == IBV_WR_RDMA_READ
            let length = request.pieces.reduce(0) { $0 + Int($1.length) }
            var local: [UnsafeMutableRawBufferPointer] = unsafe []
            if request.inlined == nil {
                guard
                    let memory = unsafe memory(of: request.pieces, for: pair, toWrite: isRead)
                else { return .failed(IBV_WC_LOC_PROT_ERR) }
                unsafe local = memory
            }
            var remote = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
            if Self.isOneSided(request.operation), length > 0 {
                guard let memory = unsafe memory(of: request, length, at: peer) else {
                    return .failedAtBoth(IBV_WC_REM_ACCESS_ERR)
                }
                unsafe remote = memory
            }
            if isRead {
                unsafe copy([UnsafeRawBufferPointer(remote)], to: local)
                return .moved
            }
            guard Self.takesReceive(request.operation) else {
                unsafe copy(request, local, to: [remote])
                return .moved
            }
            guard !peer.receives.isEmpty else {
                countReceiverNotReady()
                return .failed(IBV_WC_RNR_RETRY_EXC_ERR)
            }
            return unsafe deliver(request, local, length, to: peer, remote: remote)
        }

        /// Ends a receive of the peer with a message, or with a write that tells of itself.
        private func deliver(
            _ request: ScriptedQueuePair.Request, _ local: [UnsafeMutableRawBufferPointer], _ length: Int,
            to peer: ScriptedQueuePair, remote: UnsafeMutableRawBufferPointer
        ) -> Outcome {
            let receive = peer.receives.removeFirst()
            let isMessage = !Self.isOneSided(request.operation)
            if isMessage {
                let room = unsafe memory(of: receive.pieces, for: peer, toWrite: true)
                guard let room = unsafe room, unsafe room.reduce(0, { $0 + $1.count }) >= length else {
                    let status = unsafe room == nil ? IBV_WC_LOC_PROT_ERR : IBV_WC_LOC_LEN_ERR
                    peer.receiveQueue.append(Self.failure(receive.name, status, of: peer), of: peer, request: nil)
                    return .failedAtBoth(unsafe room == nil ? IBV_WC_REM_OP_ERR : IBV_WC_REM_INV_REQ_ERR)
                }
                unsafe copy(request, local, to: room)
            } else {
                unsafe copy(request, local, to: [remote])
            }
            var completion = Self.success(receive.name, of: peer)
            completion.opcode = isMessage ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM
            completion.byte_len = UInt32(length)
            if request.operation == IBV_WR_SEND_WITH_IMM || request.operation == IBV_WR_RDMA_WRITE_WITH_IMM {
                completion.wc_flags = IBV_WC_WITH_IMM.rawValue
                completion.imm_data = request.immediate
            }
            peer.receiveQueue.append(completion, of: peer, request: nil)
            return .moved
        }

        private static func isOneSided(_ operation: ibv_wr_opcode) -> Bool {
            operation != IBV_WR_SEND && operation != IBV_WR_SEND_WITH_IMM
        }

        private static func takesReceive(_ operation: ibv_wr_opcode) -> Bool {
            operation != IBV_WR_RDMA_READ && operation != IBV_WR_RDMA_WRITE
        }

        // MARK: Memory

        /// The memory of elements; nil when a key does not allow it.
        private func memory(
            of pieces: [ibv_sge], for pair: ScriptedQueuePair, toWrite: Bool
        ) -> [UnsafeMutableRawBufferPointer]? {
            var memory: [UnsafeMutableRawBufferPointer] = unsafe []
            for piece in pieces where piece.length > 0 {
                guard let region = regions[piece.lkey >> 8], ScriptedRegion.localKey(region.number) == piece.lkey,
                    region.domain == pair.domain, !toWrite || region.access & RF_VERBS_LOCAL_WRITE != 0,
                    let bytes = unsafe region.bytes(piece.addr, Int(piece.length))
                else { return nil }
                unsafe memory.append(bytes)
            }
            return unsafe memory
        }

        /// The memory at the peer that a one-sided request names; nil when its key does not allow it.
        private func memory(
            of request: ScriptedQueuePair.Request, _ length: Int, at peer: ScriptedQueuePair
        ) -> UnsafeMutableRawBufferPointer? {
            let needed = request.operation == IBV_WR_RDMA_READ ? RF_VERBS_REMOTE_READ : RF_VERBS_REMOTE_WRITE
            if let window = windows[request.remoteKey >> 8] {
                let isOpen =
                    window.key == request.remoteKey && window.domain == peer.domain && window.access & needed != 0
                    && peer.access & needed != 0
                return isOpen ? unsafe window.bytes(request.remote, length) : nil
            }
            guard let region = regions[request.remoteKey >> 8],
                ScriptedRegion.remoteKey(region.number) == request.remoteKey, region.domain == peer.domain,
                region.access & peer.access & needed != 0
            else { return nil }
            return unsafe region.bytes(request.remote, length)
        }

        private func copy(
            _ request: ScriptedQueuePair.Request, _ local: [UnsafeMutableRawBufferPointer],
            to targets: [UnsafeMutableRawBufferPointer]
        ) {
            if let inlined = request.inlined {
                unsafe inlined.withUnsafeBytes { unsafe copy([$0], to: targets) }
            } else {
                unsafe copy(local.map { UnsafeRawBufferPointer($0) }, to: targets)
            }
        }

        /// Copies all of the sources; the targets have room for them. They may overlap.
        private func copy(_ sources: [UnsafeRawBufferPointer], to targets: [UnsafeMutableRawBufferPointer]) {
            var (target, offset) = (0, 0)
            for index in unsafe sources.indices {
                let source = unsafe sources[index]
                var done = 0
                while done < source.count {
                    if unsafe offset == targets[target].count {
                        (target, offset) = (target + 1, 0)
                        continue
                    }
                    let count = unsafe min(source.count - done, targets[target].count - offset)
                    unsafe _ = memmove(targets[target].baseAddress! + offset, source.baseAddress! + done, count)
                    done += count
                    offset += count
                }
            }
        }

        // MARK: Completions

        /// The first request has done what it had to do.
        private func complete(_ pair: ScriptedQueuePair) {
            pair.moved -= 1
            finish(pair, IBV_WC_SUCCESS)
        }

        /// Takes the first request out. Errors are told of whether that was asked for or not.
        private func finish(_ pair: ScriptedQueuePair, _ status: ibv_wc_status) {
            let request = pair.requests.removeFirst()
            var completion = Self.failure(request.name, status, of: pair)
            if status == IBV_WC_SUCCESS {
                guard request.isSignalled else { return }
                completion = Self.success(request.name, of: pair)
                switch request.operation {
                case IBV_WR_RDMA_READ: completion.opcode = IBV_WC_RDMA_READ
                case IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM: completion.opcode = IBV_WC_RDMA_WRITE
                case IBV_WR_BIND_MW: completion.opcode = IBV_WC_BIND_MW
                default: completion.opcode = IBV_WC_SEND
                }
            }
            pair.sendQueue.append(completion, of: pair, request: request.number)
        }

        private static func success(_ name: UInt64, of pair: ScriptedQueuePair) -> ibv_wc {
            var completion = ibv_wc()
            completion.wr_id = name
            completion.status = IBV_WC_SUCCESS
            completion.qp_num = pair.number
            completion.src_qp = pair.peerNumber
            return completion
        }

        /// Of a failure only name, status and queue pair mean anything; the rest is what nobody may rely on.
        private static func failure(_ name: UInt64, _ status: ibv_wc_status, of pair: ScriptedQueuePair) -> ibv_wc {
            var completion = success(name, of: pair)
            completion.status = status
            completion.opcode = ibv_wc_opcode(rawValue: 0x7f)
            completion.byte_len = 0xdead_beef
            completion.wc_flags = 0x7f
            return completion
        }
    }
#endif
