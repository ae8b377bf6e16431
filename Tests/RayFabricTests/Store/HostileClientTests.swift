// A client that is admitted and then writes anything into all that it can write, and sends anything.
// RAYFABRIC_SEED=n replays a run.

import CLinux
import RayCore
import Synchronization
import Testing

@testable import RayFabric

/// Commands and words that an attacker would try.
struct Mischief {
    var random: SeededRandom
    /// Identifiers that exist, some of them.
    var ids: [ObjectID] = []
    /// Places in memory that mean something: extents granted to somebody.
    var places: [Range<UInt64>] = []

    mutating func number() -> UInt64 {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: .max
        case 1: 0
        case 2: UInt64.random(in: 0...UInt64.max, using: &random)
        case 3: 1 << UInt64.random(in: 0...63, using: &random)
        case 4: UInt64.random(in: 0..<4096, using: &random) * 64
        case 5:
            (places.randomElement(using: &random)?.lowerBound ?? 0) &+ UInt64.random(in: 0..<3, using: &random) &* 64
        case 6: UInt64(places.randomElement(using: &random)?.count ?? 1)
        default: UInt64.random(in: 0..<200_000, using: &random)
        }
    }

    mutating func command(of client: CoreClient) -> StoreCommand {
        let kinds: [StoreCommand.Kind] = [.publish, .giveBack, .delete, .grant, .wait, .forget, .unpinned]
        let kind = kinds.randomElement(using: &random) ?? .grant
        let own = ids.randomElement(using: &random) ?? client.makeID()
        var command = StoreCommand(kind: kind, id: Int.random(in: 0..<4, using: &random) == 0 ? own : client.makeID())
        // Mostly right, so that it gets far.
        let isWild = Int.random(in: 0..<6, using: &random) == 0
        let place = places.randomElement(using: &random) ?? 0..<64
        command.flags = .init(rawValue: UInt32.random(in: 0...(isWild ? .max : 3), using: &random))
        command.offset = isWild ? number() : place.lowerBound
        command.size = isWild ? number() : UInt64.random(in: 0...UInt64(place.count), using: &random)
        command.metadataSize = isWild ? UInt32(truncatingIfNeeded: number()) : 0
        command.token = UInt32.random(in: 0..<20, using: &random)
        return command
    }

    /// Overwrites words of the ledger: the header, the commands that are next, the pins.
    mutating func scribble(_ ledger: borrowing Mapping, _ geometry: StoreGeometry, next: UInt64) {
        for _ in 0..<Int.random(in: 0..<20, using: &random) {
            switch Int.random(in: 0..<4, using: &random) {
            case 0: ledger.store(number(), at: Int.random(in: 0..<512, using: &random) * 8)
            case 1:
                ledger.store(number(), at: geometry.pinOffset(Int.random(in: 0..<geometry.entryCount, using: &random)))
            case 2: ledger.store(number(), at: RingLayout.Ledger.repliesTaken)
            default:
                // A complete command of nonsense.
                let position = next &+ UInt64.random(in: 0..<4, using: &random)
                let place = RingLayout.Ledger.command(position)
                for word in 1..<8 { ledger.store(number(), at: place + word * 8) }
                ledger.storeReleasing(position &+ 1, at: place)
            }
        }
    }
}

@Suite struct HostileClientTests {
    /// In memory, one step at a time: whatever the attacker writes, the store's memory stays in order
    /// and another client's objects stay where they are.
    @Test(arguments: testSeeds(10)) func ledgersFullOfNonsense(seed: UInt64) throws {
        let harness = try CoreHarness(capacity: 1 << 20, maximumObjects: 256)
        var mischief = Mischief(random: SeededRandom(seed: seed))
        let honest = try harness.attach()
        var kept: [(id: ObjectID, offset: UInt64)] = []
        for _ in 0..<10 {
            let id = try #require(harness.seal(honest, bytes: 3000))
            let (entry, _) = try #require(honest.find(id))
            kept.append((id, honest.entry(entry).offset))
        }
        var attacker = try harness.attach(process: 66)
        var cutOffs = 0
        for round in 0..<400 {
            if attacker.isEvicted {
                cutOffs += 1
                attacker = try harness.attach(process: 66)
            }
            mischief.ids = kept.map(\.id).filter { _ in round % 50 == 0 } + [attacker.makeID()]
            mischief.places = attacker.session.outstanding.ranges.map { $0.lowerBound * 64..<$0.upperBound * 64 }
            for _ in 0..<Int.random(in: 0..<8, using: &mischief.random) {
                var command = mischief.command(of: attacker)
                // Deleting is everybody's right: only what the attacker made may go.
                if command.kind == .delete { command.id = attacker.makeID() }
                attacker.push(command)
            }
            if round % 3 == 0 {
                mischief.scribble(attacker.ledger, harness.geometry, next: attacker.commandsTaken)
            }
            harness.turn()
            harness.checkMemory(harness.usedMemory)
            for (id, offset) in kept {
                let entry = try #require(honest.find(id)?.entry, "round \(round)")
                #expect(honest.entry(entry).offset == offset)
            }
        }
        #expect(cutOffs > 20)
        // What is left of the attacker goes, and others have all the rest.
        harness.detach(attacker)
        harness.core.processEnded(66)
        for (id, _) in kept { honest.push(StoreCommand(kind: .delete, id: id)) }
        for (_, object, _) in harness.core.inspect(from: 0, limit: .max).objects {
            honest.push(StoreCommand(kind: .delete, id: object.id))
        }
        harness.turn()
        #expect(harness.core.usage.objects == 0)
        #expect(harness.grant(honest, bytes: 1 << 20) != nil)
    }

    /// A real host and an attacker that writes all over its ledger while another client works.
    @Test func aHostUnderAttackServesOthers() throws {
        let path = temporaryPath("hostile")
        var configuration = FabricConfiguration(capacity: .mebibytes(8), path: path)
        configuration.store.maximumObjects = 4096
        let host = try Fabric(configuration)
        let isStopping = Atomic(false)
        let cutOffs = Atomic(0)
        let attacker = try SystemThread(name: "attacker") {
            var random = SeededRandom(seed: 1)
            while !isStopping.load(ordering: .relaxed) {
                guard let bare = try? BareClient(path) else { continue }
                guard let (_, files) = try? bare.exchange(ControlRequest.hello(name: "attacker").encoded()) else {
                    continue
                }
                guard files.count == 5, let bytes = try? files.byteCount(1),
                    let ledger = try? Mapping(files[1], byteCount: bytes, writable: true)
                else { continue }
                Self.attack(ledger, doorbell: files[3], &random)
                _ = try? bare.next()
                cutOffs.wrappingAdd(1, ordering: .relaxed)
            }
        }
        let client = try Fabric(attachingTo: path, name: "honest")
        var rounds = 0
        let deadline = Timestamp.now + .seconds(60)
        while rounds < 200 || cutOffs.load(ordering: .relaxed) < 10, Timestamp.now < deadline {
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: rounds), count: 1000 + rounds * 16 % 50_000)
            let id = try client.put(bytes)
            let object = try host.get(id, within: .seconds(30))
            let isSame = object.withBytes { $0.elementsEqual(bytes) }
            #expect(isSame)
            object.release()
            try host.delete(id)
            rounds += 1
        }
        #expect(cutOffs.load(ordering: .relaxed) >= 10)
        isStopping.store(true, ordering: .relaxed)
        host.close()
        attacker.join()
    }

    /// Writes nonsense until the host must have seen some of it.
    private static func attack(_ ledger: borrowing Mapping, doorbell: Int32, _ random: inout SeededRandom) {
        let pins = RingLayout.Ledger.command(0) + Int(RingLayout.commandCount) * 64
        for position in UInt64(0)..<64 {
            let place = RingLayout.Ledger.command(position)
            let kind = UInt64.random(in: 1...(position < 60 ? 7 : 9), using: &random)
            ledger.store(kind | UInt64.random(in: 0..<4, using: &random) << 32, at: place + 8)
            for word in 2..<8 { ledger.store(UInt64.random(in: 0..<(1 << 24), using: &random), at: place + word * 8) }
            for word in stride(from: pins, to: ledger.byteCount - 8, by: 4096) {
                ledger.store(UInt64.random(in: 0...UInt64.max, using: &random), at: word)
            }
            ledger.storeReleasing(position + 1, at: place)
        }
        // The last resort: a kind that does not exist.
        let place = RingLayout.Ledger.command(64)
        ledger.store(99, at: place + 8)
        ledger.storeReleasing(65, at: place)
        var one: UInt64 = 1
        unsafe _ = write(doorbell, &one, 8)
    }
}

@Suite(.serialized) struct HostileSocketTests {
    private static let requests: [ControlRequest] = [
        .hello(name: "x"), .map(segment: 0, writable: true), .map(segment: .init(UInt32.max), writable: false),
        .synchronise, .holders, .usage, .inspect(from: 0), .inspect(from: Int(UInt32.max)),
    ]

    /// Every message cut short, changed in each byte, and with bytes behind it, before and after attaching.
    @Test(arguments: [false, true]) func messagesOfNonsense(isAttached: Bool) throws {
        let path = temporaryPath("nonsense")
        let host = try Fabric(FabricConfiguration(capacity: .mebibytes(1), path: path))
        let honest = try Fabric(attachingTo: path, name: "honest")
        let id = try honest.put([1, 2, 3])
        var messages: [[UInt8]] = [[0], [255], Array(repeating: 1, count: 512), Array(repeating: 0, count: 100_000)]
        for request in Self.requests {
            let bytes = request.encoded()
            messages += (1..<bytes.count).map { Array(bytes[..<$0]) }
            messages += [bytes + [0], bytes + Array(repeating: 1, count: 600), bytes]
            for index in bytes.indices {
                var changed = bytes
                changed[index] = changed[index] &+ 0x81
                messages.append(changed)
            }
        }
        for message in messages {
            let bare = try BareClient(path)
            if isAttached {
                let (welcome, _) = try #require(try bare.exchange(ControlRequest.hello(name: "bare").encoded()))
                guard case .welcome = welcome else { throw FabricError(.attachRefused) }
            }
            // An answer or the end: never silence.
            _ = try bare.exchange(message)
        }
        #expect(try host.get(id, within: .seconds(10)).size == 3)
        #expect(try honest.contains(id))
    }

    /// Descriptors that nobody asked for do not stay in the host.
    @Test func surplusDescriptorsAreClosed() throws {
        let path = temporaryPath("surplus")
        let host = try Fabric(FabricConfiguration(capacity: .mebibytes(1), path: path))
        let file = try MemoryFile(name: "surplus", byteCount: 4096)
        let surplus = Array(repeating: file.descriptor.number, count: 8)
        // The test's own descriptor and the host's: both are in this process.
        func count() -> Int {
            (Int32(0)..<4096).count { number in
                var text = [CChar](repeating: 0, count: 64)
                let length = unsafe readlink("/proc/self/fd/\(number)", &text, text.count)
                let bytes = text[..<max(0, length)].map { UInt8(bitPattern: $0) }
                return String(decoding: bytes, as: UTF8.self).contains("memfd:surplus")
            }
        }
        for message in Self.requests.map({ $0.encoded() }) + [[], [0]] {
            let bare = try BareClient(path)
            _ = try bare.exchange(message, descriptors: surplus)
        }
        for request in Self.requests.dropFirst() {
            let bare = try BareClient(path)
            _ = try bare.exchange(ControlRequest.hello(name: "bare").encoded(), descriptors: surplus)
            _ = try bare.exchange(request.encoded(), descriptors: surplus)
        }
        #expect(try host.usage().objects == 0)
        #expect(count() == 1)
    }

    /// One that asks and never reads the answers is cut off; the host does not wait for it.
    @Test func aClientThatReadsNothingHoldsUpNobody() throws {
        let path = temporaryPath("deaf")
        let host = try Fabric(FabricConfiguration(capacity: .mebibytes(1), path: path))
        for _ in 0..<50 { _ = try host.put([1]) }
        let bare = try BareClient(path)
        try bare.socket.send(ControlRequest.hello(name: "deaf").encoded())
        #expect(throws: FabricError.self) {
            for _ in 0..<1_000_000 { try bare.socket.send(ControlRequest.inspect(from: 0).encoded()) }
        }
        #expect(try host.inspect().count == 50)
    }
}
