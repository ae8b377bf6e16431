// The front door: an object store of this process or of another one on the node.

public import RayCore
internal import Synchronization

/// Objects put once and read many times, in shared memory.
///
/// One process of a node hosts the store (`init(_:)`), others attach to it (`init(attachingTo:)`).
/// Every method may be called from any thread. Errors are `FabricError`s; after the host has died,
/// each call throws `hostLost`, and views that are still held stay readable. Where a call needs an
/// answer of a host that does not run, it ends by its own deadline or, if it has none, after 5 seconds
/// with `peerUnresponsive`.
public final class Fabric: Sendable {
    package let client: StoreClient
    private let host: StoreHost?
    private let transfer: TransferService?

    /// Starts a store in this process.
    /// - Throws: `invalidArgument`, `outOfMemory`, `hostExists`, `permissionDenied`, …
    public init(_ configuration: FabricConfiguration) throws(FabricError) {
        let node = configuration.node ?? .random()
        let spin = configuration.store.spin.unlessOnOneProcessor
        let (here, there) = try UnixSocket.pair()
        let socket = UnixSocket(owning: here)
        let ends = OwnedDescriptors([there])
        guard let network = configuration.network else {
            host = try StoreHost(configuration.store, node: node, pulls: nil, local: ends)
            client = try StoreClient(socket, name: "host", spin: spin)
            transfer = nil
            return
        }
        let (transferEnd, hostEnd) = try UnixSocket.pair()
        let transferSocket = UnixSocket(owning: transferEnd)
        ends.add(hostEnd)
        let control = TransferControl()
        let host = try StoreHost(configuration.store, node: node, pulls: control, local: ends)
        client = try StoreClient(socket, name: "host", spin: spin)
        var transport = network.settings
        transport.identity = node
        transport.log = transport.log ?? configuration.store.log
        let setup = TransferService.Setup(
            listen: try network.listen.map { text throws(FabricError) in try Address(parsing: text) },
            transport: transport,
            store: try StoreClient(transferSocket, name: "transfer", spin: spin), control: control,
            failed: { [weak host] id, session, token, code in
                host?.pullFailed(id, session: session, token: token, code)
            })
        self.host = host
        transfer = try TransferService.start(network.transport, setup, log: configuration.store.log)
    }

    /// Attaches to the store that another process of this node hosts.
    /// - Parameters:
    ///   - path: the Unix socket of the store.
    ///   - name: how `inspect` and errors name this process.
    /// - Throws: `connectionRefused` when no host is there, `attachRefused`, `tooManyClients`, …
    public init(attachingTo path: String, name: String = "client") throws(FabricError) {
        host = nil
        transfer = nil
        client = try StoreClient(attachingTo: path, name: name)
    }

    /// Ends the use of the store. Waiting calls end with `closed`; objects that are still held stay
    /// readable. A host's clients get `hostLost`. Happens by itself when the last reference goes.
    public func close() {
        transfer?.stop()
        client.close()
        host?.stop()
    }

    deinit { close() }

    /// This process, the owner of the objects it makes.
    public var worker: WorkerID { client.worker }

    // MARK: Other nodes

    /// Where other nodes connect to this one, with the port that the system chose; nil unless it listens.
    public var address: Address? { transfer?.address }

    /// Connects to another node, so that its objects can be pulled from here and ours from there.
    /// - Parameters:
    ///   - address: `HOST:PORT` or `[IPv6]:PORT`.
    ///   - limit: time for finding, connecting and proving.
    /// - Returns: the node, as it has proven to be.
    /// - Throws: `connectionRefused`, `hostNotFound`, `authenticationFailed`, `notOurProtocol`,
    ///   `deadlineExceeded`, …; `unsupported` in a process that does not host a store with a network.
    @discardableResult
    public func connect(to address: String, within limit: Duration = .seconds(10)) throws(FabricError) -> NodeID {
        guard let transfer else {
            throw FabricError(.unsupported, "connect is for the process that hosts the store, with a network")
        }
        return try transfer.connect(to: Address(parsing: address), deadline: .now + limit)
    }

    /// What was pulled from other nodes and served to them; nil without a network.
    public func transferStatistics() throws(FabricError) -> TransferStatistics? { try transfer?.statistics() }

    /// Whether an object may have to come from elsewhere. What this node's workers own is, at this
    /// layer, made here.
    private func mayBeElsewhere(_ id: ObjectID) -> Bool { id.owner.node != worker.node }

    // MARK: Making objects

    /// Copies bytes into a new object: one copy.
    /// - Throws: `objectTooLarge`, `storeFull`, `outOfMemory`, `tooManyObjects`, `hostLost`.
    public func put(_ bytes: RawSpan, metadata: RawSpan) throws(FabricError) -> ObjectID {
        try client.put(bytes, metadata: metadata)
    }

    /// Copies bytes into a new object: one copy. At most 64 KiB of metadata travel with it.
    public func put(_ bytes: [UInt8], metadata: [UInt8] = []) throws(FabricError) -> ObjectID {
        // SAFETY: any bytes are valid UInt8 values.
        try client.put(unsafe bytes.span.bytes, metadata: unsafe metadata.span.bytes)
    }

    /// Room for an object of `size` bytes that is filled in place and then sealed: no copy.
    public func create(size: Int, metadata: [UInt8] = []) throws(FabricError) -> Draft {
        // SAFETY: any bytes are valid UInt8 values.
        try client.create(size: size, metadata: unsafe metadata.span.bytes)
    }

    // MARK: Finding objects

    /// Pins an object to read it in place. Waits up to `limit` for it to be sealed; an object of
    /// another node is pulled into this node's store first.
    /// - Throws: `deadlineExceeded`, `objectDeleted`, `hostLost`, `tooManyWaits`; `objectNotFound`,
    ///   `sourceUnavailable`, `connectionLost`, `storeFull` and others when it can not be pulled.
    /// - Complexity: O(1); no lock, system call or allocation when the object is here.
    @inline(__always)
    public func get(_ id: ObjectID, within limit: Duration) throws(FabricError) -> Object {
        try client.get(id, within: limit, pull: mayBeElsewhere(id))
    }

    /// The asynchronous twin: suspends the task instead of the thread. Cancelling the task ends it
    /// with `cancelled`.
    public func get(_ id: ObjectID, within limit: Duration) async throws(FabricError) -> Object {
        try await client.getAsynchronously(id, within: limit, pull: mayBeElsewhere(id))
    }

    /// Pins several objects; returns when `count` of them, or all, are there.
    /// - Throws: as `get`; nothing is pinned then.
    public func get(_ ids: [ObjectID], count: Int? = nil, within limit: Duration) throws(FabricError) -> ObjectBatch {
        try client.get(ids, count: count ?? ids.count, within: limit, pull: ids.contains(where: mayBeElsewhere))
    }

    /// The twin for callers without tasks: returns at once, and calls `end` exactly once, on this thread or on
    /// one of the fabric's.
    /// - Returns: what `cancelGet` takes.
    package func get(
        _ id: ObjectID, within limit: Duration,
        then end: @escaping @Sendable (consuming Result<Object, FabricError>) -> Void
    ) -> UInt32 {
        client.get(id, within: limit, pull: mayBeElsewhere(id), then: end)
    }

    /// Ends a get that was started with `cancelled`, unless it has ended.
    package func cancelGet(_ token: UInt32) { client.cancelWait(token) }

    /// Whether an object is in this node's store.
    public func contains(_ id: ObjectID) throws(FabricError) -> Bool { try client.contains(id) }

    /// Deletes an object: this process can not get it any more, others a few microseconds later. Those
    /// who have it pinned keep it until they release it.
    /// - Throws: `objectNotFound`; not for an own object whose deletion the host has yet to see.
    public func delete(_ id: ObjectID) throws(FabricError) { try client.delete([id]) }

    /// Deletes many objects with one wake-up of the host.
    /// - Throws: `objectNotFound` for the first that is not there; the others are deleted all the same.
    public func delete(_ ids: [ObjectID]) throws(FabricError) { try client.delete(ids) }

    // MARK: Looking inside

    /// How full the store is.
    public func usage() throws(FabricError) -> StoreUsage { try client.usage() }

    /// All objects, how old and large they are and who has them pinned. O(objects).
    public func inspect() throws(FabricError) -> [ObjectDescription] { try client.inspect() }
}

/// Settings of a fabric that hosts a store.
public struct FabricConfiguration: Sendable {
    public var store: StoreConfiguration
    /// This node; drawn at random when nil. A restarted node uses a higher incarnation.
    public var node: NodeID?
    /// How this node meets others; nil keeps it alone.
    public var network: NetworkConfiguration?

    /// - Parameters:
    ///   - capacity: bytes of objects the store may hold.
    ///   - path: Unix socket at which other processes of this node attach.
    ///   - listen: `HOST:PORT` at which other nodes connect; port 0 lets the system choose.
    public init(capacity: ByteCount, path: String? = nil, listen: String? = nil) {
        store = StoreConfiguration(capacity: capacity, path: path)
        network = listen.map { NetworkConfiguration(listen: $0) }
    }
}

/// Settings of the connections to other nodes.
public struct NetworkConfiguration: Sendable {
    /// `HOST:PORT` at which other nodes connect; nil only connects to others. Without a cluster key
    /// it must be a loopback address.
    public var listen: String?
    public var transport: TransportChoice = .uring
    /// Key, limits and times. The identity in it is replaced by the fabric's own.
    public var settings = TransportConfiguration(identity: NodeID(value: 0, incarnation: 0))

    public init(listen: String? = nil, clusterKey: ClusterKey? = nil) {
        self.listen = listen
        settings.clusterKey = clusterKey
    }
}
