// The path at which clients attach: one living host per path, and only the right users.

internal import CLinux
internal import RayCore

/// An advisory lock beside a socket path; the system releases it when its holder dies.
final class PathLock: Sendable {
    private let file: FileDescriptor
    private let path: String

    /// - Throws: `hostExists` when another living host holds it, `addressInvalid` when there is no
    ///   directory for it.
    init(_ socketPath: String) throws(FabricError) {
        path = socketPath + ".lock"
        file = try Self.lock(path, of: socketPath)
    }

    private static func lock(_ path: String, of socketPath: String) throws(FabricError) -> FileDescriptor {
        while true {
            let number = unsafe rf_create(path, 0o600)
            if number < 0, rf_errno() == ENOENT || rf_errno() == ENOTDIR {
                throw FabricError(.addressInvalid, errno: rf_errno(), "no directory for the socket \(socketPath)")
            }
            guard number >= 0 else { throw systemError("create \(path)") }
            let file = FileDescriptor(owning: number)
            guard flock(number, LOCK_EX | LOCK_NB) == 0 else {
                let failure = rf_errno()
                throw FabricError(.hostExists, errno: failure, "another process hosts a store at \(socketPath)")
            }
            // A host that ends removes its lock: then this is a file without a name, and no lock.
            var (named, locked) = (stat(), stat())
            if unsafe stat(path, &named) == 0, unsafe fstat(number, &locked) == 0, named.st_ino == locked.st_ino {
                return file
            }
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
    /// Given up to tell a client that there are no descriptors for it, and taken back at once.
    private var reserve: FileDescriptor?

    /// Listens at the configured path, if there is one. The caller holds the path's lock, so that
    /// a socket that is already there is stale.
    init(_ configuration: StoreConfiguration) throws(FabricError) {
        path = configuration.path
        groupID = configuration.groupID
        guard let path = configuration.path else {
            socket = nil
            return
        }
        try Self.removeStaleSocket(path)
        let listener = try UnixSocket.listen(at: path, mode: configuration.groupID == nil ? 0o600 : 0o660)
        if let group = configuration.groupID, unsafe chown(path, uid_t.max, group) != 0 {
            throw systemError("give \(path) to group \(group)")
        }
        guard rf_set_nonblocking(listener.descriptor.number) == 0 else { throw systemError("listen at \(path)") }
        socket = consume listener
        reserve = Self.makeReserve()
    }

    private static func makeReserve() -> FileDescriptor? {
        let number = unsafe rf_open("/dev/null", O_RDONLY | O_CLOEXEC)
        return number >= 0 ? FileDescriptor(owning: number) : nil
    }

    deinit {
        if let path { unsafe _ = unlink(path) }
    }

    /// - Throws: `addressInUse` when the path belongs to something else than a host that has died.
    private static func removeStaleSocket(_ path: String) throws(FabricError) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return }
        guard status.st_mode & UInt32(S_IFMT) == UInt32(S_IFSOCK) else {
            throw FabricError(.addressInUse, "\(path) is there and is no socket")
        }
        do throws(FabricError) {
            _ = try UnixSocket.connect(to: path)
        } catch {
            if error.code == .descriptorLimit { throw error }
            guard error.code == .connectionRefused else {
                throw FabricError(.addressInUse, errno: error.errno, "\(path) is another program's: \(error.context)")
            }
            unsafe _ = unlink(path)
            return
        }
        throw FabricError(.addressInUse, "another program listens at \(path)")
    }

    /// For epoll; nil without a path.
    var descriptor: Int32? {
        switch socket {
        case .some(let socket): socket.descriptor.number
        case .none: nil
        }
    }

    /// The next client that may attach; others are told why not.
    mutating func accept() -> UnixSocket? {
        while true {
            do throws(FabricError) {
                guard let client = try acceptAny() else { return nil }
                guard let refusal = refusal(of: client) else { return client }
                refuse(client, refusal)
            } catch {
                guard error.code == .descriptorLimit, sendOneAway(error) else { return nil }
            }
        }
    }

    private func refuse(_ client: borrowing UnixSocket, _ refusal: FabricError) {
        try? client.send(ControlReply.refused(refusal.code, refusal.context).encoded())
    }

    /// Without descriptors for it, a client would wait, and keep this thread busy, until there are some.
    private mutating func sendOneAway(_ error: FabricError) -> Bool {
        reserve = nil
        defer { reserve = Self.makeReserve() }
        guard let client = try? acceptAny() else { return false }
        refuse(client, FabricError(.descriptorLimit, "the store's host has no descriptor left"))
        return true
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
