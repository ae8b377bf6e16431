// A node of the transfer simulation: two machines, and a store that scrambles what it frees.

import RayCore

@testable import RayFabric

struct VirtualNode {
    struct StoredObject {
        var byteCount: Int
        var extents: [RemoteExtent]
        var pins = 0
    }

    struct Draft {
        var object: ObjectID
        var size: Int
        var metadataSize: Int
        /// Nil while the shell takes its time to make it.
        var bytes: [UInt8]?
        var isPublishing = false
        /// An inline object whose publishing takes its time.
        var isInline = false
        /// Some bytes came from the hostile place.
        var isTainted = false
        /// Places from which chunks arrived.
        var sources: Set<Int> = []
    }

    struct Outstanding {
        var read: ChunkRead
        var object: ObjectID
        /// What the source sent, once it has served the read.
        var bytes: [UInt8]?
    }

    let place: Int
    let id: NodeID
    var pull: PullMachine
    var serve: ServeMachine
    var isAlive = true
    var pausedUntil = Timestamp.zero
    var tickAt = Timestamp.never
    var isFull = false

    var store: [ObjectID: StoredObject] = [:]
    var memory: [RegionKey: [UInt8]] = [:]
    var nextKey: UInt64
    var pins: [UInt64: ObjectID] = [:]
    var nextPin: UInt64 = 1

    var drafts: [PullID: Draft] = [:]
    var outstanding: [UInt64: Outstanding] = [:]
    /// What a request asked for, until it is released; inline replies and lost links leave some here.
    var requested: [UInt64: ObjectID] = [:]
    /// Waiters without a result, and what they wait for.
    var waiting: [UInt64: ObjectID] = [:]

    init(place: Int, incarnation: UInt32, _ random: inout SeededRandom) {
        self.place = place
        id = NodeID(value: UInt64(place) + 1, incarnation: incarnation)
        nextKey = UInt64(place) << 48 | UInt64(incarnation) << 32
        var limits = PullConfiguration()
        limits.chunkBytes = [16, 64, 100].randomElement(using: &random)!
        limits.readsPerSource = Int.random(in: 1...4, using: &random)
        limits.budgetBytes = Int.random(in: 100...2500, using: &random)
        limits.maximumDrafts = Int.random(in: 1...6, using: &random)
        limits.maximumObjectBytes = random.chance(0.1) ? 800 : 1 << 30
        limits.inlineLimit = [0, 40, 100].randomElement(using: &random)!
        limits.spreadBytes = 300
        limits.sourcesAtOnce = Int.random(in: 1...3, using: &random)
        limits.requestsPerSource = Int.random(in: 1...6, using: &random)
        limits.maximumPulls = random.chance(0.1) ? 3 : 100
        limits.maximumWaiters = random.chance(0.1) ? 4 : 100
        limits.failuresPerSource = [1, 2, 5].randomElement(using: &random)!
        limits.requestTimeout = .milliseconds(80)
        limits.readTimeout = .milliseconds(400)
        limits.retryDelay = .milliseconds(10)
        pull = PullMachine(configuration: limits)
        var serving = ServeConfiguration()
        serving.lease = .milliseconds(Int.random(in: 100...700, using: &random))
        serving.inlineLimit = 60
        serving.requestsPerPeer = random.chance(0.1) ? 2 : 12
        serve = ServeMachine(configuration: serving)
    }

    // MARK: Store

    /// Enters an object, cut into extents of different regions.
    mutating func add(_ object: ObjectID, _ bytes: [UInt8], _ random: inout SeededRandom) {
        guard store[object] == nil else { return }
        var extents: [RemoteExtent] = []
        var start = 0
        while start < bytes.count {
            let length =
                random.chance(0.6) ? bytes.count - start : Int.random(in: 1...bytes.count - start, using: &random)
            let margin = Int.random(in: 0...8, using: &random)
            nextKey += 1
            memory[RegionKey(rawValue: nextKey)] = Array(repeating: 0xdd, count: margin) + bytes[start..<start + length]
            extents.append(
                RemoteExtent(key: RegionKey(rawValue: nextKey), offset: UInt64(margin), length: UInt64(length)))
            start += length
        }
        store[object] = StoredObject(byteCount: bytes.count, extents: extents)
    }

    /// Takes an object out if nobody has it pinned. Its memory is used for something else at once.
    mutating func evict(_ object: ObjectID, _ random: inout SeededRandom) -> Bool {
        guard let stored = store[object], stored.pins == 0 else { return false }
        let isUnmapped = random.chance(0.5)
        for extent in stored.extents {
            let key = extent.location.key
            memory[key] = isUnmapped ? nil : Array(repeating: 0xee, count: memory[key]!.count)
        }
        store[object] = nil
        return true
    }

    // MARK: Invariants

    func fail(_ text: String) -> SimulationFailure { SimulationFailure(description: "node \(place): \(text)") }

    /// What must hold between any two events.
    func checkAfterStep() throws(SimulationFailure) {
        let made = drafts.values.filter { !$0.isInline }
        let bytes = made.reduce(0) { $0 + $1.size + $1.metadataSize }
        guard pull.draftBytes == bytes, pull.drafts == made.count else {
            throw fail("the machine counts \(pull.draftBytes) draft bytes, the shell \(bytes)")
        }
        guard bytes <= pull.configuration.budgetBytes || made.count == 1 else {
            throw fail("\(bytes) bytes of \(made.count) drafts are over the budget")
        }
        guard made.count <= pull.configuration.maximumDrafts else { throw fail("\(made.count) drafts") }
        var window: [Connection: Int] = [:]
        for read in outstanding.values { window[read.read.connection, default: 0] += 1 }
        if let (_, count) = window.first(where: { $0.value > pull.configuration.readsPerSource }) {
            throw fail("\(count) reads in flight to one source")
        }
        guard waiting.count == pull.waiterSlots.used else { throw fail("waiters were lost or invented") }
        guard pins.count >= serve.pins else { throw fail("the serve machine counts pins that it does not hold") }
    }

    /// What must hold when all is over.
    func checkAtEnd() throws(SimulationFailure) {
        guard waiting.isEmpty else { throw fail("waiters \(waiting.keys.sorted()) never got a result") }
        guard drafts.isEmpty, outstanding.isEmpty else { throw fail("drafts or reads are left") }
        guard pull.pullSlots.used == 0, pull.sourceSlots.used == 0, pull.readSlots.used == 0 else {
            throw fail("the pull machine is not empty")
        }
        guard pins.isEmpty, serve.openRequests == 0 else { throw fail("\(pins.count) pins are left") }
        guard store.values.allSatisfy({ $0.pins == 0 }) else { throw fail("an object is left pinned") }
        guard pull.nextDeadline == .never, serve.nextDeadline == .never else { throw fail("a time-out is left") }
    }
}
