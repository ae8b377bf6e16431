// RDMA with little or nothing above it: the tools of perftest, and the transport layer of UCX.

internal import RayCore
internal import RayFabric

extension PeerRun {
    /// Runs a tool of perftest on the port that `fabricbench` itself uses.
    func perftest(_ tool: PeerTool, iterations: Int) throws(FabricError) -> PeerFigure {
        let (device, identifier, address) = try RDMAPort.withHost()
        // -F: figures although the frequency of the CPUs may change.
        let arguments = [
            "-F", "-d", device.device, "-i", String(device.number), "-x", String(identifier.index),
            "-p", String(try Self.freePort()), "-s", String(item.size), "-n", String(iterations),
        ]
        let server = try PeerServer(tool.rawValue, arguments, [], cpu: plan.remoteCPU)
        let output = try run(tool.rawValue, arguments + [address], [], cpu: plan.localCPU, against: server)
        server.stop()
        guard let figure = Self.parsePerftest(output) else { throw Self.notUnderstood(tool.rawValue, output) }
        return figure
    }

    /// The row of numbers under the heading. Names of columns have a unit in brackets, or are counts; a
    /// megabyte has 2^20 bytes.
    static func parsePerftest(_ output: String) -> PeerFigure? {
        let lines = output.split(whereSeparator: \.isNewline).map { $0.split(whereSeparator: \.isWhitespace) }
        guard let heading = lines.firstIndex(where: { $0.first == "#bytes" }) else { return nil }
        let names = lines[heading].filter { $0.hasPrefix("#") || $0.contains("[") }
        guard let row = lines[heading...].first(where: { $0.count == names.count && Double($0[0]) != nil })
        else { return nil }
        func value(_ name: String) -> Double? {
            names.firstIndex { $0.hasPrefix(name) }.flatMap { Double(row[$0]) }
        }
        if let typical = value("t_typical["), let average = value("t_avg["), average > 0 {
            // Both are half of a round trip.
            return PeerFigure(latencyP50: typical, operationsPerSecond: 1e6 / (2 * average))
        }
        guard let average = value("average["), let size = value("#bytes"), size > 0 else { return nil }
        let bytes = average * (names.contains("average[Gb/sec]") ? 1e9 / 8 : Double(1 << 20))
        // Millions with six digits after the point: of large operations too few are left.
        let rate = size < 4096 ? value("MsgRate[").map { $0 * 1e6 } : nil
        return PeerFigure(bytesPerSecond: bytes, operationsPerSecond: rate ?? bytes / size)
    }

    /// UCX on the same port. Its transport layer connects queue pairs by itself; the layer above needs datagrams
    /// for that, which Soft-RoCE loses.
    func ucxRDMAWork() throws(FabricError) -> (work: [String], variables: [String]) {
        let (device, identifier, _) = try RDMAPort.withHost()
        let transport = device.device.hasPrefix("mlx5") ? "rc_mlx5" : "rc_verbs"
        let place = ["-x", transport, "-d", "\(device.device):\(device.number)"]
        return ((item.ucxOperation ?? []) + place, ["UCX_IB_GID_INDEX=\(identifier.index)"])
    }
}

extension TransportCase {
    /// What the transport layer of UCX does with the payload over RDMA; nil where it has nothing like it.
    var ucxOperation: [String]? {
        if usesWrites { return ["-t", kind == .lat ? "put_lat" : "put_bw", "-D", "zcopy"] }
        let layout = size <= 64 ? "short" : "bcopy"
        return size <= 8 << 10 ? ["-t", kind == .lat ? "am_lat" : "am_bw", "-D", layout] : nil
    }
}
