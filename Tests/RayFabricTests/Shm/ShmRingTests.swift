// The byte ring by itself: wrapping, filling, batches, and a peer that writes nonsense.

import RayCore
import Synchronization
import Testing

@testable import RayFabric

/// Both ends of one ring, in one process.
private struct RingPair: ~Copyable {
    let writing: ShmSegment
    let reading: ShmSegment
    var producer: ShmProducer
    var consumer: ShmConsumer
    static let bytes = 64 << 10

    init() throws {
        let writing = try Self.segment()
        let reading = try Self.segment()
        producer = unsafe ShmProducer(
            ring: writing.ring, capacity: Self.bytes, consumed: UnsafePointer(reading.consumed))
        consumer = unsafe ShmConsumer(
            ring: UnsafeRawPointer(writing.ring), capacity: Self.bytes, consumed: reading.consumed,
            maximumLength: 16 << 10)
        self.writing = writing
        self.reading = reading
    }

    mutating func refreshFails() -> Bool {
        do throws(ShmViolation) {
            try producer.refresh()
            return false
        } catch { return true }
    }

    mutating func takeFails(_ header: UInt64) -> Bool {
        do throws(ShmViolation) {
            unsafe _ = try consumer.take(header)
            return false
        } catch { return true }
    }

    private static func segment() throws -> ShmSegment {
        let file = try MemoryFile(name: "test", byteCount: ShmSegment.fileBytes(ringBytes: bytes))
        return try ShmSegment(descriptor: file.descriptor.number, ringBytes: bytes, writable: true)
    }

    /// Whether there is a record to take.
    var isEmpty: Bool { consumer.header() == 0 }
    mutating func publish() -> Bool { producer.publish() }
    mutating func release() -> Bool { consumer.release() }

    /// Appends a message whose bytes follow from its number. False when there is no room.
    mutating func append(_ number: Int, _ length: Int) throws -> Bool {
        guard try producer.hasRoom(length, within: UInt64(Self.bytes)) else { return false }
        let place = unsafe producer.payload()
        for index in 0..<length {
            let byte = UInt8(truncatingIfNeeded: number + index)
            unsafe place.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        }
        producer.commit(.message, length)
        return true
    }

    /// Takes the next message, which must be that number and length. False when there is none.
    mutating func take(_ number: Int, _ length: Int) throws -> Bool {
        let header = consumer.header()
        guard header != 0 else { return false }
        let (kind, payload) = unsafe try consumer.take(header)
        #expect(kind == .message)
        #expect(payload.count == length)
        let right = unsafe payload.enumerated().allSatisfy {
            $0.element == UInt8(truncatingIfNeeded: number + $0.offset)
        }
        #expect(right, "message \(number)")
        return true
    }
}

@Suite struct ShmRingTests {
    @Test func recordsOfAllLengthsSurviveManyLaps() throws {
        var ring = try RingPair()
        var random = SeededRandom(seed: 11)
        var lengths: [Int] = []
        var taken = 0
        while taken < 3000 {
            let length = Int.random(in: 0...(random.chance(0.1) ? 16 << 10 : 300), using: &random)
            if lengths.count < 3000, try ring.append(lengths.count, length) {
                lengths.append(length)
                if random.chance(0.7) { continue }
            }
            _ = ring.producer.publish()
            while taken < lengths.count, try ring.take(taken, lengths[taken]) { taken += 1 }
            _ = ring.consumer.release()
        }
        let tail = ring.producer.tail
        #expect(tail > UInt64(10 * RingPair.bytes))
    }

    @Test func nothingIsSeenBeforeItIsPublished() throws {
        var ring = try RingPair()
        let appendedFirst = try ring.append(0, 8)
        #expect(appendedFirst)
        let appendedSecond = try ring.append(1, 8)
        #expect(appendedSecond)
        let hiddenBefore = ring.isEmpty
        #expect(hiddenBefore)
        let published = ring.publish()
        #expect(published)
        let tookFirst = try ring.take(0, 8)
        #expect(tookFirst)
        let tookSecond = try ring.take(1, 8)
        #expect(tookSecond)
        let emptyAfter = ring.isEmpty
        #expect(emptyAfter)
        let nothingToPublish = !ring.publish()
        #expect(nothingToPublish)
    }

    @Test func fullUntilTheReaderReleases() throws {
        var ring = try RingPair()
        var count = 0
        while try ring.append(count, 1000) { count += 1 }
        // 1008 bytes each, and the zero word behind the last.
        #expect(count == (RingPair.bytes - 8) / 1008)
        _ = ring.producer.publish()
        let took = try ring.take(0, 1000)
        #expect(took)
        let stillFull = try !ring.append(count, 1000)
        #expect(stillFull)
        let released = ring.release()
        #expect(released)
        let hasRoomAgain = try ring.append(count, 1000)
        #expect(hasRoomAgain)
    }

    @Test func positionsThatNoReaderHasAreViolations() throws {
        // Ahead of what was published, unaligned, backwards.
        for position: UInt64 in [4096, 4, .max, .max - 7, 1 << 63] {
            var ring = try RingPair()
            let appended = try ring.append(0, 1000)
            #expect(appended)
            _ = ring.producer.publish()
            unsafe ring.reading.consumed.pointee.store(position, ordering: .relaxed)
            let refused = ring.refreshFails()
            #expect(refused)
        }
        var ring = try RingPair()
        let appended = try ring.append(0, 1000)
        #expect(appended)
        _ = ring.producer.publish()
        let took = try ring.take(0, 1000)
        #expect(took)
        let released = ring.release()
        #expect(released)
        try ring.producer.refresh()
        unsafe ring.reading.consumed.pointee.store(0, ordering: .relaxed)
        let refused = ring.refreshFails()
        #expect(refused)
    }

    @Test func headersThatNoWriterHasAreViolations() throws {
        for header: UInt64 in [1 << 32 | (16 << 10 + 1), 1 << 32 | 0xffff_ffff, 9 << 32, 0xff << 32, 8] {
            var ring = try RingPair()
            let refused = ring.takeFails(header)
            #expect(refused)
        }
    }

    @Test func anyBytesInTheRingAreHandled() throws {
        var random = SeededRandom(seed: 5)
        for _ in 0..<300 {
            var ring = try RingPair()
            unsafe UnsafeMutableRawBufferPointer(start: ring.writing.ring, count: RingPair.bytes)
                .withMemoryRebound(to: UInt64.self) { words in
                    for index in words.indices {
                        let kind = UInt64.random(in: 0...9, using: &random)
                        unsafe words[index] =
                            random.chance(0.9)
                            ? kind << 32 | .random(in: 0...64, using: &random) | random.next() << 40 : random.next()
                    }
                }
            var sum = 0
            do throws(ShmViolation) {
                for _ in 0..<20_000 {
                    let header = ring.consumer.header()
                    guard header != 0 else { break }
                    let (_, payload) = unsafe try ring.consumer.take(header)
                    // Touches every byte: outside of the mapping this would be fatal.
                    sum &+= unsafe payload.reduce(0) { $0 &+ Int($1) }
                }
            } catch {}
            // Used, so that the reads are not optimised away.
            #expect(sum >= 0)
        }
    }
}
