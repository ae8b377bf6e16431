// Sets of chunks.

import RayOwnership
import Testing

@Suite struct ChunkBitmapTests {
    @Test func holdsWhatWasInserted() {
        var chunks = ChunkBitmap(count: 130)
        for chunk in [0, 63, 64, 129] { chunks.insert(chunk) }
        #expect((0..<130).filter(chunks.contains) == [0, 63, 64, 129])
        #expect(chunks.arrived == 4)
        #expect(!chunks.contains(130))
        #expect(!chunks.contains(-1))
    }

    @Test func unionsOnlyMapsOfTheSameObject() {
        var chunks = ChunkBitmap(count: 8)
        var others = ChunkBitmap(count: 8)
        others.insert(3)
        chunks.formUnion(others)
        #expect(chunks.contains(3))
        var longer = ChunkBitmap(count: 9)
        longer.insert(8)
        chunks.formUnion(longer)
        #expect(chunks.arrived == 1)
    }
}
