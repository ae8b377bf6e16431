// Which of a peer's ports a port of this machine reaches without a router: those of its own network.

internal import CLinux

extension RDMAPort.Identifier {
    /// The identifier as peers name it; nil unless it is one that connections can use.
    var railPort: RailPort? { isRoCEv2 ? bytes.map { RailPort($0) } : nil }

    /// Leading bits of the identifier that all have in the network of its interface; nil when the interface is in
    /// no network that it belongs to.
    var networkBits: Int? {
        guard let own = bytes.map({ RailPort($0) }) else { return nil }
        var list: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&list) == 0 else { return nil }
        defer { unsafe freeifaddrs(list) }
        var next = unsafe list
        // SAFETY: the list and all that it points to live until freeifaddrs.
        while let entry = unsafe next?.pointee {
            if unsafe String(cString: entry.ifa_name) == interface, let address = unsafe Self.bytes(entry.ifa_addr),
                let mask = unsafe Self.bytes(entry.ifa_netmask)
            {
                let ones = mask.bytes.reduce(0) { $0 + $1.nonzeroBitCount }
                // Before an IPv4 mask stands the prefix of mapped addresses: 96 bits, of which 16 are ones.
                let bits = mask.isIPv4 ? ones - 16 + 96 : ones
                if own.shares(bits, with: RailPort(address.bytes)) { return bits }
            }
            unsafe next = unsafe entry.ifa_next
        }
        return nil
    }

    /// An IP address as a global identifier has it.
    private static func bytes(_ address: UnsafeMutablePointer<sockaddr>?) -> (bytes: [UInt8], isIPv4: Bool)? {
        guard let address = unsafe address else { return nil }
        // SAFETY: the family is the first member, and says how long the address is.
        let family = unsafe Int32(UnsafeRawPointer(address).load(as: UInt16.self))
        let length = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
        guard let ip = unsafe SocketAddress(address, length: socklen_t(length))?.ipAddress else { return nil }
        return ip.count == 4 ? ([UInt8](repeating: 0, count: 10) + [0xff, 0xff] + ip, true) : (ip, false)
    }
}

extension RDMAPort {
    /// Which ports are to be joined beside those that a connection uses: each at most once, with one of the same
    /// network.
    /// - Returns: pairs of indices.
    static func pairs(
        of own: [(port: RailPort, networkBits: Int)], with others: [RailPort]
    ) -> [(own: Int, other: Int)] {
        var free = Set(others.indices)
        return own.indices.compactMap { index in
            let (port, bits) = own[index]
            guard let other = free.sorted().first(where: { port.shares(bits, with: others[$0]) }) else { return nil }
            free.remove(other)
            return (index, other)
        }
    }
}
