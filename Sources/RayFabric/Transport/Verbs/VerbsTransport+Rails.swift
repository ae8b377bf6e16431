// How a connection gets its queue pair, and how it loses it.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    extension VerbsTransport {
        private static let negotiationTime = Duration.seconds(5)
        /// So long may a device take to give back what was posted.
        private static let flushTime = Duration.seconds(2)
        private static let checkInterval = Duration.milliseconds(50)

        // MARK: Beginning

        mutating func connected(_ id: Connection) {
            guard sockets.hasRails(id) else { return connectedWithoutRail(id, .rdmaUnavailable) }
            lastRail &+= 1
            while railOfNumber[lastRail] != nil { lastRail &+= 1 }
            let rail = Rail(
                id, number: lastRail, isInitiator: sockets.isInitiator(id), deadline: .now + Self.negotiationTime)
            rails[id] = rail
            railOfNumber[lastRail] = rail
            do throws(FabricError) {
                let device = try device(for: id)
                let pair = try VerbsQueuePair(on: device, packetNumber: .random(in: 0...0xff_ffff))
                rail.device = device
                rail.pair = pair
                rail.machine = RailMachine(depth: pair.depth)
                sockets.sendControl(RailMessage.offer(pair.address).encoded(), on: id)
            } catch {
                sockets.sendControl(RailMessage.decline(error.code).encoded(), on: id)
                withoutRail(rail, error.code)
            }
        }

        private mutating func connectedWithoutRail(_ id: Connection, _ code: FabricError.Code) {
            switch policy {
            case .automatic: events.append(.connected(id))
            case .required: sockets.close(id, TransportFailure(code))
            }
        }

        /// The connection does without a queue pair.
        private mutating func withoutRail(_ rail: Rail, _ code: FabricError.Code) {
            guard rail.state == .negotiating else { return }
            rail.state = .absent
            rail.deadline = .never
            rail.pair = nil
            connectedWithoutRail(rail.connection, code)
        }

        /// The device that has the address of a connection, opened once.
        private mutating func device(for id: Connection) throws(FabricError) -> VerbsDevice {
            guard let address = sockets.localAddress(of: id) else {
                throw FabricError(.closed, "connection \(id.index)")
            }
            for port in provider.ports() where port.isActive {
                guard let identifier = port.identifier(for: address) else { continue }
                if let open = devices.first(where: {
                    !$0.isLost && $0.port.device == port.device && $0.identifier.index == identifier.index
                }) {
                    return open
                }
                let device = try VerbsDevice(port, identifier, of: provider)
                devices.append(device)
                memory.append(RailMemory())
                for (key, registration) in registered { announce(key, registration, on: devices.count - 1) }
                return device
            }
            throw FabricError(.rdmaUnavailable, "no active RDMA port has the address of this connection")
        }

        private mutating func announce(_ key: RegionKey, _ registration: Registration, on index: Int) {
            announce(key, registration.access, on: index)
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

        private mutating func take(_ message: RailMessage, _ rail: Rail) {
            switch message {
            case .offer(let address): offered(address, rail)
            case .decline(let code): withoutRail(rail, code)
            case .ready:
                rail.peerIsReady = true
                openIfReady(rail)
            case .region(let region):
                if rail.remote.count < Self.mostRegions { rail.remote.insert(region) }
            case .regionGone(let key): rail.remote.remove(key)
            case .broken: breakDown(rail)
            }
        }

        /// Parts of the peer's memory that are remembered; what is beyond them goes by sockets.
        private static var mostRegions: Int { 1 << 16 }

        private mutating func offered(_ address: RailAddress, _ rail: Rail) {
            guard rail.state == .negotiating, !rail.isConnected, let pair = rail.pair else { return }
            do throws(FabricError) {
                try pair.connect(to: address)
            } catch {
                sockets.sendControl(RailMessage.decline(error.code).encoded(), on: rail.connection)
                return withoutRail(rail, error.code)
            }
            rail.isConnected = true
            if let index = devices.firstIndex(where: { $0 === rail.device }) {
                for part in memory[index].all where !part.access.isEmpty {
                    sockets.sendControl(part.announcement.encoded(), on: rail.connection)
                }
            }
            sockets.sendControl(RailMessage.ready.encoded(), on: rail.connection)
            openIfReady(rail)
        }

        private mutating func openIfReady(_ rail: Rail) {
            guard rail.state == .negotiating, rail.isConnected, rail.peerIsReady else { return }
            rail.state = .open
            rail.deadline = .never
            events.append(.connected(rail.connection))
        }

        // MARK: Ending

        mutating func closed(_ id: Connection, _ failure: TransportFailure) {
            guard let rail = rails.removeValue(forKey: id) else { return events.append(.closed(id, failure)) }
            railOfNumber[rail.number] = nil
            let wasKnown = rail.state != .negotiating
            // Without its queue pair the device touches no memory any more.
            rail.pair = nil
            for index in operations.indices where operations[index]?.rail === rail {
                complete(index, failure)
            }
            if wasKnown || rail.isInitiator { events.append(.closed(id, failure)) }
        }

        /// Takes a rail out of use: what it had to do is done otherwise once the device has let go.
        mutating func breakDown(_ rail: Rail) {
            switch rail.state {
            case .negotiating:
                // The peer may be waiting for an answer, or may have begun to use its end.
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
                withoutRail(rail, .rdmaUnavailable)
            case .open:
                rail.state = .closing
                rail.deadline = .now + Self.flushTime
                railsLost += 1
                sockets.sendControl(RailMessage.broken.encoded(), on: rail.connection)
                rail.machine.breakDown(into: &directives)
                runDirectives(of: rail)
            case .closing, .absent: break
            }
        }

        // MARK: Time

        mutating func checkTime() {
            guard !rails.isEmpty else { return }
            let now = Timestamp.now
            guard now >= nextCheck || now >= earliestDeadline else { return }
            nextCheck = now + Self.checkInterval
            for device in devices { device.checkHealth() }
            for rail in Array(rails.values) {
                if rail.device?.isLost == true { breakDown(rail) }
                guard now >= rail.deadline else { continue }
                if rail.state == .negotiating {
                    sockets.close(rail.connection, TransportFailure(.peerUnresponsive))
                    rail.deadline = .never
                } else if rail.state == .closing {
                    rail.pair = nil
                    rail.machine.abandon(into: &directives)
                    runDirectives(of: rail)
                }
            }
            checkDeadlines(now)
        }
    }
#endif
