// Randomness of a run: one stream for each concern, all from one seed.

package import RayCore

/// What draws random numbers. A stream for each keeps them apart: a run that draws one latency more has the
/// same workload and the same faults.
package enum RandomConcern: UInt64 {
    case options = 1
    case workload
    case execution
    case network
    case faults
    case clocks
    case identifiers
    case machines
    /// What was added later, drawn apart so that it changes nothing else.
    case additions
}

extension SeededRandom {
    /// The stream of `concern` in the run of `seed`.
    package init(seed: UInt64, concern: RandomConcern) {
        // The seeding of SeededRandom mixes well, so a distinct word is enough.
        self.init(seed: seed ^ (concern.rawValue &* 0xd6e8_feb8_6659_fd93))
    }

    /// A whole number from 0 up to and without `bound`.
    @inline(__always)
    package mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// A time drawn from an exponential distribution of the given mean, in nanoseconds. Between powers of two
    /// it is interpolated, so no logarithm is needed and every machine draws the same.
    @inline(__always)
    package mutating func exponential(mean: UInt64) -> UInt64 {
        guard mean > 0 else { return 0 }
        let word = next()
        // A word has n leading zeros with probability 2^-(n+1): n halvings and a fraction of one.
        let zeros = UInt64(word.leadingZeroBitCount)
        let fraction = 0x1_0000 - ((word << (zeros + 1)) >> 48)
        // One halving takes mean * ln 2; 45426 / 65536 is ln 2.
        let halving = (mean &* 45426) >> 16
        return (halving &* ((zeros << 16) &+ fraction)) >> 16
    }
}
