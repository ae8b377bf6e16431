// The tables under the transfer machines, against simple models.

import RayCore
import Testing

@testable import RayFabric

@Suite struct TransferTablesTests {
    @Test(arguments: 1...5) func chunkMapAgreesWithSets(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var map = ChunkMap()
        for _ in 0..<3 {
            let byteCount = Int.random(in: 0...2000, using: &random)
            let chunkBytes = Int.random(in: 1...50, using: &random)
            map.reset(byteCount: byteCount, chunkBytes: chunkBytes)
            var untaken = Set(0..<map.count)
            var taken: Set<Int> = []
            var arrived: Set<Int> = []
            #expect((0..<map.count).reduce(0) { $0 + map.range(of: $1).count } == byteCount)
            while arrived.count < map.count {
                #expect(map.hasUntaken == !untaken.isEmpty)
                if random.chance(0.6), let chunk = map.take() {
                    #expect(chunk == untaken.min())
                    untaken.remove(chunk)
                    taken.insert(chunk)
                } else if let chunk = taken.sorted().randomElement(using: &random) {
                    taken.remove(chunk)
                    if random.chance(0.5) {
                        map.giveBack(chunk)
                        untaken.insert(chunk)
                    } else {
                        map.markArrived(chunk)
                        arrived.insert(chunk)
                    }
                }
                #expect(map.missingBytes == byteCount - arrived.reduce(0) { $0 + map.range(of: $1).count })
            }
            #expect(map.isComplete && map.take() == nil)
        }
    }

    @Test func listsKeepTheirOrder() {
        var links = LinkTable()
        var lists = [IndexList(), IndexList()]
        for index in 0..<6 { links.append(index, to: &lists[index % 2]) }
        links.remove(2, from: &lists[0])
        links.prepend(2, to: &lists[1])
        links.remove(5, from: &lists[1])
        func order(_ list: IndexList) -> [Int] {
            Array(sequence(first: list.first) { links.next(after: $0) }.prefix { $0 != LinkTable.none })
        }
        #expect(order(lists[0]) == [0, 4])
        #expect(order(lists[1]) == [2, 1, 3])
        #expect(lists.map(\.count) == [2, 3])
    }

    @Test func slotsAreUsedAgain() {
        var pool = SlotPool()
        #expect([pool.take(), pool.take(), pool.take()] == [0, 1, 2])
        pool.give(1)
        #expect(pool.take() == 1 && pool.used == 3 && pool.capacity == 3)
    }
}
