// Unix sockets of the `shm` transport: listening, connecting, packets with descriptors.

internal import CLinux
// Several C modules declare sockaddr_un; which of them owns its members depends on what is imported.
internal import Glibc
internal import RayCore

/// Descriptors that came with a packet; those that nobody takes are closed.
struct ShmDescriptors: ~Copyable {
    private var numbers: InlineArray<8, Int32> = .init(repeating: -1)
    private var next = 0
    private(set) var count = 0

    /// Receives one packet without waiting.
    /// - Returns: its length, or -1 with errno.
    mutating func receive(from socket: Int32, into bytes: UnsafeMutableRawBufferPointer) -> Int {
        var received: Int32 = 0
        var span = numbers.mutableSpan
        let length = unsafe span.withUnsafeMutableBufferPointer { buffer in
            unsafe rf_receive_with_fds(
                socket, bytes.baseAddress, bytes.count, buffer.baseAddress, &received, RF_MSG_DONTWAIT)
        }
        count = Int(received)
        return length
    }

    mutating func takeFirst() -> FileDescriptor? {
        guard next < count else { return nil }
        next += 1
        return FileDescriptor(owning: numbers[next - 1])
    }

    deinit {
        for index in next..<max(next, count) { _ = close(numbers[index]) }
    }
}

enum ShmSocket {
    static func path(of address: Address) throws(FabricError) -> String {
        guard case .unix(let path) = address, !path.isEmpty, path.utf8.count < 108, !path.utf8.contains(0) else {
            throw FabricError(.addressInvalid, "the shm transport takes unix:PATH of 1 to 107 bytes, not \(address)")
        }
        return path
    }

    static func open() throws(FabricError) -> FileDescriptor {
        let number = socket(AF_UNIX, RF_SOCK_SEQPACKET | RF_SOCK_CLOEXEC | RF_SOCK_NONBLOCK, 0)
        guard number >= 0 else { throw systemError("open a Unix socket") }
        return FileDescriptor(owning: number)
    }

    /// - Returns: 0 or the error number.
    static func connect(_ socket: Int32, to path: String) -> Int32 {
        unsafe withAddress(path) { address, length in
            unsafe CLinux.connect(socket, address, length) == 0 ? 0 : rf_errno()
        }
    }

    /// - Returns: 0 or the error number.
    static func bind(_ socket: Int32, to path: String) -> Int32 {
        unsafe withAddress(path) { address, length in
            unsafe CLinux.bind(socket, address, length) == 0 ? 0 : rf_errno()
        }
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: the path is shorter than sun_path and holds no zero, see `path(of:)`.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { target in
            unsafe target.copyBytes(from: path.utf8)
        }
        return unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe body(generic, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// Whether the process at the other end runs as our user.
    static func isOfOurUser(_ socket: Int32) -> Bool {
        var process: pid_t = 0
        var user: uid_t = 0
        var group: gid_t = 0
        return unsafe rf_peer_credentials(socket, &process, &user, &group) == 0 && user == geteuid()
    }
}

/// A listening socket; it takes its path out of the file system when it goes.
final class ShmListener {
    let socket: FileDescriptor
    private let path: String
    private let device: dev_t
    private let inode: ino_t

    /// Listens at `path`. A path that a dead listener left behind is taken over.
    init(path: String) throws(FabricError) {
        // Two processes that take over the same path take turns by a lock on its directory.
        let lock = try Self.lockDirectory(of: path)
        defer { _ = flock(lock.number, LOCK_UN) }
        socket = try ShmSocket.open()
        // The mode of the socket file; others could not get past the handshake, but need not try.
        _ = fchmod(socket.number, 0o600)
        var result = ShmSocket.bind(socket.number, to: path)
        if result == EADDRINUSE, try Self.isStale(path) {
            unsafe unlink(path)
            result = ShmSocket.bind(socket.number, to: path)
        }
        guard result == 0 else { throw Self.error(result, path) }
        var status = stat()
        guard listen(socket.number, 128) == 0, unsafe stat(path, &status) == 0 else {
            let error = systemError("listen at unix:\(path)")
            unsafe unlink(path)
            throw error
        }
        self.path = path
        device = status.st_dev
        inode = status.st_ino
    }

    deinit {
        var status = stat()
        // Only if it is still ours.
        if unsafe stat(path, &status) == 0, status.st_dev == device, status.st_ino == inode { unsafe unlink(path) }
    }

    private static func error(_ number: Int32, _ path: String) -> FabricError {
        switch number {
        case ENOENT, ENOTDIR, EROFS, ELOOP: FabricError(.addressInvalid, errno: number, "listen at unix:\(path)")
        default: systemError(number, "listen at unix:\(path)")
        }
    }

    /// Whether a socket file is there whose listener is gone.
    private static func isStale(_ path: String) throws(FabricError) -> Bool {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return true }
        guard status.st_mode & mode_t(CLinux.S_IFMT) == mode_t(CLinux.S_IFSOCK) else { return false }
        let probe = try ShmSocket.open()
        return ShmSocket.connect(probe.number, to: path) == ECONNREFUSED
    }

    private static func lockDirectory(of path: String) throws(FabricError) -> FileDescriptor {
        var directory = "."
        if let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) {
            directory = slash == path.startIndex ? "/" : String(path[..<slash])
        }
        let number = unsafe rf_open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw error(rf_errno(), path) }
        let lock = FileDescriptor(owning: number)
        // Held for microseconds by others of our kind; a stranger's lock does not hold us for ever.
        for _ in 0..<1000 {
            if flock(number, LOCK_EX | LOCK_NB) == 0 { return lock }
            usleep(1000)
        }
        throw FabricError(.addressInUse, "the directory of unix:\(path) is locked by another process")
    }
}
