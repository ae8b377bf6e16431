// Regions, peers and addresses.

import RayCore
import Testing

@testable import RayFabric

@Suite struct RegionTableTests {
    @Test func rangesAreCheckedWithoutOverflow() throws {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 8)
        defer { unsafe memory.deallocate() }
        var random = SeededRandom(seed: 1)
        var table = RegionTable()
        let key = try unsafe table.insert(memory, access: [.read, .write], using: &random)
        let ranges: [(offset: UInt64, length: UInt64, good: Bool)] = [
            (0, 100, true), (100, 0, true), (40, 60, true), (0, 0, true),
            (0, 101, false), (101, 0, false), (40, 61, false), (.max, 0, false), (.max, 2, false), (2, .max, false),
            (1 << 63, 1 << 63, false),
        ]
        for range in ranges {
            let result = unsafe table.remote(
                RegionLocation(key: key, offset: range.offset), length: range.length, access: .read)
            #expect(unsafe result?.count == (range.good ? Int(range.length) : nil), "\(range)")
            let start = unsafe range.good ? memory.baseAddress.map { unsafe $0 + Int(range.offset) } : nil
            #expect(unsafe result?.baseAddress == start, "\(range)")
        }
        let negative = unsafe table.local(RegionLocation(key: key, offset: 0), length: -1)
        #expect(unsafe negative == nil)
    }

    @Test func accessIsWhatWasGranted() throws {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { unsafe memory.deallocate() }
        var random = SeededRandom(seed: 1)
        var table = RegionTable()
        for granted: RemoteAccess in [[], .read, .write, [.read, .write]] {
            let at = RegionLocation(key: try unsafe table.insert(memory, access: granted, using: &random), offset: 0)
            let mayRead = unsafe table.remote(at, length: 8, access: .read) != nil
            let mayWrite = unsafe table.remote(at, length: 8, access: .write) != nil
            let isLocal = unsafe table.local(at, length: 8) != nil
            #expect(mayRead == granted.contains(.read) && mayWrite == granted.contains(.write) && isLocal)
        }
    }

    @Test func aKeyDiesWithItsRegion() throws {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { unsafe memory.deallocate() }
        var random = SeededRandom(seed: 1)
        var table = RegionTable()
        let first = try unsafe table.insert(memory, access: .read, using: &random)
        let removed = (table.remove(first), table.remove(first))
        #expect(removed == (true, false))
        let second = try unsafe table.insert(memory, access: .read, using: &random)
        #expect(UInt32(truncatingIfNeeded: first.rawValue) == UInt32(truncatingIfNeeded: second.rawValue))
        let found = [first, second, RegionKey(rawValue: .max)].map { key in
            unsafe table.remote(RegionLocation(key: key, offset: 0), length: 1, access: .read) != nil
        }
        #expect(found == [false, true, false])
        let count = table.count
        #expect(count == 1)
    }
}

@Suite struct PeerDirectoryTests {
    @Test func connectionsOfOnePeerAreLimited() {
        var directory = PeerDirectory(maximumConnectionsPerPeer: 2)
        let node = NodeID(value: 1, incarnation: 1)
        let answer1 = directory.admit(node)
        #expect(answer1 == .admitted)
        let answer2 = directory.admit(node)
        #expect(answer2 == .admitted)
        let answer3 = directory.admit(node)
        #expect(answer3 == .refused(.connectionLimit))
        let answer4 = directory.admit(NodeID(value: 2, incarnation: 1))
        #expect(answer4 == .admitted)
        directory.remove(node)
        let answer5 = directory.admit(node)
        #expect(answer5 == .admitted)
    }

    @Test func aNewIncarnationEndsTheOldOne() {
        var directory = PeerDirectory(maximumConnectionsPerPeer: 1)
        let old = NodeID(value: 1, incarnation: 4)
        let new = NodeID(value: 1, incarnation: 5)
        let answer6 = directory.admit(old)
        #expect(answer6 == .admitted)
        let answer7 = directory.admit(new)
        #expect(answer7 == .supersedes)
        // The end of the old connection does not make room for a second new one.
        directory.remove(old)
        let answer8 = directory.admit(new)
        #expect(answer8 == .refused(.connectionLimit))
        directory.remove(new)
        let answer9 = directory.admit(old)
        #expect(answer9 == .refused(.staleIncarnation))
        let answer10 = directory.admit(new)
        #expect(answer10 == .admitted)
    }
}

@Suite struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1:80", true), ("127.9.9.9:80", true), ("[::1]:80", true), ("[::ffff:127.0.0.1]:80", true),
        ("0.0.0.0:80", false), ("10.0.0.1:80", false), ("[::]:80", false), ("[::2]:80", false),
        ("[::ffff:10.0.0.1]:80", false), ("128.0.0.1:80", false),
    ])
    func loopbackIsKnown(text: String, loopback: Bool) throws {
        let address = try Address(parsing: text)
        let resolved = try SocketAddress.resolve(address, toListen: true)
        #expect(resolved.allSatisfy { $0.isLoopback == loopback && $0.port == 80 })
        if loopback {
            try requireKey(nil, toListenAt: resolved, named: address)
        } else {
            let error = #expect(throws: FabricError.self) { try requireKey(nil, toListenAt: resolved, named: address) }
            #expect(error?.code == .keyRequired)
        }
        try requireKey(ClusterKey([UInt8](repeating: 1, count: 16)), toListenAt: resolved, named: address)
    }

    @Test func otherKindsOfAddressesAreRefused() throws {
        let error = #expect(throws: FabricError.self) {
            try SocketAddress.resolve(.unix(path: "/tmp/x"), toListen: false)
        }
        #expect(error?.code == .addressInvalid)
        let unknown = #expect(throws: FabricError.self) {
            try SocketAddress.resolve(.tcp(host: "no such host", port: 1), toListen: false)
        }
        #expect(unknown?.code == .hostNotFound)
    }
}
