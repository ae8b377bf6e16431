// When the references that a process took over before an epoch are known to their owners.

/// Counts registrations without an answer by the epoch in which they began. Claims grow, so that a claim tells its
/// epoch.
struct RegistrationBarrier: Sendable {
    private struct Span: Sendable {
        /// The epoch that ended it.
        var epoch: UInt64
        /// Claims below this one.
        var end: UInt64
        var open: Int
    }

    private(set) var lastClaim: UInt64 = 0
    /// Epochs that were applied and not reported, in order.
    private var spans = Queue<Span>()
    private var open = 0
    /// The latest epoch before which all is known.
    private(set) var passed: UInt64 = 0

    mutating func begin() -> UInt64 {
        lastClaim += 1
        open += 1
        return lastClaim
    }

    /// A number that is no registration, from the same sequence.
    mutating func makeToken() -> UInt64 {
        lastClaim += 1
        return lastClaim
    }

    /// A registration was answered, given up, or its owner has died.
    mutating func end(_ claim: UInt64) {
        for index in 0..<spans.count where claim < spans[index].end {
            spans[index].open -= 1
            return advance()
        }
        open -= 1
    }

    mutating func apply(epoch: UInt64) {
        spans.append(Span(epoch: epoch, end: lastClaim + 1, open: open))
        open = 0
        advance()
    }

    private mutating func advance() {
        while !spans.isEmpty, spans[0].open == 0, let span = spans.popFirst() { passed = span.epoch }
    }
}
