// The store against a simple model: random commands of several clients, one at a time, through real
// rings. RAYFABRIC_SEED=n replays a run.

import RayCore
import Testing

@testable import RayFabric

/// What a store is, without memory, rings or hashes.
private struct StoreModel {
    struct Thing {
        var offset: UInt64
        var bytes: UInt64
        var isSecondary: Bool
        var owner: Int
        var extent: Range<UInt64> { offset..<(offset + (bytes + 63) / 64 * 64) }
    }

    /// Sealed and not deleted.
    var live: [ObjectID: Thing] = [:]
    /// Deleted, and pinned by somebody.
    var dying: [ObjectID: Thing] = [:]
    /// Granted and not used: by client.
    var granted: [Int: [Range<UInt64>]] = [:]
    /// How often a client has pinned an entry.
    var pins: [Int: [Int: ObjectID]] = [:]
    /// Waits that have not ended: by client and token.
    var waits: [Int: [UInt32: ObjectID]] = [:]
    var gone: Set<ObjectID> = []
    var duplicates: UInt64 = 0
    var evictions: UInt64 = 0

    func isPinned(_ id: ObjectID) -> Bool { pins.values.contains { $0.values.contains(id) } }

    mutating func delete(_ id: ObjectID) {
        guard let thing = live.removeValue(forKey: id) else { return }
        gone.insert(id)
        if isPinned(id) { dying[id] = thing }
    }

    mutating func releaseUnpinned() {
        dying = dying.filter { isPinned($0.key) }
    }

    mutating func publish(_ id: ObjectID, _ thing: Thing) {
        if live[id] != nil {
            duplicates += 1
            return
        }
        live[id] = thing
        gone.remove(id)
        for client in waits.keys { waits[client] = waits[client]?.filter { $0.value != id } }
    }
}

/// A run: the store under test, its model, and what the clients do.
private struct StoreRun {
    static let maximumObjects = 96
    let harness: CoreHarness
    var model = StoreModel()
    var random: SeededRandom
    var clients: [Int: CoreClient] = [:]
    var token: UInt32 = 0
    var ids: [ObjectID] = []

    init(seed: UInt64) throws {
        random = SeededRandom(seed: seed)
        var limits = StoreCore.Limits()
        limits.maximumClients = 5
        harness = try CoreHarness(capacity: 512 << 10, maximumObjects: Self.maximumObjects, limits: limits)
        clients[0] = try harness.attach(process: nil, index: 0)
    }

    mutating func client() -> CoreClient? {
        clients.sorted { $0.key < $1.key }.map(\.value).randomElement(using: &random)
    }

    mutating func step() throws {
        switch Int.random(in: 0..<40, using: &random) {
        case 0: try attach()
        case 1: end()
        case 2: cutOff()
        case 3...9: grant()
        case 10...19: publish()
        case 20...21: giveBack()
        case 22...25: delete()
        case 26...31: pin()
        case 32...35: unpin()
        case 36...38: wait()
        default: forget()
        }
        try check()
    }

    // MARK: Clients

    mutating func attach() throws {
        guard let index = (1..<5).first(where: { clients[$0] == nil }) else { return }
        clients[index] = try harness.attach(process: Int32.random(in: 1...6, using: &random), index: index)
    }

    mutating func end() {
        guard let client = client(), client.index != 0 else { return }
        forget(client)
        harness.detach(client)
        if Bool.random(using: &random), let process = client.session.process { harness.core.processEnded(process) }
    }

    mutating func cutOff() {
        guard let client = client(), client.index != 0 else { return }
        let doubtful = model.live.filter { _, thing in
            thing.bytes > 0 && harness.core.isLessee(client.index, ofSegment: segment(thing.offset))
        }
        forget(client)
        for id in doubtful.keys { model.delete(id) }
        client.push(StoreCommand(kind: .giveBack, offset: 1 << 50, size: 64))
        harness.turn()
        #expect(client.isEvicted)
    }

    mutating func forget(_ client: CoreClient) {
        clients[client.index] = nil
        model.granted[client.index] = nil
        model.pins[client.index] = nil
        model.waits[client.index] = nil
        model.releaseUnpinned()
    }

    func segment(_ offset: UInt64) -> Int { Int(offset) / harness.geometry.segmentBytes }

    // MARK: Memory and objects

    mutating func grant() {
        guard let client = client() else { return }
        let isLarge = Int.random(in: 0..<10, using: &random) == 0
        let bytes = UInt64.random(in: 1...(isLarge ? 150_000 : 12_000), using: &random)
        let before = model.live
        let range = harness.grant(client, bytes: bytes, preferred: .random(in: 0...65_536, using: &random))
        for id in before.keys where before[id]?.isSecondary == true && !client.isPresent(id) {
            #expect(!model.isPinned(id), "a pinned copy was evicted")
            model.live[id] = nil
            model.evictions += 1
        }
        guard let range else { return }
        #expect(UInt64(range.count) >= bytes && range.lowerBound % 64 == 0)
        model.granted[client.index, default: []].append(range)
    }

    /// A part of what a client was granted, or nil.
    mutating func takeGranted(_ client: CoreClient, isWhole: Bool) -> Range<UInt64>? {
        guard var ranges = model.granted[client.index], !ranges.isEmpty else { return nil }
        let range = ranges.remove(at: Int.random(in: ranges.indices, using: &random))
        let granules = UInt64(range.count) / 64
        let start = isWhole ? 0 : UInt64.random(in: 0..<granules, using: &random)
        let count = isWhole ? granules : UInt64.random(in: 1...(granules - start), using: &random)
        let part = (range.lowerBound + start * 64)..<(range.lowerBound + (start + count) * 64)
        ranges += [range.lowerBound..<part.lowerBound, part.upperBound..<range.upperBound].filter { !$0.isEmpty }
        model.granted[client.index] = ranges
        return part
    }

    mutating func publish() {
        guard let client = client() else { return }
        let isEmpty = Int.random(in: 0..<10, using: &random) == 0
        let isSecondary = client.index == 0 && Bool.random(using: &random)
        guard let memory = isEmpty ? 0..<0 : takeGranted(client, isWhole: Bool.random(using: &random)) else { return }
        // Sometimes an id that exists, or one that was deleted.
        let isOld = Int.random(in: 0..<8, using: &random) == 0
        // The model tells dying objects by their ids.
        let own = isOld ? ids.filter { $0.owner == client.worker && model.dying[$0] == nil } : []
        let old = own.randomElement(using: &random)
        let id = old ?? client.makeID()
        ids.append(id)
        let slack = isEmpty ? 0 : UInt64.random(in: 0..<64, using: &random)
        let thing = StoreModel.Thing(
            offset: memory.lowerBound, bytes: UInt64(memory.count) - slack, isSecondary: isSecondary,
            owner: client.index)
        let isFull = model.live.count + model.dying.count == Self.maximumObjects
        let before = model.live
        client.push(
            StoreCommand(
                kind: .publish, flags: isSecondary ? [.secondary] : [], id: id, offset: memory.lowerBound,
                size: thing.bytes))
        harness.turn()
        if isFull, model.live[id] == nil {
            // A copy makes room in the directory, or there is none.
            for other in before.keys where !client.isPresent(other) {
                #expect(before[other]?.isSecondary == true && !model.isPinned(other))
                model.live[other] = nil
                model.evictions += 1
            }
            guard client.isPresent(id) else {
                failWaits(of: id, .tooManyObjects)
                return
            }
        }
        model.publish(id, thing)
    }

    /// Waits of other clients for an object that will not come.
    mutating func failWaits(of id: ObjectID, _ code: FabricError.Code) {
        model.gone.insert(id)
        for (index, waits) in model.waits {
            let failed = waits.filter { $0.value == id }.keys
            guard let client = clients[index], !failed.isEmpty else { continue }
            let replies = client.replies()
            #expect(Set(replies.map(\.token)) == Set(failed) && replies.count == failed.count)
            #expect(replies.allSatisfy { $0.code == code })
            for token in failed { model.waits[index]?[token] = nil }
        }
    }

    mutating func giveBack() {
        guard let client = client(), let part = takeGranted(client, isWhole: false) else { return }
        client.push(StoreCommand(kind: .giveBack, offset: part.lowerBound, size: UInt64(part.count)))
        harness.turn()
    }

    mutating func delete() {
        guard let client = client(), let id = ids.randomElement(using: &random) else { return }
        client.push(StoreCommand(kind: .delete, id: id))
        harness.turn()
        model.delete(id)
    }

    // MARK: Pins and waits

    mutating func pin() {
        guard let client = client(), let id = ids.randomElement(using: &random) else { return }
        let entry = client.pin(id)
        #expect((entry != nil) == (model.live[id] != nil))
        guard let entry else { return }
        // Once each: the model knows no counts.
        if model.pins[client.index]?[entry] != nil {
            client.unpin(entry)
        } else {
            model.pins[client.index, default: [:]][entry] = id
        }
    }

    mutating func unpin() {
        guard let client = client(),
            let entry = model.pins[client.index]?.keys.sorted().randomElement(using: &random)
        else { return }
        model.pins[client.index]?[entry] = nil
        client.unpin(entry)
        harness.turn()
        model.releaseUnpinned()
    }

    mutating func wait() {
        guard let client = client() else { return }
        let id = ids.randomElement(using: &random).flatMap { Bool.random(using: &random) ? $0 : nil }
        let awaited = id ?? client.makeID()
        ids.append(awaited)
        token += 1
        client.push(StoreCommand(kind: .wait, id: awaited, token: token))
        harness.turn()
        let replies = client.replies()
        if model.live[awaited] != nil {
            #expect(replies.isEmpty)
        } else if let reply = replies.first {
            #expect(replies.count == 1 && reply.kind == .waitFailed && reply.token == token)
            #expect(model.gone.contains(awaited))
        } else {
            // The store forgets some of what is gone, and then waits.
            model.waits[client.index, default: [:]][token] = awaited
        }
    }

    mutating func forget() {
        guard let client = client(),
            let token = model.waits[client.index]?.keys.sorted().randomElement(using: &random),
            let id = model.waits[client.index]?.removeValue(forKey: token)
        else { return }
        client.push(StoreCommand(kind: .forget, id: id, token: token))
        harness.turn()
    }

    // MARK: Invariants

    mutating func check() throws {
        let listed = harness.core.inspect(from: 0, limit: .max).objects
        #expect(listed.count == model.live.count + model.dying.count)
        var used: [Range<UInt64>] = model.granted.values.flatMap { $0 }
        for (entry, object, pins) in listed {
            let known = object.state == .sealed ? model.live[object.id] : model.dying[object.id]
            let thing = try #require(known, "\(object.id) is \(object.state)")
            #expect(object.size == thing.bytes && object.attributes.isSecondary == thing.isSecondary)
            #expect(thing.bytes == 0 || object.offset == thing.offset)
            let holders = model.pins.filter { $0.value[entry] == object.id }.keys.sorted()
            #expect(pins.map(\.0).sorted() == holders)
            if thing.bytes > 0 { used.append(thing.extent) }
        }
        harness.checkMemory(used)
        checkUsage()
        #expect(harness.core.waitCount == model.waits.values.reduce(0) { $0 + $1.count })
    }

    func checkUsage() {
        let usage = harness.core.usage
        let things = Array(model.live.values) + Array(model.dying.values)
        func bytes(_ isSecondary: Bool) -> UInt64 {
            things.filter { $0.isSecondary == isSecondary }.reduce(0) { $0 + UInt64($1.extent.count) }
        }
        #expect(usage.objects == UInt64(things.count))
        #expect(usage.primaryBytes == bytes(false))
        #expect(usage.secondaryBytes == bytes(true))
        #expect(usage.duplicates == model.duplicates)
        #expect(usage.evictions == model.evictions)
    }

    /// When all have gone, all memory is back but for what is sealed.
    mutating func finish() throws {
        for client in clients.values.sorted(by: { $0.index < $1.index }) {
            forget(client)
            harness.detach(client)
        }
        for process in Int32(1)...6 { harness.core.processEnded(process) }
        try check()
        let last = try harness.attach(process: nil, index: 0)
        clients[0] = last
        for id in model.live.keys {
            last.push(StoreCommand(kind: .delete, id: id))
            model.delete(id)
        }
        harness.turn()
        try check()
        #expect(harness.grant(last, bytes: UInt64(harness.geometry.capacity)) != nil)
    }
}

@Suite struct StoreModelTests {
    @Test(arguments: testSeeds(8)) func agreesWithTheModel(seed: UInt64) throws {
        var run = try StoreRun(seed: seed)
        for _ in 0..<1500 { try run.step() }
        try run.finish()
    }
}
