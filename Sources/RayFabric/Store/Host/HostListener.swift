// The path at which clients attach: one living host per path, and only the right users.

internal import CLinux
internal import RayCore

/// An advisory lock beside a socket path; the system releases it when its holder dies.
final class PathLock: Sendable {
    private let file: FileDescriptor
    private let path: String

    /// - Throws: `hostExists` when another living host holds it.
    init(_ socketPath: String) throws(FabricError) {
        path = socketPath + ".lock"
        let number = unsafe rf_create(path, 0o600)
        guard number >= 0 else { throw systemError("create \(socketPath).lock") }
        file = FileDescriptor(owning: number)
        guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
            let failure = rf_errno()
            throw FabricError(.hostExists, errno: failure, "another process hosts a store at \(socketPath)")
        }
    }

    deinit {
        unsafe _ = unlink(path)
    }
}

/// Accepts clients.
struct HostListener: ~Copyable {
    private let socket: UnixSocket?
    private let path: String?
    private let groupID: UInt32?

    /// Listens at the configured path, if there is one. The caller holds the path's lock, so that
    /// a socket that is already there is stale.
    init(_ configuration: StoreConfiguration) throws(FabricError) {
        path = configuration.path
        groupID = configuration.groupID
        guard let path = configuration.path else {
            socket = nil
            return
        }
        unsafe _ = unlink(path)
        let listener = try UnixSocket.listen(at: path, mode: configuration.groupID == nil ? 0o600 : 0o660)
        if let group = configuration.groupID, unsafe chown(path, uid_t.max, group) != 0 {
            throw systemError("give \(path) to group \(group)")
        }
        guard rf_set_nonblocking(listener.descriptor.number) == 0 else { throw systemError("listen at \(path)") }
        socket = consume listener
    }

    deinit {
        if let path { unsafe _ = unlink(path) }
    }

    /// For epoll; nil without a path.
    var descriptor: Int32? {
        switch socket {
        case .some(let socket): socket.descriptor.number
        case .none: nil
        }
    }

    /// The next client that may attach; others are told why not.
    func accept() -> UnixSocket? {
        do throws(FabricError) {
            while let client = try acceptAny() {
                if let refusal = refusal(of: client) {
                    try? client.send(ControlReply.refused(refusal.code, refusal.context).encoded())
                    continue
                }
                return client
            }
        } catch {
            // Out of descriptors: the client waits in the queue and is accepted when there are some.
        }
        return nil
    }

    private func acceptAny() throws(FabricError) -> UnixSocket? {
        switch socket {
        case .some(let socket): try socket.accept()
        case .none: nil
        }
    }

    private func refusal(of client: borrowing UnixSocket) -> FabricError? {
        guard let peer = try? client.peerCredentials() else { return FabricError(.attachRefused, "unknown peer") }
        if peer.user == geteuid() { return nil }
        if let groupID, peer.group == groupID || client.peerGroups().contains(groupID) { return nil }
        return FabricError(.attachRefused, "user \(peer.user) may not attach to a store of user \(geteuid())")
    }
}
