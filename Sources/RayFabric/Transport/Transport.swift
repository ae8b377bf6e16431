// The contract of all transports. One folder beside this file per implementation; one conformance
// suite (Tests/RayFabricTests/Conformance) runs on all of them.

public import RayCore

/// Moves messages and performs one-sided reads and writes between registered regions.
///
/// A transport is an engine without a thread: all calls come from one thread at a time, and it does
/// its work inside `poll` and `wait`. It holds no retries, no scheduling and no object logic. Only
/// its `waker` may be used from elsewhere.
///
/// **Messages** of one connection arrive once, whole and in the order in which they were sent.
/// **One-sided operations** are unordered among themselves and towards messages; an operation has
/// happened when its completion arrives, and a write's notification arrives after its bytes. When
/// an operation has completed, with whatever result, the transport never touches its local memory
/// again. **Liveness**: a peer that is gone or silent ends its connections with one `closed` event,
/// after a completion for each operation that was in flight.
public protocol Transport: ~Copyable {
    /// The largest message that `send` takes, in bytes. At least 256 KiB on every transport.
    var maximumMessageBytes: Int { get }

    /// Starts to accept connections.
    /// - Returns: the address to connect to, with the port that the system chose.
    /// - Throws: `addressInUse`, `addressInvalid`, `hostNotFound`, `keyRequired`, `permissionDenied`.
    mutating func listen(at address: Address) throws(FabricError) -> Address

    /// Begins to connect. `connected` or `closed` with the reason follows by `deadline`.
    /// - Throws: `addressInvalid`, `hostNotFound`, `connectionLimit`, `descriptorLimit`.
    mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection

    /// Who is at the other end; nil unless connected.
    func peer(of connection: Connection) -> NodeID?

    /// Makes memory a source or target of one-sided operations of this node and, as far as
    /// `access` allows, of its peers. Costs one registration, not to be done per operation.
    ///
    /// SAFETY: the memory must stay mapped until `deregister`, and until every operation that names
    /// the region has completed.
    mutating func register(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey

    /// Tells of memory that came to a part of a region that had none, or other memory: `range` in bytes
    /// from the start of the region. Transports that reach memory by its address need not know.
    mutating func memoryCame(to key: RegionKey, range: Range<UInt64>)

    /// Ends the use of a region. Peers that still name it get `remoteAccessDenied`.
    mutating func deregister(_ key: RegionKey)

    /// Opens `length` bytes at `part` to the peer of a connection, for reading, under a key of their own in which
    /// they begin at 0. The region needs the access `.byGrant`. Costs no registration. Messages that are sent
    /// afterwards find the grant in place. Ends with `revoke`, or with the connection.
    ///
    /// SAFETY: the bytes must stay what they are until the grant has ended, the region until then registered.
    /// - Returns: nil when too many grants are under way: try again later.
    /// - Throws: `invalidArgument` for a range outside of such a region, `outOfMemory`.
    mutating func grant(
        _ part: RegionLocation, length: Int, to connection: Connection
    ) throws(FabricError) -> RegionKey?

    /// Ends a grant. Peers that still name it get `remoteAccessDenied`; by RDMA, which they notice as the failure
    /// of a queue pair.
    /// - Returns: true when no peer can read by it any more; else the event `revoked` says so later.
    mutating func revoke(_ key: RegionKey) -> Bool

    /// Queues a message; the bytes are copied, so the caller may reuse them at once. Messages that
    /// are queued together travel together; `poll` sends what is queued.
    /// - Returns: false when the connection's queue is full: nothing was queued, and `writable`
    ///   will come.
    /// - Throws: `messageTooLarge`, `closed`.
    mutating func send(_ message: RawSpan, on connection: Connection) throws(FabricError) -> Bool

    /// Reads `length` bytes at `remote` of the peer into `local`. `completed` with `token` follows.
    /// - Returns: false when too many operations are in flight: `writable` will come.
    /// - Throws: `invalidArgument` for a local range outside of its region, `closed`.
    mutating func read(
        _ remote: RegionLocation, into local: RegionLocation, length: Int,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool

    /// Writes `length` bytes at `local` to `remote` of the peer. `completed` with `token` follows
    /// once the bytes are in place; if `notification` is given, the peer gets it as an event then.
    /// - Returns: false when too many operations are in flight: `writable` will come.
    /// - Throws: `invalidArgument` for a local range outside of its region, `closed`.
    mutating func write(
        _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
        on connection: Connection, token: UInt64, deadline: Timestamp
    ) throws(FabricError) -> Bool

    /// Gives up an operation. Its completion still comes, as `cancelled` unless it was faster.
    mutating func cancel(token: UInt64, on connection: Connection)

    /// Says that no more messages or operations will be started here (half-close). What is queued
    /// is still sent; the peer then gets `finished` and may go on sending. When both ends have
    /// finished, both get `closed` with the code `closed`.
    mutating func finish(_ connection: Connection)

    /// Ends a connection at once. Operations in flight complete with `closed`, then `closed` comes.
    mutating func close(_ connection: Connection)

    /// Does what can be done without waiting and gives the next event; nil when there is none and
    /// all queued output has been handed to the system as far as it takes it.
    mutating func poll() -> TransportEvent?

    /// The bytes of the `message` event that `poll` gave last, in place; valid until the next call
    /// of `poll`, `wait` or `close`.
    var message: RawSpan { @_lifetime(borrow self) get }

    /// Waits until `poll` may have an event, the waker was used, or `deadline` has passed: spins for
    /// as long as the configuration says, then sleeps without using the CPU.
    mutating func wait(until deadline: Timestamp)

    /// Ends a `wait`, or the next one, from any thread.
    var waker: Waker { get }

    /// Counters since the start.
    var statistics: TransportStatistics { get }
}

extension Transport where Self: ~Copyable {
    public mutating func memoryCame(to key: RegionKey, range: Range<UInt64>) {}

    /// Where a grant is a region of its own.
    public mutating func revoke(_ key: RegionKey) -> Bool {
        deregister(key)
        return true
    }
}

/// Names of the transports, as users write them.
public enum TransportKind: String, CaseIterable, Sendable {
    case loopback, shm, uring, verbs, nio
}

/// A connection of one transport: a slot and its generation, so that a stale one is recognised.
@frozen
public struct Connection: Hashable, Sendable {
    public let index: UInt32
    public let generation: UInt32

    @inlinable
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }
}

/// Names a registered region, here and at the peers that were told of it. The upper half is random,
/// so that a key is no longer valid once its region was deregistered.
@frozen
public struct RegionKey: Hashable, Sendable {
    public let rawValue: UInt64
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A place within a region.
@frozen
public struct RegionLocation: Hashable, Sendable {
    public var key: RegionKey
    /// Bytes from the start of the region.
    public var offset: UInt64
    @inlinable
    public init(key: RegionKey, offset: UInt64) {
        self.key = key
        self.offset = offset
    }
}

/// What peers may do to a region.
@frozen
public struct RemoteAccess: OptionSet, Sendable {
    public let rawValue: UInt8
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let read = RemoteAccess(rawValue: 1)
    public static let write = RemoteAccess(rawValue: 2)
    /// Read those parts that they were given by `grant`.
    public static let byGrant = RemoteAccess(rawValue: 4)

    /// Whether they may do something to all of it.
    var isGeneral: Bool { !isDisjoint(with: [.read, .write]) }
}

/// What happened. Trivial to copy: nothing is allocated or retained per event.
public enum TransportEvent: Sendable {
    /// A connection is authenticated and usable: one that was asked for, or an accepted one.
    case connected(Connection)
    /// A message has arrived; see `Transport.message`.
    case message(Connection)
    /// An operation has ended; nil means that all its bytes were moved.
    case completed(Connection, token: UInt64, failure: TransportFailure?)
    /// A peer's write is in place and carried this notification.
    case notified(Connection, UInt64)
    /// A call that returned false may be tried again.
    case writable(Connection)
    /// A grant that was being revoked has ended.
    case revoked(RegionKey)
    /// The peer will send nothing more.
    case finished(Connection)
    /// The connection is gone; the last event of a connection.
    case closed(Connection, TransportFailure)
}

/// A failure small enough for events; `FabricError` adds the words.
@frozen
public struct TransportFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let code: FabricError.Code
    public let errno: Int32
    @inlinable
    public init(_ code: FabricError.Code, errno: Int32 = 0) {
        self.code = code
        self.errno = errno
    }
    /// The error for the user.
    public func error(_ context: @autoclosure () -> String) -> FabricError {
        FabricError(code, errno: errno, context())
    }
    public var description: String { errno == 0 ? code.name : "\(code.name) (errno \(errno))" }
}

/// Counters of a transport since its start.
public struct TransportStatistics: Sendable {
    public var messagesSent: UInt64 = 0
    public var messagesReceived: UInt64 = 0
    /// Payload bytes of messages and one-sided operations, without headers.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// System calls made, sleeping ones included.
    public var systemCalls: UInt64 = 0
    /// Times that `wait` really slept.
    public var sleeps: UInt64 = 0
    /// Zero-copy sends that were zero-copy, and those that the kernel copied after all.
    public var zeroCopySends: UInt64 = 0
    public var zeroCopyCopied: UInt64 = 0
    /// One-sided operations that went by RDMA, and queue pairs that failed while their connection lived.
    public var railOperations: UInt64 = 0
    public var railsLost: UInt64 = 0
    /// What of it each RDMA port carried, in the order in which they were first used.
    public var rdmaPorts: [RDMATraffic] = []
    /// Connections refused or cut off: authentication, limits, protocol violations.
    public var rejected: UInt64 = 0
    public init() {}
}

/// What one RDMA port has carried of the one-sided operations that this end began.
public struct RDMATraffic: Hashable, Sendable {
    public var device: String
    public var port: UInt8
    public var operations: UInt64 = 0
    public var bytes: UInt64 = 0
}
