// How a connection gets its queue pair, and how it loses it.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    extension VerbsTransport {
        /// So long may a peer take to say what it has received.
        private static let handOverTime = Duration.seconds(5)
        private static let checkInterval = Duration.milliseconds(50)

        // MARK: Beginning

        mutating func connected(_ id: Connection) {
            guard sockets.hasRails(id) else { return connectedWithoutRail(id, .rdmaUnavailable) }
            // The end that connects is the first to give up: then both still have their sockets.
            let isInitiator = sockets.isInitiator(id)
            let deadline = Timestamp.now + (isInitiator ? joiningTime : joiningTime * 2)
            guard let rail = rails.insert(id, isInitiator: isInitiator, deadline: deadline) else {
                return sockets.close(id, TransportFailure(.connectionLimit))
            }
            do throws(FabricError) {
                let device = try device(for: id)
                do throws(FabricError) {
                    try makePairs(rail, on: device)
                } catch {
                    lost(rail, "RDMA", "\(error)")
                    throw error
                }
            } catch {
                sockets.sendControl(RailMessage.decline(error.code).encoded(), on: id)
                withoutRail(rail, error.code)
            }
        }

        /// Queue pairs for messages and operations; the end that accepted the connection invites the other one.
        private mutating func makePairs(_ rail: Rail, on device: VerbsDevice) throws(FabricError) {
            let pair = try VerbsQueuePair(on: device, depth: Self.operationDepth, receives: 0)
            let lane = try MessageLane(PacketWindow.Shape(), on: device)
            rail.paths = [RailPath(0, of: rail, by: pair)]
            rail.lane = lane
            guard !rail.isInitiator, let messages = lane.pair else { return }
            let offer = RailMessage.offer(operations: try invite(to: pair), messages: try invite(to: messages))
            sockets.sendControl(offer.encoded(), on: rail.connection)
        }

        private mutating func connectedWithoutRail(_ id: Connection, _ code: FabricError.Code) {
            switch policy {
            case .automatic: emit(.connected(id))
            case .required: sockets.close(id, TransportFailure(code))
            }
        }

        /// The connection does without a queue pair.
        private mutating func withoutRail(_ rail: Rail, _ code: FabricError.Code) {
            guard rail.state == .negotiating else { return }
            rail.state = .absent
            rail.deadline = .never
            keepIdentifier(of: rail.paths.first?.pair, rail)
            keepIdentifier(of: rail.lane?.pair, rail)
            rail.paths = []
            rail.lane = nil
            connectedWithoutRail(rail.connection, code)
        }

        /// The device that has the address of a connection, opened once.
        private mutating func device(for id: Connection) throws(FabricError) -> VerbsDevice {
            guard let address = sockets.localAddress(of: id) else {
                throw FabricError(.closed, "connection \(id.index)")
            }
            if let device = try? device(at: address, among: provider.recentPorts()) { return device }
            if let device = try device(at: address, among: provider.newestPorts()) { return device }
            throw FabricError(.rdmaUnavailable, "no active RDMA port has the address of this connection")
        }

        private mutating func device(
            at address: SocketAddress, among ports: [RDMAPort]
        ) throws(FabricError) -> VerbsDevice? {
            for port in ports where port.isActive {
                if let identifier = port.identifier(for: address) { return try open(port, identifier) }
            }
            return nil
        }

        /// A device, opened once for each identifier.
        mutating func open(
            _ port: RDMAPort, _ identifier: RDMAPort.Identifier
        ) throws(FabricError) -> VerbsDevice {
            if let open = devices.first(where: {
                !$0.isLost && $0.port.device == port.device && $0.port.number == port.number
                    && $0.identifier.index == identifier.index
            }) {
                return open
            }
            let device = try VerbsDevice(port, identifier, of: provider)
            device.trafficIndex = trafficIndex(of: port)
            devices.append(device)
            memory.append(RailMemory())
            registerAll(on: devices.count - 1)
            return device
        }

        private mutating func trafficIndex(of port: RDMAPort) -> Int {
            if let known = carried.rdmaPorts.firstIndex(where: { $0.device == port.device && $0.port == port.number }) {
                return known
            }
            carried.rdmaPorts.append(RDMATraffic(device: port.device, port: port.number))
            return carried.rdmaPorts.count - 1
        }

        // MARK: Control frames

        mutating func takeControls() {
            while let control = sockets.controls.popFirst() {
                guard let rail = rails[control.connection] else { continue }
                do throws(WireError) {
                    // SAFETY: any bytes are valid UInt8 values.
                    take(try RailMessage(decoding: unsafe control.bytes.span.bytes), rail)
                } catch {
                    sockets.close(control.connection, TransportFailure(.protocolViolation))
                }
            }
        }

        mutating func take(_ message: RailMessage, _ rail: Rail) {
            switch message {
            case .offer(let operations, let messages): offered(operations, messages, rail)
            case .decline(let code): withoutRail(rail, code)
            case .ready: peerIsReady(rail)
            case .region(let path, let region):
                rail.refusals[region.key] = nil
                guard let path = rail.path(path), path.remote.count < Self.mostRegions else { return }
                path.remote.insert(region)
            case .regionGone(let key):
                rail.refusals[key] = nil
                for path in rail.paths { path.remote.remove(key) }
            case .refused(let key, let code):
                if rail.refusals.count < Self.mostRegions { rail.refusals[key] = code }
            case .registered(let number): rail.path(number)?.peerHasRegistered = true
            case .broken: peerHasLost(rail)
            case .received(let count):
                rail.peerReceived = count
                handOver(rail)
            case .notification(let value):
                if rail.state != .negotiating { emit(.notified(rail.connection, value)) }
            case .rest(let bytes): news.append(.packet(Packet(rail: rail, bytes: .rest(bytes))))
            case .ports(let ports): joinPorts(ports, rail)
            case .path(let number, let port): pathWanted(number, port, rail)
            case .invited(let number, let invitation): pathInvited(number, invitation, rail)
            case .pathReady(let number): pathReady(number, rail)
            case .pathBroken(let number): pathBroken(number, rail)
            }
        }

        /// Parts of the peer's memory that are remembered; what is beyond them goes by sockets.
        static var mostRegions: Int { 1 << 16 }

        private mutating func offered(_ operations: RailInvitation, _ messages: RailInvitation, _ rail: Rail) {
            guard rail.isInitiator, rail.state == .negotiating, let first = rail.paths.first?.pair,
                let second = rail.lane?.pair, first.join.state == .idle
            else { return }
            do throws(FabricError) {
                try join(first, PairName(rail: rail.number, place: .path(0)), operations)
                try join(second, PairName(rail: rail.number, place: .messages), messages)
            } catch {
                breakDown(rail, because: "\(error)")
            }
        }

        /// This end's queue pairs answer the peer's.
        mutating func answers(_ rail: Rail) {
            if let index = devices.firstIndex(where: { $0 === rail.device }) {
                for part in memory[index].all where part.access.isGeneral {
                    sockets.sendControl(part.announcement(path: 0).encoded(), on: rail.connection)
                }
            }
            for (key, error) in refusals where registered[key]?.access.isGeneral == true {
                sockets.sendControl(RailMessage.refused(key, error.code).encoded(), on: rail.connection)
            }
            if rail.device?.unregistered == nil {
                sockets.sendControl(RailMessage.registered(path: 0).encoded(), on: rail.connection)
            }
            sockets.sendControl(RailMessage.ready.encoded(), on: rail.connection)
            openIfReady(rail)
        }

        private mutating func peerIsReady(_ rail: Rail) {
            rail.peerIsReady = true
            openIfReady(rail)
            if let reason = rail.earlyLoss, rail.state == .open { breakDown(rail, because: reason) }
        }

        private mutating func openIfReady(_ rail: Rail) {
            guard rail.state == .negotiating, rail.isConnected, rail.peerIsReady else { return }
            rail.state = .open
            if rail.earlyLoss == nil { rail.paths[0].state = .open }
            rail.deadline = .never
            emit(.connected(rail.connection))
            tellPorts(rail)
            while let (place, count) = rail.lane?.early.popFirst() {
                news.append(.packet(Packet(rail: rail, bytes: .place(place, count: count))))
            }
            markDirty(rail)
        }

        // MARK: Ending

        mutating func closed(_ id: Connection, _ failure: TransportFailure) {
            guard let rail = rails[id] else { return emit(.closed(id, failure)) }
            rails.remove(rail)
            let wasKnown = rail.state != .negotiating
            // Without its queue pairs the device touches no memory any more.
            for path in rail.paths { path.pair = nil }
            rail.lane?.window.breakDown()
            rail.lane?.pair = nil
            endGrants(of: rail)
            for index in operations.indices where operations[index]?.rail === rail {
                complete(index, failure)
            }
            if wasKnown || rail.isInitiator { emit(.closed(id, failure)) }
        }

        /// Takes the messages' queue pair and the first path out of use: what they had to do is done otherwise once
        /// the device has let go.
        mutating func breakDown(_ rail: Rail, because reason: String) {
            switch rail.state {
            case .negotiating:
                guard rail.earlyLoss == nil else { return }
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
                lost(rail, "RDMA", reason)
                guard rail.isConnected else { return withoutRail(rail, .rdmaUnavailable) }
                // The peer may be using its end already. If so, its word for that is on the way, and what it has sent
                // has to be taken out; else it says that it has lost its end.
                rail.earlyLoss = reason
                release(rail)
            case .open:
                beginEnd(rail, because: reason)
                if rail.paths[0].state == .open { end(rail.paths[0]) }
                endIfEmpty(rail)
            case .closing, .absent: break
            }
        }

        private mutating func peerHasLost(_ rail: Rail) {
            let reason = "the peer has lost its end"
            guard rail.state == .negotiating else { return breakDown(rail, because: reason) }
            // It has not used its end, or it would have said so before.
            if rail.earlyLoss == nil {
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
                lost(rail, "RDMA", reason)
            }
            withoutRail(rail, .rdmaUnavailable)
        }

        /// Gives up queue pairs that nothing was posted to but receives.
        private mutating func release(_ rail: Rail) {
            rail.lane?.window.breakDown()
            rail.lane?.window.abandon()
            keepIdentifier(of: rail.lane?.pair, rail)
            rail.lane?.pair = nil
            abandon(rail.paths[0])
        }

        /// Nothing more is posted; the messages' queue pair gives back its receives.
        mutating func beginEnd(_ rail: Rail, because reason: String) {
            rail.state = .closing
            rail.deadline = .now + Self.flushTime
            if rail.earlyLoss == nil {
                lost(rail, "RDMA", reason)
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
            }
            rail.lane?.window.breakDown()
            rail.lane?.pair?.flush()
        }

        /// Counts what is lost while its connection lives, and tells the user once.
        mutating func lost(_ rail: Rail, _ what: String, _ reason: String) {
            railsLost += 1
            let peer = sockets.peer(of: rail.connection).map { "\($0)" } ?? "connection \(rail.connection.index)"
            let isLast = !rail.paths.contains { $0.state == .open && $0.number > 0 }
            let remedy =
                switch policy {
                case .automatic: isLast ? "sockets take over" : "other paths and sockets take over"
                case .required: what == "RDMA" ? "the connection ends" : "other paths take over"
                }
            sockets.configuration.log?("\(what) to \(peer) is lost: \(reason); \(remedy)")
        }

        /// Once both queue pairs have given everything back: the sockets take over.
        mutating func endIfEmpty(_ rail: Rail) {
            guard rail.state == .closing, rail.paths.first?.pair == nil, let lane = rail.lane, lane.window.isDrained
            else { return }
            keepIdentifier(of: lane.pair, rail)
            lane.pair = nil
            rail.state = .absent
            rail.deadline = .now + Self.handOverTime
            if policy == .required {
                return sockets.close(rail.connection, TransportFailure(.connectionLost))
            }
            sockets.sendControl(RailMessage.received(lane.window.arrived).encoded(), on: rail.connection)
            handOver(rail)
        }

        /// Nothing comes back any more of what was posted.
        private mutating func abandon(_ rail: Rail) {
            keepIdentifier(of: rail.lane?.pair, rail)
            rail.lane?.pair = nil
            rail.lane?.window.abandon()
            abandon(rail.paths[0])
            endIfEmpty(rail)
        }

        private mutating func checkHealth(of device: VerbsDevice) {
            let failed = device.checkHealth()
            guard device.isLost || !failed.isEmpty else { return }
            for rail in rails.all {
                for path in rail.paths where path.device === device {
                    let hasFailed = path.pair.map { failed.contains($0.number) } ?? false
                    if device.isLost { breakDown(path, because: "\(device.port.device) or its port is gone") }
                    if hasFailed { breakDown(path, because: "a queue pair of \(device.port.device) has failed") }
                    if device.isLost, path.number > 0, path.state == .closing { abandon(path) }
                }
                guard rail.device === device else { continue }
                if let number = rail.lane?.pair?.number, failed.contains(number) {
                    breakDown(rail, because: "the messages' queue pair on \(device.port.device) has failed")
                }
                if device.isLost, rail.state == .closing { abandon(rail) }
            }
        }

        /// The system waits with the removal of a device until everybody has closed it. What uses the port
        /// again later opens it anew.
        private mutating func closeLostDevices() {
            var hasRemoved = false
            for index in devices.indices.reversed() where devices[index].isLost {
                for rail in rails.all {
                    if rail.device === devices[index] { rail.lane?.buffers.unregister() }
                    for path in rail.paths where path.device === devices[index] { path.device = nil }
                }
                let device = devices[index]
                closeWindows { $0.window.device === device }
                idleWindows.removeAll { $0.device === device }
                sockets.unwatch(devices[index].eventDescriptor)
                sockets.unwatch(devices[index].healthDescriptor)
                devices[index].stopListening()
                devices.remove(at: index)
                memory.remove(at: index)
                hasRemoved = true
            }
            if hasRemoved { manager?.forgetRemovedDevices() }
        }

        // MARK: Time

        mutating func checkTime() {
            guard !rails.isEmpty || !devices.isEmpty else { return }
            let now = Timestamp.now
            guard now >= nextCheck || now >= earliestDeadline else { return }
            nextCheck = now + Self.checkInterval
            for device in devices { checkHealth(of: device) }
            closeLostDevices()
            closeWindows { $0.pair == nil }
            for rail in rails.all {
                checkPaths(of: rail, now)
                guard now >= rail.deadline else { continue }
                switch rail.state {
                case .negotiating where rail.isJoining:
                    breakDown(rail, because: "the connection manager did not connect it in time")
                case .negotiating, .absent:
                    sockets.close(rail.connection, TransportFailure(.peerUnresponsive))
                    rail.deadline = .never
                case .closing: abandon(rail)
                case .open:
                    rail.deadline = .never
                    breakDown(rail, because: "the peer has disconnected it")
                }
            }
            checkDeadlines(now)
        }
    }
#endif
