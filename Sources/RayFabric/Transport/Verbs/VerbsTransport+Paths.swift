// Further paths of a connection: how ports beside the first are found and joined, which of them an operation
// takes, and how one is lost without the others.

#if Verbs
    internal import CVerbs
    internal import RayCore

    extension VerbsTransport {
        /// So long may a device take to give back what was posted.
        static var flushTime: Duration { .seconds(2) }
        /// Slices that are posted at a time on a path.
        static var operationDepth: Int { 128 }

        // MARK: Joining

        /// Ports of this machine that a connection may use beside its own.
        private func furtherPorts(_ rail: Rail) -> [(port: RDMAPort, identifier: RDMAPort.Identifier, name: RailPort)] {
            provider.recentPorts().compactMap { port in
                guard port.isActive, let identifier = port.ownIdentifier, let name = identifier.railPort,
                    rail.device.map({ ($0.port.device, $0.port.number) != (port.device, port.number) }) ?? true
                else { return nil }
                return (port, identifier, name)
            }
        }

        /// The end that accepted the connection tells of its ports; the other one joins them.
        mutating func tellPorts(_ rail: Rail) {
            guard !rail.isInitiator, sockets.configuration.rdmaPorts > 1 else { return }
            let ports = furtherPorts(rail).prefix(RailMessage.mostPorts).map(\.name)
            if !ports.isEmpty { say(.ports(ports), rail) }
        }

        mutating func joinPorts(_ others: [RailPort], _ rail: Rail) {
            guard rail.isInitiator, rail.state == .open, rail.paths.count == 1 else { return }
            let own = furtherPorts(rail).compactMap { candidate in
                candidate.identifier.networkBits.map { (candidate, $0) }
            }
            let pairs = RDMAPort.pairs(of: own.map { ($0.0.name, $0.1) }, with: others)
            for (index, other) in pairs.prefix(mostPaths - 1) {
                let candidate = own[index].0
                guard let path = makePath(UInt8(rail.paths.count), rail, candidate.port, candidate.identifier) else {
                    continue
                }
                say(.path(path.number, to: others[other]), rail)
            }
        }

        private var mostPaths: Int { min(sockets.configuration.rdmaPorts, RailPath.most) }

        /// - Returns: nil when the port can not be used; the connection does without.
        private mutating func makePath(
            _ number: UInt8, _ rail: Rail, _ port: RDMAPort, _ identifier: RDMAPort.Identifier
        ) -> RailPath? {
            guard Int(number) == rail.paths.count, rail.paths.count < mostPaths,
                let device = try? open(port, identifier),
                let pair = try? VerbsQueuePair(on: device, depth: Self.operationDepth, receives: 0)
            else { return nil }
            let path = RailPath(number, of: rail, by: pair)
            path.deadline = .now + joiningTime
            rail.paths.append(path)
            return path
        }

        /// The peer wants a path to a port of this end.
        mutating func pathWanted(_ number: UInt8, _ name: RailPort, _ rail: Rail) {
            guard !rail.isInitiator, let (port, identifier, _) = furtherPorts(rail).first(where: { $0.name == name }),
                let path = makePath(number, rail, port, identifier), let pair = path.pair
            else { return say(.pathBroken(number), rail) }
            do throws(FabricError) {
                say(.invited(path: number, try invite(to: pair)), rail)
            } catch {
                breakDown(path, because: "\(error)")
            }
        }

        mutating func pathInvited(_ number: UInt8, _ invitation: RailInvitation, _ rail: Rail) {
            guard rail.isInitiator, number > 0, let path = rail.path(number), let pair = path.pair,
                path.state == .joining, pair.join.state == .idle
            else { return }
            do throws(FabricError) {
                try join(pair, PairName(rail: rail.number, place: .path(number)), invitation)
            } catch {
                breakDown(path, because: "\(error)")
            }
        }

        /// The peer's queue pair answers.
        mutating func pathReady(_ number: UInt8, _ rail: Rail) {
            guard !rail.isInitiator, let path = rail.path(number), path.state == .joining, path.isConnected else {
                return
            }
            open(path)
        }

        func open(_ path: RailPath) {
            path.state = .open
            path.deadline = .never
        }

        /// Tells the peer of the memory that it may reach on a path.
        mutating func announceMemory(_ path: RailPath) {
            guard let index = devices.firstIndex(where: { $0 === path.device }) else { return }
            for part in memory[index].all where part.access.isGeneral {
                say(part.announcement(path: path.number), path.rail)
            }
            if devices[index].unregistered == nil { say(.registered(path: path.number), path.rail) }
        }

        // MARK: Choosing

        /// A path that reaches the memory of an operation, see `PathChoice`.
        /// - Returns: nil when none does.
        func choosePath(
            _ isRead: Bool, _ rail: Rail, _ local: RegionLocation, _ remote: RegionLocation, _ length: Int,
            _ now: Timestamp
        ) -> (path: RailPath, slices: [RailSlice])? {
            var choice = PathChoice(length: length, now: now)
            while let path = choice.best(of: rail.paths) {
                if let slices = slices(isRead, path, local, remote, length) { return (path, slices) }
                choice.refuse(path.number)
            }
            return nil
        }

        private func slices(
            _ isRead: Bool, _ path: RailPath, _ local: RegionLocation, _ remote: RegionLocation, _ length: Int
        ) -> [RailSlice]? {
            guard let index = devices.firstIndex(where: { $0 === path.device }) else { return nil }
            let longest = min(Self.longestSlice, UInt64(devices[index].portAttributes.max_msg_sz))
            guard
                let slices = cut(local, memory[index], remote, path.remote, length: UInt64(length), longest: longest),
                slices.allSatisfy({ $0.remote.access.contains(isRead ? .read : .write) })
            else { return nil }
            return slices.map { slice in
                RailSlice(
                    local: slice.local.address + slice.localOffset, localKey: slice.local.region.localKey,
                    remote: slice.remote.address + slice.remoteOffset, remoteKey: slice.remote.remoteKey,
                    length: UInt32(slice.length))
            }
        }

        // MARK: Ending

        /// Takes a path out of use: what it had to do is done by others once the device has let go. The first path
        /// ends with the messages.
        mutating func breakDown(_ path: RailPath, because reason: String) {
            if path.number == 0 { return breakDown(path.rail, because: reason) }
            switch path.state {
            case .joining:
                leave(path)
                say(.pathBroken(path.number), path.rail)
            case .open:
                lost(path.rail, "a path of RDMA", reason)
                say(.pathBroken(path.number), path.rail)
                end(path)
            case .closing, .gone: break
            }
        }

        /// The peer's end of a path is of no more use.
        mutating func pathBroken(_ number: UInt8, _ rail: Rail) {
            guard number > 0, let path = rail.path(number) else { return }
            switch path.state {
            case .joining: leave(path)
            case .open:
                lost(rail, "a path of RDMA", "the peer has lost it")
                end(path)
            case .closing, .gone: break
            }
        }

        /// What was posted on an open path is to come back.
        mutating func end(_ path: RailPath) {
            path.state = .closing
            path.deadline = .now + Self.flushTime
            path.machine.breakDown(into: &directives)
            runDirectives(of: path)
        }

        /// Nothing comes back any more of what was posted on a path.
        mutating func abandon(_ path: RailPath) {
            keepIdentifier(of: path.pair, path.rail)
            path.pair = nil
            path.machine.abandon(into: &directives)
            runDirectives(of: path)
        }

        /// The device has let go of all that was posted.
        mutating func leave(_ path: RailPath) {
            keepIdentifier(of: path.pair, path.rail)
            path.pair = nil
            path.state = .gone
            path.deadline = .never
            if path.number == 0 { endIfEmpty(path.rail) }
        }

        /// Joining and flushing have their time.
        mutating func checkPaths(of rail: Rail, _ now: Timestamp) {
            for path in rail.paths where path.number > 0 && now >= path.deadline {
                switch path.state {
                case .joining: breakDown(path, because: "it was not connected in time")
                case .closing: abandon(path)
                case .open: breakDown(path, because: "the peer has disconnected it")
                case .gone: break
                }
            }
        }
    }
#endif
