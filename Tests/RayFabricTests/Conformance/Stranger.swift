// Somebody who connects and does not follow the protocol.

import CLinux
import RayCore
import RayFabric
import Testing

extension Address {
    /// Whether anybody with a socket can connect.
    var isSocket: Bool {
        switch self {
        case .tcp, .unix: true
        case .loopback: false
        }
    }
}

/// A raw socket where the address has one, else an endpoint that is never polled.
struct Stranger<Endpoint: Transport & SendableMetatype & ~Copyable>: ~Copyable {
    private var descriptor: Int32 = -1
    private var endpoint: Endpoint?

    init(to address: Address, of fixture: TransportFixture<Endpoint>) throws {
        switch address {
        case .loopback:
            var endpoint = try fixture.make(fixture.configuration(99))
            _ = try endpoint.connect(to: address, deadline: .never)
            self.endpoint = consume endpoint
        case .tcp:
            endpoint = nil
            descriptor = try Self.connectTCP(address)
        case .unix(let path):
            endpoint = nil
            descriptor = Self.connectUnix(path)
        }
    }

    deinit { if descriptor >= 0 { _ = CLinux.close(descriptor) } }

    /// Sends raw bytes; does not mind if the other end is gone.
    mutating func send(_ bytes: [UInt8]) {
        _ = unsafe bytes.withUnsafeBytes {
            unsafe CLinux.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
    }

    mutating func leave() {
        if descriptor >= 0 { _ = CLinux.close(descriptor) }
        descriptor = -1
        endpoint = nil
    }

    private static func connectTCP(_ address: Address) throws -> Int32 {
        guard let place = try SocketAddress.resolve(address, toListen: false).first else { return -1 }
        let descriptor = socket(place.family, RF_SOCK_STREAM | RF_SOCK_CLOEXEC, 0)
        let result = unsafe place.withName { unsafe rf_connect(descriptor, $0, $1) }
        #expect(result == 0)
        return descriptor
    }

    private static func connectUnix(_ path: String) -> Int32 {
        for type in [RF_SOCK_SEQPACKET, RF_SOCK_STREAM] {
            let descriptor = socket(AF_UNIX, type | RF_SOCK_CLOEXEC, 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
            let connected = connect(descriptor, &address)
            if connected >= 0 { return connected }
        }
        return -1
    }

    private static func connect(_ descriptor: Int32, _ address: inout sockaddr_un) -> Int32 {
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe CLinux.connect(descriptor, $0, size)
            }
        }
        guard result == 0 else {
            _ = CLinux.close(descriptor)
            return -1
        }
        return descriptor
    }
}
