// What a pull is doing, for people who wonder why a get takes so long.

package import RayCore

/// A snapshot of one pull.
package struct PullProgress: Hashable, Sendable, CustomStringConvertible {
    package enum Stage: Hashable, Sendable {
        case askingSources, awaitingBudget, awaitingDraft, reading, publishing, ending
    }
    package var stage: Stage
    package var waiters: Int
    /// Bytes of the object and its metadata; 0 while no source has answered.
    package var byteCount: Int
    package var bytesArrived: Int
    /// Sources that have the object pinned for us, and all that are known.
    package var locatedSources: Int
    package var sources: Int

    package var description: String {
        switch stage {
        case .askingSources: "asking \(sources) sources"
        case .awaitingBudget: "waiting for \(byteCount) bytes of transfer budget"
        case .awaitingDraft: "waiting for \(byteCount) bytes in the store"
        case .reading: "\(bytesArrived) of \(byteCount) bytes arrived, from \(locatedSources) sources"
        case .publishing: "entering it into the store"
        case .ending: "ending"
        }
    }
}

extension PullMachine {
    /// What the pull of an object is doing; nil if it is not being pulled.
    /// - Complexity: linear in the object's sources.
    package func progress(of object: ObjectID) -> PullProgress? {
        guard let index = pullOfObject[object] else { return nil }
        let pull = pulls[index]
        var located = 0
        var source = pull.sources.first
        while source != LinkTable.none {
            if sources[source].stage == .located { located += 1 }
            source = pullLinks.next(after: source)
        }
        let hasMap = pull.stage == .reading || pull.stage == .publishing || pull.stage == .draining
        return PullProgress(
            stage: Self.stage(pull.stage), waiters: pull.waiters.count,
            byteCount: pull.stage == .asking ? 0 : pull.byteCount,
            bytesArrived: hasMap ? pull.byteCount - pull.map.missingBytes : 0,
            locatedSources: located, sources: pull.sources.count)
    }

    private static func stage(_ stage: Pull.Stage) -> PullProgress.Stage {
        switch stage {
        case .asking: .askingSources
        case .awaitingBudget: .awaitingBudget
        case .allocating: .awaitingDraft
        case .reading: .reading
        case .publishing, .delivering: .publishing
        case .draining: .ending
        }
    }
}
