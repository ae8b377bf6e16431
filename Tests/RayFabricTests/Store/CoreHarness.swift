// A store core with clients whose rings lie in this process: no host thread, no sockets, no segments.

import RayCore
import Testing

@testable import RayFabric

/// The host's side: what HostLoop does, one step at a time.
final class CoreHarness {
    static let node = NodeID(value: 7, incarnation: 1)

    var core: StoreCore
    let geometry: StoreGeometry
    private let directoryFile: MemoryFile
    var now = Timestamp(nanoseconds: 1)
    private(set) var clients: [Int: CoreClient] = [:]
    private var workers: UInt32 = 0
    private var generation: UInt64 = 0
    /// Segments are filled at once unless a test wants to see what happens before.
    private let fills: Bool
    /// What the core asked for, apart from wake-ups, until a test empties it.
    var directives: [StoreDirective] = []

    init(capacity: Int = 1 << 20, maximumObjects: Int = 1024, limits: StoreCore.Limits = .init(), fills: Bool = true)
        throws
    {
        self.fills = fills
        geometry = try StoreGeometry(capacity: capacity, maximumObjects: maximumObjects)
        directoryFile = try MemoryFile(name: "test-directory", byteCount: geometry.directoryBytes)
        let mapping = try Mapping(
            directoryFile.descriptor.number, byteCount: geometry.directoryBytes, writable: true)
        geometry.write(to: mapping)
        core = StoreCore(directory: Directory(memory: mapping, geometry: geometry), limits: limits)
        core.start()
        runDirectives()
    }

    /// - Parameter process: nil for a trusted client.
    func attach(process: Int32? = 1, index: Int? = nil, name: String = "test") throws -> CoreClient {
        let index = index ?? (0..<core.limits.maximumClients).first { clients[$0] == nil } ?? 0
        workers += 1
        let client = try CoreClient(
            index: index, worker: WorkerID(node: Self.node, number: workers), name: name, process: process,
            geometry: geometry, directory: directoryFile)
        clients[index] = client
        core.attach(client.session)
        return client
    }

    func detach(_ client: CoreClient) {
        clients[client.index] = nil
        core.detach(client.index, now: now)
        runDirectives()
    }

    /// Takes commands until there are none.
    func turn() {
        repeat { now = now + .microseconds(1) } while core.takeCommands(now: now) > 0 || runDirectives()
    }

    /// - Returns: whether there were any.
    @discardableResult
    func runDirectives() -> Bool {
        var hadSome = false
        while true {
            let batch = core.takeDirectives()
            if batch.isEmpty { return hadSome }
            hadSome = true
            for directive in batch { run(directive) }
        }
    }

    private func run(_ directive: StoreDirective) {
        switch directive {
        case .wake, .notify: return
        case .fill(let segment, let replacing):
            directives.append(directive)
            if replacing { core.table.setGeneration(0, ofSegment: segment) }
            if fills { fill(segment) }
        case .cutOff(let client):
            directives.append(directive)
            if let client = clients[client] { detach(client) }
        case .pull, .cancelPull, .watch: directives.append(directive)
        }
    }

    func fill(_ segment: Int) {
        generation += 1
        core.segmentFilled(segment, generation: generation)
    }
}

/// A client's side of the rings, and its whole ledger, which it may fill with anything.
final class CoreClient: @unchecked Sendable {
    // SAFETY: one thread uses the session; the rings and mappings are for all threads.
    let index: Int
    let worker: WorkerID
    let session: ClientSession
    let ring: CommandRing
    let directory: Directory
    let ledger: Mapping
    private var sequence: UInt64 = 0

    init(
        index: Int, worker: WorkerID, name: String, process: Int32?, geometry: StoreGeometry,
        directory file: borrowing MemoryFile
    ) throws {
        self.index = index
        self.worker = worker
        let ledgerFile = try MemoryFile(name: "test-ledger", byteCount: geometry.ledgerBytes)
        let mailboxFile = try MemoryFile(name: "test-mailbox", byteCount: geometry.mailboxBytes)
        func map(_ file: borrowing MemoryFile, writable: Bool) throws -> Mapping {
            try Mapping(file.descriptor.number, byteCount: file.byteCount, writable: writable)
        }
        session = ClientSession(
            index: index, worker: worker, name: name, process: process, geometry: geometry,
            ledger: try map(ledgerFile, writable: false), mailbox: try map(mailboxFile, writable: true))
        ring = CommandRing(
            ledger: try map(ledgerFile, writable: true), mailbox: try map(mailboxFile, writable: false),
            geometry: geometry)
        ledger = try map(ledgerFile, writable: true)
        directory = Directory(memory: try map(file, writable: false), geometry: geometry)
    }

    func makeID() -> ObjectID {
        sequence += 1
        return ObjectID(owner: worker, sequence: sequence)
    }

    func replies() -> [StoreReply] {
        var replies: [StoreReply] = []
        while let reply = ring.nextReply() { replies.append(reply) }
        return replies
    }

    func isPresent(_ id: ObjectID) -> Bool { directory.find(id) != nil }
    func find(_ id: ObjectID) -> (entry: Int, version: UInt64)? { directory.find(id) }
    func entry(_ index: Int) -> ObjectEntry { directory.entry(index) }
    var isEvicted: Bool { ring.isEvicted }
    var hasUnsentReplies: Bool { ring.hasUnsentReplies }
    var room: Int { Int(directory.room) }
    var commandsTaken: UInt64 { ring.commandsTaken }

    func push(_ command: StoreCommand) { _ = ring.push(command) }

    /// The entry of an object, now pinned; nil when it is not there.
    func pin(_ id: ObjectID) -> Int? {
        guard let (entry, version) = directory.find(id), ring.pin(entry, version: version, in: directory) else {
            return nil
        }
        return entry
    }

    /// Tells the host when it must know, as StoreClient does.
    func unpin(_ entry: Int) {
        if ring.unpin(entry, in: directory) { push(StoreCommand(kind: .unpinned, offset: UInt64(entry))) }
    }
}

extension CoreHarness {
    /// Memory for a client, as the host grants it now; nil when it denies.
    func grant(_ client: CoreClient, bytes: UInt64, preferred: UInt64? = nil) -> Range<UInt64>? {
        client.push(StoreCommand(kind: .grant, offset: preferred ?? bytes, size: bytes))
        turn()
        guard let reply = client.replies().last, reply.kind == .grant else { return nil }
        return reply.offset..<(reply.offset + reply.size)
    }

    /// An object of a client; nil when there is no memory for it.
    func seal(
        _ client: CoreClient, bytes: UInt64, id: ObjectID? = nil, flags: StoreCommand.Flags = []
    ) -> ObjectID? {
        let id = id ?? client.makeID()
        guard let memory = bytes == 0 ? 0..<0 : grant(client, bytes: bytes) else { return nil }
        client.push(
            StoreCommand(kind: .publish, flags: flags, id: id, offset: memory.lowerBound, size: bytes))
        turn()
        return id
    }
}

extension CoreHarness {
    /// Memory that is used does not overlap, and all other memory is free in a pool or leased to nobody.
    func checkMemory(_ used: [Range<UInt64>]) {
        let sorted = used.sorted { $0.lowerBound < $1.lowerBound }
        for (left, right) in zip(sorted, sorted.dropFirst()) { #expect(left.upperBound <= right.lowerBound) }
        #expect(sorted.last?.upperBound ?? 0 <= UInt64(geometry.capacity))
        let leased = core.arena.segments.count { $0.lessee != nil && $0.memory == .present }
        let free = (0..<(core.limits.maximumClients + 2)).reduce(UInt64(0)) {
            $0 + core.arena.freeGranules(leasedTo: $1)
        }
        let inUse = sorted.reduce(UInt64(0)) { $0 + UInt64($1.count) / 64 }
        #expect(free + inUse == UInt64(leased) * geometry.segmentGranules)
    }

    /// All memory that the store itself takes for used.
    var usedMemory: [Range<UInt64>] {
        let objects = core.inspect(from: 0, limit: .max).objects.map(\.object.extent)
        let granted = core.clients().flatMap(\.outstanding.ranges)
        return (objects + granted).filter { !$0.isEmpty }.map { $0.lowerBound * 64..<$0.upperBound * 64 }
    }
}
