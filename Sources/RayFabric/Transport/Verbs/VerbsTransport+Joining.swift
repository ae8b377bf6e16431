// How queue pairs are connected: by the connection manager, between two ends that know each other by tokens which they
// have from their connection, where the key was proven.

#if Verbs
    internal import CVerbs
    internal import RayCore

    extension VerbsTransport {
        /// So long after the connection manager has told of a peer's end the connection may take to say the same.
        private static let doubtTime = Duration.seconds(1)
        /// Events of the connection manager that are taken at a time.
        private static let mostManagerEvents = 64

        // MARK: Beginning

        /// The connection manager, opened once.
        private mutating func openManager() throws(FabricError) -> ConnectionManager {
            if let manager { return manager }
            let opened = try ConnectionManager(of: provider)
            manager = opened
            return opened
        }

        /// Lets the peer connect a queue pair.
        mutating func invite(to pair: VerbsQueuePair) throws(FabricError) -> RailInvitation {
            let service = try pair.device.listen(by: openManager())
            let invitation = RailInvitation(port: try pair.device.ownAddress(), service: service)
            pair.invitation = invitation
            pair.join.invite()
            return invitation
        }

        /// Begins to connect a queue pair as the peer has said.
        mutating func join(_ pair: VerbsQueuePair, _ name: PairName, _ invitation: RailInvitation) throws(FabricError) {
            let own = try pair.device.address(pair.device.ownAddress())
            let identifier = try ManagedIdentifier(of: openManager(), name: name)
            pair.identifier = identifier
            pair.invitation = invitation
            pair.join.begin()
            try identifier.resolve(pair.device.address(invitation.port, service: invitation.service), from: own)
        }

        // MARK: Events

        /// Takes what the connection manager has to tell. While the ring watches it, that is nothing.
        mutating func takeManagerEvents() {
            guard let manager, !sockets.watched.contains(manager.descriptor) else { return }
            for _ in 0..<Self.mostManagerEvents {
                guard let event = manager.next() else { break }
                switch event {
                case .report(let report): take(report)
                case .request(let identifier, let token, let limits): requested(identifier, token, limits)
                }
            }
            sockets.watch(manager.descriptor)
        }

        private func pair(_ name: PairName) -> (Rail, VerbsQueuePair)? {
            guard let rail = rails[name.rail] else { return nil }
            let pair =
                switch name.place {
                case .messages: rail.lane?.pair
                case .path(let number): rail.path(number)?.pair
                }
            return pair.map { (rail, $0) }
        }

        private mutating func take(_ report: ManagerReport) {
            // Of a device that goes away those hear too that wait for peers: it is looked at in any case.
            if case .deviceRemoved = report.kind {
                nextCheck = .zero
                for rail in rails.all { rail.identifiers = [] }
                manager?.forgetRemovedDevices()
            }
            guard let name = report.name, let (rail, pair) = pair(name) else { return }
            let event: JoinEvent =
                switch report.kind {
                case .addressResolved:
                    .addressResolved(isOwnPort: pair.identifier?.isAt(pair.device.port) == true)
                case .routeResolved: .routeResolved
                case .answered: .answered(isRight: report.token != nil && report.token == pair.invitation?.answer)
                case .established: .established
                case .failed(let reason): .failed(reason)
                case .disconnected: .disconnected
                case .deviceRemoved: .deviceRemoved
                case .addressChanged: .addressChanged
                }
            guard let directive = pair.join.handle(event) else { return }
            run(directive, pair, rail, name.place, report.limits)
        }

        /// Somebody wants to connect, who was invited or not.
        private mutating func requested(_ identifier: ManagedIdentifier, _ token: RailToken?, _ limits: ReadLimits) {
            guard let token, let (rail, pair, place) = invited(by: token), identifier.isAt(pair.device.port),
                pair.join.handle(.requested) == .accept
            else { return identifier.reject() }
            pair.identifier = identifier
            run(.accept, pair, rail, place, limits)
        }

        /// The queue pair that a token was given for.
        private func invited(by token: RailToken) -> (Rail, VerbsQueuePair, PairName.Place)? {
            for rail in rails.all where !rail.isInitiator {
                if let pair = rail.lane?.pair, pair.invitation?.question == token { return (rail, pair, .messages) }
                for path in rail.paths {
                    guard let pair = path.pair, pair.invitation?.question == token else { continue }
                    return (rail, pair, .path(path.number))
                }
            }
            return nil
        }

        private mutating func run(
            _ directive: JoinDirective, _ pair: VerbsQueuePair, _ rail: Rail, _ place: PairName.Place,
            _ limits: ReadLimits
        ) {
            guard let identifier = pair.identifier, let invitation = pair.invitation else { return }
            let limits = pair.device.readLimits.limited(to: limits)
            do throws(FabricError) {
                switch directive {
                case .resolveRoute: try identifier.resolveRoute()
                case .connect:
                    try prepare(pair, rail, place)
                    try identifier.connect(pair.number, showing: invitation.question, pair.device.readLimits)
                case .accept:
                    try prepare(pair, rail, place)
                    try pair.connect(limits)
                    try identifier.accept(
                        pair.number, as: PairName(rail: rail.number, place: place), showing: invitation.answer, limits)
                    joined(rail, place)
                case .reject: identifier.reject()
                case .establish:
                    try pair.connect(limits)
                    try identifier.establish()
                    joined(rail, place)
                case .giveUp(let reason): breakDown(rail, place, because: reason)
                case .deviceRemoved: pair.device.lose()
                case .doubt: doubt(rail, place)
                }
            } catch {
                breakDown(rail, place, because: "\(error)")
            }
        }

        private func prepare(_ pair: VerbsQueuePair, _ rail: Rail, _ place: PairName.Place) throws(FabricError) {
            try pair.prepare()
            guard place == .messages, rail.lane?.postReceives(rail: rail.number) == false else { return }
            throw FabricError(.rdmaUnavailable, "\(pair.device.port.device) takes no receives")
        }

        /// What the connection manager knows a queue pair by outlives it while there is no link.
        func keepIdentifier(of pair: VerbsQueuePair?, _ rail: Rail) {
            guard let pair, pair.device.isPortDown, let identifier = pair.identifier else { return }
            rail.identifiers.append(identifier)
        }

        // MARK: What comes of it

        /// A queue pair answers the peer's.
        private mutating func joined(_ rail: Rail, _ place: PairName.Place) {
            guard case .path(let number) = place, number > 0 else { return firstJoined(rail) }
            guard let path = rail.path(number), path.state == .joining else { return }
            path.isConnected = true
            announceMemory(path)
            guard rail.isInitiator else { return }
            say(.pathReady(number), rail)
            open(path)
        }

        /// Messages and operations are connected by a queue pair each.
        private mutating func firstJoined(_ rail: Rail) {
            guard rail.state == .negotiating, let path = rail.paths.first, path.pair?.join.isJoined == true,
                rail.lane?.pair?.join.isJoined == true
            else { return }
            path.isConnected = true
            answers(rail)
        }

        private mutating func breakDown(_ rail: Rail, _ place: PairName.Place, because reason: String) {
            guard case .path(let number) = place, number > 0 else { return breakDown(rail, because: reason) }
            if let path = rail.path(number) { breakDown(path, because: reason) }
        }

        /// A peer that ends its queue pairs says so over the connection, or ends that. The connection manager may be
        /// faster.
        private func doubt(_ rail: Rail, _ place: PairName.Place) {
            let end = Timestamp.now + Self.doubtTime
            guard case .path(let number) = place, number > 0 else {
                if rail.state == .open { rail.deadline = end }
                return
            }
            if let path = rail.path(number), path.state == .open { path.deadline = end }
        }
    }
#endif
