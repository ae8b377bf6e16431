// Who gets memory: requests, eviction, segments that come and fail.

internal import RayCore

extension StoreCore {
    /// Serves the requests that wait for memory, as far as there is any.
    mutating func serveRequests() {
        for session in active where session.request != nil { serve(session) }
        while arena.readySegments < limits.segmentsAhead, let segment = arena.fillAhead() {
            directives.append(.fill(segment: segment, replacing: false))
        }
        usage.readyBytes = UInt64(arena.presentSegments * geometry.segmentBytes)
    }

    private mutating func serve(_ session: ClientSession) {
        guard let request = session.request, session.hasRoomForReply() else { return }
        guard session.outstanding.ranges.count < limits.piecesPerClient else { return deny(session, .storeFull) }
        while true {
            switch arena.allocate(for: session.index, minimum: request.minimum, preferred: request.preferred) {
            case .granted(let range):
                session.request = nil
                session.outstanding.insert(range)
                answer(
                    session,
                    .init(
                        kind: .grant, offset: range.lowerBound * UInt64(StoreGeometry.granule),
                        size: UInt64(range.count) * UInt64(StoreGeometry.granule)))
                return
            case .fill(let segments, let replacing):
                for segment in segments {
                    directives.append(.fill(segment: segment, replacing: replacing.contains(segment)))
                }
                return
            case .wait:
                return
            case .exhausted:
                if evictSome() { continue }
                return deny(session, .storeFull)
            }
        }
    }

    private mutating func deny(_ session: ClientSession, _ code: FabricError.Code) {
        session.request = nil
        usage.refusals += 1
        answer(session, .init(kind: .denied, code: code))
    }

    private mutating func answer(_ session: ClientSession, _ reply: StoreReply) {
        session.reply(reply)
        wake(session, isAsynchronous: false)
    }

    /// The background thread has made a segment's memory. The generation tells readers to map it anew.
    mutating func segmentFilled(_ segment: Int, generation: UInt64) {
        table.setGeneration(generation, ofSegment: segment)
        _ = arena.filled(segment)
        serveRequests()
    }

    /// The system refused memory for a segment, and said why.
    mutating func segmentFailed(_ segment: Int, _ code: FabricError.Code) {
        guard let client = arena.fillFailed(segment), let session = session(client), session.request != nil else {
            return
        }
        deny(session, code)
    }

    /// Evicts the unpinned secondary copies that were used longest ago: a 64th of all, at least one.
    mutating func evictSome() -> Bool {
        var candidates: [(entry: Int, age: UInt32)] = []
        for (entry, published) in secondaries where !isPinned(entry) {
            // A use before the publication was of the entry's former object. What a client says of the
            // future is very long ago.
            let age = active.reduce(useClock &- published) { min($0, useClock &- $1.lastUse(of: entry)) }
            candidates.append((entry, age))
        }
        guard !candidates.isEmpty else { return false }
        candidates.sort { $0.age != $1.age ? $0.age > $1.age : $0.entry < $1.entry }
        for candidate in candidates.prefix(max(1, secondaries.count / 64)) {
            usage.evictions += 1
            bury(candidate.entry)
        }
        return true
    }
}
