// How much memory a record takes, with its index, its lists and a location.

import RayCore
import Testing

@testable import RayOwnership

@Suite struct RecordSizeTests {
    @Test func aRecordTakesAtMost200BytesBesideTheIdentifier() {
        let record = Double(MemoryLayout<ObjectRecord>.stride)
        // A dictionary doubles when it is three quarters full: at worst it is three eighths full.
        let entry = MemoryLayout<UInt64>.stride + MemoryLayout<Slot>.stride
        let index = Double(entry) / 0.375
        // A list link is two slots; a location is in a list of its object and in one of its node.
        let link = Double(2 * MemoryLayout<Slot>.stride)
        let location = Double(MemoryLayout<Relation<Location>.Pair>.stride) + 2 * link
        let identifier = Double(ObjectID.byteCount)
        #expect(record + index - identifier <= 200, "inline: \(record) and \(index)")
        #expect(record + index + location - identifier <= 200, "stored: \(record), \(index) and \(location)")
        #expect(record > 100, "so little can not be all of it")
    }
}
