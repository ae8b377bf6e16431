// Which of several paths an operation takes.

import RayCore
import Testing

@testable import RayFabric

@Suite struct PathChoiceTests {
    private struct Path: PathCandidate {
        var number: UInt8
        var isOpen = true
        var speed: PathSpeed

        init(_ number: UInt8, bytesPerSecond: Double, outstanding: Int = 0) {
            self.number = number
            speed = PathSpeed(expected: bytesPerSecond)
            if outstanding > 0 { speed.started(outstanding, now: .zero) }
        }

        /// Has just done what took so long, and rests eight times as long.
        mutating func rest(from now: Timestamp, after time: Duration) {
            speed.started(1, now: now)
            speed.finished(1, now: now + time)
        }
    }

    private static let length = 1 << 20

    private func best(
        of paths: [Path], _ length: Int = length, except refused: [UInt8] = [], now: Timestamp = .zero
    ) -> UInt8? {
        var choice = PathChoice(length: length, now: now)
        for number in refused { choice.refuse(number) }
        return choice.best(of: paths)?.number
    }

    /// By its speed, what it has to do, and the operation itself.
    @Test func theSoonestIsTaken() {
        #expect(best(of: [Path(0, bytesPerSecond: 1e8), Path(1, bytesPerSecond: 1e9)]) == 1)
        #expect(best(of: [Path(0, bytesPerSecond: 1e9), Path(1, bytesPerSecond: 1e8)]) == 0)
        // 2 MiB at one speed, or 1 MiB; then 5 MiB at four times the speed, or 1 MiB, or 2 MiB.
        let busy = Path(0, bytesPerSecond: 1e9, outstanding: Self.length)
        #expect(best(of: [busy, Path(1, bytesPerSecond: 1e9)]) == 1)
        let fast = Path(0, bytesPerSecond: 4e9, outstanding: 4 << 20)
        #expect(best(of: [fast, Path(1, bytesPerSecond: 1e9, outstanding: 1)]) == 1)
        #expect(best(of: [fast, Path(1, bytesPerSecond: 1e9, outstanding: Self.length)]) == 0)
        // The longer an operation, the more its own bytes count.
        #expect(best(of: [fast, Path(1, bytesPerSecond: 1e9, outstanding: 1)], 8 << 20) == 0)
    }

    @Test func ofTwoThatAreAsGoodTheFirstIsTaken() {
        let paths = (0..<3 as Range<UInt8>).map { Path($0, bytesPerSecond: 1e9) }
        #expect(best(of: paths) == 0)
        #expect(best(of: paths, except: [0]) == 1)
        let busy = (0..<3 as Range<UInt8>).map { Path($0, bytesPerSecond: 1e9, outstanding: Self.length) }
        #expect(best(of: busy) == 0)
    }

    /// While others have much to do, a slow path shows once its rest is over whether it still is slow.
    @Test func aSlowPathIsTriedWhenItIsDue() {
        let busy = Path(0, bytesPerSecond: 1e12, outstanding: 4 << 20)
        var slow = Path(1, bytesPerSecond: 1e6)
        #expect(best(of: [busy, slow]) == 1)
        // It rests for 80 ms after 10 ms.
        slow.rest(from: .zero, after: .milliseconds(10))
        #expect(best(of: [busy, slow], now: .zero + .milliseconds(89)) == 0)
        #expect(best(of: [busy, slow], now: .zero + .milliseconds(90)) == 1)
        // Nobody waits for it: the other one does not have much to do.
        let idle = Path(0, bytesPerSecond: 1e12, outstanding: (4 << 20) - 1)
        #expect(best(of: [idle, slow], now: .zero + .seconds(1)) == 0)
        // Of two that are due the first.
        var slower = slow
        slower.number = 2
        #expect(best(of: [busy, slow, slower], now: .zero + .seconds(1)) == 1)
        slow.rest(from: .zero + .milliseconds(900), after: .milliseconds(90))
        #expect(best(of: [busy, slow, slower], now: .zero + .seconds(1)) == 2)
    }

    /// A path is never tried instead of itself.
    @Test func theOnlyOneIsTaken() {
        #expect(best(of: [Path(0, bytesPerSecond: 1e6, outstanding: 64 << 20)]) == 0)
        #expect(best(of: []) == nil)
    }

    /// What does not reach the memory is no choice, not even where it is due.
    @Test func refusedPathsAreLeftOut() {
        let paths = [Path(0, bytesPerSecond: 1e8), Path(1, bytesPerSecond: 1e9), Path(2, bytesPerSecond: 1e7)]
        #expect(best(of: paths, except: [1]) == 0)
        #expect(best(of: paths, except: [0, 1]) == 2)
        #expect(best(of: paths, except: [0, 1, 2]) == nil)
        let busy = Path(0, bytesPerSecond: 1e12, outstanding: 4 << 20)
        let due = [busy, Path(1, bytesPerSecond: 1e6), Path(15, bytesPerSecond: 1e6)]
        #expect(best(of: due) == 1)
        #expect(best(of: due, except: [1]) == 15)
        #expect(best(of: due, except: [1, 15]) == 0)
    }

    @Test func lostPathsAreLeftOut() {
        var paths = [Path(0, bytesPerSecond: 1e12, outstanding: 4 << 20), Path(1, bytesPerSecond: 1e6)]
        paths[1].isOpen = false
        #expect(best(of: paths) == 0)
        paths = [Path(0, bytesPerSecond: 1e9), Path(1, bytesPerSecond: 1e8)]
        paths[0].isOpen = false
        #expect(best(of: paths) == 1)
        paths[1].isOpen = false
        #expect(best(of: paths) == nil)
    }
}
