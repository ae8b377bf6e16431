// Which path of a connection an operation takes, as a function without I/O.

internal import RayCore

/// What is to be known of a path when an operation is given to one.
protocol PathCandidate {
    /// Its place in the order of the paths, less than 16.
    var number: UInt8 { get }
    var isOpen: Bool { get }
    var speed: PathSpeed { get }
}

/// The choice of a path for one operation: the one that would do it soonest, or one that is to be tried again. One
/// after the other, until one reaches the memory of the operation.
struct PathChoice: Sendable {
    /// Bytes of the operation, at least one.
    let length: Int
    let now: Timestamp
    /// Paths that do not reach its memory, a bit each.
    private var refused: UInt16 = 0

    init(length: Int, now: Timestamp) {
        self.length = length
        self.now = now
    }

    /// The path does not reach the memory: it is not chosen any more.
    mutating func refuse(_ number: UInt8) { refused |= 1 << number }

    /// - Parameter paths: in the order of their numbers; of two that are as good the first is taken.
    /// - Returns: nil when there is none left.
    func best<Path: PathCandidate>(of paths: [Path]) -> Path? {
        guard let soonest = soonest(of: paths) else { return nil }
        return paths.first { isCandidate($0) && isDue($0, insteadOf: soonest) } ?? soonest
    }

    private func soonest<Path: PathCandidate>(of paths: [Path]) -> Path? {
        var best: Path?
        for path in paths where isCandidate(path) {
            if let found = best, found.speed.time(for: length) <= path.speed.time(for: length) { continue }
            best = path
        }
        return best
    }

    private func isDue<Path: PathCandidate>(_ path: Path, insteadOf other: Path) -> Bool {
        path.speed.isDue(for: length, insteadOf: other.speed, now: now)
    }

    private func isCandidate<Path: PathCandidate>(_ path: Path) -> Bool {
        path.isOpen && refused & 1 << path.number == 0
    }
}
