// Handles that many threads copy and drop.

import RayCore
import RayOwnership
import Synchronization
import Testing

@Suite struct ObjectHandleTests {
    private let owner = WorkerID(node: NodeID(value: 1, incarnation: 1), number: 1)

    private func drained(_ queue: ReleaseQueue) -> [ObjectID] {
        var objects: [ObjectID] = []
        queue.drain(into: &objects)
        return objects
    }

    @Test func onlyTheLastReferenceReleases() {
        let wakes = Atomic<Int>(0)
        let queue = ReleaseQueue { wakes.add(1, ordering: .relaxed) }
        let object = ObjectID(owner: owner, sequence: 1)
        var first: ObjectHandle? = ObjectHandle(object, releases: queue)
        var second = first
        first = nil
        #expect(drained(queue) == [])
        #expect(second?.object == object)
        second = nil
        #expect(drained(queue) == [object])
        #expect(drained(queue) == [])
        #expect(wakes.load(ordering: .relaxed) == 1)
    }

    @Test func threadsCopyAndDrop_eachObjectIsReleasedOnce() async {
        let queue = ReleaseQueue {}
        let handles = (1...64).map { ObjectHandle(ObjectID(owner: owner, sequence: $0), releases: queue) }
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<100 {
                        let copies = handles + handles
                        #expect(copies.count == 128)
                    }
                }
            }
        }
        #expect(drained(queue) == [])
        // A copy in another array, then the last references go on several threads at a time.
        await withTaskGroup { [handles] group in
            for handle in handles { group.addTask { #expect(handle.object.sequence > 0) } }
        }
        _ = consume handles
        #expect(drained(queue).map(\.sequence).sorted() == Array(1...64))
    }
}
