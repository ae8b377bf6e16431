// What the two processes of a benchmark tell each other.

internal import RayCore
internal import RayFabric

/// The version of the control protocol; both ends must have the same.
let controlVersion: UInt16 = 2

/// What the worker is to do: the other end of one run.
struct Job {
    enum Work: UInt8 {
        /// Ends of `lat` and `bw` over a transport.
        case latency, bandwidth
        /// Roofs: a raw socket's ping-pong and stream, two words in shared memory.
        case socketLatency, socketBandwidth, sharedWords
        /// A process that hosts a store until it is told to end; one that uses it; one that others pull from.
        case storeHost, storeClient, pullSource
        /// A host with a network, a process that has attached to it, and nodes that have connected to it,
        /// all idle until they are told to end.
        case idleHost, idleClient, idlePeers
    }

    var work: Work
    var transport: TransportKind
    var settings: WorkSettings
    var lanes: Int
    /// The secret of this run's connections.
    var key: [UInt8]
    /// The CPU to run on.
    var cpu: Int?
    var objects = ObjectWork()

    /// Longest time that a run may take in all: an operation before those that count, one that counts, and one that
    /// was begun in time, with some patience.
    var limit: Duration { settings.warmup + settings.duration + operationLimit + transferTime * 2 }
    /// So long may one operation take.
    var operationLimit: Duration { .seconds(20) + transferTime }
    /// What the payload takes by a network that is slower than any we know.
    private var transferTime: Duration { .seconds(settings.size / 4_000_000) }
}

/// A message on the control channel.
enum ControlMessage {
    /// First message of both ends.
    case hello(version: UInt16)
    case begin(Job)
    /// The worker listens: connect there.
    /// - Parameter first: the first of the objects that it has made, whose sequences follow one another.
    case ready(Address, first: ObjectID?)
    /// Ends what runs until it is told to.
    case end
    case report(Report)
    case failed(FabricError)
}

/// What benchmarks of the store need to know.
struct ObjectWork {
    enum Operation: String, CaseIterable { case put, get, createSeal = "create-seal", churn }

    var operation = Operation.get
    /// Objects that live at a time, for each client.
    var count = 1
    var clients = 1
    /// Where the store is hosted, where the other end of the shm transport listens, or the node to connect to.
    var path = ""
    /// The first of the objects to get.
    var first: ObjectID?

    /// Memory that the store needs, with room for what is deleted a little later.
    func capacity(size: Int) -> Int {
        let spare = min(max((64 << 20) / size, 2), 16)
        let bytes = (count + spare) * (((size + 63) & ~63) + 64) * clients
        return max(bytes + min(bytes, 256 << 20), 256 << 20)
    }
}

/// Limits on what the other end may say.
enum ControlLimits {
    static let messageBytes = 1 << 20
    static let textBytes = 4096
    static let payloadBytes = 1 << 30
    static let streams = 64
    static let lanes = 16
    static let seconds: Int64 = 3600
    static let objects = 1 << 21
    static let clients = 64
    static let histogramEntries = 60_000
}
