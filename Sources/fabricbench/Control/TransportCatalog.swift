// Which transports this machine has, and which one to use.

internal import RayCore
internal import RayFabric

/// The version of this tool.
let toolVersion = "0.1.0"

/// One transport and whether it can be used here.
struct TransportEntry {
    let kind: TransportKind
    let purpose: String
    /// Why it can not be used; nil when it can.
    let failure: FabricError?
    var obstacle: String? { failure?.description }

    var json: JSON {
        .object([
            ("name", .string(kind.rawValue)), ("available", .bool(obstacle == nil)),
            ("why", .string(obstacle ?? purpose)),
        ])
    }
}

enum TransportCatalog {
    static let all: [TransportEntry] = TransportKind.allCases.map { kind in
        do throws(FabricError) {
            return TransportEntry(kind: kind, purpose: try probe(kind), failure: nil)
        } catch {
            return TransportEntry(kind: kind, purpose: purpose(kind), failure: error)
        }
    }

    /// Transports that connect two processes and can be used here, the recommended one for each first.
    static var betweenProcesses: [TransportKind] {
        all.filter { $0.obstacle == nil && $0.kind != .loopback }.map(\.kind)
    }

    /// Those of them that connect two nodes.
    static var betweenNodes: [TransportKind] { betweenProcesses.filter { $0 != .shm } }

    static func entry(_ kind: TransportKind) -> TransportEntry {
        all.first { $0.kind == kind }
            ?? TransportEntry(kind: kind, purpose: "", failure: FabricError(.unsupported, "unknown"))
    }

    static var recommendation: String {
        let usable = betweenProcesses
        let sockets = usable.contains(.uring) ? "uring" : usable.contains(.nio) ? "nio" : "none"
        let network = usable.contains(.verbs) ? "verbs" : sockets
        return "same node: \(usable.contains(.shm) ? "shm" : network); between nodes: \(network)"
    }

    private static func purpose(_ kind: TransportKind) -> String {
        switch kind {
        case .loopback: "within one process: tests and simulation"
        case .shm: "rings in shared memory: processes of one node"
        case .uring: "TCP through io_uring: between nodes"
        case .verbs: "RDMA for one-sided operations, sockets for messages: between nodes with RDMA devices"
        case .nio: "TCP through SwiftNIO: where io_uring is forbidden"
        }
    }

    /// Tries a transport out.
    /// - Returns: what it is for, and what the system gives it.
    private static func probe(_ kind: TransportKind) throws(FabricError) -> String {
        switch kind {
        case .loopback: return purpose(kind)
        case .shm:
            _ = try ShmTransport(TransportConfiguration(identity: NodeID(value: 1, incarnation: 1)))
            return purpose(kind)
        case .uring: return purpose(kind) + " (" + (try UringTransport.availability()) + ")"
        case .verbs:
            #if Verbs
                _ = try VerbsTransport.availability()
                return purpose(kind)
            #else
                throw withoutVerbs
            #endif
        case .nio:
            #if NIO
                return purpose(kind)
            #else
                throw withoutNIO
            #endif
        }
    }

    #if !Verbs
        static var withoutVerbs: FabricError {
            FabricError(
                .unsupported, "this build leaves verbs out; build it with the trait Verbs, which is on by default")
        }
    #endif
    #if !NIO
        static var withoutNIO: FabricError {
            FabricError(.unsupported, "this build leaves nio out; build it with the trait NIO, which is on by default")
        }
    #endif
}
