// A process's access to a store: the same code in the host's own process and in others.

internal import CLinux
package import RayCore
internal import Synchronization

/// Attached to a store. All calls may come from any thread; `get`, `put` in leased memory and
/// release take no lock and make no system call.
package final class StoreClient: Sendable {
    package let worker: WorkerID
    package let index: Int
    let directory: Directory
    let ring: CommandRing
    let segments: SegmentMap
    let geometry: StoreGeometry
    private let doorbell: Waker
    /// Requests and replies over the socket are paired under this lock.
    private let control: Mutex<ControlSocket>
    let inbox = Mutex(Inbox())
    let memory = MemoryLease()
    private let nextSequence = Atomic<UInt64>(1)
    private let nextToken = Atomic<UInt32>(1)
    /// Set once, when the host is gone or this client was closed.
    private let ending = Atomic<UInt16>(0)
    private let sleepers = Atomic<Int>(0)
    /// Position after the last deletion sent by this process.
    private let lastDeletion = Atomic<UInt64>(0)
    let watcher: Mutex<ClientWatcher?> = Mutex(nil)
    let asynchronousWaits = Mutex<[UInt32: AsynchronousWait]>([:])
    let spin: Duration
    /// How long the host may take for an answer where the caller sets no limit.
    static let hostLimit = Duration.seconds(5)
    /// How long it may take in a call whose own time is up: what is here is found without any time left.
    private static let leastHostLimit = Duration.seconds(1)

    /// What the host answered and nobody has taken yet.
    struct Inbox {
        var grants: [Range<UInt64>] = []
        var isRequested = false
        var denial: FabricError.Code?
        /// Tokens of waits that are not forgotten yet.
        var waits: Set<UInt32> = []
        var failedWaits: [UInt32: FabricError.Code] = [:]

        mutating func forget(_ token: UInt32) {
            waits.remove(token)
            failedWaits[token] = nil
        }
    }

    /// Attaches to the host that listens at `path`.
    package convenience init(
        attachingTo path: String, name: String, spin: Duration = .microseconds(100)
    ) throws(FabricError) {
        let socket: UnixSocket
        do throws(FabricError) {
            socket = try UnixSocket.connect(to: path)
        } catch {
            // The socket's mode keeps other users out before the host can say so.
            let code = error.code == .permissionDenied ? .attachRefused : error.code
            throw FabricError(code, errno: error.errno, "no store to attach to: \(error.context)")
        }
        try self.init(socket, name: name, spin: spin)
    }

    /// Attaches over a connected socket.
    package init(_ socket: consuming UnixSocket, name: String, spin: Duration) throws(FabricError) {
        var connection = ControlSocket(socket)
        let (reply, descriptors) = try connection.exchange(.hello(name: name), by: .now + Self.hostLimit)
        let files = OwnedDescriptors(descriptors)
        switch reply {
        case .welcome(let client, let worker) where files.count == 5:
            index = client
            self.worker = worker
        case .refused(let code, let text): throw FabricError(code, text)
        default: throw FabricError(.protocolViolation, "the host's welcome is not one")
        }
        let directoryBytes = try files.byteCount(0)
        let memory = try Mapping(files[0], byteCount: directoryBytes, writable: false)
        let geometry = try StoreGeometry(reading: memory)
        guard try files.byteCount(1) >= geometry.ledgerBytes, try files.byteCount(2) >= geometry.mailboxBytes else {
            throw FabricError(.protocolViolation, "the host's memory has the wrong size")
        }
        self.geometry = geometry
        self.spin = spin
        ring = CommandRing(
            ledger: try Mapping(files[1], byteCount: geometry.ledgerBytes, writable: true),
            mailbox: try Mapping(files[2], byteCount: geometry.mailboxBytes, writable: false), geometry: geometry)
        directory = Directory(memory: memory, geometry: geometry)
        segments = try SegmentMap(geometry: geometry)
        doorbell = Waker(owning: files.release(3))
        let notification = Waker(owning: files.release(4))
        let socketNumber = connection.descriptor
        control = Mutex(connection)
        let started = try ClientWatcher(socket: socketNumber, notification: notification)
        watcher.withLock { $0 = started }
        try started.start(for: self)
    }

    deinit { watcher.withLock { $0.take() }?.stop() }

    /// Ends the use of the store from this process. Waiting calls end with `closed`; views that are
    /// still held stay readable. A client lives until then, or until the host ends.
    package func close() {
        end(.closed)
        watcher.withLock { $0.take() }?.stop()
        control.withLock { $0.shutDown() }
    }

    /// Why no call works any more; nil while the store is there. Two loads.
    @inline(__always)
    var endCode: FabricError.Code? {
        Self.endCode(
            ending: { ending.load(ordering: .relaxed) },
            hostHasEnded: { directory.memory.loadHalfAcquiring(StoreGeometry.Header.closed) != 0 })
    }

    /// A process that closes a store which it hosts ends its own client first. So who finds the host ended asks once
    /// more for a reason of this process' own.
    @inline(__always)
    static func endCode(ending: () -> UInt16, hostHasEnded: () -> Bool) -> FabricError.Code? {
        var code = ending()
        if code == 0 {
            guard hostHasEnded() else { return nil }
            code = ending()
        }
        return code == 0 ? .hostLost : FabricError.Code(rawValue: code)
    }

    @inline(__always)
    func checkAlive() throws(FabricError) {
        if let code = endCode { throw FabricError(code, "the store") }
    }

    /// Wakes every thread that waits, for good.
    func end(_ code: FabricError.Code) {
        _ = ending.compareExchange(expected: 0, desired: code.rawValue, ordering: .sequentiallyConsistent)
        failAsynchronousWaits(code)
        // A thread that was about to sleep when the code was set may miss the first wake-up.
        while sleepers.load(ordering: .sequentiallyConsistent) > 0 {
            ring.wakeSleepers()
            _ = usleep(200)
        }
    }

    /// Sleeps until the host counts another wake-up, for at most `limit`.
    func sleep(whileWakeCount count: UInt32, for limit: Duration) {
        sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if endCode == nil { ring.sleep(whileWakeCount: count, for: limit) }
        sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    }

    package func makeObjectID() -> ObjectID {
        ObjectID(owner: worker, sequence: nextSequence.wrappingAdd(1, ordering: .relaxed).oldValue)
    }

    func makeToken() -> UInt32 { nextToken.wrappingAdd(1, ordering: .relaxed).oldValue }

    // MARK: Commands

    /// Sends a command that can wait until the host looks, or until somebody asks for its effect.
    @inline(__always)
    @discardableResult
    func push(_ command: StoreCommand) throws(FabricError) -> UInt64 {
        guard let position = ring.push(command) else { return try pushWhenRoom(command) }
        if position & 1023 == 0 || directory.memory.loadHalf(StoreGeometry.Header.waiters) != 0 { ringDoorbell() }
        return position
    }

    /// Sends a command that the host should take now.
    func pushUrgently(_ command: StoreCommand) throws(FabricError) {
        try push(command)
        ringDoorbell()
    }

    private func pushWhenRoom(_ command: StoreCommand) throws(FabricError) -> UInt64 {
        let deadline = Timestamp.now + Self.hostLimit
        while Timestamp.now < deadline {
            try checkAlive()
            ringDoorbell()
            for _ in 0..<1000 {
                if let position = ring.push(command) { return position }
                rf_cpu_pause()
            }
            _ = sched_yield()
        }
        throw FabricError(.peerUnresponsive, "the store's host takes no commands")
    }

    /// Remembers that the command at a position deletes something.
    func noteDeletion(_ position: UInt64) { lastDeletion.max(position + 1, ordering: .relaxed) }

    /// Waits until the host has taken this process's deletions, so that it does not find their objects.
    @inline(__always)
    func settleDeletions(by deadline: @autoclosure () -> Timestamp? = nil) throws(FabricError) {
        if lastDeletion.load(ordering: .relaxed) > ring.commandsTaken { _ = try ask(.synchronise, by: deadline()) }
    }

    /// Wakes the host if it may be asleep.
    func ringDoorbell() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if directory.memory.loadHalf(StoreGeometry.Header.hostSleeping) != 0 { doorbell.signal() }
    }

    /// Takes the host's replies into the inbox.
    func takeReplies() {
        let hasTaken = inbox.withLock { inbox in
            var hasTaken = false
            while let reply = ring.nextReply() {
                hasTaken = true
                switch reply.kind {
                case .grant:
                    inbox.isRequested = false
                    let granule = UInt64(StoreGeometry.granule)
                    inbox.grants.append(reply.offset / granule..<(reply.offset + reply.size) / granule)
                case .denied:
                    inbox.isRequested = false
                    inbox.denial = reply.code
                case .waitFailed:
                    // Who has run out of time meanwhile does not ask any more.
                    if inbox.waits.contains(reply.token) { inbox.failedWaits[reply.token] = reply.code }
                }
            }
            return hasTaken
        }
        if hasTaken, ring.hasUnsentReplies { ringDoorbell() }
    }

    // MARK: Control requests

    /// Asks the host and waits for its reply.
    /// - Parameter deadline: the caller's own; nil allows the host what it may take at most.
    func ask(_ request: ControlRequest, by deadline: Timestamp? = nil) throws(FabricError) -> ControlReply {
        try checkAlive()
        let reply = try withControl(by: deadline) { socket, end throws(FabricError) in
            let (reply, descriptors) = try socket.exchange(request, by: end)
            _ = OwnedDescriptors(descriptors)
            return reply
        }
        if case .refused(let code, let text) = reply { throw FabricError(code, text) }
        return reply
    }

    /// Calls `body` with the socket once no other thread uses it, and with the time to give up at.
    private func withControl<Result: Sendable>(
        by deadline: Timestamp?,
        _ body: (inout ControlSocket, Timestamp) throws(FabricError) -> Result
    ) throws(FabricError) -> Result {
        let now = Timestamp.now
        let end = deadline.map { max($0, now + Self.leastHostLimit) } ?? now + Self.hostLimit
        do throws(FabricError) {
            while true {
                let result = try control.withLockIfAvailable { socket throws(FabricError) in try body(&socket, end) }
                if let result { return result }
                guard Timestamp.now < end else {
                    throw FabricError(.peerUnresponsive, "the store's host does not answer another thread")
                }
                // A lock that can not be waited for with a deadline; the host answers in less, as a rule.
                _ = usleep(20)
            }
        } catch {
            // Closed by another thread while this one waited for its turn.
            if error.code == .hostLost, let code = endCode { throw FabricError(code, error.context) }
            guard error.code == .peerUnresponsive, deadline != nil else { throw error }
            throw FabricError(.deadlineExceeded, error.context)
        }
    }

    /// Makes sure that the segments of an object are mapped.
    @inline(__always)
    func ensureMapped(
        offset: UInt64, bytes: UInt64, writable: Bool, by deadline: @autoclosure () -> Timestamp?
    ) throws(FabricError) {
        // An empty object has no memory.
        if bytes == 0 { return }
        for segment in segments.segments(offset: offset, bytes: bytes) {
            let generation = directory.segmentGeneration(segment)
            if !segments.isMapped(segment, generation: generation, writable: writable) {
                try map(segment, writable: writable, by: deadline())
            }
        }
    }

    private func map(_ segment: Int, writable: Bool, by deadline: Timestamp?) throws(FabricError) {
        try checkAlive()
        try withControl(by: deadline) { socket, end throws(FabricError) in
            let generation = directory.segmentGeneration(segment)
            // Another thread may have mapped it meanwhile. A writable mapping serves readers too.
            if segments.isMapped(segment, generation: generation, writable: writable) { return }
            let (reply, descriptors) = try socket.exchange(.map(segment: segment, writable: writable), by: end)
            let files = OwnedDescriptors(descriptors)
            switch reply {
            case .mapped(let generation) where files.count == 1:
                guard try files.byteCount(0) >= geometry.segmentBytes else {
                    throw FabricError(.protocolViolation, "the host's segment has the wrong size")
                }
                try segments.map(segment, generation: generation, descriptor: files[0], writable: writable)
            case .refused(let code, let text): throw FabricError(code, text)
            default: throw FabricError(.protocolViolation, "the host's answer is not one")
            }
        }
    }
}
