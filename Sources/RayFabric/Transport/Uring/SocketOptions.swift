// What sockets are told before they carry anything.

internal import CLinux
internal import RayCore

/// Options of TCP sockets.
package enum SocketOptions {
    /// Buffers of a bulk lane: large enough that a whole piece fits, which keeps the rate steady.
    private static let wanted: Int32 = 2 << 20

    /// What bulk lanes ask for; nil where the system would give less than it does by itself.
    static func bulkBufferBytes() -> Int32? {
        for path in ["/proc/sys/net/core/wmem_max", "/proc/sys/net/core/rmem_max"] {
            guard let limit = text(ofFile: path).flatMap({ Int($0) }), limit >= Int(wanted) else { return nil }
        }
        return wanted
    }

    static func setNoDelay(_ descriptor: Int32) {
        _ = rf_set_option(descriptor, RF_IPPROTO_TCP, TCP_NODELAY, 1)
    }

    /// A connection within this machine has no path whose rate could be found out: BBR, where it is
    /// the system's choice, only takes half of it away.
    package static func unpaceWithinMachine(_ descriptor: Int32) {
        if isWithinMachine(descriptor) { unsafe _ = rf_set_congestion_control(descriptor, "reno") }
    }

    /// Whether a connected socket leads to this same machine.
    static func isWithinMachine(_ descriptor: Int32) -> Bool {
        guard let own = SocketAddress(ofSocket: descriptor, peer: false),
            let peer = SocketAddress(ofSocket: descriptor, peer: true)
        else { return false }
        return peer.isLoopback || own.ipAddress == peer.ipAddress
    }

    static func setBuffers(_ descriptor: Int32, bytes: Int32) {
        _ = rf_set_option(descriptor, SOL_SOCKET, SO_SNDBUF, bytes)
        _ = rf_set_option(descriptor, SOL_SOCKET, SO_RCVBUF, bytes)
    }
}
