// From names to socket addresses, and the rule who may listen where.

package import CLinux
package import RayCore

/// An IPv4 or IPv6 socket address.
@safe
package struct SocketAddress: Sendable {
    private var storage: sockaddr_storage
    private var length: socklen_t

    /// Resolves `host` and `port`; asks the system's resolver, and so may block, unless `host` is a
    /// literal address.
    /// - Throws: `hostNotFound`, or `addressInvalid` for an address that is not of the TCP kind.
    package static func resolve(_ address: Address, toListen: Bool) throws(FabricError) -> [SocketAddress] {
        try resolve(address, flags: toListen ? AI_PASSIVE : 0)
    }

    /// Whether `resolve` needs no resolver.
    package static func isLiteral(_ address: Address) -> Bool {
        (try? resolve(address, flags: AI_NUMERICHOST)) != nil
    }

    private static func resolve(_ address: Address, flags: Int32) throws(FabricError) -> [SocketAddress] {
        guard case .tcp(let host, let port) = address else {
            throw FabricError(.addressInvalid, "a TCP transport takes HOST:PORT, not \(address)")
        }
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = RF_SOCK_STREAM
        unsafe hints.ai_flags = AI_NUMERICSERV | flags
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(host, String(port), &hints, &list)
        guard status == 0 else {
            throw FabricError(.hostNotFound, errno: status == EAI_SYSTEM ? rf_errno() : 0, "\(host): \(reason(status))")
        }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = unsafe list
        // SAFETY: the list and all that it points to live until freeaddrinfo.
        while let entry = unsafe next?.pointee {
            if let name = unsafe entry.ai_addr, let address = unsafe SocketAddress(name, length: entry.ai_addrlen) {
                addresses.append(address)
            }
            unsafe next = unsafe entry.ai_next
        }
        guard !addresses.isEmpty else { throw FabricError(.hostNotFound, host) }
        return addresses
    }

    private static func reason(_ status: Int32) -> String {
        // SAFETY: gai_strerror gives a constant string for every status.
        unsafe gai_strerror(status).map { unsafe String(cString: $0) } ?? "status \(status)"
    }

    /// SAFETY: `name` must point to `length` bytes.
    init?(_ name: UnsafePointer<sockaddr>, length: socklen_t) {
        let family = unsafe Int32(UnsafeRawPointer(name).load(as: UInt16.self))
        guard family == AF_INET || family == AF_INET6, Int(length) <= MemoryLayout<sockaddr_storage>.size else {
            return nil
        }
        storage = sockaddr_storage()
        self.length = length
        unsafe withUnsafeMutableBytes(of: &storage) { target in
            unsafe target.copyMemory(from: UnsafeRawBufferPointer(start: name, count: Int(length)))
        }
    }

    /// The address that a bound or accepted socket has; nil when the system does not say.
    package init?(ofSocket descriptor: Int32, peer: Bool) {
        storage = sockaddr_storage()
        length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status =
            unsafe peer
            ? rf_getpeername(descriptor, &storage, &length) : rf_getsockname(descriptor, &storage, &length)
        guard status == 0 else { return nil }
    }

    /// An address given by its bytes.
    /// - Parameters:
    ///   - port: an IPv6 address, or an IPv4 address mapped into one.
    ///   - scope: the interface that a link-local address belongs to.
    package init(_ port: RailPort, service: UInt16, scope: UInt32) {
        let ip = port.bytes
        let isIPv4 = port.high == 0 && port.low >> 32 == 0xffff
        let family = UInt16(isIPv4 ? AF_INET : AF_INET6)
        let number = [UInt8(service >> 8), UInt8(truncatingIfNeeded: service)]
        storage = sockaddr_storage()
        length = socklen_t(isIPv4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size)
        unsafe withUnsafeMutableBytes(of: &storage) { target in
            unsafe target.storeBytes(of: family, as: UInt16.self)
            unsafe target[2..<4].copyBytes(from: number)
            if isIPv4 { return unsafe target[4..<8].copyBytes(from: ip[12...]) }
            unsafe target[8..<24].copyBytes(from: ip)
            unsafe target.storeBytes(of: scope, toByteOffset: 24, as: UInt32.self)
        }
    }

    /// Lends the address to a system call.
    package func withName<Result>(_ body: (UnsafePointer<sockaddr_storage>, socklen_t) -> Result) -> Result {
        unsafe withUnsafePointer(to: storage) { name in unsafe body(name, length) }
    }

    // The members of sockaddr structures are read by their offsets, which Linux keeps for ever:
    // several C modules declare these structures (ours, Glibc, SwiftNIO's), and which of them
    // Swift takes for the owner of a member depends on what else is imported.

    private func bytes(_ range: Range<Int>) -> [UInt8] {
        unsafe withUnsafeBytes(of: storage) { unsafe Array($0[range]) }
    }

    package var family: Int32 { Int32(storage.ss_family) }

    package var port: UInt16 {
        let bytes = bytes(2..<4)
        return UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    }

    /// The 4 or 16 bytes of the IP address.
    package var ipAddress: [UInt8] { family == AF_INET ? bytes(4..<8) : bytes(8..<24) }

    /// The same address as text that needs no resolver; nil if it has none.
    package var literal: Address? {
        // Room for an IPv6 address with the name of its interface.
        var text = [CChar](repeating: 0, count: 128)
        let status = unsafe withName { name, length in
            // SAFETY: every socket address begins like sockaddr; the text has the length that is said.
            unsafe getnameinfo(
                UnsafeRawPointer(name).assumingMemoryBound(to: sockaddr.self), length, &text,
                socklen_t(text.count), nil, 0, NI_NUMERICHOST)
        }
        guard status == 0 else { return nil }
        let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return .tcp(host: host, port: port)
    }

    /// Whether only this machine can reach it: 127.0.0.0/8, ::1 and their mapped forms.
    package var isLoopback: Bool {
        let address = ipAddress
        if address.count == 4 { return address[0] == 127 }
        guard address[..<10].allSatisfy({ $0 == 0 }) else { return false }
        let isMapped = address[10] == 0xff && address[11] == 0xff && address[12] == 127
        return isMapped || (address[10..<15].allSatisfy { $0 == 0 } && address[15] == 1)
    }
}

/// Refuses to listen where strangers could connect while there is no key to tell them from peers.
/// - Throws: `keyRequired`.
package func requireKey(
    _ key: ClusterKey?, toListenAt addresses: [SocketAddress], named address: Address
) throws(FabricError) {
    guard key == nil else { return }
    for candidate in addresses where !candidate.isLoopback {
        throw FabricError(.keyRequired, "\(address) is reachable from other machines")
    }
}
