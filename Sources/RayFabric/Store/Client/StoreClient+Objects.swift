// Making and finding objects.

package import RayCore
internal import Synchronization

extension StoreClient {
    // MARK: Making

    /// Room for an object that is filled in place.
    /// - Throws: `objectTooLarge`, `storeFull`, `tooManyObjects`, `objectExists`, `hostLost`, …
    package func create(
        size: Int, metadata: RawSpan, id: ObjectID? = nil
    ) throws(FabricError) -> Draft {
        var draft = try create(size: size, metadataSize: metadata.byteCount, id: id, flags: .primary)
        draft.writeMetadata(metadata)
        return draft
    }

    /// Room for an object and metadata that are both still to be written.
    func create(
        size: Int, metadataSize: Int, id: ObjectID?, flags: StoreCommandFlags,
        deadline: @autoclosure () -> Timestamp = .now + .seconds(30)
    ) throws(FabricError) -> Draft {
        try checkAlive()
        guard size >= 0 else { throw FabricError(.invalidArgument, "an object of \(size) bytes") }
        guard metadataSize <= StoreGeometry.maximumMetadata else {
            throw FabricError(
                .invalidArgument,
                "\(metadataSize) bytes of metadata; \(StoreGeometry.maximumMetadata) are the most")
        }
        guard size <= geometry.capacity - metadataSize else {
            throw FabricError(.objectTooLarge, "\(size) bytes in a store of \(geometry.capacity)")
        }
        if let id, directory.find(id) != nil { throw FabricError(.objectExists, "\(id)") }
        let granules = StoreGeometry.granules(size: UInt64(size), metadataSize: UInt32(metadataSize))
        let start = granules == 0 ? 0 : try allocate(granules: granules, deadline: deadline())
        return Draft(
            client: self, id: id ?? makeObjectID(), offset: start * UInt64(StoreGeometry.granule), size: size,
            metadataSize: metadataSize, flags: flags.flags)
    }

    /// Copies bytes into a new object: one copy.
    package func put(_ bytes: RawSpan, metadata: RawSpan, id: ObjectID? = nil) throws(FabricError) -> ObjectID {
        var draft = try create(size: bytes.byteCount, metadata: metadata, id: id)
        try draft.write(bytes)
        return try draft.seal()
    }

    /// Tells the host of a sealed object.
    /// - Returns: whether the directory has an entry for it; if not certain, `confirm` must follow.
    @inline(__always)
    func publish(
        _ id: ObjectID, offset: UInt64, size: Int, metadataSize: Int, flags: StoreCommand.Flags
    ) throws(FabricError) -> Bool {
        try checkAlive()
        // In this order: the host lowers the room before it says which commands it has taken.
        let taken = ring.commandsTaken
        let room = directory.room
        let position = try push(
            StoreCommand(
                kind: .publish, flags: flags, id: id, offset: offset, size: UInt64(size),
                metadataSize: UInt32(metadataSize)))
        return position &+ 1 &- taken <= min(room, directory.room)
    }

    /// Waits until the host has taken an object into the directory.
    /// - Throws: `tooManyObjects` when there was no entry for it; it does not exist then.
    func confirm(_ id: ObjectID) throws(FabricError) {
        do throws(FabricError) {
            for case let pin? in try collect([id], count: 1, deadline: .now + .seconds(30), pull: false) { unpin(pin) }
        } catch {
            // Sealed, and deleted by somebody since.
            guard error.code == .objectDeleted else { throw error }
        }
    }

    /// Gives the memory of an aborted draft back.
    func discard(offset: UInt64, size: Int, metadataSize: Int) {
        let granules = StoreGeometry.granules(size: UInt64(size), metadataSize: UInt32(metadataSize))
        let start = offset / UInt64(StoreGeometry.granule)
        giveBack(start..<(start + granules))
    }

    // MARK: Finding

    /// Finds and pins an object without waiting; nil when it is not in the directory.
    /// - Parameter deadline: the caller's own, for the first look at a segment's memory.
    @inline(__always)
    func pin(_ id: ObjectID, by deadline: @autoclosure () -> Timestamp? = nil) throws(FabricError) -> PinnedEntry? {
        // The pin's line is fetched while the entry's is: with many objects neither is in a cache.
        while let (entry, version) = directory.find(id, prepare: { ring.prefetchPin($0) }) {
            guard ring.pin(entry, version: version, in: directory) else { continue }
            let object = directory.entry(entry)
            let pinned = PinnedEntry(
                entry: entry, offset: object.offset, size: object.size,
                metadataSize: object.attributes.metadataSize)
            do throws(FabricError) {
                try ensureMapped(
                    offset: object.offset, bytes: object.size + UInt64(object.attributes.metadataSize),
                    writable: false, by: deadline())
            } catch {
                unpin(pinned)
                throw error
            }
            return pinned
        }
        return nil
    }

    @inline(__always)
    func unpin(_ pin: PinnedEntry) {
        if ring.unpin(pin.entry, in: directory) { tellUnpinned(pin.entry) }
    }

    private func tellUnpinned(_ entry: Int) {
        // If the host is gone, nobody needs to know.
        try? pushUrgently(StoreCommand(kind: .unpinned, offset: UInt64(entry)))
    }

    /// The bytes of a pinned object and, behind them, its metadata.
    func withBytes(of pin: PinnedEntry, _ body: (RawSpan) -> Void) {
        // SAFETY: immutable while pinned.
        body(
            unsafe RawSpan(
                _unsafeStart: UnsafeRawPointer(segments.base + Int(pin.offset)),
                byteCount: Int(pin.size) + Int(pin.metadataSize)))
    }

    /// Gets an object, waiting for it to appear until the deadline.
    /// - Parameter pull: fetch it from another node if it is not here.
    /// - Throws: `deadlineExceeded`, `objectDeleted`, `hostLost`, or why it could not be pulled.
    @inline(__always)
    package func get(_ id: ObjectID, within limit: Duration, pull: Bool = false) throws(FabricError) -> Object {
        try checkAlive()
        try settleDeletions(by: .now + limit)
        if let pin = try pin(id, by: .now + limit) { return Object(client: self, id: id, pin: pin) }
        let pins = try collect([id], count: 1, deadline: .now + limit, pull: pull)
        guard let pin = pins[0] else { preconditionFailure("collected nothing") }
        return Object(client: self, id: id, pin: pin)
    }

    /// Gets several objects: returns when `count` of them are there.
    package func get(
        _ ids: [ObjectID], count: Int, within limit: Duration, pull: Bool = false
    ) throws(FabricError) -> ObjectBatch {
        guard count >= 0, count <= ids.count else {
            throw FabricError(.invalidArgument, "\(count) of \(ids.count) objects")
        }
        try checkAlive()
        try settleDeletions()
        let pins = try collect(ids, count: count, deadline: .now + limit, pull: pull)
        return ObjectBatch(client: self, ids: ids, pins: pins)
    }

    /// Pins at least `count` of the objects, or throws with none pinned.
    private func collect(
        _ ids: [ObjectID], count: Int, deadline: Timestamp, pull: Bool
    ) throws(FabricError) -> [PinnedEntry?] {
        var pins: [PinnedEntry?] = Array(repeating: nil, count: ids.count)
        var tokens: [Int: UInt32] = [:]
        do throws(FabricError) {
            var spinEnd: Timestamp?
            while true {
                let wakeCount = ring.wakeCount
                var found = 0
                for index in ids.indices {
                    if pins[index] == nil { pins[index] = try pin(ids[index], by: deadline) }
                    if pins[index] != nil { found += 1 }
                }
                if found >= count { break }
                if tokens.isEmpty {
                    try registerWaits(ids, missing: pins, deadline: deadline, pull: pull, &tokens)
                    continue
                }
                try checkFailures(ids, count: count, tokens)
                try pause(wakeCount, &spinEnd, deadline: deadline, "waiting for \(describe(ids))")
            }
        } catch {
            for case let pin? in pins { unpin(pin) }
            forgetWaits(ids, tokens)
            throw error
        }
        forgetWaits(ids, tokens)
        return pins
    }

    private func describe(_ ids: [ObjectID]) -> String { ids.count == 1 ? "\(ids[0])" : "\(ids.count) objects" }

    private func registerWaits(
        _ ids: [ObjectID], missing pins: [PinnedEntry?], deadline: Timestamp, pull: Bool, _ tokens: inout [Int: UInt32]
    ) throws(FabricError) {
        let missing = ids.indices.filter { pins[$0] == nil }
        let expected = missing.map { _ in makeToken() }
        try expect(expected, by: deadline)
        for (index, token) in zip(missing, expected) { tokens[index] = token }
        for (index, token) in zip(missing, expected) {
            try push(
                StoreCommand(
                    kind: .wait, flags: pull ? [.pull] : [], id: ids[index], offset: deadline.nanoseconds, token: token)
            )
        }
        ringDoorbell()
    }

    /// Waits of this process at once, with and without a thread. The host cuts off who has twice as
    /// many: what it has not been told of, or could not answer yet, counts there too.
    static var mostWaits: Int { StoreCore.Limits().waitsPerClient / 2 }

    /// Notes waits that the host will be told of.
    /// - Throws: `tooManyWaits`.
    func expect(_ tokens: [UInt32], by deadline: Timestamp) throws(FabricError) {
        var spinEnd: Timestamp?
        while ring.hasUnsentReplies {
            let wakeCount = ring.wakeCount
            takeReplies()
            try pause(wakeCount, &spinEnd, deadline: deadline, "answers to earlier waits")
        }
        let count = inbox.withLock { inbox in
            let count = inbox.waits.count + tokens.count
            if count <= Self.mostWaits { inbox.waits.formUnion(tokens) }
            return count
        }
        guard count <= Self.mostWaits else {
            throw FabricError(.tooManyWaits, "\(count) in this process, and \(Self.mostWaits) are the most")
        }
    }

    /// Throws if so many objects will never come that `count` can not be reached.
    private func checkFailures(_ ids: [ObjectID], count: Int, _ tokens: [Int: UInt32]) throws(FabricError) {
        takeReplies()
        let failed = inbox.withLock { inbox in
            tokens.compactMap { index, token in inbox.failedWaits[token].map { (index, $0) } }
        }
        if ids.count - failed.count < count, let (index, code) = failed.min(by: { $0.0 < $1.0 }) {
            throw FabricError(code, "\(ids[index])")
        }
    }

    private func forgetWaits(_ ids: [ObjectID], _ tokens: [Int: UInt32]) {
        guard !tokens.isEmpty else { return }
        for (index, token) in tokens {
            _ = try? push(StoreCommand(kind: .forget, id: ids[index], token: token))
        }
        takeReplies()
        inbox.withLock { inbox in
            for token in tokens.values { inbox.forget(token) }
        }
    }

    // MARK: The rest

    /// Whether an object is in the store now.
    package func contains(_ id: ObjectID) throws(FabricError) -> Bool {
        try checkAlive()
        try settleDeletions()
        if directory.find(id) != nil { return true }
        _ = try ask(.synchronise)
        return directory.find(id) != nil
    }

    /// Deletes objects: this process does not find them any more, others do until the host has looked.
    /// Their memory is reused when they are unpinned.
    /// - Throws: `objectNotFound` for the first that is not there; the others are deleted all the same.
    package func delete(_ ids: [ObjectID]) throws(FabricError) {
        try checkAlive()
        var missing: ObjectID?
        var last: UInt64?
        for id in ids {
            if directory.find(id) == nil, !mayBeUnderway(id), try !contains(id) {
                missing = missing ?? id
            } else {
                last = try push(StoreCommand(kind: .delete, id: id))
            }
        }
        if let last {
            noteDeletion(last)
            ringDoorbell()
        }
        if let missing { throw FabricError(.objectNotFound, "\(missing)") }
    }

    /// Whether an object of this process may be sealed without the host having looked yet. A deletion
    /// that follows in the same ring is taken after it.
    private func mayBeUnderway(_ id: ObjectID) -> Bool { id.owner == worker && ring.hasPendingCommands }

    package func usage() throws(FabricError) -> StoreUsage {
        guard case .usage(let usage) = try ask(.usage) else { throw FabricError(.protocolViolation, "usage") }
        return usage
    }

    /// All objects with who holds them. O(objects), one message for each 128 of them.
    package func inspect() throws(FabricError) -> [ObjectDescription] {
        var all: [ObjectDescription] = []
        var from: Int? = 0
        while let start = from {
            guard case .objects(let objects, let next) = try ask(.inspect(from: start)) else {
                throw FabricError(.protocolViolation, "inspect")
            }
            all += objects
            from = next
        }
        return all
    }
}

/// Whether a new object is an original or a copy that may be evicted.
package enum StoreCommandFlags: Sendable {
    case primary, secondary
    var flags: StoreCommand.Flags { self == .secondary ? [.secondary] : [] }
}
