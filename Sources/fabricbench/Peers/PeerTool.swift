// The tools of others that measure the same work: how they are called, and what they print.

internal import CLinux
internal import RayCore
internal import RayFabric

/// What a peer has measured once.
struct PeerFigure {
    var latencyP50: Double?
    var bytesPerSecond: Double?
    var operationsPerSecond: Double?
    var sourceCPUPerGiB: Double?
}

/// A tool that may be installed here.
enum PeerTool: String, CaseIterable {
    case ucx = "ucx_perftest"
    case iperf3
    // perftest's, for RDMA.
    case sendLatency = "ib_send_lat"
    case sendBandwidth = "ib_send_bw"
    case readBandwidth = "ib_read_bw"
    case writeBandwidth = "ib_write_bw"

    var isForRDMA: Bool {
        switch self {
        case .ucx, .iperf3: false
        case .sendLatency, .sendBandwidth, .readBandwidth, .writeBandwidth: true
        }
    }

    /// The tools on PATH.
    static let found: [PeerTool] = {
        let path = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        return allCases.filter { tool in
            path.split(separator: ":").contains { unsafe access("\($0)/\(tool.rawValue)", X_OK) == 0 }
        }
    }()

    /// The name beside a figure; nil when the tool has nothing that does the work of `item`.
    func name(for item: TransportCase) -> String? {
        switch (self, item.transport, item.kind) {
        case (.ucx, .shm, _): "ucx posix"
        case (.ucx, .uring, _), (.ucx, .nio, _): "ucx tcp"
        case (.ucx, .verbs, _): item.ucxOperation == nil ? nil : "ucx rc"
        // A stream without messages: only large operations compare.
        case (.iperf3, .uring, .bw), (.iperf3, .nio, .bw): item.size >= 64 << 10 ? "iperf3" : nil
        case (.sendLatency, .verbs, .lat): rawValue
        case (.sendBandwidth, .verbs, .bw): item.usesWrites ? nil : rawValue
        case (.readBandwidth, .verbs, .bw), (.writeBandwidth, .verbs, .bw): item.usesWrites ? rawValue : nil
        case (_, _, _): nil
        }
    }
}

/// One run of a peer: a server in a process of its own and a client, pinned as our ends are.
struct PeerRun {
    let item: TransportCase
    let plan: RunPlan

    /// - Parameter iterations: how many operations a tool that counts is to do.
    func measure(_ tool: PeerTool, iterations: Int) throws(FabricError) -> PeerFigure {
        switch tool {
        case .ucx: try ucx(iterations: iterations)
        case .iperf3: try iperf3()
        case .sendLatency, .sendBandwidth, .readBandwidth, .writeBandwidth: try perftest(tool, iterations: iterations)
        }
    }

    /// What ucx_perftest is to do, and the variables of its environment.
    private func ucxWork() throws(FabricError) -> (work: [String], variables: [String]) {
        let work = ["-t", item.kind == .lat ? "tag_lat" : "tag_bw"]
        switch item.transport {
        case .shm: return (work, ["UCX_TLS=posix,self"])
        case .loopback, .uring, .nio: return (work, ["UCX_TLS=tcp,self", "UCX_NET_DEVICES=lo"])
        case .verbs: return try ucxRDMAWork()
        }
    }

    private func ucx(iterations: Int) throws(FabricError) -> PeerFigure {
        let (work, variables) = try ucxWork()
        let port = try Self.freePort()
        var common = ["-p", String(port)]
        var test = work + ["-s", String(item.size)]
        test += ["-n", String(iterations), "-w", String(min(iterations / 10, 10_000)), "-f", "-v"]
        if let cpu = plan.remoteCPU { common += ["-c", String(cpu)] }
        let server = try PeerServer("ucx_perftest", common, variables)
        var client = ["127.0.0.1", "-p", String(port)] + test
        if let cpu = plan.localCPU { client += ["-c", String(cpu)] }
        let output = try run("ucx_perftest", client, variables, against: server)
        server.stop()
        guard let figure = Self.parseUCX(output, item.kind) else { throw Self.notUnderstood("ucx_perftest", output) }
        return figure
    }

    private func iperf3() throws(FabricError) -> PeerFigure {
        let port = try Self.freePort()
        let server = try PeerServer("iperf3", ["-s", "-1", "-p", String(port)], [])
        var arguments = ["-c", "127.0.0.1", "-p", String(port), "-l", String(min(item.size, 1 << 20)), "-J"]
        // iperf3 takes whole seconds.
        arguments += ["-t", String(max(1, Int(plan.duration.saturatedNanoseconds / 1_000_000_000)))]
        arguments += ["-P", String(item.streams)]
        if let local = plan.localCPU, let remote = plan.remoteCPU { arguments += ["-A", "\(local),\(remote)"] }
        let output = try run("iperf3", arguments, [], against: server)
        server.stop()
        guard let figure = Self.parseIperf(output) else { throw Self.notUnderstood("iperf3", output) }
        return figure
    }

    /// The last line of numbers under ucx_perftest's CSV heading. Its megabytes have 2^20 bytes.
    static func parseUCX(_ output: String, _ kind: TransportCase.Kind) -> PeerFigure? {
        let lines = output.filter { $0 != " " }.split(whereSeparator: \.isNewline).map { $0.split(separator: ",") }
        guard let heading = lines.first(where: { $0.first == "iterations" }),
            let numbers = lines.last(where: { $0.count == heading.count && Double($0[0]) != nil })
        else { return nil }
        func value(_ suffix: String) -> Double? {
            heading.firstIndex { $0.hasSuffix(suffix) }.flatMap { Double(numbers[$0]) }
        }
        let rate = value("overall_mr")
        guard kind == .bw else { return PeerFigure(latencyP50: value("percentile_lat"), operationsPerSecond: rate) }
        return PeerFigure(
            bytesPerSecond: value("overall_bw").map { $0 * Double(1 << 20) }, operationsPerSecond: rate)
    }

    /// The received sum in iperf3's JSON.
    static func parseIperf(_ output: String) -> PeerFigure? {
        guard let sum = output.firstRange(of: "\"sum_received\"") else { return nil }
        let rest = output[sum.upperBound...]
        guard let field = rest.firstRange(of: "\"bits_per_second\":") else { return nil }
        let number = rest[field.upperBound...].drop { $0.isWhitespace }.prefix { !",}\n\t ".contains($0) }
        return Double(number).map { PeerFigure(bytesPerSecond: $0 / 8) }
    }

    // MARK: Processes

    private static let startTime = Duration.seconds(10)

    /// Runs a client to its end and gives what it printed.
    /// - Parameter cpu: where to run a tool that does not pin itself.
    func run(
        _ program: String, _ arguments: [String], _ variables: [String], cpu: Int? = nil,
        against server: borrowing PeerServer
    ) throws(FabricError) -> String {
        let begun = Timestamp.now
        // The server has no way to say that it is ready; a client that comes too early is repeated.
        while true {
            let pipe = try SocketPair()
            let child = try ChildProcess(peer: program, arguments, variables, cpu: cpu, output: pipe.theirs.number)
            let output = PeerOutput(pipe.takeOurs())
            let text = try output.readAll(by: .now + plan.duration + .seconds(20), from: program)
            _ = consume child
            let isTooEarly = ["refused", "connect() failed", "Couldn't connect"].contains(where: text.contains)
            guard isTooEarly || text.isEmpty else { return text }
            try server.check()
            guard Timestamp.now - begun < Self.startTime else {
                throw FabricError(.connectionRefused, "\(program) does not reach its server: \(lastLine(text))")
            }
        }
    }

    static func notUnderstood(_ program: String, _ output: String) -> FabricError {
        FabricError(.unsupported, "\(program) printed no figures; its last line is: \(lastLine(output))")
    }

    /// A port that is free now.
    static func freePort() throws(FabricError) -> UInt16 {
        let listener = try Listener(at: .tcp(host: "127.0.0.1", port: 0))
        guard case .tcp(_, let port) = listener.address else { throw FabricError(.addressInvalid, "no port") }
        return port
    }
}

/// The server of a peer's tool.
struct PeerServer: ~Copyable {
    private let process: ChildProcess
    private let output: PeerOutput
    private let program: String

    init(_ program: String, _ arguments: [String], _ variables: [String], cpu: Int? = nil) throws(FabricError) {
        let pipe = try SocketPair()
        process = try ChildProcess(peer: program, arguments, variables, cpu: cpu, output: pipe.theirs.number)
        output = PeerOutput(pipe.takeOurs())
        self.program = program
    }

    /// Gives it a moment.
    /// - Throws: `system` with its last words when it has ended.
    func check() throws(FabricError) {
        guard process.ends(within: 10) else { return }
        let words = lastLine(try output.readAll(by: .now + .seconds(1), from: program))
        throw FabricError(.system, "the server of \(program) ended: \(words)")
    }

    consuming func stop() { process.terminate() }
}

/// What a tool prints.
private struct PeerOutput: ~Copyable {
    private let source: FileDescriptor
    private static let limit = 1 << 20

    init(_ source: consuming FileDescriptor) { self.source = source }

    /// - Throws: `deadlineExceeded` when the tool has not ended by then.
    func readAll(by deadline: Timestamp, from program: String) throws(FabricError) -> String {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 64 << 10)
        while bytes.count < Self.limit {
            let left = (deadline - Timestamp.now).saturatedNanoseconds / 1_000_000
            var entry = pollfd(fd: source.number, events: Int16(POLLIN), revents: 0)
            guard left > 0, unsafe poll(&entry, 1, Int32(left)) > 0 else {
                throw FabricError(.deadlineExceeded, "\(program) did not end")
            }
            let count = unsafe part.withUnsafeMutableBytes { unsafe recv(source.number, $0.baseAddress, $0.count, 0) }
            guard count > 0 else { break }
            bytes += part[0..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension ChildProcess {
    /// Starts a tool of others, which does not outlive this process.
    fileprivate init(
        peer program: String, _ arguments: [String], _ variables: [String], cpu: Int?, output: Int32
    ) throws(FabricError) {
        var words = ["peer", "--parent", String(getpid())]
        if let cpu { words += ["--cpu", String(cpu)] }
        for variable in variables { words += ["--variable", variable] }
        self = try ChildProcess("/proc/self/exe", arguments: words + ["--", program] + arguments, output: output)
    }
}

private func lastLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).last.map(String.init) ?? "(nothing)"
}
