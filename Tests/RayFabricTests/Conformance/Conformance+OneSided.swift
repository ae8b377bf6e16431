// One-sided reads and writes: contents, bounds, rights, notifications, many at once.

import CLinux
import RayCore
import RayFabric
import Synchronization
import Testing

extension TransportFixture where Endpoint: ~Copyable {
    func transferSizes() throws {
        var pair = try pair()
        let sizes = [0, 1, 3, 8, 63, 64, 4095, 4096, 4097, 65_537, 262_144, 1_000_003, 16 << 20, (64 << 20) + 5]
        let room = (64 << 20) + 64
        let mine = TestMemory(room)
        let theirs = TestMemory(room)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        for (index, size) in sizes.enumerated() {
            let seed = UInt64(index + 1)
            let (here, there) = (LocationOf(local, 7), LocationOf(remote, 19))
            theirs.fill(seed)
            mine.clear(size + 64)
            try transfer(&pair, "read \(size)") {
                try $0.read(there, into: here, size, on: $1, token: seed)
            }
            #expect(mine.differences(seed, 7..<(7 + size), sourceOffset: 19) == 0, "read \(size)")
            #expect(mine.isClear(0..<7) && mine.isClear((7 + size)..<(7 + size + 32)), "read \(size): outside")
            mine.fill(seed + 100)
            theirs.clear(size + 64)
            try transfer(&pair, "write \(size)") {
                try $0.write(here, to: there, size, on: $1, token: seed + 100)
            }
            #expect(theirs.differences(seed + 100, 19..<(19 + size), sourceOffset: 7) == 0, "write \(size)")
            #expect(theirs.isClear(0..<19) && theirs.isClear((19 + size)..<(19 + size + 32)), "write \(size): outside")
        }
        #expect(pair.left.completions.allSatisfy { $0.failure == nil })
        #expect(pair.left.completions.count == 2 * sizes.count)
        // One-sided: the peer hears of nothing.
        #expect(pair.right.reports == [.connected(pair.fromRight)])
        // The transport does not use the memory any more once it is deregistered.
        pair.left.endpoint.deregister(local)
        pair.right.endpoint.deregister(remote)
    }

    /// One read of 1 GiB, and the memory given back afterwards.
    func gibibyte() throws {
        let size = 1 << 30
        // One at a time: suites of several transports run side by side.
        try gibibyteGate.withLock { _ in try gibibyteAlone(size) }
    }

    private func gibibyteAlone(_ size: Int) throws {
        var pair = try pair { $0.livenessTimeout = .seconds(30) }
        let before = residentBytes()
        do {
            let mine = TestMemory(size)
            let theirs = TestMemory(size)
            theirs.fill(5)
            let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
            let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: .read)
            try transfer(&pair, "read of 1 GiB", within: .seconds(60)) {
                try $0.read(LocationOf(remote, 0), into: LocationOf(local, 0), size, on: $1, token: 1)
            }
            #expect(pair.left.failure(1) == nil)
            #expect(mine.differences(5) == 0)
            #expect(pair.left.endpoint.statistics.bytesReceived == UInt64(size))
            pair.left.endpoint.deregister(local)
            pair.right.endpoint.deregister(remote)
        }
        // Other tests use memory too, but not for long.
        let end = now() + .seconds(20)
        while residentBytes() - before >= 512 << 20, now() < end { try settle(&pair.left, &pair.right) }
        #expect(residentBytes() - before < 512 << 20, "memory of the transfer is still held")
    }

    func severalRegions() throws {
        var pair = try pair()
        let mine = TestMemory(1 << 20)
        let theirs = [TestMemoryBox(300_000), TestMemoryBox(5000), TestMemoryBox(4096)]
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        var keys: [RegionKey] = []
        for (index, box) in theirs.enumerated() {
            box.memory.fill(UInt64(index))
            keys.append(try unsafe pair.right.endpoint.register(box.memory.buffer, access: .read))
        }
        #expect(Set(keys).count == 3)
        // Three reads at once, into one region.
        for (index, key) in keys.enumerated() {
            let target = LocationOf(local, UInt64(index) * 1000)
            #expect(
                try pair.left.read(
                    LocationOf(key, 100), into: target, 1000, on: pair.fromLeft, token: UInt64(index)))
        }
        try drive(&pair.left, &pair.right, "three reads") { left, _ in left.completions.count == 3 }
        for index in 0..<3 {
            #expect(mine.differences(UInt64(index), (index * 1000)..<(index * 1000 + 1000), sourceOffset: 100) == 0)
        }
    }

    func outOfBounds() throws {
        let ranges: [(offset: UInt64, length: Int)] = [
            (4096, 1), (4097, 0), (0, 4097), (4000, 97), (.max, 1), (.max, 0), (.max - 10, 20), (1 << 63, 4096),
        ]
        var pair = try pair()
        let mine = TestMemory(8192)
        let theirs = TestMemory(4096)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        mine.fill(3)
        for (index, range) in ranges.enumerated() {
            let there = LocationOf(remote, range.offset)
            let token = UInt64(index * 2)
            try transfer(&pair, "read outside") {
                try $0.read(there, into: LocationOf(local, 0), range.length, on: $1, token: token)
            }
            try transfer(&pair, "write outside") {
                try $0.write(LocationOf(local, 0), to: there, range.length, on: $1, token: token + 1)
            }
            #expect(pair.left.failure(token) == .remoteAccessDenied, "read \(range)")
            #expect(pair.left.failure(token + 1) == .remoteAccessDenied, "write \(range)")
        }
        #expect(mine.differences(3) == 0)
        #expect(theirs.isClear(0..<4096) == true)
        // The very end is inside, and the connection goes on.
        try transfer(&pair, "write to the end") {
            try $0.write(LocationOf(local, 0), to: LocationOf(remote, 4095), 1, on: $1, token: 100)
        }
        try transfer(&pair, "nothing at the end") {
            try $0.read(LocationOf(remote, 4096), into: LocationOf(local, 0), 0, on: $1, token: 101)
        }
        #expect(pair.left.failure(100) == nil)
        #expect(pair.left.failure(101) == nil)
    }

    func accessDenied() throws {
        var pair = try pair()
        let mine = TestMemory(4096)
        let theirs = TestMemory(4096)
        mine.fill(1)
        theirs.fill(2)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let readable = try unsafe pair.right.endpoint.register(theirs.buffer, access: .read)
        let writable = try unsafe pair.right.endpoint.register(theirs.buffer, access: .write)
        let hidden = try unsafe pair.right.endpoint.register(theirs.buffer, access: [])
        let here = LocationOf(local, 0)
        for (index, key) in [writable, hidden, RegionKey(rawValue: 12345), RegionKey(rawValue: .max)].enumerated() {
            try transfer(&pair, "read without right") {
                try $0.read(LocationOf(key, 0), into: here, 4096, on: $1, token: UInt64(index))
            }
            #expect(pair.left.failure(UInt64(index)) == .remoteAccessDenied)
        }
        for (index, key) in [readable, hidden, RegionKey(rawValue: 12345)].enumerated() {
            let token = UInt64(index + 10)
            try transfer(&pair, "write without right") {
                try $0.write(here, to: LocationOf(key, 0), 4096, notification: 7, on: $1, token: token)
            }
            #expect(pair.left.failure(token) == .remoteAccessDenied)
        }
        // A region of the left one means nothing at the right one.
        try transfer(&pair, "read of own key") {
            try $0.read(here, into: here, 8, on: $1, token: 20)
        }
        #expect(pair.left.failure(20) == .remoteAccessDenied)
        #expect(mine.differences(1) == 0)
        #expect(theirs.differences(2) == 0)
        #expect(pair.right.notifications == [])
    }

    /// A part of a region is open to a peer from the message that tells of it until it is revoked, and nothing else.
    func grants() throws {
        var pair = try pair()
        let mine = TestMemory(1 << 20)
        let theirs = TestMemory(1 << 20)
        theirs.fill(2)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let region = try unsafe pair.right.endpoint.register(theirs.buffer, access: .byGrant)
        let here = LocationOf(local, 0)
        let (first, second) = (5000..<700_001, 600_000..<(1 << 20))
        var keys: [RegionKey] = []
        for part in [first, second] {
            let location = LocationOf(region, UInt64(part.lowerBound))
            let key = try pair.right.endpoint.grant(location, length: part.count, to: pair.fromRight)
            keys.append(try #require(key))
        }
        #expect(Set(keys + [region]).count == 3)
        #expect(try pair.right.send([1], on: pair.fromRight))
        try drive(&pair.left, &pair.right, "the message") { left, _ in !left.messages.isEmpty }
        for (index, part) in [first, second].enumerated() {
            mine.clear(1 << 20)
            try transfer(&pair, "read of a grant") {
                try $0.read(LocationOf(keys[index], 7), into: here, part.count - 7, on: $1, token: UInt64(index))
            }
            #expect(pair.left.failure(UInt64(index)) == nil)
            #expect(mine.differences(2, 0..<(part.count - 7), sourceOffset: part.lowerBound + 7) == 0)
        }
        mine.fill(1)
        // All of the region, and a byte behind what was granted.
        for (token, location) in [(10, LocationOf(region, 5000)), (11, LocationOf(keys[0], UInt64(first.count)))] {
            try transfer(&pair, "read of what was not granted") {
                try $0.read(location, into: here, 1, on: $1, token: UInt64(token))
            }
            #expect(pair.left.failure(UInt64(token)) == .remoteAccessDenied)
        }
        try transfer(&pair, "write into a grant") {
            try $0.write(here, to: LocationOf(keys[0], 0), 100, on: $1, token: 12)
        }
        #expect(pair.left.failure(12) == .remoteAccessDenied)
        if !pair.right.endpoint.revoke(keys[0]) {
            try drive(&pair.left, &pair.right, "the end of a grant") { _, right in right.revoked == [keys[0]] }
        }
        // The peer may have to hear of it.
        #expect(try pair.right.send([2], on: pair.fromRight))
        try drive(&pair.left, &pair.right, "the second message") { left, _ in left.messages.count == 2 }
        for (token, key) in [(20, keys[0]), (21, keys[1])] {
            try transfer(&pair, "read after the end of one grant") {
                try $0.read(LocationOf(key, 0), into: here, 100, on: $1, token: UInt64(token))
            }
        }
        #expect(pair.left.failure(20) == .remoteAccessDenied)
        #expect(pair.left.failure(21) == nil)
        #expect(mine.differences(2, 0..<100, sourceOffset: second.lowerBound) == 0)
        #expect(theirs.differences(2) == 0)
    }

    func grantLimits() throws {
        var pair = try pair()
        let theirs = TestMemory(4096)
        let region = try unsafe pair.right.endpoint.register(theirs.buffer, access: .byGrant)
        let readable = try unsafe pair.right.endpoint.register(theirs.buffer, access: .read)
        let asked: [(RegionKey, UInt64, Int)] = [
            (region, 4096, 1), (region, 0, 4097), (region, .max, 2), (region, 0, -1), (readable, 0, 8),
            (RegionKey(rawValue: 12345), 0, 8),
        ]
        for (key, offset, length) in asked {
            let error = #expect(throws: FabricError.self) {
                try pair.right.endpoint.grant(LocationOf(key, offset), length: length, to: pair.fromRight)
            }
            #expect(error?.code == .invalidArgument)
        }
        // Many at once, and again and again.
        for _ in 0..<4 {
            var keys: [RegionKey] = []
            for number in 0..<200 {
                let part = LocationOf(region, UInt64(number))
                if let key = try pair.right.endpoint.grant(part, length: 8, to: pair.fromRight) { keys.append(key) }
            }
            #expect(keys.count >= 32)
            let before = pair.right.revoked.count
            let late = keys.count { !pair.right.endpoint.revoke($0) }
            try drive(&pair.left, &pair.right, "the ends of grants") { _, right in
                right.revoked.count == before + late
            }
        }
        // What is not granted is not revoked later.
        let isDone = pair.right.endpoint.revoke(RegionKey(rawValue: 12345))
        #expect(isDone)
        let empty = try pair.right.endpoint.grant(LocationOf(region, 0), length: 0, to: pair.fromRight)
        #expect(empty != nil)
    }

    func staleKey() throws {
        var pair = try pair()
        let mine = TestMemory(4096)
        let theirs = TestMemory(4096)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let old = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        pair.right.endpoint.deregister(old)
        // The same memory again, probably in the same slot, must not revive the old key.
        let new = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        #expect(new != old)
        for (index, length) in [0, 8, 4096].enumerated() {
            try transfer(&pair, "read with a stale key") {
                try $0.read(LocationOf(old, 0), into: LocationOf(local, 0), length, on: $1, token: UInt64(index))
            }
            #expect(pair.left.failure(UInt64(index)) == .remoteAccessDenied, "\(length) bytes")
        }
        try transfer(&pair, "read with the new key") {
            try $0.read(LocationOf(new, 0), into: LocationOf(local, 0), 4096, on: $1, token: 10)
        }
        #expect(pair.left.failure(10) == nil)
    }

    /// Mistakes of the caller are thrown, at once.
    func localRange() throws {
        var pair = try pair()
        let mine = TestMemory(4096)
        let theirs = TestMemory(1 << 20)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        let connection = pair.fromLeft
        let wrong: [(key: RegionKey, offset: UInt64, length: Int)] = [
            (local, 0, 4097), (local, 4096, 1), (local, .max, 1), (local, 1, 4096), (local, 0, -1),
            (local, 0, .max), (local, 0, .min), (remote, 0, 8), (RegionKey(rawValue: 0), 0, 0),
        ]
        for range in wrong {
            let here = LocationOf(range.key, range.offset)
            #expect(
                code { try pair.left.read(LocationOf(remote, 0), into: here, range.length, on: connection, token: 1) }
                    == .invalidArgument, "\(range)")
            #expect(
                code { try pair.left.write(here, to: LocationOf(remote, 0), range.length, on: connection, token: 1) }
                    == .invalidArgument, "\(range)")
        }
        pair.left.endpoint.deregister(local)
        #expect(
            code {
                try pair.left.read(LocationOf(remote, 0), into: LocationOf(local, 0), 8, on: connection, token: 1)
            } == .invalidArgument)
        try settle(&pair.left, &pair.right)
        #expect(pair.left.completions.isEmpty)
    }

    /// When a notification arrives its bytes are there.
    func notification() throws {
        var pair = try pair()
        let mine = TestMemory(3 << 20)
        let theirs = TestMemory(3 << 20)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: .write)
        for (index, size) in [0, 1, 5000, 300_000, 3 << 20].enumerated() {
            let value = UInt64.max - UInt64(index)
            mine.fill(UInt64(index))
            theirs.clear(size)
            let connection = pair.fromLeft
            #expect(
                try pair.left.write(
                    LocationOf(local, 0), to: LocationOf(remote, 0), size, notification: value, on: connection,
                    token: UInt64(index)))
            var wrong: Int?
            try drive(&pair.left, &pair.right, "notification of \(size) bytes") { left, right in
                // Looked at as soon as the notification is seen, before anything else happens.
                if wrong == nil, right.notifications.contains(value) {
                    wrong = theirs.differences(UInt64(index), 0..<size)
                }
                return wrong != nil && left.isCompleted(UInt64(index))
            }
            #expect(wrong == 0)
        }
        #expect(pair.right.notifications.count == 5)
        #expect(pair.left.notifications == [])
        #expect(pair.left.completions.allSatisfy { $0.failure == nil })
    }

    /// Both ends, several connections, reads, writes and messages, all at the same time.
    func manyOperations() throws {
        let (count, size) = (48, 70_001)
        var pair = try pair()
        let second = try connect(&pair.left, to: &pair.right, at: pair.address)
        let (leftLinks, rightLinks) = ([pair.fromLeft, second.left], [pair.fromRight, second.right])
        let leftSource = TestMemory(count * size)
        let leftTarget = TestMemory(2 * count * size)
        let rightSource = TestMemory(count * size)
        let rightTarget = TestMemory(2 * count * size)
        leftSource.fill(11)
        rightSource.fill(22)
        let leftKeys = try (
            unsafe pair.left.endpoint.register(leftSource.buffer, access: .read),
            unsafe pair.left.endpoint.register(leftTarget.buffer, access: .write)
        )
        let rightKeys = try (
            unsafe pair.right.endpoint.register(rightSource.buffer, access: .read),
            unsafe pair.right.endpoint.register(rightTarget.buffer, access: .write)
        )
        pair.left.countsMessages = true
        pair.right.countsMessages = true
        for index in 0..<count {
            // Reads fill the first half of a target, the other end's writes the second half.
            let offset = UInt64(index * size)
            let half = UInt64((count + index) * size)
            let (here, there) = (leftLinks[index % 2], rightLinks[index % 2])
            let token = UInt64(index)
            #expect(
                try pair.left.read(
                    LocationOf(rightKeys.0, offset), into: LocationOf(leftKeys.1, offset), size, on: here, token: token)
            )
            #expect(
                try pair.right.read(
                    LocationOf(leftKeys.0, offset), into: LocationOf(rightKeys.1, offset), size, on: there,
                    token: token))
            #expect(
                try pair.left.write(
                    LocationOf(leftKeys.0, offset), to: LocationOf(rightKeys.1, half), size, notification: token,
                    on: here, token: 1000 + token))
            #expect(
                try pair.right.write(
                    LocationOf(rightKeys.0, offset), to: LocationOf(leftKeys.1, half), size, notification: token,
                    on: there, token: 1000 + token))
            #expect(try pair.left.send(Self.numbered(index, 100), on: leftLinks[0]))
            #expect(try pair.right.send(Self.numbered(index, 100), on: rightLinks[0]))
        }
        try drive(&pair.left, &pair.right, "all completions", within: .seconds(30)) { left, right in
            left.completions.count == 2 * count && right.completions.count == 2 * count
                && left.notifications.count == count && right.notifications.count == count
                && left.messageCount == count && right.messageCount == count
        }
        #expect(pair.left.completions.allSatisfy { $0.failure == nil })
        #expect(pair.right.completions.allSatisfy { $0.failure == nil })
        #expect(Set(pair.left.completions.map(\.token)).count == 2 * count)
        #expect(pair.left.outOfOrder + pair.right.outOfOrder == 0)
        #expect(leftTarget.differences(22, 0..<(count * size)) == 0)
        #expect(leftTarget.differences(22, (count * size)..<(2 * count * size)) == 0)
        #expect(rightTarget.differences(11, 0..<(count * size)) == 0)
        #expect(rightTarget.differences(11, (count * size)..<(2 * count * size)) == 0)
    }

    /// Beyond the limit the call returns false, and `writable` tells when there is room.
    func operationLimit() throws {
        var pair = try pair { $0.maximumOperations = 4 }
        let mine = TestMemory(64 << 10)
        let theirs = TestMemory(64 << 10)
        let local = try unsafe pair.left.endpoint.register(mine.buffer, access: [])
        let remote = try unsafe pair.right.endpoint.register(theirs.buffer, access: [.read, .write])
        let (here, there, connection) = (LocationOf(local, 0), LocationOf(remote, 0), pair.fromLeft)
        for token in 0..<4 as Range<UInt64> {
            #expect(try pair.left.read(there, into: here, 64 << 10, on: connection, token: token))
        }
        #expect(try !pair.left.read(there, into: here, 8, on: connection, token: 4))
        #expect(try !pair.left.write(here, to: there, 8, on: connection, token: 5))
        try drive(&pair.left, &pair.right, "room") { left, _ in left.isWritable(connection) }
        #expect(try pair.left.write(here, to: there, 8, on: connection, token: 6))
        try drive(&pair.left, &pair.right, "completions") { left, _ in left.completions.count == 5 }
        #expect(Set(pair.left.completions.map(\.token)) == [0, 1, 2, 3, 6])
    }

    // MARK: Help

    /// Starts operations of the left station and waits until all that it has started are completed.
    private func transfer(
        _ pair: inout Pair<Endpoint>, _ purpose: String, within limit: Duration = .seconds(20),
        _ start: (inout Peer, Connection) throws -> Bool
    ) throws {
        let done = pair.left.completions.count
        guard try start(&pair.left, pair.fromLeft) else { throw Overdue(description: "\(kind): \(purpose): no room") }
        try drive(&pair.left, &pair.right, purpose, within: limit) { left, _ in left.completions.count > done }
    }
}

/// A place in a region, for short.
func LocationOf(_ key: RegionKey, _ offset: UInt64) -> RegionLocation { RegionLocation(key: key, offset: offset) }

private let gibibyteGate = Mutex(())

/// Resident memory of this process.
private func residentBytes() -> Int {
    let descriptor = unsafe rf_open("/proc/self/statm", O_RDONLY)
    defer { _ = CLinux.close(descriptor) }
    var text = [UInt8](repeating: 0, count: 256)
    let count = unsafe text.withUnsafeMutableBytes { unsafe CLinux.read(descriptor, $0.baseAddress, $0.count) }
    let fields = text.prefix(max(0, count)).split(separator: UInt8(ascii: " "))
    return fields.count > 1 ? (Int(String(decoding: fields[1], as: UTF8.self)) ?? 0) * 4096 : 0
}
