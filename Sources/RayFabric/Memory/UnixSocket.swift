// Unix sockets that keep message boundaries, pass descriptors and tell who is at the other end.

internal import CLinux
package import RayCore

/// One end of a SOCK_SEQPACKET connection.
package struct UnixSocket: ~Copyable, Sendable {
    package let descriptor: FileDescriptor

    package init(owning number: Int32) { descriptor = FileDescriptor(owning: number) }

    /// Two connected ends.
    package static func pair() throws(FabricError) -> (Int32, Int32) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) { bytes in
            unsafe socketpair(
                AF_UNIX, RF_SOCK_SEQPACKET | RF_SOCK_CLOEXEC, 0,
                bytes.baseAddress?.assumingMemoryBound(to: Int32.self))
        }
        guard result == 0 else { throw systemError("make a socket pair") }
        return ends
    }

    /// Connects to the listener at `path`, within 10 seconds.
    /// - Throws: `connectionRefused` when nobody listens there (any more), `permissionDenied`,
    ///   `peerUnresponsive`, …
    package static func connect(to path: String) throws(FabricError) -> UnixSocket {
        let socket = try make()
        // A stopped listener takes nobody: its queue is full for ever.
        guard rf_set_send_timeout(socket.descriptor.number, 10) == 0 else { throw systemError("limit a connect") }
        let result = unsafe try withAddress(path) { address, length in
            unsafe CLinux.connect(socket.descriptor.number, address, length)
        }
        guard result == 0 else {
            let number = rf_errno()
            if number == EAGAIN { throw FabricError(.peerUnresponsive, errno: number, "\(path) takes nobody") }
            if number == ENOENT { throw FabricError(.connectionRefused, errno: number, "no socket at \(path)") }
            throw systemError(number, "connect to \(path)")
        }
        return socket
    }

    /// Listens at `path`, which must not exist.
    package static func listen(at path: String, mode: UInt32) throws(FabricError) -> UnixSocket {
        let socket = try make()
        let result = unsafe try withAddress(path) { address, length in
            unsafe bind(socket.descriptor.number, address, length)
        }
        guard result == 0 else { throw systemError("bind to \(path)") }
        guard unsafe chmod(path, mode) == 0 else { throw systemError("set the mode of \(path)") }
        guard CLinux.listen(socket.descriptor.number, 128) == 0 else { throw systemError("listen at \(path)") }
        return socket
    }

    /// The next connection; nil when none is pending (the listener does not block).
    package func accept() throws(FabricError) -> UnixSocket? {
        let number = rf_accept(descriptor.number)
        if number >= 0 { return UnixSocket(owning: number) }
        switch rf_errno() {
        case EAGAIN, EINTR, ECONNABORTED: return nil
        case let number: throw systemError(number, "accept a client")
        }
    }

    private static func make() throws(FabricError) -> UnixSocket {
        let number = socket(AF_UNIX, RF_SOCK_SEQPACKET | RF_SOCK_CLOEXEC, 0)
        guard number >= 0 else { throw systemError("make a socket") }
        return UnixSocket(owning: number)
    }

    private static func withAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(FabricError) -> Int32 {
        guard path.utf8.count < 108, !path.isEmpty else {
            throw FabricError(.addressInvalid, "a socket path has 1 to 107 bytes: \(path)")
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { target in
            for (index, byte) in bytes.enumerated() { unsafe target[index] = byte }
        }
        // SAFETY: sockaddr_un is passed with its own length, as every socket call wants it.
        return unsafe withUnsafeBytes(of: &address) { raw in
            unsafe body(
                raw.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
    }

    // MARK: Messages

    /// Sends one message with descriptors. Blocks if the socket does.
    package func send(_ bytes: [UInt8], descriptors: [Int32] = []) throws(FabricError) {
        precondition(descriptors.count <= 8)
        while true {
            let sent = unsafe rf_send_with_fds(
                descriptor.number, bytes, bytes.count, descriptors, Int32(descriptors.count), 0)
            if sent == bytes.count { return }
            let number = rf_errno()
            if number == EINTR { continue }
            throw systemError(number, "send to the other process")
        }
    }

    /// The outcome of `receive`.
    package enum Received {
        case message([UInt8], descriptors: [Int32])
        /// Nothing there now (only with `wait: false`).
        case none
        /// The other end is closed or dead.
        case end
    }

    /// Takes one message of at most `limit` bytes. The caller closes the descriptors.
    /// - Throws: `descriptorLimit` when this process has no room for them; the message is lost then.
    package func receive(limit: Int, wait: Bool) throws(FabricError) -> Received {
        var bytes = [UInt8](repeating: 0, count: limit)
        var descriptors = [Int32](repeating: -1, count: 8)
        var count: Int32 = 0
        while true {
            let received = unsafe rf_receive_with_fds(
                descriptor.number, &bytes, limit, &descriptors, &count, wait ? 0 : RF_MSG_DONTWAIT)
            if received > 0 {
                return .message(Array(bytes[..<received]), descriptors: Array(descriptors[..<Int(count)]))
            }
            if received == 0 {
                // An empty message may carry descriptors too.
                for descriptor in descriptors[..<Int(count)] { _ = close(descriptor) }
                return .end
            }
            switch rf_errno() {
            // Told once, before what the other end sent first: a refusal, perhaps.
            case EINTR, ECONNRESET: continue
            case EAGAIN: return .none
            case EPIPE: return .end
            case let number: throw systemError(number, "receive from the other process")
            }
        }
    }

    /// Process, user and group at the other end when it connected.
    package func peerCredentials() throws(FabricError) -> (process: Int32, user: UInt32, group: UInt32) {
        var process: pid_t = 0
        var user: uid_t = 0
        var group: gid_t = 0
        guard unsafe rf_peer_credentials(descriptor.number, &process, &user, &group) == 0 else {
            throw systemError("ask for the peer's credentials")
        }
        return (process, user, group)
    }

    /// Supplementary groups of the other end.
    package func peerGroups() -> [UInt32] {
        var groups = [gid_t](repeating: 0, count: 256)
        let count = unsafe rf_peer_groups(descriptor.number, &groups, Int32(groups.count))
        return count > 0 ? Array(groups[..<Int(count)]) : []
    }
}
