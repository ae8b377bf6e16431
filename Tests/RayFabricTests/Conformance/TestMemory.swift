// Memory for one-sided operations: filled with a pattern, checked byte by byte at the speed of
// memcmp, given back at the end.

import CLinux
import RayCore
import RayFabric

/// Page-aligned memory of its own mapping.
@safe
struct TestMemory: ~Copyable {
    private let base: UnsafeMutableRawPointer
    let count: Int

    /// Zeros. No physical memory is used until it is touched.
    init(_ count: Int) {
        self.count = count
        let mapped = unsafe mmap(nil, max(count, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped = unsafe mapped, Int(bitPattern: mapped) != -1 else { fatalError("mmap of \(count) bytes") }
        unsafe base = mapped
        if count >= 32 << 20 { unsafe _ = madvise(base, count, RF_MADV_HUGEPAGE) }
    }

    deinit { unsafe _ = munmap(base, max(count, 1)) }

    var buffer: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: base, count: count)
    }

    /// Writes the pattern of `seed` into all of it.
    func fill(_ seed: UInt64) {
        unsafe visitBlocks(seed, 0..<count, sourceOffset: 0) { offset, pattern, length in
            unsafe _ = memcpy(base + offset, pattern, length)
        }
    }

    /// Blocks of the range that differ from what `fill(seed)` wrote at `sourceOffset` and after.
    func differences(_ seed: UInt64, _ range: Range<Int>, sourceOffset: Int = 0) -> Int {
        var wrong = 0
        unsafe visitBlocks(seed, range, sourceOffset: sourceOffset) { offset, pattern, length in
            if unsafe memcmp(base + offset, pattern, length) != 0 { wrong += 1 }
        }
        return wrong
    }

    func differences(_ seed: UInt64) -> Int { differences(seed, 0..<count) }

    /// Zeroes the first `length` bytes.
    func clear(_ length: Int) { unsafe _ = memset(base, 0, min(length, count)) }

    /// Whether all bytes of the range that lie in the memory are zero.
    func isClear(_ range: Range<Int>) -> Bool {
        range.clamped(to: 0..<count).allSatisfy { unsafe base.load(fromByteOffset: $0, as: UInt8.self) == 0 }
    }

    /// The pattern repeats after this many bytes: a prime, so that no two pages are alike.
    private static let period = 65_521
    private static let pattern: [UInt8] = (0..<(2 * period)).map { index in
        var word = UInt64(index % period + 1) &* 0x9e37_79b9_7f4a_7c15
        word ^= word >> 29
        return UInt8(truncatingIfNeeded: word) | 1
    }

    private func visitBlocks(
        _ seed: UInt64, _ range: Range<Int>, sourceOffset: Int, _ body: (Int, UnsafeRawPointer, Int) -> Void
    ) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        unsafe Self.pattern.withUnsafeBytes { pattern in
            var offset = range.lowerBound
            while offset < range.upperBound {
                let phase = (offset - range.lowerBound + sourceOffset + Int(seed % 1000) * 61) % Self.period
                let length = min(Self.period, range.upperBound - offset)
                // SAFETY: the pattern holds two periods, so one fits after any phase.
                unsafe body(offset, pattern.baseAddress! + phase, length)
                offset += length
            }
        }
    }
}

/// Test memory that can be shared and put in arrays.
final class TestMemoryBox: @unchecked Sendable {
    // Sendable: the memory is filled before it is shared.
    let memory: TestMemory
    init(_ count: Int) { memory = TestMemory(count) }
}
