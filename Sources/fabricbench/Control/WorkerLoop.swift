// The worker process: takes jobs from the control channel until it closes.

internal import CLinux
internal import RayCore
internal import RayFabric

struct WorkerLoop: ~Copyable {
    private let channel: ControlChannel
    /// Shared memory of the process that started this one; nil when that is on another machine.
    private let memory: Mapping?
    /// Where this worker listens for transports and roofs over TCP.
    private let host: String

    init(_ channel: consuming ControlChannel, memory: consuming Mapping?, host: String) {
        self.channel = channel
        self.memory = memory
        self.host = host
    }

    /// Returns when the other end has gone.
    consuming func run() throws(FabricError) {
        guard case .hello = try channel.receive(by: .now + .seconds(10)) else {
            throw FabricError(.notOurProtocol, "the first message is not a greeting")
        }
        try channel.send(.hello(version: controlVersion))
        while case .begin(let job) = try channel.receive(by: .now + ControlChannel.idleTime) {
            do throws(FabricError) {
                try channel.send(.report(try perform(job)))
            } catch {
                try channel.send(.failed(error))
            }
        }
    }

    private static var sameMachineOnly: FabricError {
        FabricError(.unsupported, "there is no shared memory between two machines")
    }

    private var isOnThisMachine: Bool { memory != nil }

    private func perform(_ job: Job) throws(FabricError) -> Report {
        if let cpu = job.cpu { try Processors.pin(to: cpu) }
        switch job.work {
        case .latency, .bandwidth:
            return try TransportRun.accept(job, host: host) { address throws(FabricError) in
                try channel.send(.ready(address, first: nil))
            }
        case .socketLatency, .socketBandwidth:
            let listener = try Listener(at: .tcp(host: host, port: 0))
            try channel.send(.ready(listener.address, first: nil))
            let socket = try listener.accept(by: .now + .seconds(10))
            return try job.work == .socketLatency
                ? SocketLatencyRoof(socket, job.settings).answer() : SocketBandwidthRoof(socket, job.settings).receive()
        case .sharedWords:
            switch memory {
            case .some(let memory):
                try channel.send(.ready(.loopback(name: ""), first: nil))
                return try SharedWordsRoof(job.settings).answer(in: memory)
            case .none: throw Self.sameMachineOnly
            }
        case .storeHost:
            guard isOnThisMachine else { throw Self.sameMachineOnly }
            let fabric = try StoreRun.host(job)
            let before = ProcessMemory.proportional
            let first = job.objects.operation == .get ? try StoreRun.fill(fabric, job) : nil
            let after = ProcessMemory.proportional
            try channel.send(.ready(.unix(path: job.objects.path), first: first))
            try channel.awaitEnd()
            return Report(memoryGrown: UInt64(max(after - before, 0)))
        case .storeClient:
            guard isOnThisMachine else { throw Self.sameMachineOnly }
            let fabric = try Fabric(attachingTo: job.objects.path, name: "fabricbench")
            try channel.send(.ready(.unix(path: job.objects.path), first: nil))
            return try ObjectClient(fabric, job).run()
        case .pullSource:
            let ownHost = job.transport == .verbs && isOnThisMachine ? try RDMAPort.host() : host
            let fabric = try PullRun.fabric(job, listen: .tcp(host: ownHost, port: 0))
            let first = try StoreRun.fill(fabric, job)
            guard let address = fabric.address else { throw FabricError(.unsupported, "the source does not listen") }
            try channel.send(.ready(address, first: first))
            var span = MeasuredSpan()
            span.start()
            try channel.awaitEnd()
            span.stop()
            var report = Report()
            report.record(span)
            return report
        case .idleHost, .idleClient, .idlePeers:
            guard isOnThisMachine else { throw Self.sameMachineOnly }
            return try IdleRun.perform(job, on: channel)
        }
    }
}
