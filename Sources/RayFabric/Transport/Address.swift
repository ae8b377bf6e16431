// Where an endpoint is: a host and port for network transports, a path or name for local ones.

public import RayCore

/// An endpoint's address. Text forms: `HOST:PORT`, `[IPv6]:PORT`, `unix:PATH`, `loopback:NAME`.
public enum Address: Hashable, Sendable, CustomStringConvertible {
    /// A host name or literal address, without brackets, and a port; port 0 lets the system choose.
    case tcp(host: String, port: UInt16)
    /// A Unix socket on this node, for the `shm` transport.
    case unix(path: String)
    /// A name within one process, for the `loopback` transport.
    case loopback(name: String)

    /// Parses the text form.
    /// - Throws: `addressInvalid` that says what was wrong.
    public init(parsing text: String) throws(FabricError) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            // sun_path holds 108 bytes with its final zero.
            guard !path.isEmpty, path.utf8.count < 108, !path.utf8.contains(0) else {
                throw FabricError(.addressInvalid, "a socket path has 1 to 107 bytes: \(text)")
            }
            self = .unix(path: path)
        } else if text.hasPrefix("loopback:") {
            self = .loopback(name: String(text.dropFirst(9)))
        } else {
            self = try Self.parseTCP(text)
        }
    }

    private static func parseTCP(_ text: String) throws(FabricError) -> Address {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw FabricError(.addressInvalid, "\(text) has no port from 0 to 65535")
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw FabricError(.addressInvalid, "an IPv6 address needs brackets: \(text)")
        }
        guard !host.isEmpty, !host.utf8.contains(0) else {
            throw FabricError(.addressInvalid, "\(text) names no host")
        }
        return .tcp(host: host, port: port)
    }

    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        case .loopback(let name): "loopback:\(name)"
        }
    }
}
