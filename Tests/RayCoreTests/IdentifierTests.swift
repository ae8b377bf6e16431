import Testing

@testable import RayCore

@Suite struct IdentifierTests {
    @Test func anObjectIsReadBackFromItsText() {
        let object = ObjectID(words: (1, 2, 3))
        #expect(ObjectID(object.description) == object)
    }

    @Test func aTaskIsReadBackFromItsText() {
        let owner = WorkerID(node: NodeID(value: 1, incarnation: 2), number: 3)
        let task = TaskID(owner: owner, sequence: 4)
        #expect(task.description == "t-0000000000000001.00000002.00000003.0000000000000004")
        #expect(TaskID(task.description) == task)
    }

    @Test(arguments: ["", "t-", "o-0000000000000001.00000002.00000003.0000000000000004", "t-1.2.3.4"])
    func otherTextIsNoTask(text: String) {
        #expect(TaskID(text) == nil)
    }

    @Test func tasksAreOrderedByOwnerThenSequence() {
        func task(_ number: UInt32, _ sequence: UInt64) -> TaskID {
            TaskID(owner: WorkerID(node: NodeID(value: 1, incarnation: 1), number: number), sequence: sequence)
        }
        #expect([task(2, 1), task(1, 9), task(1, 2)].sorted() == [task(1, 2), task(1, 9), task(2, 1)])
    }
}
