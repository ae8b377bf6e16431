// How long to look for work before sleeping.

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
