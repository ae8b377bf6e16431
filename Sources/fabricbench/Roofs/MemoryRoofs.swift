// The roofs within one machine: two words that two processes watch, and a plain copy.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A word of shared memory to and fro; larger payloads are copied into shared memory before it.
struct SharedWordsRoof {
    private let settings: WorkSettings
    private let payloadBytes: Int
    private let deadline: Timestamp
    private static let questionOffset = 0
    private static let answerOffset = 128
    private static let payloadOffset = 4096
    private static let end = UInt64.max

    init(_ settings: WorkSettings) {
        self.settings = settings
        payloadBytes = settings.size > 8 ? settings.size : 0
        deadline = .now + settings.warmup + settings.duration + .seconds(10)
    }

    /// Bytes of shared memory that payloads of `size` need.
    static func memoryBytes(size: Int) -> Int { (payloadOffset + 2 * (size + 64) + 4095) & ~4095 }

    /// Makes the memory ready, before the other end is told to begin.
    static func reset(_ memory: borrowing Mapping) {
        memory.storeReleasing(0, at: questionOffset)
        memory.storeReleasing(0, at: answerOffset)
    }

    /// The end that takes the time.
    func ask(in memory: borrowing Mapping) throws(FabricError) -> Report {
        let source = try AnonymousMemory(byteCount: settings.size)
        let clock = CycleClock.shared
        let from = CycleClock.now &+ clock.cycles(settings.warmup)
        let until = from &+ clock.cycles(settings.duration)
        var histogram = LatencyHistogram()
        var number: UInt64 = 0
        while true {
            number += 1
            let start = CycleClock.now
            put(source, into: memory, half: 0)
            memory.storeReleasing(number, at: Self.questionOffset)
            guard try awaits(number, at: Self.answerOffset, in: memory) else { break }
            let end = CycleClock.now
            if start >= from { histogram.record(cycles: end &- start) }
            if end >= until { break }
        }
        memory.storeReleasing(Self.end, at: Self.questionOffset)
        return Report(operations: histogram.count, latency: histogram)
    }

    /// The end that answers until the other one has enough.
    func answer(in memory: borrowing Mapping) throws(FabricError) -> Report {
        let source = try AnonymousMemory(byteCount: settings.size)
        var number: UInt64 = 1
        while try awaits(number, at: Self.questionOffset, in: memory) {
            put(source, into: memory, half: 1)
            memory.storeReleasing(number, at: Self.answerOffset)
            number += 1
        }
        return Report()
    }

    @inline(__always)
    private func put(_ source: borrowing AnonymousMemory, into memory: borrowing Mapping, half: Int) {
        guard payloadBytes > 0 else { return }
        let offset = Self.payloadOffset + half * ((payloadBytes + 63) & ~63)
        precondition(offset + payloadBytes <= memory.byteCount)
        // SAFETY: both ranges are mapped, and the target is this end's half.
        unsafe _ = memcpy(memory.base + offset, source.bytes.baseAddress!, payloadBytes)
    }

    /// - Returns: false when the other end has said that it is over.
    @inline(__always)
    private func awaits(
        _ number: UInt64, at offset: Int, in memory: borrowing Mapping
    ) throws(FabricError) -> Bool {
        var spins = 0
        while true {
            let seen = memory.loadAcquiring(offset)
            if seen == number { return true }
            if seen == Self.end { return false }
            spins &+= 1
            if spins % 65536 == 0, Timestamp.now >= deadline {
                throw FabricError(.deadlineExceeded, "the other end of the shared words is silent")
            }
        }
    }
}

/// memcpy by one core, from ring to ring, with the sizes and the rotation of the benchmark.
struct MemoryCopyRoof {
    let size: Int
    /// Payloads of the ring that is written, and of the one that is read.
    let slots: Int
    let sourceSlots: Int
    let warmup: Duration
    let duration: Duration

    func measure() throws(FabricError) -> Report {
        let slotBytes = (size + 63) & ~63
        let source = try AnonymousMemory(byteCount: sourceSlots * slotBytes)
        let target = try AnonymousMemory(byteCount: slots * slotBytes)
        let clock = CycleClock.shared
        let batch = max((256 << 10) / size, 1)
        var slot = 0
        var from = 0
        func copyBatch() {
            for _ in 0..<batch {
                // SAFETY: the slot lies within both rings.
                unsafe _ = memcpy(
                    target.bytes.baseAddress! + slot * slotBytes, source.bytes.baseAddress! + from * slotBytes, size)
                slot = slot + 1 == slots ? 0 : slot + 1
                from = from + 1 == sourceSlots ? 0 : from + 1
            }
        }
        let warm = CycleClock.now &+ clock.cycles(warmup)
        while CycleClock.now < warm { copyBatch() }
        var span = MeasuredSpan()
        span.start()
        let until = CycleClock.now &+ clock.cycles(duration)
        var operations: UInt64 = 0
        repeat {
            copyBatch()
            operations += UInt64(batch)
        } while CycleClock.now < until
        span.stop()
        var report = Report(operations: operations, bytes: operations * UInt64(size))
        report.record(span)
        return report
    }
}
