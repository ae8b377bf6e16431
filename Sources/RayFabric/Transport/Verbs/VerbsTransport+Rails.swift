// How a connection gets its queue pair, and how it loses it.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    extension VerbsTransport {
        /// So long may a peer take to say what it has received.
        private static let handOverTime = Duration.seconds(5)
        /// So long may a peer that is alive take for its part of a queue pair.
        var negotiationTime: Duration { max(.seconds(5), sockets.configuration.livenessTimeout) }
        private static let checkInterval = Duration.milliseconds(50)

        // MARK: Beginning

        mutating func connected(_ id: Connection) {
            guard sockets.hasRails(id) else { return connectedWithoutRail(id, .rdmaUnavailable) }
            guard
                let rail = rails.insert(
                    id, isInitiator: sockets.isInitiator(id), deadline: .now + negotiationTime)
            else { return sockets.close(id, TransportFailure(.connectionLimit)) }
            do throws(FabricError) {
                let device = try device(for: id)
                let pair = try VerbsQueuePair(on: device, depth: Self.operationDepth, receives: 0)
                let lane = try MessageLane(PacketWindow.Shape(), on: device)
                guard let messages = lane.pair?.address, lane.postReceives(rail: rail.number) else {
                    throw FabricError(.rdmaUnavailable, "\(device.port.device) takes no receives")
                }
                rail.paths = [RailPath(0, of: rail, by: pair)]
                rail.lane = lane
                let offer = RailMessage.offer(operations: pair.address, messages: messages)
                sockets.sendControl(offer.encoded(), on: id)
            } catch {
                sockets.sendControl(RailMessage.decline(error.code).encoded(), on: id)
                withoutRail(rail, error.code)
            }
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

        /// A device, opened once for each identifier, and shown all memory.
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
            for (key, registration) in registered { announce(key, registration, on: devices.count - 1) }
            return device
        }

        private mutating func trafficIndex(of port: RDMAPort) -> Int {
            if let known = carried.rdmaPorts.firstIndex(where: { $0.device == port.device && $0.port == port.number }) {
                return known
            }
            carried.rdmaPorts.append(RDMATraffic(device: port.device, port: port.number))
            return carried.rdmaPorts.count - 1
        }

        private mutating func announce(_ key: RegionKey, _ registration: Registration, on index: Int) {
            if registration.parts.isEmpty { announce(key, registration.access, on: index) }
            for range in registration.parts { announce(key, registration.access, range: range, on: index) }
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
            case .ready:
                rail.peerIsReady = true
                openIfReady(rail)
            case .region(let path, let region):
                rail.refusals[region.key] = nil
                guard let path = rail.path(path), path.remote.count < Self.mostRegions else { return }
                path.remote.insert(region)
            case .regionGone(let key):
                rail.refusals[key] = nil
                for path in rail.paths { path.remote.remove(key) }
            case .refused(let key, let code):
                if rail.refusals.count < Self.mostRegions { rail.refusals[key] = code }
            case .broken: breakDown(rail, because: "the peer has lost its end")
            case .received(let count):
                rail.peerReceived = count
                handOver(rail)
            case .notification(let value):
                if rail.state != .negotiating { emit(.notified(rail.connection, value)) }
            case .rest(let bytes): news.append(.packet(Packet(rail: rail, bytes: .rest(bytes))))
            case .ports(let ports): joinPorts(ports, rail)
            case .path(let number, let port, let address): pathOffered(number, port, address, rail)
            case .joined(let number, let address): pathJoined(number, address, rail)
            case .pathReady(let number): pathReady(number, rail)
            case .pathBroken(let number): pathBroken(number, rail)
            }
        }

        /// Parts of the peer's memory that are remembered; what is beyond them goes by sockets.
        static var mostRegions: Int { 1 << 16 }

        private mutating func offered(_ operations: RailAddress, _ messages: RailAddress, _ rail: Rail) {
            guard rail.state == .negotiating, let path = rail.paths.first, !path.isConnected else { return }
            do throws(FabricError) {
                try path.pair?.connect(to: operations)
                try rail.lane?.pair?.connect(to: messages)
            } catch {
                sockets.sendControl(RailMessage.decline(error.code).encoded(), on: rail.connection)
                return withoutRail(rail, error.code)
            }
            path.isConnected = true
            if let index = devices.firstIndex(where: { $0 === rail.device }) {
                for part in memory[index].all where !part.access.isEmpty {
                    sockets.sendControl(part.announcement(path: 0).encoded(), on: rail.connection)
                }
            }
            for (key, error) in refusals where registered[key]?.access.isEmpty == false {
                sockets.sendControl(RailMessage.refused(key, error.code).encoded(), on: rail.connection)
            }
            sockets.sendControl(RailMessage.ready.encoded(), on: rail.connection)
            openIfReady(rail)
        }

        private mutating func openIfReady(_ rail: Rail) {
            guard rail.state == .negotiating, rail.isConnected, rail.peerIsReady else { return }
            rail.state = .open
            rail.paths[0].state = .open
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
                // The peer may be waiting for an answer, or may have begun to use its end.
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
                withoutRail(rail, .rdmaUnavailable)
            case .open:
                beginEnd(rail, because: reason)
                end(rail.paths[0])
                endIfEmpty(rail)
            case .closing, .absent: break
            }
        }

        /// Nothing more is posted; the messages' queue pair gives back its receives.
        mutating func beginEnd(_ rail: Rail, because reason: String) {
            rail.state = .closing
            rail.deadline = .now + Self.flushTime
            lost(rail, "RDMA", reason)
            sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
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
            for index in devices.indices.reversed() where devices[index].isLost {
                for rail in rails.all {
                    if rail.device === devices[index] { rail.lane?.buffers.unregister() }
                    for path in rail.paths where path.device === devices[index] { path.device = nil }
                }
                sockets.unwatch(devices[index].eventDescriptor)
                sockets.unwatch(devices[index].healthDescriptor)
                devices.remove(at: index)
                memory.remove(at: index)
            }
        }

        // MARK: Time

        mutating func checkTime() {
            guard !rails.isEmpty || !devices.isEmpty else { return }
            let now = Timestamp.now
            guard now >= nextCheck || now >= earliestDeadline else { return }
            nextCheck = now + Self.checkInterval
            for device in devices { checkHealth(of: device) }
            closeLostDevices()
            for rail in rails.all {
                checkPaths(of: rail, now)
                guard now >= rail.deadline else { continue }
                switch rail.state {
                case .negotiating, .absent:
                    sockets.close(rail.connection, TransportFailure(.peerUnresponsive))
                    rail.deadline = .never
                case .closing: abandon(rail)
                case .open: break
                }
            }
            checkDeadlines(now)
        }
    }
#endif
