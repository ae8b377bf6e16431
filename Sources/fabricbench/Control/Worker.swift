// The other end of a benchmark, as the measuring process sees it.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A worker: a process that this one has started, or one that a `fabricbench serve` elsewhere has
/// started for us. It does one job after another, and ends when nobody holds this object any more.
final class Worker {
    private let channel: ControlChannel
    private let child: ChildProcess?
    /// The process; nil when it is on another machine.
    let process: pid_t?
    /// The host under which a worker elsewhere is reached.
    private let host: String?
    /// Time to start, and to make the objects of a job.
    private static let startTime = Duration.seconds(60)

    /// The descriptors that a worker finds open.
    enum Descriptors {
        static let control: Int32 = 3
        static let sharedMemory: Int32 = 4
    }

    /// Starts a worker on this machine.
    /// - Parameter memory: shared memory for the roofs that need some.
    init(sharing memory: borrowing MemoryFile) throws(FabricError) {
        let pair = try SocketPair()
        let child = try ChildProcess(
            "/proc/self/exe", arguments: ["worker", "--parent", String(getpid())],
            descriptors: [pair.theirs.number, memory.descriptor.number])
        process = child.identifier
        self.child = consume child
        channel = ControlChannel(pair.takeOurs())
        host = nil
        try greet()
    }

    /// Asks the `fabricbench serve` at `address` for a worker.
    init(at address: Address) throws(FabricError) {
        guard case .tcp(let host, _) = address else {
            throw FabricError(.addressInvalid, "--connect takes HOST:PORT, not \(address)")
        }
        let channel = try ControlChannel(StreamSocket.connect(to: address))
        child = nil
        process = nil
        self.host = host
        self.channel = channel
        try greet()
    }

    private func greet() throws(FabricError) {
        try channel.send(.hello(version: controlVersion))
        let answer = try channel.receive(by: .now + Self.startTime)
        guard case .hello(let version) = answer, version == controlVersion else {
            throw FabricError(.versionMismatch, "the other end's fabricbench has another control protocol")
        }
    }

    /// Hands a job over.
    /// - Returns: where the worker listens, and the first of the objects that it has made, if any.
    @discardableResult
    func begin(_ job: Job) throws(FabricError) -> (address: Address, first: ObjectID?) {
        try channel.send(.begin(job))
        guard case .ready(let address, let first) = try channel.receive(by: .now + Self.startTime) else {
            throw FabricError(.protocolViolation, "the worker gave no address")
        }
        if let host, case .tcp(_, let port) = address { return (.tcp(host: host, port: port), first) }
        return (address, first)
    }

    /// Ends a job that runs until it is told to end.
    func end(_ job: Job) throws(FabricError) -> Report {
        try channel.send(.end)
        return try finish(job)
    }

    /// What the worker has measured.
    func finish(_ job: Job) throws(FabricError) -> Report {
        guard case .report(let report) = try channel.receive(by: .now + job.limit) else {
            throw FabricError(.protocolViolation, "the worker gave no report")
        }
        return report
    }
}
