// Which client holds which segment, and where the free memory is. Pure data.

/// The store's memory as a row of segments. A segment has one lessee at a time, the only process
/// that writes to it, for as long as that process lives or until the segment is empty.
struct Arena {
    /// What a segment is backed by.
    enum Memory: Equatable {
        case absent
        /// Being created and touched by the background thread.
        case filling
        case present
    }

    struct Segment {
        var memory = Memory.absent
        /// A client, `orphanage`, `limbo`, or nil.
        var lessee: Int?
        /// In limbo: the process that may still write here.
        var process: Int32?
    }

    /// What an attempt to allocate came to.
    enum Outcome: Equatable {
        case granted(Range<UInt64>)
        /// Segments that must be filled first; they already belong to the client. With `replacing`,
        /// their old memory may still be mapped by a former lessee and must not be used again.
        case fill(segments: [Int], replacing: [Int])
        /// Segments of this client are being filled: try again when they are ready.
        case wait
        /// Nothing free is left.
        case exhausted
    }

    let segmentGranules: UInt64
    private(set) var segments: [Segment]
    private var pools: [ExtentPool]
    /// The lessee of segments whose process died while they still held objects.
    private let orphanage: Int
    /// The lessee of segments of sessions that ended while their process lives on: nobody else writes
    /// there until it is dead, or they hold nothing and get new memory.
    private let limbo: Int

    init(segmentCount: Int, segmentGranules: UInt64, maximumClients: Int) {
        self.segmentGranules = segmentGranules
        segments = Array(repeating: Segment(), count: segmentCount)
        orphanage = maximumClients
        limbo = maximumClients + 1
        pools = Array(repeating: ExtentPool(segmentGranules: segmentGranules), count: maximumClients + 2)
    }

    func range(ofSegment index: Int) -> Range<UInt64> {
        UInt64(index) * segmentGranules..<UInt64(index + 1) * segmentGranules
    }

    func segment(of granule: UInt64) -> Int { Int(granule / segmentGranules) }

    /// Whether a client may write to a part of a range.
    func isLessee(_ client: Int, ofAnyIn range: Range<UInt64>) -> Bool {
        guard !range.isEmpty else { return false }
        return segments[segment(of: range.lowerBound)...segment(of: range.upperBound - 1)].contains {
            $0.lessee == client
        }
    }

    /// Granules leased to a client that hold nothing.
    func freeGranules(leasedTo client: Int) -> UInt64 { pools[client].freeGranules }

    /// Segments nobody has leased, with memory ready for use.
    var readySegments: Int { segments.count { $0.lessee == nil && $0.memory == .present } }

    /// Segments with memory, leased or not.
    var presentSegments: Int { segments.count { $0.memory == .present } }

    // MARK: Allocation

    mutating func allocate(for client: Int, minimum: UInt64, preferred: UInt64) -> Outcome {
        if minimum > segmentGranules { return allocateRun(for: client, granules: minimum) }
        if let range = pools[client].take(minimum: minimum, preferred: preferred) { return .granted(range) }
        if let ready = segments.indices.first(where: { segments[$0].lessee == nil && segments[$0].memory == .present })
        {
            lease(ready, to: client)
            return allocate(for: client, minimum: minimum, preferred: preferred)
        }
        if adoptOrphan(for: client, minimum: minimum),
            let range = pools[client].take(minimum: minimum, preferred: preferred)
        {
            return .granted(range)
        }
        if segments.contains(where: { $0.lessee == client && $0.memory == .filling }) { return .wait }
        if let filling = segments.indices.first(where: { segments[$0].lessee == nil && segments[$0].memory == .filling }
        ) {
            segments[filling].lessee = client
            return .wait
        }
        if let absent = segments.indices.first(where: { segments[$0].lessee == nil && segments[$0].memory == .absent })
        {
            return fill([absent], replacing: [], for: client)
        }
        if let idle = idleSegment(notOf: client) {
            let replacing = vacate(idle)
            return fill([idle], replacing: replacing ? [idle] : [], for: client)
        }
        return .exhausted
    }

    /// Objects larger than a segment take whole neighbouring segments.
    private mutating func allocateRun(for client: Int, granules: UInt64) -> Outcome {
        let length = Int((granules + segmentGranules - 1) / segmentGranules)
        guard length <= segments.count else { return .exhausted }
        var best: (start: Int, cost: Int)?
        for start in 0...(segments.count - length) {
            var cost = 0
            for index in start..<(start + length) {
                guard let own = runCost(index, for: client) else {
                    cost = .max
                    break
                }
                cost += own
            }
            if cost < best?.cost ?? .max { best = (start, cost) }
            if cost == 0 { break }
        }
        guard let best else { return .exhausted }
        let run = best.start..<(best.start + length)
        if best.cost == 0 { return .granted(takeRun(run, for: client, granules: granules)) }
        return prepareRun(run, for: client)
    }

    /// What stands between a segment and its use in a run: 0 nothing, more the longer; nil too much.
    private mutating func runCost(_ index: Int, for client: Int) -> Int? {
        let segment = segments[index]
        switch (segment.memory, segment.lessee) {
        case (.present, nil): return 0
        case (.present, client?): return isIdle(index) ? 0 : nil
        case (.present, orphanage?): return isIdle(index) ? 0 : nil
        case (.present, _?): return isIdle(index) ? 3 : nil
        case (.filling, nil), (.filling, client?): return 1
        case (.filling, _?): return nil
        case (.absent, nil): return 2
        case (.absent, _?): return nil
        }
    }

    private mutating func takeRun(_ run: Range<Int>, for client: Int, granules: UInt64) -> Range<UInt64> {
        for index in run {
            if segments[index].lessee == nil {
                segments[index].lessee = client
            } else {
                let taken = pools[segments[index].lessee!].takeWhole(range(ofSegment: index))
                precondition(taken, "a segment of a run was not free")
                segments[index].lessee = client
            }
        }
        let start = UInt64(run.lowerBound) * segmentGranules
        let end = UInt64(run.upperBound) * segmentGranules
        if start + granules < end { pools[client].insert((start + granules)..<end) }
        return start..<(start + granules)
    }

    /// Leases the parts of a run that are not ready yet, so that nobody else takes them meanwhile.
    private mutating func prepareRun(_ run: Range<Int>, for client: Int) -> Outcome {
        var absent: [Int] = []
        var replacing: [Int] = []
        for index in run {
            switch segments[index].memory {
            case .present:
                if segments[index].lessee == nil {
                    lease(index, to: client)
                } else if segments[index].lessee != client {
                    if vacate(index) {
                        replacing.append(index)
                        absent.append(index)
                    } else {
                        lease(index, to: client)
                    }
                }
            case .filling: segments[index].lessee = client
            case .absent: absent.append(index)
            }
        }
        return absent.isEmpty ? .wait : fill(absent, replacing: replacing, for: client)
    }

    private mutating func fill(_ indices: [Int], replacing: [Int], for client: Int) -> Outcome {
        for index in indices { segments[index] = Segment(memory: .filling, lessee: client) }
        return .fill(segments: indices, replacing: replacing)
    }

    /// Gives an unleased segment with memory to a client.
    private mutating func lease(_ index: Int, to client: Int) {
        precondition(segments[index].lessee == nil && segments[index].memory == .present)
        segments[index].lessee = client
        pools[client].insert(range(ofSegment: index))
    }

    /// Whether a leased segment holds nothing.
    private mutating func isIdle(_ index: Int) -> Bool {
        guard segments[index].memory == .present, let lessee = segments[index].lessee else { return false }
        return pools[lessee].holdsWhole(range(ofSegment: index))
    }

    private mutating func idleSegment(notOf client: Int) -> Int? {
        for index in segments.indices where segments[index].lessee != client && isIdle(index) { return index }
        return nil
    }

    /// Takes an idle segment from its lessee.
    /// - Returns: whether a living process may still have it mapped for writing.
    private mutating func vacate(_ index: Int) -> Bool {
        guard let lessee = segments[index].lessee else { return false }
        let taken = pools[lessee].takeWhole(range(ofSegment: index))
        precondition(taken, "vacating a segment that is not idle")
        segments[index].lessee = nil
        segments[index].process = nil
        return lessee != orphanage
    }

    /// Moves a dead client's segment with enough room to a living one.
    private mutating func adoptOrphan(for client: Int, minimum: UInt64) -> Bool {
        guard let taken = pools[orphanage].take(minimum: minimum, preferred: minimum) else { return false }
        pools[orphanage].insert(taken)
        move(segment(of: taken.lowerBound), to: client)
        return true
    }

    // MARK: Release

    /// Gives back memory that holds nothing any more.
    mutating func free(_ range: Range<UInt64>) {
        var start = range.lowerBound
        while start < range.upperBound {
            let index = segment(of: start)
            let end = min(range.upperBound, UInt64(index + 1) * segmentGranules)
            guard let lessee = segments[index].lessee else { preconditionFailure("freeing memory nobody leased") }
            pools[lessee].insert(start..<end)
            releaseIfOrphanedAndIdle(index)
            start = end
        }
    }

    /// Ends a client's leases. What its segments still hold stays.
    /// - Parameter process: may go on writing to them; nil when nobody does.
    /// - Returns: whether the end of that process matters.
    mutating func clientEnded(_ client: Int, process: Int32?) -> Bool {
        var isAwaited = false
        for index in segments.indices where segments[index].lessee == client {
            if segments[index].memory == .filling {
                segments[index].lessee = nil
                continue
            }
            move(index, to: process == nil ? orphanage : limbo)
            segments[index].process = process
            releaseIfOrphanedAndIdle(index)
            isAwaited = isAwaited || process != nil
        }
        return isAwaited
    }

    /// A process that had ended its session is dead.
    mutating func processEnded(_ process: Int32) {
        for index in segments.indices where segments[index].process == process {
            move(index, to: orphanage)
            releaseIfOrphanedAndIdle(index)
        }
    }

    /// A process that lived on has a session again: what it can write to anyhow is its own again.
    mutating func processReturned(_ process: Int32, as client: Int) {
        for index in segments.indices where segments[index].process == process { move(index, to: client) }
    }

    private mutating func move(_ index: Int, to lessee: Int) {
        guard let former = segments[index].lessee else { preconditionFailure("moving a segment nobody leased") }
        for extent in pools[former].takeAll(inSegment: index) { pools[lessee].insert(extent) }
        segments[index].lessee = lessee
        segments[index].process = nil
    }

    private mutating func releaseIfOrphanedAndIdle(_ index: Int) {
        if segments[index].lessee == orphanage, isIdle(index) { _ = vacate(index) }
    }

    // MARK: Memory

    /// The next segment to fill ahead of demand; nil when there is none left. It is marked as filling.
    mutating func fillAhead() -> Int? {
        guard
            let index = segments.indices.first(where: { segments[$0].lessee == nil && segments[$0].memory == .absent })
        else { return nil }
        segments[index].memory = .filling
        return index
    }

    /// Memory of a segment is ready. Gives its lessee, if it has one.
    mutating func filled(_ index: Int) -> Int? {
        precondition(segments[index].memory == .filling)
        segments[index].memory = .present
        guard let lessee = segments[index].lessee else { return nil }
        pools[lessee].insert(range(ofSegment: index))
        return lessee
    }

    /// The system has no memory for a segment. Gives the client that waited for it.
    mutating func fillFailed(_ index: Int) -> Int? {
        precondition(segments[index].memory == .filling)
        let lessee = segments[index].lessee
        segments[index] = Segment()
        return lessee
    }
}
