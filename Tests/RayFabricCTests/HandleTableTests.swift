// Handles that have ended are refused, and values end exactly once, whatever threads do.

import RayFabric
import Synchronization
import Testing

@testable import RayFabricC

/// Counts its ends.
private struct Counted: ~Copyable, Sendable {
    let number: Int
    let ends: Counter
    deinit { ends.count.wrappingAdd(1, ordering: .relaxed) }
}

private final class Counter: Sendable {
    let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .relaxed) }
}

/// What threads share: the last handle that one of them opened, and how many they ended.
private final class Shared: Sendable {
    let last = Atomic<UInt>(0)
    let ended = Atomic<Int>(0)
}

/// Handles as their bits, which may cross threads and be compared.
extension HandleTable<Counted> {
    fileprivate func open(_ number: Int, _ ends: Counter) -> UInt {
        UInt(bitPattern: unsafe insert(Counted(number: number, ends: ends)))
    }

    fileprivate func number(_ handle: UInt) -> Int? { unsafe use(OpaquePointer(bitPattern: handle)) { $0.number } }

    fileprivate func end(_ handle: UInt) -> Bool { unsafe close(OpaquePointer(bitPattern: handle)) }

    fileprivate func takeNumber(_ handle: UInt) -> Int? {
        guard let value = unsafe take(OpaquePointer(bitPattern: handle)) else { return nil }
        return value.number
    }
}

@Suite struct HandleTableTests {
    private let table = HandleTable<Counted>(kind: 5)
    private let ends = Counter()

    @Test func anOpenHandleHasItsValue() {
        let first = table.open(1, ends)
        let second = table.open(2, ends)
        #expect(first != second && first % 16 == 5)
        #expect(table.number(first) == 1)
        #expect(table.number(second) == 2)
        #expect(table.end(first))
        #expect(ends.value == 1)
        #expect(table.number(first) == nil)
        #expect(table.number(second) == 2)
        #expect(table.takeNumber(second) == 2)
        #expect(ends.value == 2)
        #expect(table.takeNumber(second) == nil)
    }

    @Test func anOldHandleIsNotTheNewOneOfItsSlot() {
        var old: [UInt] = []
        for number in 0..<1000 {
            let new = table.open(number, ends)
            for stale in old.suffix(3) {
                #expect(!table.end(stale))
                #expect(table.number(stale) == nil)
            }
            #expect(table.end(new))
            old.append(new)
        }
        #expect(Set(old).count == 1000)
        #expect(ends.value == 1000)
    }

    @Test func whatIsNoHandleIsRefused() {
        _ = table.open(1, ends)
        let generation: UInt = 1 << 24
        #expect(table.end(table.open(2, ends)))
        let wrongs: [UInt] = [
            0, 5, 15, .max, .max - 10, generation | 6, generation | 255 << 4 | 5, generation | 0xfffff << 4 | 5,
            // Free slots in their generations: the first was never used, the second was ended above.
            5 | 1 << 4, 2 * generation | 5 | 255 << 4,
        ]
        for wrong in wrongs {
            #expect(table.number(wrong) == nil)
            #expect(!table.end(wrong))
        }
        #expect(ends.value == 1)
    }

    /// The slot that a thread keeps for its next handle is free again when the thread ends.
    @Test func threadsThatEndKeepNoSlots() throws {
        let largest = Shared()
        for number in 0..<600 {
            let thread = try SystemThread(name: "opens one") { [table, ends, largest] in
                let own = table.open(number, ends)
                precondition(table.end(own))
                largest.last.max(own >> 4 & 0xfffff, ordering: .relaxed)
            }
            thread.join()
        }
        #expect(ends.value == 600)
        #expect(largest.last.load(ordering: .relaxed) < 256)
    }

    @Test func aValueInUseEndsWithItsUse() {
        let open = table.open(1, ends)
        let seen = unsafe table.use(OpaquePointer(bitPattern: open)) { value in
            #expect(table.end(open))
            #expect(!table.end(open))
            #expect(table.number(open) == nil)
            #expect(ends.value == 0)
            return value.number
        }
        #expect(seen == 1)
        #expect(ends.value == 1)
    }

    @Test func manyAreKeptApart() {
        let handles = (0..<10_000).map { table.open($0, ends) }
        #expect(Set(handles).count == handles.count)
        for (number, open) in handles.enumerated() { #expect(table.number(open) == number) }
        for open in handles { #expect(table.end(open)) }
        #expect(ends.value == 10_000)
    }

    /// Threads insert, use and end handles of their own and try those of others all the while.
    @Test func threadsEndEveryValueOnce() async {
        let rounds = 20_000
        let shared = Shared()
        await withTaskGroup { group in
            for number in 0..<4 {
                group.addTask { [table, ends, shared] in
                    for _ in 0..<rounds {
                        let own = table.open(number, ends)
                        let other = shared.last.exchange(own, ordering: .relaxed)
                        if let number = table.number(other) { precondition((0..<4).contains(number)) }
                        if table.end(other) { shared.ended.wrappingAdd(1, ordering: .relaxed) }
                        if table.end(own) { shared.ended.wrappingAdd(1, ordering: .relaxed) }
                    }
                }
            }
        }
        #expect(shared.ended.load(ordering: .relaxed) == 4 * rounds)
        #expect(ends.value == 4 * rounds)
    }
}
