// Free memory and leases against models so simple that they are plainly right, under random use.

import CLinux
import RayCore
import Testing

@testable import RayFabric

/// Seeds of a randomised test. RAYFABRIC_SEED=n replays one, RAYFABRIC_SEEDS=n asks for so many.
func testSeeds(_ count: UInt64) -> [UInt64] {
    func number(_ name: String) -> UInt64? {
        // SAFETY: getenv gives a C string or nil; nothing here changes the environment.
        unsafe getenv(name).flatMap { unsafe UInt64(String(cString: $0)) }
    }
    if let seed = number("RAYFABRIC_SEED") { return [seed] }
    return Array(1...max(1, number("RAYFABRIC_SEEDS") ?? count))
}

/// Runs of free granules, as long as they can be within a segment.
private func runs(_ isFree: [Bool], segmentGranules: Int) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var start: Int?
    for index in 0...isFree.count {
        let goesOn = index < isFree.count && isFree[index] && (start == nil || index % segmentGranules != 0)
        if let first = start, !goesOn {
            runs.append(first..<index)
            start = nil
        }
        if index < isFree.count, isFree[index], start == nil { start = index }
    }
    return runs
}

@Suite struct ExtentPoolModelTests {
    private struct Run {
        static let segmentGranules = 96
        static let segments = 5
        var random: SeededRandom
        var pool = ExtentPool(segmentGranules: UInt64(segmentGranules))
        var isFree = Array(repeating: false, count: segmentGranules * segments)

        mutating func step() {
            switch Int.random(in: 0..<8, using: &random) {
            case 0...2: insert()
            case 3...5: take()
            case 6: takeWhole()
            default: takeAll()
            }
            check()
        }

        private func claim(_ range: Range<UInt64>) -> Range<Int> { Int(range.lowerBound)..<Int(range.upperBound) }

        /// Frees a part of what is taken.
        mutating func insert() {
            let taken = runs(isFree.map { !$0 }, segmentGranules: isFree.count)
            guard let run = taken.randomElement(using: &random) else { return }
            let start = Bool.random(using: &random) ? run.lowerBound : Int.random(in: run, using: &random)
            let longest = run.upperBound - start
            let count = Bool.random(using: &random) ? longest : Int.random(in: 1...longest, using: &random)
            pool.insert(UInt64(start)..<UInt64(start + count))
            for index in start..<(start + count) { isFree[index] = true }
        }

        mutating func take() {
            let minimum = Int.random(in: 1...Int.random(in: 1...Self.segmentGranules, using: &random), using: &random)
            let preferred = Int.random(in: minimum...Self.segmentGranules, using: &random)
            let longest = runs(isFree, segmentGranules: Self.segmentGranules).map(\.count).max() ?? 0
            guard let range = pool.take(minimum: UInt64(minimum), preferred: UInt64(preferred)) else {
                #expect(longest < minimum, "\(minimum) granules were free")
                return
            }
            #expect((minimum...preferred).contains(range.count))
            remove(claim(range))
        }

        mutating func takeWhole() {
            let segment = Int.random(in: 0..<Self.segments, using: &random)
            let range = segment * Self.segmentGranules..<(segment + 1) * Self.segmentGranules
            let wide = UInt64(range.lowerBound)..<UInt64(range.upperBound)
            let isWhole = range.allSatisfy { isFree[$0] }
            #expect(pool.holdsWhole(wide) == isWhole)
            let taken = pool.takeWhole(wide)
            #expect(taken == isWhole)
            if taken { remove(range) }
        }

        mutating func takeAll() {
            let segment = Int.random(in: 0..<Self.segments, using: &random)
            let range = segment * Self.segmentGranules..<(segment + 1) * Self.segmentGranules
            let expected = runs(isFree, segmentGranules: Self.segmentGranules).filter { range.contains($0.lowerBound) }
            let taken = pool.takeAll(inSegment: segment).map(claim)
            #expect(taken.sorted { $0.lowerBound < $1.lowerBound } == expected)
            for part in taken { remove(part) }
        }

        mutating func remove(_ range: Range<Int>) {
            #expect(range.allSatisfy { isFree[$0] }, "\(range) was taken twice")
            #expect(range.lowerBound / Self.segmentGranules == (range.upperBound - 1) / Self.segmentGranules)
            for index in range { isFree[index] = false }
        }

        mutating func check() {
            // Settles what was freed last, so that it is merged.
            _ = pool.holdsWhole(0..<1)
            #expect(pool.freeGranules == UInt64(isFree.count { $0 }))
            #expect(pool.extentCount == runs(isFree, segmentGranules: Self.segmentGranules).count)
        }
    }

    @Test(arguments: testSeeds(4)) func agreesWithABitmap(seed: UInt64) {
        var run = Run(random: SeededRandom(seed: seed))
        for _ in 0..<1500 { run.step() }
    }
}

@Suite struct ArenaModelTests {
    /// Clients with processes that end and come back, memory that is made, fails and is replaced.
    private struct Run {
        static let segments = 6
        static let granules: UInt64 = 64
        static let clients = 4
        var random: SeededRandom
        var arena = Arena(segmentCount: segments, segmentGranules: granules, maximumClients: clients)
        /// The process of each client that there is.
        var processes: [Int: Int32] = [:]
        var ended: Set<Int32> = []
        var nextProcess: Int32 = 100
        /// Granted and not freed: by whom.
        var held: [(range: Range<UInt64>, client: Int?)] = []
        var filling: Set<Int> = []
        /// Living processes that were given something in the memory that a segment has now.
        var writers: [Set<Int32>] = Array(repeating: [], count: segments)

        mutating func step() {
            switch Int.random(in: 0..<14, using: &random) {
            case 0: begin()
            case 1...4: allocate()
            case 5...7: free()
            case 8...10: fill()
            case 11: fillAhead()
            case 12: end()
            default: processEnds()
            }
            check()
        }

        mutating func begin() {
            guard let index = (0..<Self.clients).first(where: { processes[$0] == nil }) else { return }
            if let process = ended.sorted().randomElement(using: &random), Bool.random(using: &random) {
                ended.remove(process)
                processes[index] = process
                arena.processReturned(process, as: index)
            } else {
                nextProcess += 1
                processes[index] = nextProcess
            }
        }

        /// Dictionaries have another order in each run.
        mutating func randomClient() -> (Int, Int32)? {
            processes.sorted { $0.key < $1.key }.randomElement(using: &random)
        }

        mutating func allocate() {
            guard let (client, process) = randomClient() else { return }
            let isLarge = Int.random(in: 0..<5, using: &random) == 0
            let minimum = UInt64.random(in: 1...(isLarge ? 3 * Self.granules : Self.granules / 2), using: &random)
            let preferred = max(minimum, UInt64.random(in: 1...Self.granules, using: &random))
            let ownFree = arena.freeGranules(leasedTo: client)
            switch arena.allocate(for: client, minimum: minimum, preferred: preferred) {
            case .granted(let range): granted(range, minimum...preferred, to: client, process)
            case .fill(let segments, let replacing):
                #expect(!segments.isEmpty && Set(replacing).isSubset(of: segments))
                for segment in segments {
                    #expect(!filling.contains(segment) && !isUsed(segment))
                    filling.insert(segment)
                    if !replacing.contains(segment) { #expect(writers[segment].isEmpty) }
                    writers[segment] = []
                }
            case .wait: #expect(!filling.isEmpty)
            case .exhausted where minimum <= Self.granules:
                #expect(arena.segments.allSatisfy { $0.lessee != nil })
                #expect(ownFree < minimum * UInt64(Self.segments))
                for index in 0..<Self.segments where arena.segments[index].lessee != client {
                    #expect(isUsed(index) || filling.contains(index), "segment \(index) is idle")
                }
            case .exhausted: return
            }
        }

        mutating func granted(
            _ range: Range<UInt64>, _ size: ClosedRange<UInt64>, to client: Int, _ process: Int32
        ) {
            #expect(size.contains(UInt64(range.count)))
            #expect(range.upperBound <= Self.granules * UInt64(Self.segments))
            #expect(!held.contains { $0.range.overlaps(range) })
            for index in arena.segment(of: range.lowerBound)...arena.segment(of: range.upperBound - 1) {
                #expect(arena.segments[index].lessee == client)
                #expect(arena.segments[index].memory == .present)
                #expect(writers[index].isSubset(of: [process]), "others still write to segment \(index)")
                writers[index].insert(process)
            }
            held.append((range, client))
        }

        func isUsed(_ segment: Int) -> Bool {
            held.contains { $0.range.overlaps(arena.range(ofSegment: segment)) }
        }

        mutating func free() {
            guard !held.isEmpty else { return }
            let (range, client) = held.remove(at: Int.random(in: held.indices, using: &random))
            guard Bool.random(using: &random), range.count > 1 else { return arena.free(range) }
            let middle = UInt64.random(in: (range.lowerBound + 1)..<range.upperBound, using: &random)
            arena.free(range.lowerBound..<middle)
            held.append((middle..<range.upperBound, client))
        }

        mutating func fill() {
            guard let segment = filling.sorted().randomElement(using: &random) else { return }
            filling.remove(segment)
            let lessee = arena.segments[segment].lessee
            if Int.random(in: 0..<4, using: &random) == 0 {
                #expect(arena.fillFailed(segment) == lessee)
                #expect(arena.segments[segment].memory == .absent)
            } else {
                #expect(arena.filled(segment) == lessee)
            }
        }

        mutating func fillAhead() {
            guard let segment = arena.fillAhead() else { return }
            #expect(!filling.contains(segment) && !isUsed(segment) && writers[segment].isEmpty)
            filling.insert(segment)
        }

        /// A session ends: what it had not published is freed, the rest stays.
        mutating func end() {
            guard let (client, process) = randomClient() else { return }
            for (index, (range, holder)) in held.enumerated().reversed() where holder == client {
                if Bool.random(using: &random) {
                    arena.free(range)
                    held.remove(at: index)
                } else {
                    held[index].client = nil
                }
            }
            let isDead = Bool.random(using: &random)
            _ = arena.clientEnded(client, process: isDead ? nil : process)
            processes[client] = nil
            if isDead { forget(process) } else { ended.insert(process) }
        }

        mutating func processEnds() {
            guard let process = ended.sorted().randomElement(using: &random) else { return }
            ended.remove(process)
            arena.processEnded(process)
            forget(process)
        }

        mutating func forget(_ process: Int32) {
            for index in writers.indices { writers[index].remove(process) }
        }

        /// Every granule is held, free in one pool, or in a segment that nobody has leased.
        func check() {
            let pools = (0..<(Self.clients + 2)).reduce(UInt64(0)) { $0 + arena.freeGranules(leasedTo: $1) }
            let inUse = held.reduce(UInt64(0)) { $0 + UInt64($1.range.count) }
            let leased = arena.segments.count { $0.lessee != nil && $0.memory == .present }
            #expect(pools + inUse == UInt64(leased) * Self.granules)
            for index in 0..<Self.segments {
                #expect((arena.segments[index].memory == .filling) == filling.contains(index))
            }
        }
    }

    @Test(arguments: testSeeds(8)) func agreesWithAListOfRanges(seed: UInt64) {
        var run = Run(random: SeededRandom(seed: seed))
        for _ in 0..<1500 { run.step() }
    }
}
