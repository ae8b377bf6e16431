// Starts and stops the transfer thread, and chooses the transport it runs on.

internal import RayCore
internal import Synchronization

/// The network side of a fabric.
final class TransferService: Sendable {
    let control: TransferControl
    let kind: TransportKind
    /// Where other nodes connect to; nil when this node does not listen.
    let address: Address?
    private let thread: Mutex<SystemThread?>

    /// What a transfer thread is started with.
    struct Setup: Sendable {
        var listen: Address?
        var transport: TransportConfiguration
        var store: StoreClient
        var control: TransferControl
        var failed: @Sendable (ObjectID, UInt32, UInt32, FabricError.Code) -> Void
    }

    /// Starts the transport that `choice` asks for. Loopback needs its network.
    static func start(
        _ choice: TransportChoice, _ setup: Setup, log: (@Sendable (String) -> Void)?
    ) throws(FabricError) -> TransferService {
        switch choice.selection {
        case .uring:
            do throws(FabricError) {
                return try TransferService(kind: .uring, setup) { () throws(FabricError) in
                    try UringTransport(configuration: setup.transport)
                }
            } catch {
                guard error.code == .ioUringForbidden, choice.allowsFallback else { throw error }
                log?("io_uring is forbidden here, using nio instead: \(error)")
                return try startNIO(setup)
            }
        case .verbs(let fallsBack):
            #if Verbs
                return try TransferService(kind: .verbs, setup) { () throws(FabricError) in
                    try VerbsTransport(
                        configuration: setup.transport, policy: fallsBack ? .automatic : .required,
                        provider: choice.provider)
                }
            #else
                throw FabricError(.unsupported, "this build leaves the verbs transport out (trait Verbs)")
            #endif
        case .nio: return try startNIO(setup)
        case .loopback(let network):
            return try TransferService(kind: .loopback, setup) { () throws(FabricError) in
                try LoopbackTransport(setup.transport, network: network)
            }
        }
    }

    private static func startNIO(_ setup: Setup) throws(FabricError) -> TransferService {
        #if NIO
            return try TransferService(kind: .nio, setup) { () throws(FabricError) in
                try NIOTransport(configuration: setup.transport)
            }
        #else
            throw FabricError(.unsupported, "this build leaves the nio transport out (trait NIO)")
        #endif
    }

    /// Some transports must be made by the thread that uses them.
    private init<Wire: Transport & SendableMetatype & ~Copyable>(
        kind: TransportKind, _ setup: Setup, make: @escaping @Sendable () throws(FabricError) -> Wire
    ) throws(FabricError) {
        let started = try Promise<Address?>()
        self.kind = kind
        control = setup.control
        let running = try SystemThread(name: "fabric-transfer") {
            do throws(FabricError) {
                try Self.run(try make(), kind, setup, started)
                // Not before the transport is gone: the system may write to what the store would give to others.
                setup.store.close()
            } catch {
                started.fulfil(.failure(error))
            }
        }
        thread = Mutex(running)
        address = try started.wait()
    }

    /// Runs a loop, which ends with its transport, drafts and pins before this returns.
    private static func run<Wire: Transport & ~Copyable>(
        _ made: consuming Wire, _ kind: TransportKind, _ setup: Setup, _ started: Promise<Address?>
    ) throws(FabricError) {
        var transport = made
        let address: Address?
        if let listen = setup.listen { address = try transport.listen(at: listen) } else { address = nil }
        let loop = try TransferLoop(
            transport, kind: kind, store: setup.store, control: setup.control, failed: setup.failed)
        started.fulfil(.success(address))
        loop.run()
    }

    /// Connects to the first address that answers, of those that a name has.
    func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> NodeID {
        var failure = FabricError(.hostNotFound, "\(address)")
        for candidate in try Self.resolve(address, by: deadline) {
            do throws(FabricError) {
                let promise = try Promise<NodeID>()
                control.post(.connect(candidate, deadline: deadline, promise))
                return try promise.wait()
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// The addresses of a name. The system's resolver may be silent for half a minute, so it is asked
    /// neither on the transfer thread, which serves all peers, nor on the caller's, which has a deadline.
    static func resolve(_ address: Address, by deadline: Timestamp) throws(FabricError) -> [Address] {
        guard case .tcp = address, !SocketAddress.isLiteral(address) else { return [address] }
        let promise = try Promise<[Address]>()
        let thread = try SystemThread(name: "fabric-resolve") {
            do throws(FabricError) {
                let found = try SocketAddress.resolve(address, toListen: false)
                promise.fulfil(.success(found.compactMap(\.literal)))
            } catch {
                promise.fulfil(.failure(error))
            }
        }
        thread.detach()
        guard let found = try promise.wait(until: deadline) else {
            throw FabricError(.deadlineExceeded, "finding \(address)")
        }
        return found
    }

    func statistics() throws(FabricError) -> TransferStatistics {
        let promise = try Promise<TransferStatistics>()
        control.post(.statistics(promise))
        return try promise.wait()
    }

    func stop() {
        control.post(.stop)
        // Under the lock, so that whoever closes at the same time waits as well.
        thread.withLock { $0.take()?.join() }
    }
}

/// Which transport a fabric uses between nodes.
public struct TransportChoice: Sendable {
    enum Selection: Sendable {
        case uring
        case verbs(fallsBack: Bool)
        case nio
        case loopback(LoopbackNetwork)
    }
    let selection: Selection
    /// Whether nio may take the place of uring where the system forbids io_uring.
    let allowsFallback: Bool
    #if Verbs
        /// Where `verbs` takes its devices from.
        var provider = VerbsProvider.system
    #endif

    /// io_uring sockets; starting fails with `ioUringForbidden` where the system forbids them.
    public static let uring = TransportChoice(selection: .uring, allowsFallback: false)
    /// io_uring sockets, or SwiftNIO where the system forbids them; that is logged.
    public static let uringOrNIO = TransportChoice(selection: .uring, allowsFallback: true)
    /// RDMA only: starting fails with `rdmaUnavailable` on a machine without, and so does connecting to one.
    public static let verbs = TransportChoice(selection: .verbs(fallsBack: false), allowsFallback: false)
    /// RDMA with peers that have it too, io_uring sockets with others, and where RDMA fails.
    public static let verbsOrUring = TransportChoice(selection: .verbs(fallsBack: true), allowsFallback: false)
    /// SwiftNIO sockets.
    public static let nio = TransportChoice(selection: .nio, allowsFallback: false)
    /// Within one process, for tests.
    public static func loopback(_ network: LoopbackNetwork) -> TransportChoice {
        TransportChoice(selection: .loopback(network), allowsFallback: false)
    }
}
