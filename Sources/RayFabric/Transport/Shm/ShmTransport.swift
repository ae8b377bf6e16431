// The `shm` transport: connections between processes of one node through shared memory.
//
// Each connection has two byte rings, one per direction, and a Unix socket beside them for set-up,
// wake-ups, descriptors and the news that the peer is gone. See docs/adr/0003-shm-transport.md.

internal import CLinux
public import RayCore

/// Messages and one-sided operations between two processes of one node, addressed by `unix:PATH`.
///
/// Only processes of the same user connect. Messages are copied once, into a ring that the receiver
/// reads in place; a peer that breaks the protocol may change the bytes of a message while it is
/// read. One-sided operations on memory that was registered with `registerShared` are one copy by
/// the initiator, without the peer's thread; on other memory they are two copies through the ring,
/// the second made by the peer's `poll`.
@safe
public struct ShmTransport: ~Copyable {
    struct Slot {
        var generation: UInt32 = 0
        /// Nil for a free slot and for a connection that is not open yet.
        var link: ShmLinkHandle?
    }

    let configuration: TransportConfiguration
    public let waker: Waker
    let epoll: FileDescriptor
    var context: ShmContext
    var peers: PeerDirectory
    var listeners: [ShmListener] = []
    /// Connections by their index.
    var slots: [Slot] = []
    var freeSlots: [UInt32] = []
    var openings: [ShmOpening] = []
    var links: [ShmLinkHandle] = []
    /// Links whose rings every poll looks at; the others have their peers ring.
    var hot: [ShmLinkHandle] = []
    /// The hot link to look at next, and how many records it gave in a row.
    var cursor = 0
    var burst = 0
    /// Links with records that the peer can not see yet.
    var dirty: [ShmLinkHandle] = []
    /// Links with something that waits for room.
    var working: [ShmLinkHandle] = []
    /// A working link can go on at once.
    var canGoOn = false

    /// No operation's deadline is earlier.
    var nextDeadline = Timestamp.never
    var pollCount: UInt64 = 0
    var nextSocketCheck = Timestamp.zero
    var nextBeat: Timestamp
    /// The time between two heartbeats. A peer that lives shows several within the liveness timeout.
    let beatInterval: Duration
    /// The waker was used and no `wait` has ended by it yet.
    var isWoken = false
    /// The system had no descriptor for a new connection; try again at the next beat.
    var acceptPaused = false

    /// The message that `poll` gave last.
    var received = unsafe UnsafeRawBufferPointer(start: nil, count: 0)

    /// - Throws: `descriptorLimit`, `outOfMemory`.
    public init(_ configuration: TransportConfiguration) throws(FabricError) {
        let waker = try Waker()
        let regions = try ShmRegions()
        let number = epoll_create1(RF_EPOLL_FLAGS)
        guard number >= 0 else { throw systemError("create an epoll descriptor") }
        let epoll = FileDescriptor(owning: number)
        guard rf_epoll_add(number, waker.descriptor, Self.wakerTag) == 0 else { throw systemError("watch the waker") }
        self.configuration = configuration
        self.waker = waker
        self.epoll = epoll
        let now = Timestamp.now
        context = ShmContext(regions: regions, now: now)
        peers = PeerDirectory(maximumConnectionsPerPeer: configuration.maximumConnectionsPerPeer)
        beatInterval = min(configuration.heartbeatInterval, configuration.livenessTimeout / 4)
        nextBeat = now + beatInterval
    }

    deinit {
        for handle in links { handle.destroy() }
    }
}

/// A link at a fixed address, so that lists can name it without a reference count.
@safe
struct ShmLinkHandle: Equatable {
    // SAFETY: valid from init to `destroy`, which the transport calls once, after it has taken the
    // handle out of all lists.
    private let pointer: UnsafeMutablePointer<ShmLink>

    init(_ link: consuming ShmLink) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: link)
    }

    var link: ShmLink {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer) }
        @inline(__always) nonmutating unsafeMutableAddress { unsafe pointer }
    }

    static func == (left: Self, right: Self) -> Bool { unsafe left.pointer == right.pointer }

    func destroy() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }
}

extension ShmTransport {
    /// The open link of a connection.
    /// - Throws: `closed` when there is none, or this end has finished.
    @inline(__always)
    func openLink(_ connection: Connection) throws(FabricError) -> ShmLinkHandle {
        let index = Int(connection.index)
        guard index < slots.count, slots[index].generation == connection.generation, let handle = slots[index].link,
            handle.link.finish == .open
        else { throw FabricError(.closed, "connection \(connection.index) of the shm transport") }
        return handle
    }

    /// The link of a connection, finished or not.
    func anyLink(_ connection: Connection) -> ShmLinkHandle? {
        let index = Int(connection.index)
        guard index < slots.count, slots[index].generation == connection.generation else { return nil }
        return slots[index].link
    }

    @inline(__always)
    mutating func noteDirty(_ handle: ShmLinkHandle) {
        if handle.link.isDirty { return }
        handle.link.isDirty = true
        dirty.append(handle)
    }

    /// A link that works is hot, so that a sleep asks its peer to ring for room.
    mutating func noteWorking(_ handle: ShmLinkHandle) {
        if handle.link.isWorking { return }
        handle.link.isWorking = true
        working.append(handle)
        noteHot(handle)
    }

    mutating func noteHot(_ handle: ShmLinkHandle) {
        handle.link.lastArrival = pollCount
        if handle.link.isHot { return }
        handle.link.isHot = true
        handle.link.disarm()
        hot.append(handle)
    }
}
