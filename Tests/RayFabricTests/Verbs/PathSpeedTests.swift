// How paths are measured, and which ports become paths.

import RayCore
import Testing

@testable import RayFabric

@Suite struct PathSpeedTests {
    private func at(_ milliseconds: Int64) -> Timestamp { .zero + .milliseconds(milliseconds) }

    @Test func speedFollowsWhatIsMeasured() {
        var speed = PathSpeed(expected: 1e9)
        for round in 0..<20 as Range<Int64> {
            speed.started(1_000_000, now: at(round * 10))
            speed.finished(1_000_000, now: at(round * 10 + 10))
        }
        // 1 MB in 10 ms.
        #expect(abs(speed.bytesPerSecond - 1e8) < 1e7)
    }

    @Test func idleTimeCountsForNothing() {
        var speed = PathSpeed(expected: 1e8)
        for round in 0..<20 as Range<Int64> {
            speed.started(1_000_000, now: at(round * 1000))
            speed.finished(1_000_000, now: at(round * 1000 + 10))
        }
        #expect(abs(speed.bytesPerSecond - 1e8) < 1e7)
    }

    @Test func stretchesThatAreTooShortAreJoined() {
        var speed = PathSpeed(expected: 1e8)
        speed.started(300_000, now: at(0))
        speed.started(300_000, now: at(0))
        speed.finished(300_000, now: at(0))
        #expect(speed.bytesPerSecond == 1e8)
        speed.finished(300_000, now: at(6))
        #expect(abs(speed.bytesPerSecond - 1e8) < 1)
    }

    /// An operation that took 100 ms once is not all that is ever known of a path.
    @Test func aSlowPathIsTriedAgainAfterARest() {
        var slow = PathSpeed(expected: 1e9)
        var fast = PathSpeed(expected: 1e9)
        let none = fast
        fast.started(8_000_000, now: at(0))
        #expect(slow.isDue(for: 1_000_000, insteadOf: fast, now: at(0)))
        slow.started(1_000_000, now: at(0))
        #expect(!slow.isDue(for: 1_000_000, insteadOf: fast, now: at(50)))
        slow.finished(1_000_000, now: at(100))
        #expect(!slow.isDue(for: 1_000_000, insteadOf: fast, now: at(899)))
        #expect(slow.isDue(for: 1_000_000, insteadOf: fast, now: at(900)))
        // Nothing waits, or not enough: it would only delay the operation.
        #expect(!slow.isDue(for: 1_000_000, insteadOf: none, now: at(900)))
        #expect(!slow.isDue(for: 3_000_000, insteadOf: fast, now: at(900)))
    }

    /// Each trial takes less time than says anything; together they do.
    @Test func aPathThatIsFastAgainIsSeenToBe() {
        var speed = PathSpeed(expected: 1e7)
        for round in 0..<200 as Range<Int64> {
            speed.started(1_000_000, now: at(round * 10))
            speed.finished(1_000_000, now: at(round * 10) + .microseconds(100))
        }
        // 1 MB in 100 us.
        #expect(speed.bytesPerSecond > 9e9)
    }

    @Test func whatIsWaitedForCounts() {
        var speed = PathSpeed(expected: 1e6)
        speed.started(2_000_000, now: at(0))
        #expect(speed.time(for: 1_000_000) == 3)
        speed.withdrawn(2_000_000)
        #expect(speed.time(for: 1_000_000) == 1)
    }
}

@Suite struct RailPortTests {
    private func port(_ address: [UInt8]) -> RailPort {
        RailPort([UInt8](repeating: 0, count: 10) + [0xff, 0xff] + address)
    }

    @Test func networksAreComparedBitByBit() {
        let first = port([10, 0, 0, 1])
        #expect(first.shares(96 + 24, with: port([10, 0, 0, 200])))
        #expect(!first.shares(96 + 24, with: port([10, 0, 1, 1])))
        #expect(first.shares(96 + 23, with: port([10, 0, 1, 1])))
        #expect(first.shares(128, with: first))
        #expect(!first.shares(128, with: port([10, 0, 0, 2])))
        #expect(first.shares(0, with: RailPort(high: .max, low: .max)))
        #expect(!first.shares(1, with: RailPort(high: .max, low: .max)))
    }

    @Test func eachPortIsJoinedOnce() {
        let own = [port([10, 0, 0, 1]), port([10, 0, 1, 1]), port([10, 0, 1, 2]), port([10, 0, 1, 3])].map { ($0, 120) }
        let others = [port([10, 0, 1, 9]), port([10, 0, 1, 8]), port([10, 0, 2, 1])]
        let pairs = RDMAPort.pairs(of: own.map { (port: $0.0, networkBits: $0.1) }, with: others)
        #expect(pairs.map(\.own) == [1, 2])
        #expect(pairs.map(\.other) == [0, 1])
    }

    /// The loopback interface has 127.0.0.1/8 on every machine.
    @Test func theNetworkOfAnAddressIsTheInterfaces() {
        func bits(_ text: String) -> Int? {
            RDMAPort.Identifier(index: 1, text: text, type: "RoCE v2", interface: "lo").networkBits
        }
        #expect(bits("0000:0000:0000:0000:0000:ffff:7f00:0001") == 96 + 8)
        #expect(bits("0000:0000:0000:0000:0000:ffff:7f01:0002") == 96 + 8)
        #expect(bits("0000:0000:0000:0000:0000:ffff:0a00:0002") == nil)
    }
}
