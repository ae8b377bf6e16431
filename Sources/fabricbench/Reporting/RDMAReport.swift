// What is said of RDMA: the ports of this machine, and which connections use them.

internal import RayCore
internal import RayFabric

enum RDMAReport {
    static let uses = RDMAPortUse.all()

    /// All ports as a table.
    static var ports: String { table(uses) }

    static func table(_ uses: [RDMAPortUse]) -> String {
        guard !uses.isEmpty else { return "RDMA ports: none, /sys/class/infiniband names no device\n" }
        var table = Table(
            ["device", "port", "state", "link", "GID", "address", "interface", "MTU", "verbs"], leftColumns: 9)
        for use in uses {
            let identifier = use.identifier
            table.add([
                use.port.device, String(use.port.number), use.port.state, use.port.linkLayer,
                identifier.map { "\($0.index) \($0.type)" } ?? "-",
                identifier.map { $0.ipv4Address ?? $0.text } ?? "-", identifier?.interface ?? "-",
                use.transmissionUnit.map(text) ?? "-", use.obstacle.map { "no: " + reason($0) } ?? "yes",
            ])
        }
        return "RDMA ports\n" + table.text
    }

    /// Without advice, which would be to look here.
    private static func reason(_ error: FabricError) -> String {
        error.context + (error.errno == 0 ? "" : " (errno \(error.errno))")
    }

    private static func text(_ unit: RDMAPortUse.TransmissionUnit) -> String {
        switch unit {
        case .packet(let bytes): String(bytes)
        case .interface(let bytes): "\(bytes) of the interface"
        }
    }

    /// Whether a connection to `target` goes by RDMA, as far as this end can say.
    static func route(to target: Address) -> String {
        switch port(to: target) {
        case .success(let found):
            "yes, if the other end can: this end is \(found.address), GID \(found.identifier.index) of "
                + "\(found.port.device) port \(found.port.number)"
        case .failure(let error): "no: " + reason(error)
        }
    }

    /// Why a connection to `target` does not go by RDMA; nil if it does.
    static func obstacle(to target: Address) -> FabricError? {
        switch port(to: target) {
        case .success: nil
        case .failure(let error): error
        }
    }

    private typealias Found = (address: String, port: RDMAPort, identifier: RDMAPort.Identifier)

    private static func port(to target: Address) -> Result<Found, FabricError> {
        Result { () throws(FabricError) in
            let local = try LocalRoute.address(towards: target)
            guard case .tcp(let host, _) = local.literal else {
                throw FabricError(.addressInvalid, "this end has no address")
            }
            let usable = uses.filter { $0.obstacle == nil }.map(\.port)
            guard let (port, identifier) = RDMAPort.port(of: local, among: usable) else {
                throw FabricError(.rdmaUnavailable, "this end is \(host), which no RDMA port that works here has")
            }
            return (host, port, identifier)
        }
    }
}

extension RDMAPortUse {
    var json: JSON {
        var packet: Int?
        if case .packet(let bytes) = transmissionUnit { packet = bytes }
        return .object([
            ("device", .string(port.device)), ("port", .integer(Int64(port.number))), ("state", .string(port.state)),
            ("link_layer", .string(port.linkLayer)),
            ("gid_index", identifier.map { .integer(Int64($0.index)) } ?? .null),
            ("gid", .text(identifier?.text)), ("gid_type", .text(identifier?.type)),
            ("interface", .text(identifier?.interface)), ("mtu_bytes", packet.map { .integer(Int64($0)) } ?? .null),
            ("used", .bool(obstacle == nil)), ("why_not", .text(obstacle?.description)),
        ])
    }
}
