// Plain TCP and socket pairs: for the control channel and for the roofs, without any transport.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Two connected sockets of this machine.
struct SocketPair: ~Copyable {
    let ours: FileDescriptor
    let theirs: FileDescriptor

    init() throws(FabricError) {
        var numbers: (Int32, Int32) = (-1, -1)
        let type = RF_SOCK_STREAM | RF_SOCK_CLOEXEC
        // SAFETY: the tuple has room for the two numbers.
        let result = unsafe withUnsafeMutableBytes(of: &numbers) {
            unsafe socketpair(AF_UNIX, type, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress)
        }
        guard result == 0 else { throw systemError("make a control channel") }
        ours = FileDescriptor(owning: numbers.0)
        theirs = FileDescriptor(owning: numbers.1)
    }

    /// Keeps our end and closes the other one, which a child has by now.
    consuming func takeOurs() -> FileDescriptor { ours }
}

/// A listening socket.
struct Listener: ~Copyable {
    private let socket: FileDescriptor
    /// What to connect to, with the port that the system chose.
    let address: Address

    init(at address: Address) throws(FabricError) {
        var failure = FabricError(.addressInvalid, "\(address)")
        for candidate in try SocketAddress.resolve(address, toListen: true) {
            do throws(FabricError) {
                let socket = try StreamSocket.make(candidate.family)
                _ = rf_set_option(socket.number, SOL_SOCKET, SO_REUSEADDR, 1)
                guard unsafe candidate.withName({ unsafe rf_bind(socket.number, $0, $1) }) == 0,
                    CLinux.listen(socket.number, 16) == 0
                else { throw systemError("listen at \(address)") }
                guard case .tcp(let host, _) = address,
                    let bound = SocketAddress(ofSocket: socket.number, peer: false)
                else { throw FabricError(.addressInvalid, "\(address)") }
                self.address = .tcp(host: host, port: bound.port)
                self.socket = socket
                return
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// The next connection.
    func accept(by deadline: Timestamp) throws(FabricError) -> FileDescriptor {
        while true {
            let left = (deadline - Timestamp.now).saturatedNanoseconds / 1_000_000
            guard left > 0 else { throw FabricError(.deadlineExceeded, "nobody connected") }
            var entry = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&entry, 1, Int32(min(left, 60_000))) > 0 else { continue }
            let number = CLinux.accept(socket.number, nil, nil)
            if number < 0, rf_errno() == EINTR || rf_errno() == ECONNABORTED { continue }
            guard number >= 0 else { throw systemError("accept a connection") }
            _ = rf_fcntl_int(number, F_SETFD, FD_CLOEXEC)
            return FileDescriptor(owning: number)
        }
    }

}

enum StreamSocket {
    static func connect(to address: Address) throws(FabricError) -> FileDescriptor {
        var failure = FabricError(.addressInvalid, "\(address)")
        for candidate in try SocketAddress.resolve(address, toListen: false) {
            do throws(FabricError) {
                let socket = try StreamSocket.make(candidate.family)
                guard unsafe candidate.withName({ unsafe rf_connect(socket.number, $0, $1) }) == 0 else {
                    throw systemError("connect to \(address)")
                }
                return socket
            } catch {
                failure = error
            }
        }
        throw failure
    }

    fileprivate static func make(_ family: Int32) throws(FabricError) -> FileDescriptor {
        let number = socket(family, RF_SOCK_STREAM | RF_SOCK_CLOEXEC, 0)
        guard number >= 0 else { throw systemError("make a socket") }
        return FileDescriptor(owning: number)
    }
}
