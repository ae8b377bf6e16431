// What `explain` says: taken from the settings and the system, not from memory.

internal import CLinux
internal import RayCore
internal import RayFabric

enum Explanation {
    private static let pull = PullConfiguration()
    private static let transport = TransportConfiguration(identity: NodeID(value: 1, incarnation: 1))
    private static let store = StoreConfiguration(capacity: .gibibytes(1))

    /// Transports, the choice between them, and what happens where io_uring is forbidden.
    static var transports: String {
        let lines = TransportCatalog.all.map { entry in
            "  \(entry.kind.rawValue): \(entry.obstacle.map { "not here: " + $0 } ?? entry.purpose)\n"
        }
        return "transports\n" + lines.joined() + "  recommended for \(TransportCatalog.recommendation)\n" + fallback
    }

    /// See TransportService.start.
    private static var fallback: String {
        let here: String
        switch TransportCatalog.entry(.uring).failure?.code {
        case nil: here = "both are uring"
        case .some(.ioUringForbidden): here = "the first fails with ioUringForbidden, the second is nio"
        case .some(let code): here = "both fail with \(code.name): only a forbidden io_uring is replaced"
        }
        return """
              a Fabric uses what it is told: .uring (the default) or .uringOrNIO, which takes nio where io_uring is
              forbidden, and logs it; here \(here)
              .verbs is RDMA or an error; .verbsOrUring takes RDMA with each peer that both ends reach by it, else uring

            """
    }

    static func local(_ bytes: Int, _ target: Address?) -> String {
        if case .tcp = target { return "-" }
        // Every transport takes messages of that size.
        let message = bytes <= TransportCase.largestLatencyMessage ? "message over shm 1, " : ""
        return "copies: put 1, create and seal 0, get 0; \(message)read or write over shm 1 (memory not shared: 2)"
    }

    static func remote(_ bytes: Int, _ target: Address?) -> String {
        if let target, case .tcp = target {} else if target != nil { return "-" }
        guard let kind = network(to: target) else { return "no transport" }
        return bytes <= pull.inlineLimit
            ? "pull over \(kind.rawValue): inside the reply, then 1 copy into the store"
            : "pull over \(kind.rawValue): reads of \(sizeText(pull.chunkBytes)) straight into the store"
    }

    /// The best transport between this node and `target`, or any other node.
    private static func network(to target: Address?) -> TransportKind? {
        let usable = TransportCatalog.betweenNodes
        if usable.contains(.verbs), target.map({ RDMAReport.obstacle(to: $0) == nil }) ?? true { return .verbs }
        return usable.first { $0 != .verbs }
    }

    /// The ports, and whether a connection to `target` would use one.
    static func rdma(to target: Address?) -> String {
        var text = RDMAReport.ports
        if let target, case .tcp = target { text += "  verbs to \(target): \(RDMAReport.route(to: target))\n" }
        return text + "\n"
    }

    static var thresholds: String {
        """
        thresholds (defaults)
          pull: up to \(sizeText(pull.inlineLimit)) with metadata inside the reply; above, chunks of \
        \(sizeText(pull.chunkBytes)), \(pull.readsPerSource) reads in flight a source,
            from \(pull.sourcesAtOnce) sources at once when \(sizeText(pull.spreadBytes)) or more are missing
          uring: \(transport.lanes) lanes (sockets) a peer for bulk, opened with the first bulk; one socket for messages
          a transport's wait spins \(text(transport.spin)) before it sleeps; the store's host up to \(text(store.spin)), adaptively
          liveness: a ping after \(text(transport.heartbeatInterval)) of silence, given up after \(text(transport.livenessTimeout))
          fabricbench sends messages up to \(sizeText(TransportCase.largestLatencyMessage)) in lat and \
        \(sizeText(TransportCase.largestBandwidthMessage)) in bw; larger payload as one-sided writes

        """
    }

    private static func text(_ duration: Duration) -> String {
        let microseconds = Double(duration.saturatedNanoseconds) / 1000
        return microseconds < 1000 ? "\(short(microseconds)) us" : "\(short(microseconds / 1e6)) s"
    }

    static var memory: String {
        let pages =
            MemoryFile.givesHugePages()
            ? "yes, for segments of \(sizeText(MemoryFile.hugePageBytes)) and more: stores from 128MiB on"
            : "no: the kernel is older than 6.1, has none for shared memory, or has none left"
        let available = SystemMemory.available.map { "\($0 >> 20) MiB" } ?? "not known"
        return """
            memory
              huge pages for the store: \(pages)
              available (machine or cgroup, whichever is less): \(available); a larger store is refused at its start
              up to \(sizeText(store.prefault.bytes)) of a store are touched ahead of demand, in the background

            """
    }

    static var limits: String {
        """
        limits
          open files: \(Environment.limit("Max open files") ?? "not known"); a host uses one a segment (at most 128 in a store of 32GiB), \
        two a client, a uring connection 1 and its lanes
          connections of a transport: \(transport.maximumConnections), \(transport.maximumConnectionsPerPeer) a peer; \
        clients of a store: \(store.maximumClients); objects: \(store.maximumObjects)
          socket buffers: rmem_max \(Environment.file("/proc/sys/net/core/rmem_max") ?? "?"), wmem_max \
        \(Environment.file("/proc/sys/net/core/wmem_max") ?? "?") bytes; with 2MiB or more lanes ask for 2MiB, else not
          locked memory: \(LockedMemory.here?.explanation ?? "not known")

        """
    }
}
