// The send queue of a rail, without a device.

import RayCore
import Testing

@testable import RayFabric

/// A device that completes what was posted in order, or flushes it.
private struct ScriptedDevice {
    var posted: [(group: UInt64, isSignalled: Bool)] = []
    var finished: [Int] = []
    var retreated: [Int] = []
    var isFlushed = false
    var isDestroyed = false
    var mostPosted = 0

    mutating func run(_ directives: inout [RailDirective]) {
        for directive in directives {
            switch directive {
            case .post(_, _, let group, let isSignalled):
                #expect(!isFlushed && !isDestroyed)
                posted.append((group, isSignalled))
            case .finished(let operation): finished.append(operation)
            case .flush: isFlushed = true
            case .retreat(let operation):
                #expect(posted.isEmpty, "given back while the device may still write")
                retreated.append(operation)
            case .destroy:
                #expect(posted.isEmpty)
                isDestroyed = true
            }
        }
        mostPosted = max(mostPosted, posted.count)
        directives = []
    }

    /// The next completion that the device makes.
    mutating func complete(_ machine: inout RailMachine, failing: Bool = false) {
        var directives: [RailDirective] = []
        while !posted.isEmpty {
            let next = posted.removeFirst()
            if failing || isFlushed {
                machine.breakDown(into: &directives)
                if next.isSignalled {
                    machine.failed(group: next.group, isSignalled: true, into: &directives)
                } else {
                    machine.flushedUnsignalled(into: &directives)
                }
                break
            }
            if next.isSignalled {
                machine.completed(group: next.group, into: &directives)
                break
            }
        }
        run(&directives)
    }
}

@Suite struct RailMachineTests {
    @Test(arguments: 1...200 as ClosedRange<UInt64>) func operationsEndOnceAndInOrder(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var machine = RailMachine(depth: Int.random(in: 4...64, using: &random))
        var device = ScriptedDevice()
        var directives: [RailDirective] = []
        var started = 0
        for _ in 0..<300 {
            if Bool.random(using: &random) {
                machine.start(started, slices: Int.random(in: 1...100, using: &random), into: &directives)
                started += 1
                device.run(&directives)
            } else {
                device.complete(&machine)
            }
        }
        while !device.posted.isEmpty { device.complete(&machine) }
        #expect(device.finished == Array(0..<started), "seed \(seed)")
        #expect(device.mostPosted <= machine.depth && machine.occupied == 0)
    }

    @Test(arguments: 1...500 as ClosedRange<UInt64>) func afterAFailureEverythingIsGivenBackOnce(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var machine = RailMachine(depth: Int.random(in: 4...32, using: &random))
        var device = ScriptedDevice()
        var directives: [RailDirective] = []
        for operation in 0..<Int.random(in: 1...20, using: &random) {
            machine.start(operation, slices: Int.random(in: 1...40, using: &random), into: &directives)
            device.run(&directives)
        }
        for _ in 0..<Int.random(in: 0...10, using: &random) { device.complete(&machine) }
        let pending = machine.operations
        let failsByItself = Bool.random(using: &random)
        if failsByItself, !device.posted.isEmpty {
            device.complete(&machine, failing: true)
        } else {
            machine.breakDown(into: &directives)
            device.run(&directives)
        }
        #expect(device.isFlushed)
        var steps = 0
        while !device.posted.isEmpty, steps < 10_000 {
            device.complete(&machine)
            steps += 1
        }
        #expect(device.isDestroyed && machine.state == .gone, "seed \(seed)")
        #expect(device.retreated == pending, "seed \(seed)")
        machine.start(99, slices: 1, into: &directives)
        #expect(directives == [.retreat(operation: 99)])
    }

    @Test func aDeviceThatIsGoneGivesEverythingBackAtOnce() {
        var machine = RailMachine(depth: 8)
        var directives: [RailDirective] = []
        machine.start(1, slices: 20, into: &directives)
        machine.start(2, slices: 1, into: &directives)
        directives = []
        machine.abandon(into: &directives)
        #expect(directives == [.retreat(operation: 1), .retreat(operation: 2), .destroy])
    }
}

@Suite struct RailMemoryTests {
    private func part(_ key: UInt64, _ range: Range<UInt64>) -> RailRegion {
        RailRegion(
            key: RegionKey(rawValue: key), offset: range.lowerBound, length: UInt64(range.count), access: .read,
            address: 0x1000 + range.lowerBound, remoteKey: UInt32(range.lowerBound))
    }

    @Test func operationsAreCutWhereMemoryIs() throws {
        var near = RailMemory<RailRegion>()
        var far = RailMemory<RailRegion>()
        near.insert(part(1, 0..<100))
        near.insert(part(1, 100..<200))
        far.insert(part(2, 0..<150))
        far.insert(part(2, 150..<400))
        let here = RegionLocation(key: RegionKey(rawValue: 1), offset: 50)
        let there = RegionLocation(key: RegionKey(rawValue: 2), offset: 60)
        let slices = try #require(cut(here, near, there, far, length: 150, longest: 64))
        #expect(slices.map(\.length) == [50, 40, 60])
        #expect(slices.map(\.localOffset) == [50, 0, 40])
        #expect(slices.map(\.remoteOffset) == [60, 110, 0])
        #expect(cut(here, near, there, far, length: 151, longest: 64) == nil)
        let past = RegionLocation(key: here.key, offset: UInt64.max - 1)
        #expect(cut(past, near, there, far, length: 10, longest: 64) == nil)
    }

    @Test func newMemoryTakesThePlaceOfOld() {
        var memory = RailMemory<RailRegion>()
        memory.insert(part(1, 0..<100))
        memory.insert(part(1, 100..<200))
        memory.insert(part(1, 50..<150))
        #expect(memory.all.map(\.offset) == [50] && memory.count == 1)
        memory.remove(RegionKey(rawValue: 1))
        #expect(memory.all.isEmpty && memory.count == 0)
    }
}
