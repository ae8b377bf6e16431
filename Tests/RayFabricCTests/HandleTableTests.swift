// Handles that have ended are refused, and values end exactly once, whatever threads do.

import Foundation
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

private struct Invalid: Error {}

/// Whether canaries live; there is room for more than are ever in use.
@safe
private final class Cage: @unchecked Sendable {
    // SAFETY: never freed before the threads of the test have ended.
    let places = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: Cage.size)
    let ended = Atomic<Int>(0)
    static var size: Int { 1 << 16 }
    init() { for place in 0..<Cage.size { unsafe (places + place).initialize(to: Atomic(-1)) } }
    deinit { unsafe places.deallocate() }
}

/// A value that can tell whether it has ended.
private struct Canary: ~Copyable, Sendable {
    let number: Int
    // Not retained: a canary that has ended can be asked too.
    unowned(unsafe) let cage: Cage

    init(_ number: Int, _ cage: Cage) {
        self.number = number
        unsafe self.cage = cage
        unsafe cage.places[number % Cage.size].store(number, ordering: .relaxed)
    }

    var isAlive: Bool { unsafe cage.places[number % Cage.size].load(ordering: .relaxed) == number }

    deinit {
        unsafe cage.places[number % Cage.size].store(-1, ordering: .relaxed)
        unsafe cage.ended.wrappingAdd(1, ordering: .relaxed)
    }
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

    fileprivate func number(_ handle: UInt, _ inside: () -> Void = {}) -> Int? {
        try? unsafe use(OpaquePointer(bitPattern: handle), else: Invalid()) { value throws(Invalid) -> Int in
            inside()
            return value.number
        }
    }

    fileprivate func announcedNumber(_ handle: UInt, _ inside: () -> Void = {}) -> Int? {
        try? unsafe useAnnounced(OpaquePointer(bitPattern: handle), else: Invalid()) { value throws(Invalid) -> Int in
            inside()
            return value.number
        }
    }

    fileprivate func endAnnounced(_ handle: UInt) -> Bool { unsafe closeAnnounced(OpaquePointer(bitPattern: handle)) }

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
        let seen = table.number(open) {
            #expect(table.end(open))
            #expect(!table.end(open))
            #expect(table.number(open) == nil)
            #expect(ends.value == 0)
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

    @Test func aValueThatIsNotMadeLeavesItsSlot() throws {
        var largest = 0
        for _ in 0..<1000 {
            #expect(throws: Invalid.self) {
                _ = try unsafe table.insert { (_) throws(Invalid) in throw Invalid() }
            }
            let made = try unsafe table.insert { (place) throws(Invalid) in
                unsafe place.initialize(to: Counted(number: 7, ends: ends))
            }
            let handle = UInt(bitPattern: made)
            largest = max(largest, Int(handle >> 4 & 0xfffff))
            #expect(table.number(handle) == 7)
            #expect(table.end(handle))
        }
        #expect(largest < 256)
        #expect(ends.value == 1000)
    }

    // MARK: Announced uses

    @Test func anAnnouncedUseIsLikeACountedOne() {
        let open = table.open(1, ends)
        #expect(table.announcedNumber(open) == 1)
        #expect(table.endAnnounced(open))
        #expect(ends.value == 1)
        #expect(table.announcedNumber(open) == nil)
        #expect(!table.endAnnounced(open))
        // The next handle of the same slot is not meant by the old one.
        let next = table.open(2, ends)
        #expect(table.announcedNumber(open) == nil)
        #expect(table.announcedNumber(next) == 2)
        #expect(table.endAnnounced(next))
        #expect(ends.value == 2)
    }

    /// Inside of an announced use the thread counts itself: it has one announcement.
    @Test func aValueInAnnouncedUseEndsWithItsUse() {
        let (outer, inner) = (table.open(1, ends), table.open(2, ends))
        let seen = table.announcedNumber(outer) {
            #expect(table.announcedNumber(inner) == 2)
            let within = table.announcedNumber(inner) {
                #expect(table.endAnnounced(inner))
                #expect(table.endAnnounced(outer))
                #expect(ends.value == 0)
                #expect(table.announcedNumber(outer) == nil)
            }
            #expect(within == 2)
            #expect(ends.value == 1)
        }
        #expect(seen == 1)
        #expect(ends.value == 2)
        #expect(table.announcedNumber(table.open(3, ends)) == 3)
    }

    /// A value that another thread uses ends when that one is through, and closing does not wait for it.
    @Test func closingLeavesTheEndToTheThreadThatUsesTheValue() throws {
        let open = table.open(1, ends)
        let (isInUse, mayEnd) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        let user = try SystemThread(name: "uses") { [table] in
            let seen = table.announcedNumber(open) {
                isInUse.signal()
                mayEnd.wait()
            }
            precondition(seen == 1)
        }
        isInUse.wait()
        #expect(table.endAnnounced(open))
        #expect(ends.value == 0)
        mayEnd.signal()
        user.join()
        #expect(ends.value == 1)
    }

    /// Handles that are ended while other threads use them as fast as they can: nobody finds a value that has ended,
    /// and all end.
    @Test func nobodySeesAValueThatHasEnded() throws {
        let canaries = HandleTable<Canary>(kind: 6)
        let cage = Cage()
        let (current, isOver) = (Shared(), Shared())
        let users = try (0..<2).map { _ in
            try SystemThread(name: "uses") {
                while isOver.last.load(ordering: .relaxed) == 0 {
                    let handle = current.last.load(ordering: .relaxed)
                    let isAlive = try? unsafe canaries.useAnnounced(
                        OpaquePointer(bitPattern: handle), else: Invalid()
                    ) { canary throws(Invalid) -> Bool in
                        var isAlive = true
                        for _ in 0..<20 { isAlive = isAlive && canary.isAlive }
                        return isAlive
                    }
                    precondition(isAlive != false, "a value was used after its end")
                    if isAlive != nil { current.ended.wrappingAdd(1, ordering: .relaxed) }
                }
            }
        }
        var (old, number) = (UInt(0), 0)
        // Until they have met often enough.
        while number < 50_000 || current.ended.load(ordering: .relaxed) < 200_000 {
            let new = UInt(bitPattern: unsafe canaries.insert(Canary(number, cage)))
            number += 1
            current.last.store(new, ordering: .relaxed)
            if old != 0 { #expect(unsafe canaries.closeAnnounced(OpaquePointer(bitPattern: old))) }
            old = new
        }
        isOver.last.store(1, ordering: .relaxed)
        for user in users { user.join() }
        #expect(unsafe canaries.closeAnnounced(OpaquePointer(bitPattern: old)))
        #expect(cage.ended.load(ordering: .relaxed) == number)
    }
}
