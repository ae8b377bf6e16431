// What the store tells about itself.

internal import RayCore

extension StoreCore {
    func isLessee(_ client: Int, ofSegment segment: Int) -> Bool { arena.segments[segment].lessee == client }

    /// What holds the memory, in words; the text of `storeFull`.
    func holders() -> String {
        var text =
            "capacity \(usage.capacity): \(usage.primaryBytes) in \(table.count - secondaries.count) objects, "
            + "\(usage.secondaryBytes) in \(secondaries.count) copies"
        let pinned = table.usedEntries.reduce(into: (objects: 0, bytes: UInt64(0))) { sum, entry in
            if table.directory.version(entry) & 0xff != 0, isPinned(entry) {
                sum.objects += 1
                sum.bytes += table.directory.entry(entry).granules * UInt64(StoreGeometry.granule)
            }
        }
        text += ", of these \(pinned.bytes) pinned (\(pinned.objects))"
        for session in clients() {
            let leased = arena.freeGranules(leasedTo: session.index) + session.outstanding.granules
            if leased > 0 { text += "; \(session.name) holds \(leased * UInt64(StoreGeometry.granule)) for writing" }
        }
        return text
    }

    /// Entries that hold an object, deleted but pinned ones included.
    func inspect(from start: Int, limit: Int) -> (
        objects: [(entry: Int, object: ObjectEntry, pins: [(Int, UInt32)])], next: Int?
    ) {
        var found: [(entry: Int, object: ObjectEntry, pins: [(Int, UInt32)])] = []
        for entry in table.usedEntries.dropFirst(start) {
            guard table.directory.version(entry) & 0xff != 0 else { continue }
            if found.count == limit { return (found, entry) }
            let pins = clients().compactMap { session in
                let count = session.pins(of: entry)
                return count == 0 ? nil : (session.index, count)
            }
            found.append((entry, table.directory.entry(entry), pins))
        }
        return (found, nil)
    }
}
