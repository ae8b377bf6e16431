// Where a client's new objects go: extents granted by the host, filled from the front without IPC.

internal import CLinux
internal import RayCore
internal import Synchronization

/// The extent in use. Threads take from it with one compare-and-exchange.
struct MemoryLease: ~Copyable, Sendable {
    /// Next free granule and end of the extent.
    let cursor = Atomic<WordPair>(WordPair(first: 0, second: 0))
    /// Held by the thread that brings the next extent.
    let change = Mutex<Void>(())

    /// The start of `count` granules; nil when the extent has less left.
    @inline(__always)
    func take(_ count: UInt64) -> UInt64? {
        var extent = cursor.load(ordering: .acquiring)
        while UInt64(extent.second) &- UInt64(extent.first) >= count {
            let rest = WordPair(first: extent.first + UInt(count), second: extent.second)
            let result = cursor.compareExchange(expected: extent, desired: rest, ordering: .acquiringAndReleasing)
            if result.exchanged { return UInt64(extent.first) }
            extent = result.original
        }
        return nil
    }
}

extension StoreClient {
    /// Granules to ask for at a time: 4 MiB, less in small stores, so that clients share fairly and
    /// what is in use stays in the cache.
    private var preferredGranules: UInt64 {
        let bytes = min(4 << 20, geometry.segmentBytes, max(64 << 10, geometry.capacity / 32))
        return UInt64(bytes / StoreGeometry.granule)
    }

    /// Memory for an object, writable in this process.
    /// - Returns: its first granule.
    /// - Throws: `storeFull`, `outOfMemory`, `hostLost`, `deadlineExceeded`.
    @inline(__always)
    func allocate(granules count: UInt64, deadline: @autoclosure () -> Timestamp) throws(FabricError) -> UInt64 {
        if let start = memory.take(count) { return start }
        return try allocateSlowly(count, deadline: deadline())
    }

    private func allocateSlowly(_ count: UInt64, deadline: Timestamp) throws(FabricError) -> UInt64 {
        try memory.change.withLock { _ throws(FabricError) in
            if count > preferredGranules / 2 {
                let range = try obtain(atLeast: count, preferred: count, deadline: deadline)
                giveBack((range.lowerBound + count)..<range.upperBound)
                return range.lowerBound
            }
            // Other threads may take from the old extent until it is exchanged, not after.
            while true {
                if let start = memory.take(count) { return start }
                let old = memory.cursor.exchange(WordPair(first: 0, second: 0), ordering: .acquiringAndReleasing)
                giveBack(UInt64(old.first)..<UInt64(old.second))
                let range = try obtain(atLeast: count, preferred: preferredGranules, deadline: deadline)
                memory.cursor.store(
                    WordPair(first: UInt(range.lowerBound), second: UInt(range.upperBound)), ordering: .releasing)
                requestAhead()
            }
        }
    }

    /// Asks for the next extent before it is needed. A refusal matters only to who needs it then.
    private func requestAhead() {
        let isNeeded = inbox.withLock { inbox in
            let isNeeded = inbox.grants.isEmpty && !inbox.isRequested
            if isNeeded { inbox.isRequested = true }
            return isNeeded
        }
        if isNeeded { try? request(atLeast: 1, preferred: preferredGranules) }
    }

    /// Asks the host for an extent. Callers have noted that one is requested.
    private func request(atLeast count: UInt64, preferred: UInt64) throws(FabricError) {
        let granule = UInt64(StoreGeometry.granule)
        do throws(FabricError) {
            try push(StoreCommand(kind: .grant, offset: preferred * granule, size: count * granule))
        } catch {
            inbox.withLock { $0.isRequested = false }
            throw error
        }
    }

    /// Waits for an extent of at least `count` granules. Smaller ones that were granted go back.
    private func obtain(atLeast count: UInt64, preferred: UInt64, deadline: Timestamp) throws(FabricError)
        -> Range<UInt64>
    {
        var hasAsked = false
        var spinEnd: Timestamp?
        while true {
            let wakeCount = ring.wakeCount
            takeReplies()
            let (found, tooSmall, denial, isRequested) = inbox.withLock { inbox in
                let found = inbox.grants.firstIndex { UInt64($0.count) >= count }.map { inbox.grants.remove(at: $0) }
                let tooSmall = found == nil ? inbox.grants : []
                if found == nil { inbox.grants = [] }
                let denial = inbox.denial
                inbox.denial = nil
                return (found, tooSmall, denial, inbox.isRequested)
            }
            for range in tooSmall { giveBack(range) }
            if let found {
                do throws(FabricError) {
                    try mapGranted(found, by: deadline)
                } catch {
                    giveBack(found)
                    throw error
                }
                return found
            }
            if let denial, hasAsked { throw try refusal(denial, granules: count) }
            if !isRequested {
                inbox.withLock { $0.isRequested = true }
                try request(atLeast: count, preferred: preferred)
                hasAsked = true
                spinEnd = nil
            }
            try pause(wakeCount, &spinEnd, deadline: deadline, "memory for an object")
        }
    }

    /// Waits for the host to say something: spins until `spinEnd`, which the first call sets, then sleeps.
    func pause(
        _ wakeCount: UInt32, _ spinEnd: inout Timestamp?, deadline: Timestamp, _ what: @autoclosure () -> String
    ) throws(FabricError) {
        try checkAlive()
        if ring.isEvicted { throw FabricError(.protocolViolation, "the host has cut this client off") }
        if spinEnd == nil { ringDoorbell() }
        let end = spinEnd ?? .now + spin
        spinEnd = end
        while Timestamp.now < end {
            if ring.wakeCount != wakeCount { return }
            rf_cpu_pause()
        }
        let now = Timestamp.now
        guard now < deadline else { throw FabricError(.deadlineExceeded, what()) }
        sleep(whileWakeCount: wakeCount, for: min(deadline - now, .seconds(3600)))
    }

    private func refusal(_ code: FabricError.Code, granules: UInt64) throws(FabricError) -> FabricError {
        let bytes = granules * UInt64(StoreGeometry.granule)
        guard case .text(let holders) = try ask(.holders) else { return FabricError(code, "\(bytes) bytes") }
        return FabricError(code, "\(bytes) bytes do not fit; \(holders)")
    }

    func giveBack(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        let granule = UInt64(StoreGeometry.granule)
        // If the host is gone, so is the memory.
        _ = try? push(
            StoreCommand(
                kind: .giveBack, offset: range.lowerBound * granule, size: UInt64(range.count) * granule))
    }

    private func mapGranted(_ range: Range<UInt64>, by deadline: Timestamp) throws(FabricError) {
        let granule = UInt64(StoreGeometry.granule)
        try ensureMapped(
            offset: range.lowerBound * granule, bytes: UInt64(range.count) * granule, writable: true, by: deadline)
    }
}
