// How fast a path is, measured while it works: what bulk is divided by.

internal import RayCore

/// The load and the speed of one path.
///
/// Speed is bytes per second over stretches in which the path always had something to do, smoothed over the
/// last few. Stretches that are too short to tell are joined to the next.
struct PathSpeed: Sendable {
    /// Shorter ones say more about the clock than about the path.
    private static let shortestStretch = Duration.milliseconds(1)
    private static let smoothing = 0.25

    /// Bytes of operations that have not ended.
    private(set) var outstanding = 0
    private(set) var bytesPerSecond: Double
    private var stretchBegan = Timestamp.zero
    private var stretchBytes = 0

    /// - Parameter expected: bytes per second, before anything is known.
    init(expected: Double) {
        precondition(expected > 0)
        bytesPerSecond = expected
    }

    /// An operation is given to the path.
    mutating func started(_ count: Int, now: Timestamp) {
        if outstanding == 0 { (stretchBegan, stretchBytes) = (now, 0) }
        outstanding += count
    }

    /// An operation is done.
    mutating func finished(_ count: Int, now: Timestamp) {
        outstanding -= count
        precondition(outstanding >= 0)
        stretchBytes += count
        let time = now - stretchBegan
        guard time >= Self.shortestStretch else { return }
        let found = Double(stretchBytes) * 1e9 / Double(time.saturatedNanoseconds)
        bytesPerSecond += (found - bytesPerSecond) * Self.smoothing
        (stretchBegan, stretchBytes) = (now, 0)
    }

    /// An operation is taken back undone.
    mutating func withdrawn(_ count: Int) {
        outstanding -= count
        precondition(outstanding >= 0)
    }

    /// Seconds until so many bytes more would be there.
    func time(for count: Int) -> Double { Double(outstanding + count) / bytesPerSecond }
}
