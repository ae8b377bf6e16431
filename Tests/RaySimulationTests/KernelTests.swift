// The kernel of the simulator: order of events, streams of randomness, clocks, and the knobs of the network.

import RayCore
import RaySimulation
import Testing

@Suite struct EventQueueTests {
    @Test func eventsLeaveByTimeThenByInsertion() {
        var random = SeededRandom(seed: 1)
        var queue = EventQueue<Int>()
        var model: [(time: UInt64, order: Int)] = []
        var left: [Int] = []
        var expected: [Int] = []
        for order in 0..<1_000 {
            let time = UInt64(random.below(200))
            queue.insert(order, at: time)
            model.append((time, order))
            if random.chance(0.4) {
                let least = model.indices.min { model[$0] < model[$1] }
                expected.append(model.remove(at: least!).order)
                left.append(queue.removeNext()!.payload)
            }
        }
        while let next = queue.removeNext() { left.append(next.payload) }
        expected += model.sorted { $0 < $1 }.map(\.order)
        #expect(left == expected)
        #expect(queue.isEmpty && queue.nextTime == nil)
    }

    @Test func slotsAreReused() {
        var queue = EventQueue<[Int]>()
        for round in 0..<1_000 {
            queue.insert([round], at: UInt64(round))
            #expect(queue.count == 1)
            #expect(queue.removeNext()?.payload == [round])
        }
    }
}

@Suite struct RandomStreamTests {
    @Test func concernsHaveStreamsOfTheirOwn() {
        var first = SeededRandom(seed: 7, concern: .network)
        var again = SeededRandom(seed: 7, concern: .network)
        var other = SeededRandom(seed: 7, concern: .faults)
        let words = (0..<8).map { _ in first.next() }
        #expect(words == (0..<8).map { _ in again.next() })
        #expect(words != (0..<8).map { _ in other.next() })
    }

    @Test func exponentialTimesHaveTheirMeanAndMedian() {
        var random = SeededRandom(seed: 3)
        let times = (0..<100_000).map { _ in random.exponential(mean: 1_000_000) }.sorted()
        let mean = Double(times.reduce(0, +)) / Double(times.count)
        #expect(abs(mean / 1_000_000 - 1) < 0.06)
        #expect(abs(Double(times[times.count / 2]) / 693_147 - 1) < 0.05)
        #expect(random.exponential(mean: 0) == 0)
    }

    @Test func wholeNumbersStayBelowTheirBound() {
        var random = SeededRandom(seed: 4)
        var seen = Set<Int>()
        for _ in 0..<1_000 { seen.insert(random.below(5)) }
        #expect(seen == [0, 1, 2, 3, 4])
    }
}

@Suite struct LocalClockTests {
    @Test(arguments: [-300, 0, 300] as [Int64])
    func deadlinesAreMetAndNotEarly(drift: Int64) {
        let clock = LocalClock(offset: 12_345, drift: drift)
        var random = SeededRandom(seed: 5)
        for _ in 0..<1_000 {
            let reading = Timestamp(nanoseconds: 12_345 + random.next() >> 24)
            let time = clock.time(of: reading)
            #expect(clock.reading(at: time) >= reading)
            if time > 0 { #expect(clock.reading(at: time - 1) < reading) }
        }
        #expect(clock.time(of: .never) == .max)
        #expect(clock.time(of: .zero) == 0)
    }
}

@Suite struct NetworkTests {
    private func network(_ change: (inout NetworkOptions) -> Void = { _ in }) -> Network {
        var options = NetworkOptions()
        change(&options)
        return Network(nodes: 3, options: options, seed: 11)
    }

    private func arrivals(_ network: inout Network, count: Int) -> [Arrivals] {
        (0..<count).map { network.send(from: 0, to: 1, bytes: 1_000, at: UInt64($0) * 1_000) }
    }

    @Test func aConnectionKeepsOrderThoughLatencyVaries() {
        var ordered = network { $0.latencyJitter = .milliseconds(1) }
        let times = arrivals(&ordered, count: 1_000).compactMap(\.first)
        #expect(times.count == 1_000)
        let isInOrder = times == times.sorted()
        #expect(isInOrder)
        #expect(times[0] >= 20_000)
        var unordered = network {
            $0.latencyJitter = .milliseconds(1)
            $0.ordered = false
        }
        let loose = arrivals(&unordered, count: 1_000).compactMap(\.first)
        let looseOrder = loose == loose.sorted()
        #expect(!looseOrder)
    }

    @Test func eachKnobStrikesAsOftenAsItSays() {
        var lossy = network { $0.loss = 0.25 }
        #expect((200...300).contains(arrivals(&lossy, count: 1_000).count { $0.first == nil }))
        #expect(lossy.lost > 0)
        var repeating = network { $0.duplication = 0.25 }
        #expect((200...300).contains(arrivals(&repeating, count: 1_000).count { $0.second != nil }))
        var reordering = network { $0.reordering = 0.25 }
        let times = arrivals(&reordering, count: 1_000).compactMap(\.first)
        let isOutOfOrder = times != times.sorted()
        #expect(isOutOfOrder)
        #expect((200...300).contains(reordering.reordered))
    }

    @Test func messagesWithinANodeAreSafe() {
        var broken = network {
            $0.loss = 1
            $0.duplication = 1
        }
        broken.cut(Network.Link(source: 0, target: Network.Link.everyNode), until: .max)
        #expect(broken.send(from: 0, to: 0, bytes: 1, at: 100).first == 5_100)
        #expect(broken.lost == 0)
    }

    @Test func theRateDelaysWhatComesAfter() {
        var slow = network {
            $0.bytesPerSecond = 1_000_000
            $0.latencyJitter = .zero
        }
        #expect(slow.send(from: 0, to: 1, bytes: 1_000, at: 0).first == 1_020_000)
        #expect(slow.send(from: 0, to: 2, bytes: 1_000, at: 0).first == 2_020_000)
        #expect(slow.send(from: 1, to: 2, bytes: 1_000, at: 0).first == 1_020_000)
    }

    @Test func cutsAreOneWayAndEnd() {
        var cut = network()
        cut.cut(Network.Link(source: 0, target: 1), until: 1_000_000)
        #expect(cut.send(from: 0, to: 1, bytes: 1, at: 0).first == nil)
        #expect(cut.send(from: 1, to: 0, bytes: 1, at: 0).first != nil)
        #expect(cut.send(from: 0, to: 2, bytes: 1, at: 0).first != nil)
        #expect(cut.send(from: 0, to: 1, bytes: 1, at: 1_000_000).first != nil)
        cut.cut(Network.Link(source: Network.Link.everyNode, target: 2), until: .max)
        #expect(cut.send(from: 0, to: 2, bytes: 1, at: 2_000_000).first == nil)
        cut.heal()
        #expect(cut.send(from: 0, to: 2, bytes: 1, at: 2_000_000).first != nil)
    }

    @Test func clogsHoldMessagesBack() {
        var clogged = network()
        clogged.clog(Network.Link(source: 0, target: 1), until: 1_000_000)
        #expect(clogged.send(from: 0, to: 1, bytes: 1, at: 0).first! >= 1_000_000)
        #expect(clogged.send(from: 1, to: 0, bytes: 1, at: 0).first! < 1_000_000)
    }
}

@Suite struct DigestTests {
    @Test func orderAndContentMatter() {
        func digest(_ words: [UInt64]) -> UInt64 {
            var digest = Digest()
            for word in words { digest.fold(word) }
            return digest.value
        }
        #expect(digest([1, 2]) == digest([1, 2]))
        #expect(digest([1, 2]) != digest([2, 1]))
        #expect(digest([1]) != digest([1, 0]))
    }
}
