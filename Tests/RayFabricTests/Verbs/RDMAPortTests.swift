// RDMA ports as the system lists them, and what is made of them. Needs no device.

import Foundation
import RayCore
import Testing

@testable import RayFabric

/// A folder as the kernel's, gone when the test is over.
private final class SystemFolder {
    let path = NSTemporaryDirectory() + "rdma-\(UUID().uuidString)"

    init(_ files: [String: String]) throws {
        for (name, text) in files {
            let file = URL(filePath: path + "/" + name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data((text + "\n").utf8).write(to: file)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// One port as Soft-RoCE shows it, with a GID that nobody has set.
    static let softRoCE = [
        "rxe0/ports/1/state": "4: ACTIVE", "rxe0/ports/1/link_layer": "Ethernet",
        "rxe0/ports/1/gids/0": "fe80:0000:0000:0000:5054:00ff:fe12:3456", "rxe0/ports/1/gid_attrs/types/0": "RoCE v2",
        "rxe0/ports/1/gid_attrs/ndevs/0": "eth0",
        "rxe0/ports/1/gids/1": "0000:0000:0000:0000:0000:ffff:0a00:0001", "rxe0/ports/1/gid_attrs/types/1": "RoCE v2",
        "rxe0/ports/1/gid_attrs/ndevs/1": "eth0",
        "rxe0/ports/1/gids/2": "0000:0000:0000:0000:0000:0000:0000:0000",
    ]
}

private func socketAddress(_ host: String) throws -> SocketAddress {
    try #require(try SocketAddress.resolve(.tcp(host: host, port: 7), toListen: false).first)
}

@Suite struct RDMAPortTests {
    private func port() throws -> RDMAPort {
        let folder = try SystemFolder(SystemFolder.softRoCE)
        return try #require(RDMAPort.all(under: folder.path).first)
    }

    @Test func portsAreReadFromTheSystem() throws {
        let port = try port()
        #expect(port.device == "rxe0" && port.number == 1 && port.isActive && port.isEthernet)
        #expect(port.identifiers.map(\.index) == [0, 1])
        #expect(port.identifiers.map(\.ipv4Address) == [nil, "10.0.0.1"])
        #expect(port.ownIdentifier?.index == 1)
        var withGlobal = port
        let global = "fd00:0000:0000:0000:0000:0000:0000:0001"
        withGlobal.identifiers.insert(.init(index: 3, text: global, type: "RoCE v2", interface: "eth0"), at: 0)
        #expect(withGlobal.ownIdentifier?.index == 1)
        withGlobal.identifiers.removeAll { $0.ipv4Address != nil }
        #expect(withGlobal.ownIdentifier?.text == global)
        #expect(RDMAPort.all(under: "/nowhere").isEmpty)
    }

    @Test func connectionsUseThePortOfTheirAddress() throws {
        var port = try port()
        let found = try #require(RDMAPort.port(of: try socketAddress("10.0.0.1"), among: [port]))
        #expect(found.1.index == 1)
        #expect(RDMAPort.port(of: try socketAddress("10.0.0.2"), among: [port]) == nil)
        port.state = "DOWN"
        #expect(RDMAPort.port(of: try socketAddress("10.0.0.1"), among: [port]) == nil)
    }
}

@Suite struct RDMAPortUseTests {
    private let port = RDMAPort(
        device: "rxe0", number: 1, state: "ACTIVE", linkLayer: "Ethernet",
        identifiers: [
            .init(index: 1, text: "0000:0000:0000:0000:0000:ffff:0a00:0001", type: "RoCE v2", interface: "eth0")
        ])

    @Test func aPortThatOpensIsUsed() {
        let use = RDMAPortUse(port) { (_, identifier) throws(FabricError) in identifier.index == 1 ? 1024 : 0 }
        #expect(use.obstacle == nil && use.transmissionUnit == .packet(1024))
    }

    @Test func aPortThatCanNotBeUsedSaysWhy() throws {
        let interfaces = try SystemFolder(["eth0/mtu": "1500"])
        func use(_ port: RDMAPort) -> RDMAPortUse {
            RDMAPortUse(port, interfaces: interfaces.path) { (_, _) throws(FabricError) in
                throw FabricError(.rdmaUnavailable, "no library")
            }
        }
        #expect(use(port).obstacle?.context == "no library")
        #expect(use(port).transmissionUnit == .interface(1500))
        var down = port
        down.state = "DOWN"
        #expect(use(down).obstacle?.context == "the port is DOWN")
        var infiniBand = port
        infiniBand.linkLayer = "InfiniBand"
        infiniBand.identifiers[0].type = "IB/RoCE v1"
        #expect(use(infiniBand).obstacle?.context.contains("InfiniBand") == true)
        var bare = port
        bare.identifiers = []
        #expect(use(bare).obstacle?.context == "the port has no IP address")
        #expect(use(bare).transmissionUnit == nil)
    }

    #if Verbs
        @Test func withoutTheLibraryEveryPortSaysSo() {
            let provider = VerbsProvider(
                library: { () throws(FabricError) in throw FabricError(.rdmaUnavailable, "not installed") },
                ports: { [port] _ in [port, port] })
            let uses = RDMAPortUse.all(of: provider)
            #expect(uses.map { $0.obstacle?.context } == ["not installed", "not installed"])
        }
    #endif
}
