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
    case pull(ObjectID, session: UInt32, token: UInt32, deadline: Timestamp)
    /// A client no longer waits for a pull.
    case cancelPull(ObjectID, session: UInt32, token: UInt32)
    /// A client broke the protocol: close its connection and report `detach`.
    case cutOff(client: Int)
    /// Report `processEnded` when this process is dead: until then it may write to memory it had leased.
    case watch(process: Int32)
}

/// The state of the store.
struct StoreCore: ~Copyable {
    struct Limits {
        var maximumClients = 256
        var waitsPerClient = 65_536
        /// Extents granted to a client, and parts of them between what it has published.
        var piecesPerClient = 65_536
        var gravestones = 4096
        var commandsPerTurn = 4096
        /// Segments kept ready ahead of demand.
        var segmentsAhead = 2
    }

    struct Waiter {
        let session: ClientSession
        let token: UInt32
        let flags: StoreCommand.Flags
    }

    let geometry: StoreGeometry
    let limits: Limits
    private(set) var table: ObjectTable
    var arena: Arena
    private var sessions: [ClientSession?]
    /// The sessions there are, for loops.
    private(set) var active: [ClientSession] = []
    var waits: [ObjectID: [Waiter]] = [:]
    var waitCount = 0
    /// Deleted entries that somebody still has pinned.
    private var dying: Set<Int> = []
    /// Entries that may be evicted, and the use clock when they were published.
    private(set) var secondaries: [Int: UInt32] = [:]
    private(set) var gravestones: Gravestones
    private(set) var useClock: UInt32 = 1
    var usage = StoreUsage()
    var directives: [StoreDirective] = []

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
        // Most rounds have none. Emptying the array that is being handed out would copy it.
        if directives.isEmpty { return [] }
        let taken = directives
        directives = []
        return taken
    }

    // MARK: Clients

    /// A free client number, or nil when all are taken.
    func freeClientIndex() -> Int? { sessions.firstIndex { $0 == nil } }

    mutating func attach(_ session: ClientSession) {
        precondition(sessions[session.index] == nil)
        sessions[session.index] = session
        active.append(session)
        table.promiseRoom(to: active.count)
        if let process = session.process { arena.processReturned(process, as: session.index) }
    }

    func session(_ client: Int) -> ClientSession? { sessions[client] }
    func clients() -> [ClientSession] { active }

    /// Begins to fill segments ahead of demand.
    mutating func start() { serveRequests() }

    /// A client is gone: takes its last complete commands, then everything it held and did not publish.
    ///
    /// A client that was cut off may have written to its objects after it sealed them, and may do so
    /// still. Nobody can promise that these are unchanged, so they are deleted.
    mutating func detach(_ client: Int, now: Timestamp) {
        guard let session = sessions[client] else { return }
        takeLastCommands(of: session, now: now)
        session.request = nil
        for range in session.outstanding.ranges { arena.free(range) }
        session.outstanding = ExtentSet()
        forgetWaits(of: session)
        sessions[client] = nil
        active.removeAll { $0 === session }
        table.promiseRoom(to: active.count)
        if session.isCutOff { deleteObjects(inSegmentsOf: client) }
        if arena.clientEnded(client, process: session.process), let process = session.process {
            directives.append(.watch(process: process))
        }
        releaseUnpinned()
        serveRequests()
    }

    /// A thread may have died before it had written its command, and another one sealed an object behind it.
    private mutating func takeLastCommands(of session: ClientSession, now: Timestamp) {
        // What a dead client wrote fits into its ring; a living one could go on for ever.
        let end = session.commandsTaken + RingLayout.commandCount
        repeat {
            _ = takeCommands(of: session, atMost: Int(end - session.commandsTaken), now: now)
        } while !session.isCutOff && session.skipGap(before: end)
    }

    /// A process that had ended its session before is dead: nobody writes to its memory any more.
    mutating func processEnded(_ process: Int32) {
        arena.processEnded(process)
        serveRequests()
    }

    private mutating func deleteObjects(inSegmentsOf client: Int) {
        guard arena.segments.contains(where: { $0.lessee == client }) else { return }
        for entry in table.usedEntries {
            let object = table.directory.entry(entry)
            guard object.state == .sealed, arena.isLessee(client, ofAnyIn: object.extent) else { continue }
            gravestones.insert(object.id, .objectDeleted)
            bury(entry)
        }
    }

    /// Takes the commands of all clients, at most so many of each, then serves requests for memory.
    /// - Returns: the number of commands taken; 0 means that all rings were empty.
    mutating func takeCommands(now: Timestamp) -> Int {
        takeCommands(atMost: limits.commandsPerTurn, now: now)
    }

    /// Takes all commands that were written before this.
    mutating func takeAllCommands(now: Timestamp) {
        _ = takeCommands(atMost: Int(RingLayout.commandCount), now: now)
    }

    private mutating func takeCommands(atMost limit: Int, now: Timestamp) -> Int {
        var taken = 0
        var hasRoomAgain = false
        for session in active where !session.isCutOff {
            if session.unblock() {
                hasRoomAgain = true
                wake(session, isAsynchronous: true)
            }
            taken += takeCommands(of: session, atMost: limit, now: now)
            if session.isCutOff { directives.append(.cutOff(client: session.index)) }
        }
        if taken > 0 || hasRoomAgain { serveRequests() }
        return taken
    }

    private mutating func takeCommands(of session: ClientSession, atMost limit: Int, now: Timestamp) -> Int {
        guard !session.isCutOff else { return 0 }
        var taken = 0
        do throws(TransportFailure) {
            while taken < limit, let command = try session.nextCommand() {
                taken += 1
                try handle(command, from: session, now: now)
            }
        } catch {
            session.cutOff()
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
        // An id names its owner, so only the owner may give it out. The transfer brings others' objects.
        guard command.size <= UInt64(geometry.capacity), command.metadataSize <= StoreGeometry.maximumMetadata,
            session.isTrusted || command.id.owner == session.worker
        else { throw TransportFailure(.protocolViolation) }
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
            advanceUseClock()
            secondaries[entry] = useClock
        }
        usage.add(granules: UInt64(extent.count), isSecondary: isSecondary)
        if waitCount > 0 { satisfy(waitersOf: command.id) }
    }

    private mutating func insert(
        _ command: StoreCommand, at offset: UInt64, _ attributes: ObjectEntry.Attributes, now: Timestamp
    ) -> Int? {
        defer { table.promiseRoom(to: active.count) }
        return table.insert(
            command.id, offset: offset, size: command.size, attributes: attributes,
            sealedAt: now.nanoseconds)
    }

    private mutating func delete(_ id: ObjectID) {
        guard let (entry, _) = table.directory.find(id) else { return }
        gravestones.insert(id, .objectDeleted)
        bury(entry)
    }

    /// Takes an entry out of sight, and frees it unless it is pinned.
    mutating func bury(_ entry: Int) {
        secondaries[entry] = nil
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
        table.promiseRoom(to: active.count)
    }

    private mutating func releaseUnpinned() {
        for entry in dying.sorted() { releaseIfUnpinned(entry) }
    }

    private mutating func advanceUseClock() {
        useClock &+= 1
        table.setUseClock(useClock)
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
}
