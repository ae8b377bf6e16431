// The shell of StoreCore: one thread that owns the directory, the clients' sockets and the doorbell.

internal import CLinux
package import RayCore
internal import Synchronization

/// Runs the directives of pulls on behalf of the store's clients; called on the host's thread.
package protocol PullService: Sendable {
    /// A segment has new memory, before any object is in it.
    func memoryCame(toSegment segment: Int)
    func pull(_ id: ObjectID, session: UInt32, token: UInt32, deadline: Timestamp)
    func cancelPull(_ id: ObjectID, session: UInt32, token: UInt32)
}

/// Hosts a store: the only writer of its directory. Lives until `stop`.
package final class StoreHost: Sendable {
    package let node: NodeID
    private let inbox: HostInbox
    private let thread = Mutex<SystemThread?>(nil)
    /// Held for as long as this host lives, so that a second one is refused.
    private let pathLock: Mutex<PathLock?>

    /// Starts a store.
    /// - Parameter local: ends of socket pairs for the host's own process, which is trusted.
    /// - Throws: `hostExists` when a living host owns the path, `outOfMemory` when the machine has
    ///   less memory available than the capacity, `invalidArgument`, …
    package init(
        _ configuration: StoreConfiguration, node: NodeID, pulls: (any PullService)?, local: OwnedDescriptors
    ) throws(FabricError) {
        self.node = node
        guard (1...StoreConfiguration.mostClients).contains(configuration.maximumClients) else {
            throw FabricError(
                .invalidArgument,
                "maximumClients \(configuration.maximumClients) is not between 1 and \(StoreConfiguration.mostClients)")
        }
        let geometry = try StoreGeometry(
            capacity: configuration.capacity.bytes, maximumObjects: configuration.maximumObjects)
        try Self.checkMemory(for: geometry.capacity)
        inbox = try HostInbox()
        let lock = try configuration.path.map { path throws(FabricError) in try PathLock(path) }
        pathLock = Mutex(lock)
        let listener = try HostListener(configuration)
        let loop = try HostLoop(
            configuration, geometry: geometry, node: node, listener: listener, pulls: pulls, inbox: inbox)
        for end in 0..<local.count { loop.adopt(UnixSocket(owning: local.release(end)), process: nil) }
        let box = Handover(loop)
        let started = try SystemThread(name: "fabric-store") { box.take().run() }
        thread.withLock { $0 = started }
    }

    /// Ends the store: clients get `hostLost`, views they hold stay readable.
    package func stop() {
        inbox.post(.stop)
        thread.withLock { $0.take() }?.join()
        pathLock.withLock { $0 = nil }
    }

    deinit { stop() }

    package func pullFailed(_ id: ObjectID, session: UInt32, token: UInt32, _ code: FabricError.Code) {
        inbox.post(.pullFailed(id, session: session, token: token, code))
    }

    /// A promise that cannot be kept is not made.
    private static func checkMemory(for capacity: Int) throws(FabricError) {
        guard let available = SystemMemory.available, available < capacity else { return }
        throw FabricError(
            .outOfMemory, "a store of \(capacity) bytes, but the machine has \(available) available")
    }
}

/// Passes a value that belongs to one thread to the thread that will own it.
private final class Handover<Value>: @unchecked Sendable {
    // SAFETY: set before the thread starts, taken once by it.
    private var value: Value?
    init(_ value: Value) { self.value = value }
    func take() -> Value {
        defer { value = nil }
        guard let value else { preconditionFailure("taken twice") }
        return value
    }
}
