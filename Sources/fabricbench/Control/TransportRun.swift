// One run over a transport: makes the engine, the memory and the ends, and drives them.

internal import CLinux
internal import RayCore
internal import RayFabric

/// What fabricbench needs to know of a transport beyond the contract.
protocol BenchmarkTransport: Transport & ~Copyable {
    static func make(_ configuration: TransportConfiguration) throws(FabricError) -> Self
    /// The memory that suits its one-sided operations best.
    static func makeMemory(byteCount: Int) throws(FabricError) -> PayloadMemory
    mutating func register(_ memory: borrowing PayloadMemory) throws(FabricError) -> RegionKey
}

extension BenchmarkTransport where Self: ~Copyable {
    static func makeMemory(byteCount: Int) throws(FabricError) -> PayloadMemory {
        PayloadMemory(try AnonymousMemory(byteCount: byteCount))
    }

    mutating func register(_ memory: borrowing PayloadMemory) throws(FabricError) -> RegionKey {
        // SAFETY: the memory outlives the transport, see `TransportRun`.
        try unsafe register(memory.bytes, access: [.read, .write])
    }
}

extension LoopbackTransport: BenchmarkTransport {
    static func make(_ configuration: TransportConfiguration) throws(FabricError) -> LoopbackTransport {
        try LoopbackTransport(configuration)
    }
}

extension ShmTransport: BenchmarkTransport {
    static func make(_ configuration: TransportConfiguration) throws(FabricError) -> ShmTransport {
        try ShmTransport(configuration)
    }

    static func makeMemory(byteCount: Int) throws(FabricError) -> PayloadMemory {
        PayloadMemory(try SharedMemory(byteCount: byteCount))
    }

    mutating func register(_ memory: borrowing PayloadMemory) throws(FabricError) -> RegionKey {
        // SAFETY: the memory outlives the transport, see `TransportRun`.
        guard let descriptor = memory.descriptor else {
            return try unsafe register(memory.bytes, access: [.read, .write])
        }
        return try unsafe registerShared(
            descriptor: descriptor, offset: 0, memory: memory.bytes, access: [.read, .write])
    }
}

extension UringTransport: BenchmarkTransport {
    static func make(_ configuration: TransportConfiguration) throws(FabricError) -> UringTransport {
        try UringTransport(configuration: configuration)
    }
}

#if Verbs
    extension VerbsTransport: BenchmarkTransport {
        static func make(_ configuration: TransportConfiguration) throws(FabricError) -> VerbsTransport {
            try VerbsTransport(configuration: configuration, policy: .required)
        }
    }
#endif

#if NIO
    extension NIOTransport: BenchmarkTransport {
        static func make(_ configuration: TransportConfiguration) throws(FabricError) -> NIOTransport {
            try NIOTransport(configuration: configuration)
        }
    }
#endif

/// The memory of one end: private, or shared with those who are given its descriptor.
@safe
struct PayloadMemory: ~Copyable {
    private let anonymous: AnonymousMemory?
    private let shared: SharedMemory?
    // SAFETY: mapped as long as this value lives.
    let bytes: UnsafeMutableRawBufferPointer
    let descriptor: Int32?

    init(_ memory: consuming AnonymousMemory) {
        unsafe bytes = memory.bytes
        descriptor = nil
        anonymous = consume memory
        shared = nil
    }

    init(_ memory: consuming SharedMemory) {
        unsafe bytes = memory.bytes
        descriptor = memory.descriptor
        anonymous = nil
        shared = consume memory
    }
}

enum TransportRun {
    /// Runs both ends in this process, one thread for both: only for the loopback transport.
    static func both(_ job: Job) throws(FabricError) -> (Report, Report) {
        let initiatorMemory = try LoopbackTransport.makeMemory(byteCount: regionBytes(job))
        let acceptorMemory = try LoopbackTransport.makeMemory(byteCount: regionBytes(job))
        var initiator = try LoopbackTransport.make(configuration(job))
        var acceptor = try LoopbackTransport.make(configuration(job))
        let first = try register(initiatorMemory, with: &initiator)
        let second = try register(acceptorMemory, with: &acceptor)
        let address = try acceptor.listen(at: .loopback(name: ""))
        let connections = try connect(job, to: address, &initiator)
        let asking = Rendezvous(connecting: connections, streams: job.settings.streams, region: first)
        let answering = Rendezvous(connecting: nil, streams: job.settings.streams, region: second)
        let deadline = Timestamp.now + job.limit
        let settings = job.settings
        if job.work == .latency {
            var pinger = LinkedEnd(asking, then: Pinger(settings, region: first))
            var ponger = LinkedEnd(answering, then: Ponger(settings, region: second))
            try drive(&pinger, on: &initiator, &ponger, on: &acceptor, deadline: deadline)
            return (pinger.end.report, ponger.end.report)
        }
        if settings.usesWrites {
            var sender = LinkedEnd(asking, then: WriteStream(settings, region: first, initiates: true))
            var receiver = LinkedEnd(answering, then: WriteStream(settings, region: second, initiates: false))
            try drive(&sender, on: &initiator, &receiver, on: &acceptor, deadline: deadline)
            return (sender.end.report, receiver.end.report)
        }
        var sender = LinkedEnd(asking, then: MessageStream(settings, region: first, initiates: true))
        var receiver = LinkedEnd(answering, then: MessageStream(settings, region: second, initiates: false))
        try drive(&sender, on: &initiator, &receiver, on: &acceptor, deadline: deadline)
        return (sender.end.report, receiver.end.report)
    }

    /// Runs the end that listens.
    /// - Parameters:
    ///   - host: where network transports listen.
    ///   - announce: is told the address before the end waits.
    static func accept(
        _ job: Job, host: String, announce: (Address) throws(FabricError) -> Void
    ) throws(FabricError) -> Report {
        switch job.transport {
        case .loopback: throw FabricError(.unsupported, "the loopback transport stays within one process")
        case .shm:
            let place = Address.unix(path: job.objects.path)
            let memory = try ShmTransport.makeMemory(byteCount: regionBytes(job))
            return try accept(job, memory, at: place, ShmTransport.self, announce: announce)
        case .uring:
            let place = Address.tcp(host: host, port: 0)
            let memory = try UringTransport.makeMemory(byteCount: regionBytes(job))
            return try accept(job, memory, at: place, UringTransport.self, announce: announce)
        case .verbs:
            #if Verbs
                // A device is found by its address: the loopback one has none.
                let place = Address.tcp(host: host == "127.0.0.1" ? try RDMAPort.host() : host, port: 0)
                let memory = try VerbsTransport.makeMemory(byteCount: regionBytes(job))
                return try accept(job, memory, at: place, VerbsTransport.self, announce: announce)
            #else
                throw TransportCatalog.withoutVerbs
            #endif
        case .nio:
            #if NIO
                let place = Address.tcp(host: host, port: 0)
                let memory = try NIOTransport.makeMemory(byteCount: regionBytes(job))
                return try accept(job, memory, at: place, NIOTransport.self, announce: announce)
            #else
                throw TransportCatalog.withoutNIO
            #endif
        }
    }

    /// Runs the end that connects.
    static func initiate(_ job: Job, to address: Address) throws(FabricError) -> Report {
        switch job.transport {
        case .loopback: throw FabricError(.unsupported, "the loopback transport stays within one process")
        case .shm:
            let memory = try ShmTransport.makeMemory(byteCount: regionBytes(job))
            return try initiate(job, memory, to: address, ShmTransport.self)
        case .uring:
            let memory = try UringTransport.makeMemory(byteCount: regionBytes(job))
            return try initiate(job, memory, to: address, UringTransport.self)
        case .verbs:
            #if Verbs
                let memory = try VerbsTransport.makeMemory(byteCount: regionBytes(job))
                return try initiate(job, memory, to: address, VerbsTransport.self)
            #else
                throw TransportCatalog.withoutVerbs
            #endif
        case .nio:
            #if NIO
                let memory = try NIOTransport.makeMemory(byteCount: regionBytes(job))
                return try initiate(job, memory, to: address, NIOTransport.self)
            #else
                throw TransportCatalog.withoutNIO
            #endif
        }
    }

    // The memory belongs to the caller, so that it outlives the transport.

    private static func accept<Engine: BenchmarkTransport & ~Copyable>(
        _ job: Job, _ memory: borrowing PayloadMemory, at place: Address, _ kind: Engine.Type,
        announce: (Address) throws(FabricError) -> Void
    ) throws(FabricError) -> Report {
        var transport = try Engine.make(configuration(job))
        let region = try register(memory, with: &transport)
        try announce(try transport.listen(at: place))
        return try runEnd(job, connecting: nil, region, &transport)
    }

    private static func initiate<Engine: BenchmarkTransport & ~Copyable>(
        _ job: Job, _ memory: borrowing PayloadMemory, to address: Address, _ kind: Engine.Type
    ) throws(FabricError) -> Report {
        var transport = try Engine.make(configuration(job))
        let region = try register(memory, with: &transport)
        let connections = try connect(job, to: address, &transport)
        return try runEnd(job, connecting: connections, region, &transport)
    }

    /// Drives one end from the rendezvous to its report.
    private static func runEnd<Engine: BenchmarkTransport & ~Copyable>(
        _ job: Job, connecting: [Connection]?, _ region: BenchmarkRegion, _ transport: inout Engine
    ) throws(FabricError) -> Report {
        let settings = job.settings
        let initiates = connecting != nil
        let deadline = Timestamp.now + job.limit
        let rendezvous = Rendezvous(connecting: connecting, streams: settings.streams, region: region)
        if job.work == .latency {
            if initiates {
                var end = LinkedEnd(rendezvous, then: Pinger(settings, region: region))
                try drive(&end, on: &transport, wait: settings.wait, deadline: deadline)
                return end.end.report
            }
            var end = LinkedEnd(rendezvous, then: Ponger(settings, region: region))
            try drive(&end, on: &transport, wait: settings.wait, deadline: deadline)
            return end.end.report
        }
        if settings.usesWrites {
            var end = LinkedEnd(rendezvous, then: WriteStream(settings, region: region, initiates: initiates))
            try drive(&end, on: &transport, wait: settings.wait, deadline: deadline)
            return end.end.report
        }
        var end = LinkedEnd(rendezvous, then: MessageStream(settings, region: region, initiates: initiates))
        try drive(&end, on: &transport, wait: settings.wait, deadline: deadline)
        return end.end.report
    }

    private static func connect<Engine: Transport & ~Copyable>(
        _ job: Job, to address: Address, _ transport: inout Engine
    ) throws(FabricError) -> [Connection] {
        var connections: [Connection] = []
        for _ in 0..<job.settings.streams {
            connections.append(try transport.connect(to: address, deadline: .now + .seconds(10)))
        }
        return connections
    }

    private static func configuration(_ job: Job) throws(FabricError) -> TransportConfiguration {
        var configuration = TransportConfiguration(identity: .random(), clusterKey: try ClusterKey(job.key))
        configuration.lanes = job.lanes
        configuration.maximumConnectionsPerPeer = ControlLimits.streams * (ControlLimits.lanes + 1)
        if job.settings.wait == .sleep { configuration.spin = .zero }
        return configuration
    }

    private static func register<Engine: BenchmarkTransport & ~Copyable>(
        _ memory: borrowing PayloadMemory, with transport: inout Engine
    ) throws(FabricError) -> BenchmarkRegion {
        let key = try transport.register(memory)
        return unsafe BenchmarkRegion(memory: memory.bytes, key: key)
    }

    /// Bytes of memory that one end needs.
    private static func regionBytes(_ job: Job) -> Int {
        if job.work == .latency { return Pinger.regionBytes(job.settings) }
        return job.settings.usesWrites
            ? WriteStream.regionBytes(job.settings) : MessageStream.regionBytes(job.settings)
    }
}
