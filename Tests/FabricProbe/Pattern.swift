// Bytes that tell whether an object is whole: each block says where it is.

import Glibc
import RayCore
import RayFabric

enum Pattern {
    private static let blockBytes = 64 << 10
    private static let block: [UInt8] = {
        var random = SeededRandom(seed: 1)
        return (0..<blockBytes).map { _ in UInt8.random(in: 0...255, using: &random) }
    }()

    static func fill(_ draft: inout Draft) throws(FabricError) {
        var block = block
        for start in stride(from: 0, to: draft.size, by: blockBytes) {
            stamp(&block, start)
            // SAFETY: any bytes are valid UInt8 values.
            let bytes = unsafe block.span.bytes
            try draft.write(bytes.extracting(first: min(blockBytes, draft.size - start)), at: start)
        }
    }

    static func isWhole(_ bytes: RawSpan) -> Bool {
        var block = block
        for start in stride(from: 0, to: bytes.byteCount, by: blockBytes) {
            stamp(&block, start)
            let count = min(blockBytes, bytes.byteCount - start)
            // SAFETY: both have `count` bytes.
            let isSame = unsafe bytes.extracting(start..<(start + count)).withUnsafeBytes {
                unsafe $0.baseAddress.map { unsafe memcmp($0, block, count) == 0 } ?? false
            }
            if !isSame { return false }
        }
        return true
    }

    private static func stamp(_ block: inout [UInt8], _ start: Int) {
        for byte in 0..<8 { block[byte] = UInt8(truncatingIfNeeded: start >> (8 * byte)) }
    }
}
