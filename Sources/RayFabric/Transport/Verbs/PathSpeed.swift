// How fast a path is, measured while it works: what bulk is divided by.

internal import RayCore

/// The load and the speed of one path.
///
/// Speed is bytes per second over the time in which the path had something to do, measured each time that is enough
/// to tell, and smoothed over the last few.
///
/// Who is given little shows little: an operation that is alone on its path waits for its latency, and for
/// what the machine does for other paths. So a path that was found slow is tried again, at most a ninth of the time.
struct PathSpeed: Sendable {
    /// Shorter ones say more about the clock than about the path.
    private static let shortestStretch = Duration.milliseconds(1)
    private static let smoothing = 0.25
    /// How long a path rests, in terms of what its last operation took.
    private static let rest = 8
    /// What others have to do, in terms of an operation, before a path that rests is tried with it.
    private static let queue = 4

    /// Bytes of operations that have not ended.
    private(set) var outstanding = 0
    private(set) var bytesPerSecond: Double
    /// Since when the path has worked without an operation having ended.
    private var lastEnd = Timestamp.zero
    private var stretch = Duration.zero
    private var stretchBytes = 0
    private var restEnds = Timestamp.zero

    /// - Parameter expected: bytes per second, before anything is known.
    init(expected: Double) {
        precondition(expected > 0)
        bytesPerSecond = expected
    }

    /// An operation is given to the path.
    mutating func started(_ count: Int, now: Timestamp) {
        if outstanding == 0 { lastEnd = now }
        outstanding += count
    }

    /// An operation is done.
    mutating func finished(_ count: Int, now: Timestamp) {
        outstanding -= count
        precondition(outstanding >= 0)
        let time = now - lastEnd
        lastEnd = now
        if outstanding == 0 { restEnds = now + time * Self.rest }
        stretch += time
        stretchBytes += count
        guard stretch >= Self.shortestStretch else { return }
        let found = Double(stretchBytes) * 1e9 / Double(stretch.saturatedNanoseconds)
        bytesPerSecond += (found - bytesPerSecond) * Self.smoothing
        (stretch, stretchBytes) = (.zero, 0)
    }

    /// An operation is taken back undone.
    mutating func withdrawn(_ count: Int) {
        outstanding -= count
        precondition(outstanding >= 0)
    }

    /// Seconds until so many bytes more would be there.
    func time(for count: Int) -> Double { Double(outstanding + count) / bytesPerSecond }

    /// Whether an operation that would be done sooner by the other is to show what this one does now.
    func isDue(for count: Int, insteadOf other: PathSpeed, now: Timestamp) -> Bool {
        outstanding == 0 && other.outstanding >= Self.queue * count && now >= restEnds
    }
}
