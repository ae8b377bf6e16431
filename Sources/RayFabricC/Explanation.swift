// What this build and this system can do, for people.

public import CRayFabric
internal import RayCore
internal import RayFabric

@c @implementation
public func rf_fabric_explain(
    _ fabric: OpaquePointer?, _ text: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ length: UnsafeMutablePointer<Int>?
) -> rf_status {
    answer { () throws(FabricError) in
        var explanation = Explanation.system
        if unsafe fabric != nil {
            explanation += try unsafe fabric.withFabric { fabric throws(FabricError) in try Explanation.of(fabric) }
        }
        try unsafe deliver(explanation, text, capacity, length)
    }
}

private enum Explanation {
    /// Transports between nodes, and why one can not be used here.
    static var system: String {
        "RayFabric \(name(of: rf_version())), ABI \(RF_ABI)\n"
            + line("uring", available: uring) + line("verbs", available: verbs) + line("nio", available: nio)
    }

    private static func name(of version: Int32) -> String {
        "\(version / 1_000_000).\(version / 1000 % 1000).\(version % 1000)"
    }

    private static func line(_ transport: String, available: Result<String, FabricError>) -> String {
        switch available {
        case .success(let how): "transport \(transport): yes, \(how)\n"
        case .failure(let error): "transport \(transport): no, \(error)\n"
        }
    }

    private static var uring: Result<String, FabricError> {
        Result { () throws(FabricError) in try UringTransport.availability() }
    }

    private static var verbs: Result<String, FabricError> {
        #if Verbs
            Result { () throws(FabricError) in try VerbsTransport.availability() }
        #else
            .failure(FabricError(.unsupported, "this build leaves it out"))
        #endif
    }

    private static var nio: Result<String, FabricError> {
        #if NIO
            .success("TCP through epoll")
        #else
            .failure(FabricError(.unsupported, "this build leaves it out"))
        #endif
    }

    /// How a fabric is connected and filled.
    static func of(_ fabric: Fabric) throws(FabricError) -> String {
        let usage = try fabric.usage()
        var text = "worker \(fabric.worker)\n"
        text += "store: \(usage.primaryBytes) bytes of objects put here, \(usage.secondaryBytes) of copies, "
        text += "\(usage.capacity) at most; \(usage.objects) objects; \(usage.readyBytes) bytes of memory are ready\n"
        guard let transfers = try fabric.transferStatistics() else { return text + "network: none\n" }
        let address = fabric.address.map { "listens at \($0)" } ?? "does not listen"
        return text + "network: \(transfers.transport.rawValue), \(address), \(transfers.peers) nodes connected, "
            + "\(transfers.bytesPulled) bytes pulled\n"
    }
}
