// What the verbs transport makes of the RDMA ports of this machine: which it uses, and why not the others.

public import RayCore

/// An RDMA port, and whether the verbs transport uses it.
public struct RDMAPortUse: Sendable {
    /// How long packets may be.
    public enum TransmissionUnit: Hashable, Sendable {
        /// Bytes of payload in a packet, as the device says it.
        case packet(Int)
        /// Bytes that the network interface takes, where the device can't be asked; packets are shorter.
        case interface(Int)
    }

    public var port: RDMAPort
    /// The identifier of the port's own IP address. Connections from another address of the port use that
    /// one's, see `RDMAPort.port(of:among:)`.
    public var identifier: RDMAPort.Identifier?
    public var transmissionUnit: TransmissionUnit?
    /// Why the transport does not use the port; nil when it does.
    public var obstacle: FabricError?

    /// Opens every port, as the transport would. May block while a driver answers.
    /// - Returns: one entry for each port; none on a machine without RDMA.
    public static func all() -> [RDMAPortUse] {
        #if Verbs
            all(of: .system)
        #else
            RDMAPort.all().map { port in
                RDMAPortUse(port) { (_, _) throws(FabricError) in
                    throw FabricError(.unsupported, "this build leaves verbs out")
                }
            }
        #endif
    }

    #if Verbs
        static func all(of provider: VerbsProvider) -> [RDMAPortUse] {
            provider.ports(.zero).map { port in
                RDMAPortUse(port) { (port, identifier) throws(FabricError) in
                    let device = try VerbsDevice(port, identifier, of: provider)
                    try device.listen(by: ConnectionManager(of: provider))
                    return device.packetBytes
                }
            }
        }
    #endif

    /// - Parameters:
    ///   - interfaces: where the system describes its network interfaces.
    ///   - open: opens the port and gives the payload of its packets.
    init(
        _ port: RDMAPort, interfaces: String = "/sys/class/net",
        open: (RDMAPort, RDMAPort.Identifier) throws(FabricError) -> Int
    ) {
        self.port = port
        identifier = port.ownIdentifier
        do throws(FabricError) {
            guard port.isActive else {
                throw FabricError(.rdmaUnavailable, "the port is \(port.state)")
            }
            guard let identifier, identifier.isRoCEv2 else {
                throw FabricError(
                    .rdmaUnavailable,
                    port.isEthernet
                        ? "the port has no IP address"
                        : "the link is \(port.linkLayer), and verbs needs RoCE version 2")
            }
            transmissionUnit = .packet(try open(port, identifier))
        } catch {
            obstacle = error
            transmissionUnit = identifier.flatMap { text(ofFile: "\(interfaces)/\($0.interface)/mtu") }
                .flatMap { Int($0) }.map { .interface($0) }
        }
    }
}

extension RDMAPort {
    /// The identifier that stands for the port in a table: that of an IPv4 address, of another address
    /// that others can reach, or any.
    var ownIdentifier: Identifier? {
        let usable = identifiers.filter(\.isRoCEv2)
        return usable.first { $0.ipv4Address != nil } ?? usable.first { !$0.text.hasPrefix("fe80:") } ?? usable.first
            ?? identifiers.first
    }

    /// The port that a connection with this local address uses, and the identifier of that address.
    /// - Returns: nil when the address belongs to no active port: such a connection goes by sockets.
    package static func port(of local: SocketAddress, among ports: [RDMAPort]) -> (RDMAPort, Identifier)? {
        for port in ports where port.isActive {
            if let identifier = port.identifier(for: local) { return (port, identifier) }
        }
        return nil
    }
}
