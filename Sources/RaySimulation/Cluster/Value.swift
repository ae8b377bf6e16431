// Values of simulated objects: a word that says what was computed, and the references inside.

internal import RayCore

/// What an object's bytes stand for.
struct Value: Equatable {
    /// Depends on the function and on the values that it read, on nothing else: every making of an object has
    /// the same. `errorWord` stands for an error of the function.
    var word: UInt64
    var contents: [ObjectID] = []

    static let errorWord: UInt64 = 0xe

    /// The form in which a small value travels in messages.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 + contents.count * ObjectID.byteCount)
        func append(_ word: UInt64) {
            for shift in stride(from: 0, to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
            }
        }
        append(word)
        for object in contents {
            append(object.words.0)
            append(object.words.1)
            append(object.words.2)
        }
        return bytes
    }

    init(word: UInt64, contents: [ObjectID] = []) { (self.word, self.contents) = (word, contents) }

    /// Nil for bytes that no value has.
    init?(bytes: [UInt8]) {
        guard bytes.count >= 8, (bytes.count - 8) % ObjectID.byteCount == 0 else { return nil }
        func word(at offset: Int) -> UInt64 {
            var word: UInt64 = 0
            for index in 0..<8 { word |= UInt64(bytes[offset + index]) << UInt64(8 * index) }
            return word
        }
        self.word = word(at: 0)
        for offset in stride(from: 8, to: bytes.count, by: ObjectID.byteCount) {
            contents.append(ObjectID(words: (word(at: offset), word(at: offset + 8), word(at: offset + 16))))
        }
    }
}
