// What a thread announces and what its closers tell it, step by step.

import Testing

@testable import RayFabricC

/// An announcement that macros can look at.
private final class Shared {
    private let announcement = Announcement(hasMembarrier: false)

    func begin(_ slot: UInt) -> Bool { announcement.begin(slot) }
    func end(_ slot: UInt) -> Bool { announcement.end(slot) }
    func isOf(_ slot: UInt) -> Bool { announcement.isOf(slot) }
    func tellCounted(_ slot: UInt) { announcement.tellCounted(slot) }
    func takesBack(_ slot: UInt) -> Bool { announcement.takesBack(slot) }
}

/// Steps of a thread and of a closer, in the orders that matter.
@Suite struct AnnouncementTests {
    private let announcement = Shared()
    private let first: UInt = 64
    private let second: UInt = 128

    @Test func whoIsCountedLeavesAsOne() {
        #expect(announcement.begin(first))
        #expect(announcement.isOf(first))
        announcement.tellCounted(first)
        #expect(announcement.end(first))
        #expect(!announcement.takesBack(first))
        #expect(!announcement.isOf(first))
    }

    @Test func whoWasNotCountedDoesNot() {
        #expect(announcement.begin(first))
        #expect(!announcement.end(first))
    }

    /// Counted after it has gone: its closer takes that back, whatever else it uses meanwhile.
    @Test func whatIsCountedForOneSlotIsNotTakenOffAnother() {
        #expect(announcement.begin(first))
        #expect(!announcement.end(first))
        announcement.tellCounted(first)
        #expect(announcement.begin(second))
        #expect(!announcement.end(second))
        #expect(announcement.takesBack(first))
        #expect(!announcement.takesBack(first))
    }

    /// An old handle of the same slot: either of the two takes the mark, and only one.
    @Test func whoComesAgainTakesTheMarkForItself() {
        #expect(announcement.begin(first))
        #expect(!announcement.end(first))
        #expect(announcement.begin(first))
        announcement.tellCounted(first)
        #expect(announcement.end(first))
        #expect(!announcement.takesBack(first))
    }

    @Test func aThreadAnnouncesOneSlotAtATime() {
        #expect(announcement.begin(first))
        #expect(!announcement.begin(second))
        #expect(announcement.isOf(first))
    }
}
