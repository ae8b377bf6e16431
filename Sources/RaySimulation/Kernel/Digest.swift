// The trace of a run as one word: equal runs have equal digests.

/// Folds words into 64 bits, in order. Not for adversaries.
package struct Digest: Equatable, Sendable {
    package private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    package init() {}

    @inline(__always)
    package mutating func fold(_ word: UInt64) {
        let mixed = (value ^ word) &* 0x9e37_79b9_7f4a_7c15
        value = mixed ^ mixed >> 29
    }
}
