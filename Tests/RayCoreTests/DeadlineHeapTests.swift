// The heap of deadlines against a dictionary.

import RayCore
import Testing

@Suite struct DeadlineHeapTests {
    @Test(arguments: 1...5) func heapGivesTimesInOrder(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var heap = DeadlineHeap()
        var model: [Int: Timestamp] = [:]
        for _ in 0..<500 {
            let index = Int.random(in: 0..<40, using: &random)
            let time = random.chance(0.2) ? .never : Timestamp(nanoseconds: .random(in: 0...100, using: &random))
            heap.set(index, to: time)
            model[index] = time == .never ? nil : time
            #expect(heap[index] == time)
            #expect(heap.earliest == model.values.min() ?? .never)
            if random.chance(0.2) {
                let now = Timestamp(nanoseconds: .random(in: 0...50, using: &random))
                let expired = heap.popExpired(now)
                #expect((expired == nil) == model.values.allSatisfy { $0 > now })
                if let expired {
                    #expect(model[expired] == model.values.min())
                    model[expired] = nil
                }
            }
        }
    }

    @Test func equalTimesComeInTheOrderOfSlots() {
        var heap = DeadlineHeap()
        for index in [3, 1, 2] { heap.set(index, to: Timestamp(nanoseconds: 7)) }
        let order = (0..<3).map { _ in heap.popExpired(Timestamp(nanoseconds: 7)) }
        #expect(order == [1, 2, 3])
    }
}
