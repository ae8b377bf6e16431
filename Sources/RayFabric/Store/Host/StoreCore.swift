// The store's brain: takes the clients' commands, keeps the directory, memory and waits. No system
// calls, no clock, no threads: the shell in StoreHost runs its directives.

internal import RayCore

/// What the shell has to do after events were handled.
enum StoreDirective: Equatable {
    /// Wake the client's sleeping threads.
    case wake(client: Int)
    /// Signal the client's event descriptor: asynchronous waits may have come true.
    case notify(client: Int)
    /// Give a segment new memory and touch it, then report `segmentFilled`.
    case fill(segment: Int, replacing: Bool)
    /// Fetch an object from another node for a waiting client.
    case pull(ObjectID, client: Int, token: UInt32, deadline: Timestamp)
    /// A client no longer waits for a pull.
    case cancelPull(ObjectID, client: Int, token: UInt32)
    /// A client broke the protocol: close its connection and report `detach`.
    case cutOff(client: Int)
}

/// The state of the store.
struct StoreCore: ~Copyable {
    struct Limits {
        var maximumClients = 256
        var waitsPerClient = 65_536
        var piecesPerClient = 65_536
        var gravestones = 4096
        var commandsPerTurn = 4096
        /// Segments kept ready ahead of demand.
        var segmentsAhead = 2
    }

    private struct Waiter {
        var client: Int
        var token: UInt32
        var flags: StoreCommand.Flags
    }

    let geometry: StoreGeometry
    let limits: Limits
    private(set) var table: ObjectTable
    private var arena: Arena
    private var sessions: [ClientSession?]
    /// The sessions there are, for loops.
    private var active: [ClientSession] = []
    private var waits: [ObjectID: [Waiter]] = [:]
    private var waitCount = 0
    /// Deleted entries that somebody still has pinned.
    private var dying: Set<Int> = []
    /// Entries that may be evicted.
    private var secondaries: Set<Int> = []
    private var gravestones: Gravestones
    private var useClock: UInt32 = 1
    private(set) var usage = StoreUsage()
    private(set) var directives: [StoreDirective] = []

    init(directory: consuming Directory, limits: Limits = Limits()) {
        geometry = directory.geometry
        self.limits = limits
        arena = Arena(
            segmentCount: directory.geometry.segmentCount, segmentGranules: directory.geometry.segmentGranules,
            maximumClients: limits.maximumClients)
        sessions = Array(repeating: nil, count: limits.maximumClients)
        gravestones = Gravestones(count: limits.gravestones)
        table = ObjectTable(directory: directory)
        usage.capacity = UInt64(geometry.capacity)
    }

    mutating func takeDirectives() -> [StoreDirective] {
        defer { directives.removeAll(keepingCapacity: true) }
        return directives
    }

    // MARK: Clients

    /// A free client number, or nil when all are taken.
    func freeClientIndex() -> Int? { sessions.firstIndex { $0 == nil } }

    mutating func attach(_ session: ClientSession) {
        precondition(sessions[session.index] == nil)
        sessions[session.index] = session
        active.append(session)
    }

    func session(_ client: Int) -> ClientSession? { sessions[client] }
    func clients() -> [ClientSession] { active }

    /// Begins to fill segments ahead of demand.
    mutating func start() { serveRequests() }

    /// A client is gone: takes its last complete commands, then everything it held and did not publish.
    mutating func detach(_ client: Int, now: Timestamp) {
        guard let session = sessions[client] else { return }
        while takeCommands(of: session, now: now) == limits.commandsPerTurn {}
        session.request = nil
        for range in session.outstanding.ranges { arena.free(range) }
        session.outstanding = ExtentSet()
        forgetWaits(of: client)
        sessions[client] = nil
        active.removeAll { $0 === session }
        arena.clientEnded(client)
        releaseUnpinned()
        serveRequests()
    }

    /// Takes the commands of all clients, then serves requests for memory.
    /// - Returns: the number of commands taken; 0 means that all rings were empty.
    mutating func takeCommands(now: Timestamp) -> Int {
        var taken = 0
        for session in active { taken += takeCommands(of: session, now: now) }
        if taken > 0 { serveRequests() }
        return taken
    }

    private mutating func takeCommands(of session: ClientSession, now: Timestamp) -> Int {
        var taken = 0
        do throws(TransportFailure) {
            while taken < limits.commandsPerTurn, let command = try session.nextCommand() {
                taken += 1
                try handle(command, from: session, now: now)
            }
        } catch {
            session.markEvicted()
            directives.append(.cutOff(client: session.index))
        }
        if taken > 0 { session.confirmCommands() }
        return taken
    }

    private mutating func handle(
        _ command: StoreCommand, from session: ClientSession, now: Timestamp
    ) throws(TransportFailure) {
        switch command.kind {
        case .publish: try publish(command, from: session, now: now)
        case .giveBack:
            guard let range = granules(offset: command.offset, bytes: command.size),
                session.outstanding.remove(range, limit: limits.piecesPerClient)
            else { throw TransportFailure(.protocolViolation) }
            arena.free(range)
        case .delete: delete(command.id)
        case .grant:
            guard command.size > 0, command.size <= UInt64(geometry.capacity), session.request == nil else {
                throw TransportFailure(.protocolViolation)
            }
            let minimum = StoreGeometry.granules(size: command.size, metadataSize: 0)
            let preferred = StoreGeometry.granules(
                size: min(command.offset, UInt64(geometry.segmentBytes)), metadataSize: 0)
            session.request = (minimum, max(minimum, preferred))
        case .wait: try wait(command, from: session)
        case .forget: forget(command, from: session)
        case .unpinned:
            guard command.offset < UInt64(geometry.entryCount) else { throw TransportFailure(.protocolViolation) }
            if dying.contains(Int(command.offset)) { releaseIfUnpinned(Int(command.offset)) }
        }
    }

    // MARK: Objects

    private mutating func publish(
        _ command: StoreCommand, from session: ClientSession, now: Timestamp
    ) throws(TransportFailure) {
        guard command.size <= UInt64(geometry.capacity), command.metadataSize <= StoreGeometry.maximumMetadata else {
            throw TransportFailure(.protocolViolation)
        }
        let bytes = command.size + UInt64(command.metadataSize)
        var extent: Range<UInt64> = 0..<0
        if bytes > 0 {
            guard let range = granules(offset: command.offset, bytes: bytes),
                session.outstanding.remove(range, limit: limits.piecesPerClient)
            else { throw TransportFailure(.protocolViolation) }
            extent = range
        }
        if table.directory.find(command.id) != nil {
            // The same object again: the first stays, for objects are immutable.
            usage.duplicates += 1
            arena.free(extent)
            return
        }
        let isSecondary = command.flags.contains(.secondary) && session.isTrusted
        let attributes = ObjectEntry.Attributes(
            metadataSize: command.metadataSize, creator: session.index, isSecondary: isSecondary)
        let offset = extent.lowerBound * UInt64(StoreGeometry.granule)
        var inserted = insert(command, at: offset, attributes, now: now)
        if inserted == nil, evictSome() { inserted = insert(command, at: offset, attributes, now: now) }
        guard let entry = inserted else {
            gravestones.insert(command.id, .tooManyObjects)
            arena.free(extent)
            fail(waitersOf: command.id, .tooManyObjects)
            return
        }
        gravestones.remove(command.id)
        if isSecondary {
            secondaries.insert(entry)
            advanceUseClock()
        }
        usage.add(granules: UInt64(extent.count), isSecondary: isSecondary)
        if waitCount > 0 { satisfy(waitersOf: command.id) }
    }

    private mutating func insert(
        _ command: StoreCommand, at offset: UInt64, _ attributes: ObjectEntry.Attributes, now: Timestamp
    ) -> Int? {
        table.insert(
            command.id, offset: offset, size: command.size, attributes: attributes,
            sealedAt: now.nanoseconds)
    }

    private mutating func delete(_ id: ObjectID) {
        guard let (entry, _) = table.directory.find(id) else { return }
        gravestones.insert(id, .objectDeleted)
        bury(entry)
    }

    /// Takes an entry out of sight, and frees it unless it is pinned.
    private mutating func bury(_ entry: Int) {
        secondaries.remove(entry)
        table.hide(entry)
        if isPinned(entry) { dying.insert(entry) } else { release(entry) }
    }

    private mutating func releaseIfUnpinned(_ entry: Int) {
        guard !isPinned(entry) else { return }
        dying.remove(entry)
        release(entry)
    }

    private mutating func release(_ entry: Int) {
        let object = table.directory.entry(entry)
        arena.free(object.extent)
        usage.remove(granules: object.granules, isSecondary: object.attributes.isSecondary)
        table.release(entry)
    }

    private mutating func releaseUnpinned() {
        for entry in dying.sorted() { releaseIfUnpinned(entry) }
    }

    func isPinned(_ entry: Int) -> Bool {
        for session in active where session.pins(of: entry) != 0 { return true }
        return false
    }

    /// Range of granules of a range of bytes; nil when it is misaligned or outside of the arena.
    private func granules(offset: UInt64, bytes: UInt64) -> Range<UInt64>? {
        let granule = UInt64(StoreGeometry.granule)
        guard bytes > 0, offset % granule == 0, offset < UInt64(geometry.capacity),
            bytes <= UInt64(geometry.capacity) - offset
        else { return nil }
        return offset / granule..<(offset + bytes + granule - 1) / granule
    }

    // MARK: Memory

    /// Serves the requests that wait for memory, as far as there is any.
    private mutating func serveRequests() {
        for session in active where session.request != nil { serve(session) }
        while arena.readySegments < limits.segmentsAhead, let segment = arena.fillAhead() {
            directives.append(.fill(segment: segment, replacing: false))
        }
        usage.readyBytes = UInt64(arena.presentSegments * geometry.segmentBytes)
    }

    private mutating func serve(_ session: ClientSession) {
        guard let request = session.request, session.canReply else { return }
        while true {
            switch arena.allocate(for: session.index, minimum: request.minimum, preferred: request.preferred) {
            case .granted(let range):
                session.request = nil
                session.outstanding.insert(range)
                answer(
                    session,
                    .init(
                        kind: .grant, offset: range.lowerBound * UInt64(StoreGeometry.granule),
                        size: UInt64(range.count) * UInt64(StoreGeometry.granule)))
                return
            case .fill(let segments, let replacing):
                for segment in segments {
                    directives.append(.fill(segment: segment, replacing: replacing.contains(segment)))
                }
                return
            case .wait:
                return
            case .exhausted:
                if evictSome() { continue }
                session.request = nil
                usage.refusals += 1
                answer(session, .init(kind: .denied, code: .storeFull))
                return
            }
        }
    }

    private mutating func answer(_ session: ClientSession, _ reply: StoreReply) {
        session.reply(reply)
        session.countWake()
        directives.append(.wake(client: session.index))
    }

    /// The background thread has made a segment's memory. The generation tells readers to map it anew.
    mutating func segmentFilled(_ segment: Int, generation: UInt64) {
        table.setGeneration(generation, ofSegment: segment)
        _ = arena.filled(segment)
        serveRequests()
    }

    /// The system refused memory for a segment.
    mutating func segmentFailed(_ segment: Int) {
        guard let client = arena.fillFailed(segment), let session = sessions[client], session.request != nil else {
            return
        }
        session.request = nil
        usage.refusals += 1
        answer(session, .init(kind: .denied, code: .outOfMemory))
    }

    /// Evicts the unpinned secondary copies that were used longest ago: a 64th of all, at least one.
    private mutating func evictSome() -> Bool {
        var candidates: [(entry: Int, age: UInt32)] = []
        for entry in secondaries where !isPinned(entry) {
            let lastUse = active.reduce(UInt32(0)) { max($0, $1.lastUse(of: entry)) }
            candidates.append((entry, useClock &- lastUse))
        }
        guard !candidates.isEmpty else { return false }
        candidates.sort { $0.age != $1.age ? $0.age > $1.age : $0.entry < $1.entry }
        for candidate in candidates.prefix(max(1, secondaries.count / 64)) {
            usage.evictions += 1
            bury(candidate.entry)
        }
        return true
    }

    private mutating func advanceUseClock() {
        useClock &+= 1
        table.setUseClock(useClock)
    }

    // MARK: Waits

    private mutating func wait(_ command: StoreCommand, from session: ClientSession) throws(TransportFailure) {
        let waiter = Waiter(client: session.index, token: command.token, flags: command.flags)
        if table.directory.find(command.id) != nil {
            awaken(waiter)
        } else if let code = gravestones[command.id], !command.flags.contains(.pull) {
            fail(waiter, code)
        } else {
            guard session.waits < limits.waitsPerClient else { throw TransportFailure(.protocolViolation) }
            session.waits += 1
            waits[command.id, default: []].append(waiter)
            setWaitCount(waitCount + 1)
            if command.flags.contains(.pull) {
                directives.append(
                    .pull(
                        command.id, client: session.index, token: command.token,
                        deadline: Timestamp(nanoseconds: command.offset)))
            }
        }
    }

    private mutating func forget(_ command: StoreCommand, from session: ClientSession) {
        guard var list = waits[command.id],
            let index = list.firstIndex(where: { $0.client == session.index && $0.token == command.token })
        else { return }
        let waiter = list.remove(at: index)
        waits[command.id] = list.isEmpty ? nil : list
        ended(waiter, of: command.id)
    }

    private mutating func ended(_ waiter: Waiter, of id: ObjectID) {
        sessions[waiter.client]?.waits -= 1
        setWaitCount(waitCount - 1)
        if waiter.flags.contains(.pull) {
            directives.append(.cancelPull(id, client: waiter.client, token: waiter.token))
        }
    }

    private mutating func forgetWaits(of client: Int) {
        for (id, list) in waits {
            let mine = list.filter { $0.client == client }
            guard !mine.isEmpty else { continue }
            let others = list.filter { $0.client != client }
            waits[id] = others.isEmpty ? nil : others
            for waiter in mine { ended(waiter, of: id) }
        }
    }

    private mutating func satisfy(waitersOf id: ObjectID) {
        guard let list = waits.removeValue(forKey: id) else { return }
        for waiter in list {
            sessions[waiter.client]?.waits -= 1
            awaken(waiter)
        }
        setWaitCount(waitCount - list.count)
    }

    private mutating func fail(waitersOf id: ObjectID, _ code: FabricError.Code) {
        guard let list = waits.removeValue(forKey: id) else { return }
        for waiter in list {
            sessions[waiter.client]?.waits -= 1
            fail(waiter, code)
        }
        setWaitCount(waitCount - list.count)
    }

    /// A pull for one waiter has failed.
    mutating func pullFailed(_ id: ObjectID, client: Int, token: UInt32, _ code: FabricError.Code) {
        guard var list = waits[id], let index = list.firstIndex(where: { $0.client == client && $0.token == token })
        else { return }
        let waiter = list.remove(at: index)
        waits[id] = list.isEmpty ? nil : list
        sessions[client]?.waits -= 1
        setWaitCount(waitCount - 1)
        fail(waiter, code)
    }

    private mutating func awaken(_ waiter: Waiter) {
        guard let session = sessions[waiter.client] else { return }
        session.countWake()
        directives.append(.wake(client: waiter.client))
        if waiter.flags.contains(.asynchronous) { directives.append(.notify(client: waiter.client)) }
    }

    private mutating func fail(_ waiter: Waiter, _ code: FabricError.Code) {
        guard let session = sessions[waiter.client] else { return }
        // A client that takes no replies still has its own deadline.
        if session.canReply { session.reply(.init(kind: .waitFailed, token: waiter.token, code: code)) }
        awaken(waiter)
    }

    /// Clients ring the doorbell after each seal while somebody waits.
    private mutating func setWaitCount(_ count: Int) {
        waitCount = count
        table.setWaiters(UInt32(clamping: count))
    }

    // MARK: Inspection

    func isLessee(_ client: Int, ofSegment segment: Int) -> Bool { arena.segments[segment].lessee == client }

    /// What holds the memory, in words; the text of `storeFull`.
    func holders() -> String {
        var text =
            "capacity \(usage.capacity): \(usage.primaryBytes) in \(table.count - secondaries.count) objects, "
            + "\(usage.secondaryBytes) in \(secondaries.count) copies"
        let pinned = table.usedEntries.reduce(into: (objects: 0, bytes: UInt64(0))) { sum, entry in
            if table.directory.version(entry) & 0xff != 0, isPinned(entry) {
                sum.objects += 1
                sum.bytes += table.directory.entry(entry).granules * UInt64(StoreGeometry.granule)
            }
        }
        text += ", of these \(pinned.bytes) pinned (\(pinned.objects))"
        for session in clients() {
            let leased = arena.freeGranules(leasedTo: session.index) + session.outstanding.granules
            if leased > 0 { text += "; \(session.name) holds \(leased * UInt64(StoreGeometry.granule)) for writing" }
        }
        return text
    }

    /// Entries that hold an object, deleted but pinned ones included.
    func inspect(from start: Int, limit: Int) -> (
        objects: [(entry: Int, object: ObjectEntry, pins: [(Int, UInt32)])], next: Int?
    ) {
        var found: [(entry: Int, object: ObjectEntry, pins: [(Int, UInt32)])] = []
        for entry in table.usedEntries.dropFirst(start) {
            guard table.directory.version(entry) & 0xff != 0 else { continue }
            if found.count == limit { return (found, entry) }
            let pins = clients().compactMap { session in
                let count = session.pins(of: entry)
                return count == 0 ? nil : (session.index, count)
            }
            found.append((entry, table.directory.entry(entry), pins))
        }
        return (found, nil)
    }
}
