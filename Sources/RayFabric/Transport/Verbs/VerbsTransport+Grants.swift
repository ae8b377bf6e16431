// Parts of regions that peers may read: a window of the device for each, so that a peer's keys open what it was
// given, for as long as it was given it, and nothing else.

#if Verbs
    internal import CVerbs
    public import RayCore

    /// What was granted to the peer of a connection.
    struct Grant {
        let rail: Rail
        /// Slots of the windows that are not closed yet.
        var windows: [Int] = []
        var isRevoked = false
    }

    /// A window that is open, or is being opened or closed.
    struct GrantedWindow {
        let window: VerbsWindow
        let grant: RegionKey
        /// Whose queue pair binds it: of the messages for path 0, so that the window is open before the message that
        /// tells of it is sent.
        let path: RailPath
        /// What the peer is told of it.
        let announcement: RailMessage
        var isClosing = false

        /// What binds it; nil when that is gone.
        var pair: VerbsQueuePair? { path.bindingPair }
    }

    extension RailPath {
        fileprivate var bindingPair: VerbsQueuePair? { number == 0 ? rail.lane?.pair : pair }
    }

    extension VerbsTransport {
        // MARK: Granting

        public mutating func grant(
            _ part: RegionLocation, length: Int, to id: Connection
        ) throws(FabricError) -> RegionKey? {
            // By sockets as well, where RDMA is not to be had.
            guard let key = try sockets.grant(part, length: length, to: id) else { return nil }
            guard let rail = rails[id], rail.state == .open, length > 0 else { return key }
            let range = part.offset..<(part.offset + UInt64(length))
            grants[key] = Grant(rail: rail)
            for path in rail.paths where path.state == .open {
                let pieces = coverage(of: part.key, range, on: path.device)
                if path.number == 0, pieces.isEmpty {
                    say(.refused(key, refusals[part.key]?.code ?? .rdmaUnavailable), rail)
                }
                for piece in pieces {
                    guard !open(piece, key, path) else { continue }
                    // Further paths are done without.
                    if path.number > 0 { break }
                    _ = revoke(key)
                    return nil
                }
            }
            return key
        }

        /// A range of one region of a device, and where it begins in what is granted.
        private struct Piece {
            var part: LocalPart
            var range: Range<UInt64>
            var offset: UInt64
        }

        /// - Returns: nothing when the device does not know all of the range.
        private mutating func coverage(
            of key: RegionKey, _ range: Range<UInt64>, on device: VerbsDevice?
        ) -> [Piece] {
            guard let index = devices.firstIndex(where: { $0 === device }) else { return [] }
            registerNow(key, range, on: index)
            var pieces: [Piece] = []
            var offset = range.lowerBound
            while offset < range.upperBound {
                guard let part = memory[index].part(at: RegionLocation(key: key, offset: offset)) else { return [] }
                let end = min(range.upperBound, part.offset + part.length)
                pieces.append(
                    Piece(
                        part: part, range: (offset - part.offset)..<(end - part.offset),
                        offset: offset - range.lowerBound))
                offset = end
            }
            return pieces
        }

        /// Whether a queue pair can bind another window: soon, as a device needs little time for one.
        private mutating func hasRoom(_ pair: VerbsQueuePair) -> Bool {
            let end = Timestamp.now + Self.bindingTime
            while pair.windowRoom == 0, .now < end { takeCompletions() }
            return pair.windowRoom > 0
        }

        private static var bindingTime: Duration { .milliseconds(5) }

        /// - Returns: false when it can not be done now.
        private mutating func open(_ piece: Piece, _ key: RegionKey, _ path: RailPath) -> Bool {
            guard let device = path.device else { return true }
            guard device.hasWindows else {
                say(announcement(of: piece, key, piece.part.region.remoteKey, path), path.rail)
                return true
            }
            guard let pair = path.bindingPair, hasRoom(pair), let window = idleWindow(on: device) else { return false }
            let slot = freeWindows.popLast() ?? windows.count
            if slot == windows.count { windows.append(nil) }
            let name = CompletionName.window(rail: path.rail.number, path: path.number, slot: slot, closes: false)
            guard window.open(piece.part.region, piece.range, by: pair, name: name.rawValue) else {
                freeWindows.append(slot)
                breakDown(path, because: "\(device.port.device) opens no window")
                return true
            }
            let announcement = announcement(of: piece, key, window.remoteKey, path)
            windows[slot] = GrantedWindow(window: window, grant: key, path: path, announcement: announcement)
            grants[key]?.windows.append(slot)
            if path.number == 0 { say(announcement, path.rail) }
            return true
        }

        private func announcement(
            of piece: Piece, _ key: RegionKey, _ remoteKey: UInt32, _ path: RailPath
        ) -> RailMessage {
            .region(
                path: path.number,
                RailRegion(
                    key: key, offset: piece.offset, length: UInt64(piece.range.count), access: .read,
                    address: piece.part.address + piece.range.lowerBound, remoteKey: remoteKey))
        }

        /// nil when the device has no more.
        private mutating func idleWindow(on device: VerbsDevice) -> VerbsWindow? {
            if let index = idleWindows.lastIndex(where: { $0.device === device }) {
                return idleWindows.remove(at: index)
            }
            return try? VerbsWindow(on: device)
        }

        // MARK: Revoking

        public mutating func revoke(_ key: RegionKey) -> Bool {
            _ = sockets.revoke(key)
            guard let grant = grants[key] else { return true }
            grants[key]?.isRevoked = true
            say(.regionGone(key), grant.rail)
            for slot in grant.windows { close(slot) }
            guard grants[key]?.windows.isEmpty == true else { return false }
            grants[key] = nil
            return true
        }

        /// A window whose queue pair can not close it goes at once.
        private mutating func close(_ slot: Int) {
            guard let window = windows[slot], !window.isClosing else { return }
            let name = CompletionName.window(
                rail: window.path.rail.number, path: window.path.number, slot: slot, closes: true)
            if let pair = window.pair, window.window.close(by: pair, name: name.rawValue) {
                windows[slot]?.isClosing = true
            } else {
                _ = takeOut(slot)
            }
        }

        /// The window of a slot is closed, or goes with what is returned.
        private mutating func takeOut(_ slot: Int) -> VerbsWindow? {
            guard let window = windows[slot] else { return nil }
            windows[slot] = nil
            freeWindows.append(slot)
            grants[window.grant]?.windows.removeAll { $0 == slot }
            return window.window
        }

        /// Tells of a grant that was being revoked, when it has ended.
        private mutating func tellIfEnded(_ key: RegionKey) {
            guard let grant = grants[key], grant.isRevoked, grant.windows.isEmpty else { return }
            grants[key] = nil
            emit(.revoked(key))
        }

        /// A window was opened or closed, or its queue pair has failed.
        mutating func windowChanged(_ rail: Rail, _ name: CompletionName, _ isGood: Bool) {
            guard let path = rail.path(name.path) else { return }
            path.bindingPair?.windowChanged()
            let slot = name.windowSlot
            guard slot < windows.count, let window = windows[slot], window.path === path else { return }
            if isGood, !name.closesWindow {
                if path.number > 0, !window.isClosing { say(window.announcement, rail) }
                return
            }
            let done = takeOut(slot)
            if isGood, let done, idleWindows.count < Self.mostIdleWindows {
                done.closed()
                idleWindows.append(done)
            }
            tellIfEnded(window.grant)
        }

        private static var mostIdleWindows: Int { 256 }

        /// Windows that can not be closed in order are closed at once.
        mutating func closeWindows(where isLost: (GrantedWindow) -> Bool) {
            for slot in windows.indices {
                guard let window = windows[slot], isLost(window) else { continue }
                _ = takeOut(slot)
                tellIfEnded(window.grant)
            }
        }

        /// The connection has ended, and with it what was granted to its peer.
        mutating func endGrants(of rail: Rail) {
            closeWindows { $0.path.rail === rail }
            for (key, grant) in grants where grant.rail === rail { grants[key] = nil }
        }
    }
#endif
