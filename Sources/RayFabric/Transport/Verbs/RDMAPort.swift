// The RDMA ports of this machine, as the system lists them. Needs no library.

internal import CLinux
public import RayCore
internal import Synchronization

/// A port of an RDMA device.
public struct RDMAPort: Hashable, Sendable {
    public var device: String
    public var number: UInt8
    /// As the system says it: `ACTIVE`, `DOWN`, …
    public var state: String
    /// `Ethernet` or `InfiniBand`.
    public var linkLayer: String
    /// Addresses under which peers reach it.
    public var identifiers: [Identifier]

    /// One entry of the port's table of global identifiers.
    public struct Identifier: Hashable, Sendable {
        public var index: Int
        /// Eight groups of hexadecimal digits.
        public var text: String
        /// `RoCE v2`, `IB/RoCE v1`.
        public var type: String
        /// The network interface that it belongs to.
        public var interface: String

        /// The bytes that `text` spells; nil unless it is an identifier.
        var bytes: [UInt8]? {
            let groups = text.split(separator: ":").compactMap { UInt16($0, radix: 16) }
            guard groups.count == 8 else { return nil }
            return groups.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
        }

        /// The IPv4 address that it is made of, if it is.
        public var ipv4Address: String? {
            guard let bytes, bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xff, bytes[11] == 0xff else {
                return nil
            }
            return bytes[12...].map { "\($0)" }.joined(separator: ".")
        }

        /// Whether the transport can use it: RoCE version 2, which travels like any UDP.
        public var isRoCEv2: Bool { type == "RoCE v2" }
    }

    public var isActive: Bool { state == "ACTIVE" }
    public var isEthernet: Bool { linkLayer == "Ethernet" }

    /// All ports, in order; empty on a machine without RDMA.
    public static func all(under root: String = "/sys/class/infiniband") -> [RDMAPort] {
        names(in: root).flatMap { device in
            names(in: "\(root)/\(device)/ports").compactMap { port in
                UInt8(port).map { describe("\(root)/\(device)/ports/\(port)", device, $0) }
            }
        }
    }

    private static let known = Mutex<(ports: [RDMAPort], read: Timestamp)>(([], .zero))

    /// All ports, as they were at most so long ago: reading the tables of a port takes some hundred system calls.
    static func all(knownFor age: Duration) -> [RDMAPort] {
        known.withLock { known in
            let now = Timestamp.now
            if known.read == .zero || now - known.read >= age { known = (all(), now) }
            return known.ports
        }
    }

    /// An IPv4 address of this machine at which RDMA reaches it.
    /// - Throws: `rdmaUnavailable` when there is none.
    public static func host() throws(FabricError) -> String { try withHost().address }

    /// The port of `host()`, with the identifier that makes it reachable.
    public static func withHost() throws(FabricError) -> (port: RDMAPort, identifier: Identifier, address: String) {
        for port in all() where port.isActive {
            for identifier in port.identifiers where identifier.isRoCEv2 {
                if let address = identifier.ipv4Address { return (port, identifier, address) }
            }
        }
        throw FabricError(.rdmaUnavailable, "no active RDMA port has an IPv4 address")
    }

    private static func describe(_ folder: String, _ device: String, _ number: UInt8) -> RDMAPort {
        // "4: ACTIVE"
        let state = text(ofFile: folder + "/state").flatMap { $0.split(separator: " ").last.map(String.init) }
        let identifiers = usedEntries(in: folder + "/gids").compactMap { index, gid -> Identifier? in
            guard let type = text(ofFile: folder + "/gid_attrs/types/\(index)") else { return nil }
            let interface = text(ofFile: folder + "/gid_attrs/ndevs/\(index)") ?? ""
            return Identifier(index: index, text: gid, type: type, interface: interface)
        }
        return RDMAPort(
            device: device, number: number, state: state ?? "unknown",
            linkLayer: text(ofFile: folder + "/link_layer") ?? "unknown", identifiers: identifiers)
    }

    private static let noIdentifier = "0000:0000:0000:0000:0000:0000:0000:0000"

    /// The entries of a table of global identifiers that are not zero. A table has hundreds, of which few are used,
    /// so nothing is made of the others.
    private static func usedEntries(in folder: String) -> [(index: Int, text: String)] {
        let folder = FileDescriptor(owning: unsafe rf_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        var used: [(index: Int, text: String)] = []
        var bytes = [UInt8](repeating: 0, count: noIdentifier.utf8.count)
        for index in 0..<Int(UInt16.max) {
            let number = unsafe rf_open_at(folder.number, "\(index)", O_RDONLY | O_CLOEXEC)
            guard number >= 0 else { break }
            let file = FileDescriptor(owning: number)
            guard unsafe read(file.number, &bytes, bytes.count) == bytes.count else { continue }
            let text = String(decoding: bytes, as: UTF8.self)
            if text != noIdentifier { used.append((index, text)) }
        }
        return used
    }

    /// Entries of a folder without those that begin with a dot, sorted; empty if it can not be read.
    private static func names(in folder: String) -> [String] {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe _ = closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            // SAFETY: the name of an entry ends with a zero within its field.
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// The identifier through which a connection with this local address can go: RoCE version 2 with
    /// the same IP address.
    package func identifier(for address: SocketAddress) -> Identifier? {
        let ip = address.ipAddress
        let wanted = ip.count == 4 ? [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + ip : ip
        return identifiers.first { $0.isRoCEv2 && $0.bytes == wanted }
    }
}
