// Listening, connecting and the handshake.

#if NIO
    internal import CLinux
    internal import NIOCore
    internal import NIOPosix
    public import RayCore

    extension NIOTransport {
        // MARK: Listening

        public mutating func listen(at address: Address) throws(FabricError) -> Address {
            let candidates = try SocketAddress.resolve(address, toListen: true)
            try requireKey(configuration.clusterKey, toListenAt: candidates, named: address)
            guard let candidate = candidates.first, case .tcp(let host, _) = address else {
                throw FabricError(.addressInvalid, "\(address)")
            }
            let bootstrap = ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 1024)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.autoRead, value: false)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.recvAllocator, value: Self.allocator)
                .childChannelInitializer { [inbox] channel in
                    channel.eventLoop.makeCompletedFuture { try Self.accept(channel, inbox) }
                }
            do {
                let channel = try bootstrap.bind(to: candidate.forNIO).wait()
                guard let port = channel.localAddress?.port else { throw ChannelError.unknownLocalAddress }
                return .tcp(host: host, port: UInt16(port))
            } catch {
                let failure = failure(error)
                throw failure.error("bind \(address)")
            }
        }

        private static var allocator: any RecvByteBufferAllocator {
            AdaptiveRecvByteBufferAllocator(minimum: 4 << 10, initial: 16 << 10, maximum: 256 << 10)
        }

        private static func accept(_ channel: any Channel, _ inbox: NIOInbox) throws {
            let credit = NIOCredit()
            guard let number = inbox.accept(channel, credit) else { throw ChannelError.operationUnsupported }
            try channel.pipeline.syncOperations.addHandler(
                NIOSocketHandler(socket: number, inbox: inbox, credit: credit))
        }

        mutating func accepted(_ number: UInt64, _ channel: any Channel, _ credit: NIOCredit) {
            let socket = NIOSocket(
                number: number, channel: channel, credit: credit, deadline: now + configuration.handshakeTimeout)
            socket.isHalfOpen = true
            socket.isHandshakeLimited = true
            socket.handshake = Handshake(responder: offer(session: 0), key: configuration.clusterKey)
            sockets[number] = socket
            schedule(socket.deadline)
        }

        /// Without lanes: all payload travels on the one socket.
        private mutating func offer(session: UInt64) -> HandshakeOffer {
            HandshakeOffer(
                node: configuration.identity, session: session, lane: 0, laneCount: 0,
                nonce: HandshakeNonce(using: &random), features: [])
        }

        // MARK: Connecting

        public mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
            let candidates = try SocketAddress.resolve(address, toListen: false)
            now = .now
            let socket = NIOSocket(number: inbox.newSocket(), channel: nil, credit: NIOCredit(), deadline: deadline)
            socket.candidates = candidates
            let connection = try makeConnection(isInitiator: true, socket: socket)
            sockets[socket.number] = socket
            schedule(deadline)
            tryNext(socket)
            return connection.id
        }

        /// Connects to the next candidate address.
        private func tryNext(_ socket: NIOSocket) {
            let (number, credit, inbox) = (socket.number, socket.credit, inbox)
            let target: NIOCore.SocketAddress
            do {
                target = try socket.candidates.removeFirst().forNIO
            } catch {
                return inbox.put(.connectFailed(socket: number, TransportFailure(.addressInvalid)))
            }
            ClientBootstrap(group: group)
                .channelOption(.autoRead, value: false)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.recvAllocator, value: Self.allocator)
                // The deadline is watched by the timers; this only bounds what nobody waits for.
                .connectTimeout(.minutes(5))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSocketHandler(socket: number, inbox: inbox, credit: credit))
                    }
                }
                .connect(to: target)
                .whenComplete { result in
                    switch result {
                    case .success(let channel): inbox.put(.connected(socket: number, channel))
                    case .failure(let error): inbox.put(.connectFailed(socket: number, failure(error)))
                    }
                }
        }

        mutating func connectFailed(_ number: UInt64, _ failure: TransportFailure) {
            guard let socket = sockets[number], let connection = socket.connection else { return }
            if socket.candidates.isEmpty {
                fail(connection, failure)
            } else {
                tryNext(socket)
            }
        }

        mutating func connected(_ number: UInt64, _ channel: any Channel) {
            guard let socket = sockets[number] else {
                // Given up meanwhile.
                channel.close(promise: nil)
                return
            }
            socket.channel = channel
            let limit = now + configuration.handshakeTimeout
            socket.isHandshakeLimited = limit < socket.deadline
            socket.deadline = min(socket.deadline, limit)
            schedule(socket.deadline)
            var machine = Handshake(
                initiator: offer(session: .random(in: 1...UInt64.max, using: &random)), key: configuration.clusterKey)
            let hello = machine.start()
            socket.handshake = machine
            transmit(ByteBuffer(bytes: hello), on: socket)
            continueHandshake(socket)
        }

        // MARK: Handshake

        /// Gives the machine what it expects, as far as it has come.
        mutating func continueHandshake(_ socket: NIOSocket) {
            while let expected = socket.handshake?.expectedByteCount, sockets[socket.number] != nil {
                guard socket.input.readableBytes >= expected else {
                    if let end = socket.endOfInput { handshakeFailed(socket, end) }
                    return
                }
                let bytes = socket.take(expected)
                guard let step = socket.handshake?.receive(bytes.readableBytesSpan) else { return }
                take(step, on: socket)
            }
        }

        private mutating func take(_ step: HandshakeStep, on socket: NIOSocket) {
            if case .verified(let peer) = step.outcome { return admit(peer, on: socket) }
            if !step.output.isEmpty { transmit(ByteBuffer(bytes: step.output), on: socket) }
            switch step.outcome {
            case .proceed, .verified: break
            case .established(let peer): established(peer, on: socket)
            case .failed(let code): handshakeFailed(socket, TransportFailure(code))
            }
        }

        /// The responder's decision about an initiator that has proven itself.
        private mutating func admit(_ peer: HandshakePeer, on socket: NIOSocket) {
            guard var machine = socket.handshake else { return }
            let refusal = admitConnection(peer, socket)
            let step = refusal.map { machine.refuse($0) } ?? machine.accept()
            socket.handshake = machine
            take(step, on: socket)
        }

        private mutating func admitConnection(_ peer: HandshakePeer, _ socket: NIOSocket) -> FabricError.Code? {
            guard let connection = try? makeConnection(isInitiator: false, socket: socket) else {
                return .connectionLimit
            }
            if let refusal = enroll(peer.node, connection) {
                release(connection)
                socket.connection = nil
                return refusal
            }
            settleHalfOpen(socket)
            return nil
        }

        /// Counts the connection of a proven peer.
        /// - Returns: why it can not be.
        private mutating func enroll(_ peer: NodeID, _ connection: NIOConnection) -> FabricError.Code? {
            switch directory.admit(peer) {
            case .refused(let code): return code
            case .admitted: break
            case .supersedes:
                for case let other? in connections {
                    guard other.isOpen, let old = other.peer, old.value == peer.value,
                        old.incarnation < peer.incarnation
                    else { continue }
                    fail(other, TransportFailure(.staleIncarnation))
                }
            }
            connection.isAdmitted = true
            connection.peer = peer
            return nil
        }

        private mutating func established(_ peer: HandshakePeer, on socket: NIOSocket) {
            guard let connection = socket.connection else { return }
            socket.handshake = nil
            socket.deadline = .never
            connection.state = .open
            connection.lastReceived = now
            connection.lastSent = now
            schedule(now + configuration.heartbeatInterval)
            if connection.isInitiator, let refusal = enroll(peer.node, connection) {
                return fail(connection, TransportFailure(refusal))
            }
            events.append(.connected(connection.id))
            markReadable(connection)
        }

        /// Ends a socket that did not get as far as frames.
        mutating func handshakeFailed(_ socket: NIOSocket, _ failure: TransportFailure) {
            if let connection = socket.connection { return fail(connection, failure) }
            counters.rejected += 1
            drop(socket)
        }

        private func settleHalfOpen(_ socket: NIOSocket) {
            guard socket.isHalfOpen else { return }
            socket.isHalfOpen = false
            inbox.settleHalfOpen()
        }

        // MARK: Bytes

        /// Gives bytes to the event loop.
        func transmit(_ bytes: ByteBuffer, on socket: NIOSocket) {
            let (number, count) = (socket.number, bytes.readableBytes)
            socket.outstanding += count
            socket.channel?.writeAndFlush(bytes).whenComplete { [inbox] _ in
                inbox.put(.written(socket: number, count))
            }
        }

        /// Forgets a socket; what was given to the event loop before is still sent, for a while.
        mutating func drop(_ socket: NIOSocket) {
            settleHalfOpen(socket)
            sockets[socket.number] = nil
            socket.handshake = nil
            socket.input = ByteBuffer()
            guard let channel = socket.channel else { return }
            // Writes end in order, so the end of an empty one means that all others have ended.
            channel.writeAndFlush(ByteBuffer()).whenComplete { _ in channel.close(promise: nil) }
            channel.eventLoop.scheduleTask(in: Self.lingerTime) { channel.close(promise: nil) }
        }

        private static var lingerTime: TimeAmount { .seconds(1) }
    }

    extension SocketAddress {
        /// The same address for NIO.
        fileprivate var forNIO: NIOCore.SocketAddress {
            get throws {
                try NIOCore.SocketAddress(packedIPAddress: ByteBuffer(bytes: ipAddress), port: Int(port))
            }
        }
    }
#endif
