// Addresses that can not be listened at or connected to, through the front door.

import RayCore
import Testing

@testable import RayFabric

@Suite struct BadAddressTests {
    #if NIO
        private static let choices = [TransportChoice.uring, .nio]
    #else
        private static let choices = [TransportChoice.uring]
    #endif

    private func start(_ listen: String, _ transport: TransportChoice, key: ClusterKey? = nil) throws -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(4))
        configuration.network = NetworkConfiguration(listen: listen, clusterKey: key)
        configuration.network?.transport = transport
        return try Fabric(configuration)
    }

    @Test(arguments: choices) func listening(transport: TransportChoice) throws {
        for text in [
            "", "nothing", "127.0.0.1", "127.0.0.1:", ":0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "[::1]",
            "::1:80", "[]:1", "unix:/tmp/x", "unix:", "loopback:x",
        ] {
            #expect(code { try start(text, transport) } == .addressInvalid, "\(text)")
        }
        #expect(code { try start("no-such-host.invalid:0", transport) } == .hostNotFound)
        #expect(code { try start("0.0.0.0:0", transport) } == .keyRequired)
        #expect(code { try start("[::]:0", transport) } == .keyRequired)
        let first = try start("127.0.0.1:0", transport)
        #expect(code { try start(#require(first.address).description, transport) } == .addressInUse)
        let key = try ClusterKey([UInt8](repeating: 1, count: 32))
        #expect(try start("0.0.0.0:0", transport, key: key).address != nil)
    }

    @Test(arguments: choices) func connecting(transport: TransportChoice) throws {
        let fabric = try start("127.0.0.1:0", transport)
        for text in ["", "x", "127.0.0.1:70000", "unix:/tmp/x"] {
            #expect(code { try fabric.connect(to: text) } == .addressInvalid, "\(text)")
        }
        #expect(code { try fabric.connect(to: "no-such-host.invalid:1") } == .hostNotFound)
        let other = try start("127.0.0.1:0", transport)
        let address = try #require(other.address).description
        for limit in [Duration.zero, .nanoseconds(1), .seconds(-1)] {
            #expect(code { try fabric.connect(to: address, within: limit) } == .deadlineExceeded)
        }
        // A name, which is found on a thread of its own.
        let port = address.split(separator: ":").last.map(String.init) ?? ""
        _ = try fabric.connect(to: "localhost:\(port)")
        other.close()
        #expect(code { try fabric.connect(to: address) } == .connectionRefused)
        #expect(try fabric.transferStatistics() != nil)
    }

    @Test func connectingWithoutANetwork() throws {
        let fabric = try Fabric(FabricConfiguration(capacity: .mebibytes(4)))
        #expect(code { try fabric.connect(to: "127.0.0.1:1") } == .unsupported)
        #expect(try fabric.transferStatistics() == nil)
    }

    @Test func literalsNeedNoResolver() throws {
        for text in ["127.0.0.1:7", "[::1]:7", "[fe80::1%lo]:7"] {
            let address = try Address(parsing: text)
            #expect(SocketAddress.isLiteral(address))
            #expect(try SocketAddress.resolve(address, toListen: false).map(\.literal) == [address])
        }
        #expect(try !SocketAddress.isLiteral(Address(parsing: "localhost:7")))
    }
}
