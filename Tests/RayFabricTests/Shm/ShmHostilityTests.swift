// A peer that is admitted and then writes nonsense into all that it can write.

import CLinux
import CSharedLayout
import RayCore
import Synchronization
import Testing

@testable import RayFabric

/// An honest station, and an attacker from whose inside the test works.
private struct Attack: ~Copyable {
    var victim: Station<ShmTransport>
    var attacker: Station<ShmTransport>
    let connection: Connection
    let attackerConnection: Connection

    init() throws {
        let pair = try shmFixture().pair { $0.maximumOperations = 8 }
        connection = pair.fromRight
        attackerConnection = pair.fromLeft
        victim = pair.right
        attacker = pair.left
    }

    /// Puts one record into the attacker's ring, whatever it is.
    mutating func put(_ kind: ShmRecordKind, _ record: rf_shm_operation, payload: Int = 0) throws {
        let handle = attacker.endpoint.links[0]
        let head = MemoryLayout<rf_shm_operation>.size
        let hasRoom = try handle.link.producer.hasRoom(head + payload, within: handle.link.producer.capacity)
        #expect(hasRoom)
        unsafe handle.link.producer.payload().storeBytes(of: record, as: rf_shm_operation.self)
        handle.link.producer.commit(kind, head + payload)
        _ = handle.link.producer.publish()
    }

    /// Polls the victim alone until its connection has ended.
    mutating func expectViolation(_ what: String) throws {
        try shmFixture().driveAlone(&victim, what) { [connection] in $0.closure(connection) != nil }
        #expect(victim.closure(connection)?.code == .protocolViolation, "\(what)")
        #expect(victim.endpoint.statistics.rejected == 1)
    }
}

@Suite(.serialized) struct ShmHostilityTests {
    @Test func recordsOutOfPlaceEndTheConnection() throws {
        let cases: [(String, ShmRecordKind, rf_shm_operation, Int)] = [
            ("data for no operation", .data, rf_shm_operation(naming: 3), 16),
            ("done for no operation", .done, rf_shm_operation(naming: 3), 0),
            ("bytes behind a read", .read, rf_shm_operation(key: 1, remaining: 8), 8),
            ("a finish with bytes", .finish, rf_shm_operation(), 0),
        ]
        for (what, kind, record, payload) in cases {
            var attack = try Attack()
            try attack.put(kind, record, payload: payload)
            try attack.expectViolation(what)
        }
    }

    @Test func moreOperationsThanAgreedEndTheConnection() throws {
        var attack = try Attack()
        // Nobody takes the answers, so they fill the table of the victim at the ninth.
        for number in 0..<UInt64(64) {
            try attack.put(.read, rf_shm_operation(naming: number, key: 77, remaining: 1 << 40))
        }
        try attack.expectViolation("too many reads")
    }

    @Test func aPositionThatNoReaderHasEndsTheConnection() throws {
        var attack = try Attack()
        unsafe attack.attacker.endpoint.links[0].link.own.consumed.pointee.store(1 << 40, ordering: .relaxed)
        // The victim looks at the position when it believes that its ring is full.
        let bytes = [UInt8](repeating: 1, count: 200_000)
        for _ in 0..<8 {
            guard (try? attack.victim.send(bytes, on: attack.connection)) ?? false else { break }
        }
        try attack.expectViolation("a position from the future")
    }

    @Test func packetsThatNobodySendsEndTheConnection() throws {
        var attack = try Attack()
        let sent = attack.attacker.endpoint.links[0].link.sendPacket(rf_shm_packet(99))
        #expect(sent)
        try attack.expectViolation("an unknown packet")
        attack = try Attack()
        let socket = attack.attacker.endpoint.links[0].link.socket.number
        unsafe [UInt8](repeating: 7, count: 13).withUnsafeBytes {
            unsafe _ = rf_send_with_fds(socket, $0.baseAddress, $0.count, nil, 0, 0)
        }
        try attack.expectViolation("a packet of a wrong size")
    }

    @Test func aFileThatCouldShrinkIsNotMapped() throws {
        var attack = try Attack()
        let memory = try SharedMemory(byteCount: 4096)
        let unsealed = unsafe rf_memfd_create("unsealed")
        defer { close(unsealed) }
        ftruncate(unsealed, 4096)
        let key = unsafe try attack.attacker.endpoint.registerShared(
            descriptor: memory.descriptor, offset: 0, memory: memory.bytes, access: [.read])
        let local = TestMemory(64)
        let localKey = unsafe try attack.victim.endpoint.register(local.buffer, access: [])
        #expect(
            try attack.victim.read(
                RegionLocation(key: key, offset: 0), into: RegionLocation(key: localKey, offset: 0), 64,
                on: attack.connection, token: 1))
        // The answer to the victim's question, with a file that the sender can truncate at any time.
        var answer = rf_shm_packet(RF_SHM_REGION_ANSWER, key: key)
        answer.length = 4096
        answer.access = 1
        let sent = attack.attacker.endpoint.links[0].link.sendPacket(answer, descriptor: unsealed)
        #expect(sent)
        try attack.expectViolation("an unsealed file")
        #expect(attack.victim.failure(1) == .protocolViolation)
    }

    /// The attacker overwrites random words of its ring, its control words and its directory, and
    /// sends random packets, while both ends have traffic. The victim must survive, and touch no
    /// memory but what it registered for writing.
    @Test func nonsenseNeverHarms() throws {
        for seed: UInt64 in 0..<60 {
            var random = SeededRandom(seed: seed)
            var attack = try Attack()
            let open = TestMemory(8192)
            let closed = TestMemory(8192)
            closed.fill(seed)
            let openKey = unsafe try attack.victim.endpoint.register(open.buffer, access: [.read, .write])
            let closedKey = unsafe try attack.victim.endpoint.register(closed.buffer, access: [.read])
            for step in 0..<200 where attack.victim.closure(attack.connection) == nil {
                try attack.disturb(&random, [openKey.rawValue, closedKey.rawValue, random.next()])
                let local = RegionLocation(key: openKey, offset: 0)
                let remote = RegionLocation(key: RegionKey(rawValue: random.next()), offset: 0)
                if random.chance(0.2) {
                    _ = try? attack.victim.send([UInt8](repeating: 3, count: 500), on: attack.connection)
                }
                if random.chance(0.2) {
                    _ = try? attack.victim.read(remote, into: local, 4096, on: attack.connection, token: UInt64(step))
                }
                attack.victim.drain(limit: 100)
            }
            #expect(closed.differences(seed) == 0, "seed \(seed)")
            if attack.victim.closure(attack.connection) != nil {
                #expect(attack.victim.closure(attack.connection)?.code == .protocolViolation)
            }
        }
    }
}

extension Attack {
    fileprivate mutating func disturb(_ random: inout SeededRandom, _ keys: [UInt64]) throws {
        guard let handle = attacker.endpoint.links.first else { return }
        let link = handle
        switch Int.random(in: 0..<10, using: &random) {
        case 0:
            let word = random.chance(0.5) ? random.next() : UInt64.random(in: 0..<256, using: &random) * 8
            unsafe link.link.own.consumed.pointee.store(random.chance(0.1) ? word : 0, ordering: .relaxed)
        case 1: unsafe link.link.own.sleep.pointee.store(random.next(), ordering: .relaxed)
        case 2: unsafe link.link.own.heartbeat.pointee.store(random.next(), ordering: .relaxed)
        case 3:
            // Anywhere in the ring, most likely near the place that the victim reads.
            let span = random.chance(0.8) ? 4096 : link.link.own.ringBytes
            let place =
                (Int(link.link.producer.tail) + Int.random(in: 0..<span, using: &random)) % link.link.own.ringBytes
            unsafe (link.link.own.ring + place & ~7).storeBytes(of: random.next(), as: UInt64.self)
        case 4 where random.chance(0.1):
            var packet = rf_shm_packet(Int32.random(in: 0...5, using: &random), key: RegionKey(rawValue: random.next()))
            packet.length = random.next()
            _ = link.link.sendPacket(packet)
        default:
            guard let kind = ShmRecordKind(rawValue: .random(in: 1...8, using: &random)) else { return }
            // Mostly well-formed, or every connection would end at the first record.
            if kind == .done || kind == .data || kind == .finish, random.chance(0.95) { return }
            let record = rf_shm_operation(
                naming: .random(in: 0...9, using: &random), key: keys.randomElement(using: &random) ?? 0,
                offset: random.chance(0.8) ? .random(in: 0...9000, using: &random) : random.next(),
                remaining: random.chance(0.8) ? .random(in: 0...9000, using: &random) : random.next(),
                notification: random.chance(0.5) ? random.next() : nil)
            guard (try? link.link.producer.hasRoom(20_000, within: link.link.producer.capacity)) ?? false else {
                return
            }
            try put(kind, record, payload: kind == .write ? .random(in: 0...5000, using: &random) : 0)
        }
    }
}
