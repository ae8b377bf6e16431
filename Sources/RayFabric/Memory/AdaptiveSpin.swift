// How long to look for work before sleeping.

internal import CLinux
internal import RayCore

extension Duration {
    /// This long, or not at all where the calling thread has only one CPU: there a spinning thread
    /// keeps the one that it waits for from running.
    package var unlessOnOneProcessor: Duration {
        var words: [16 of UInt64] = InlineArray(repeating: 0)
        var span = words.mutableSpan
        let bytes = unsafe span.withUnsafeMutableBytes { unsafe Int(rf_get_affinity($0.baseAddress, $0.count)) }
        let processors = (0..<max(bytes, 0) / 8).reduce(0) { $0 + words[$1].nonzeroBitCount }
        return processors == 1 ? .zero : self
    }
}

/// Spins longer when sleeps turn out short, and less when they turn out long: a wake-up costs tens of
/// microseconds, so a sleep shorter than that was a mistake.
package struct AdaptiveSpin: Sendable {
    /// How long to spin now.
    package private(set) var limit: Duration
    private let shortest: Duration
    private let longest: Duration

    /// Never spins when `longest` is zero.
    package init(longest: Duration) {
        self.longest = longest
        shortest = min(longest, .microseconds(2))
        limit = longest / 4
    }

    /// A sleep that followed the spin has ended after `duration`.
    package mutating func slept(_ duration: Duration) {
        limit = duration < longest ? min(longest, limit * 2 + .microseconds(1)) : max(shortest, limit / 2)
    }
}
