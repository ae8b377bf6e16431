// Registered memory on both sides of a rail: from places in regions to the addresses that devices use.

internal import RayCore

/// Parts of regions that can be reached by RDMA, by the key of their region.
struct RailMemory<Part: RailPart> {
    private var parts: [RegionKey: [Part]] = [:]
    private(set) var count = 0

    /// Forgets what overlaps a range: there is other memory now.
    mutating func remove(_ key: RegionKey, overlapping range: Range<UInt64>) {
        guard let before = parts[key]?.count else { return }
        parts[key]?.removeAll { $0.offset < range.upperBound && range.lowerBound < $0.offset + $0.length }
        count -= before - (parts[key]?.count ?? 0)
    }

    /// Takes a part in, in the place of what it overlaps.
    mutating func insert(_ part: Part) {
        remove(part.key, overlapping: part.offset..<(part.offset + part.length))
        var list = parts[part.key, default: []]
        count -= list.count
        let index = list.firstIndex { $0.offset > part.offset } ?? list.count
        list.insert(part, at: index)
        count += list.count
        parts[part.key] = list
    }

    mutating func remove(_ key: RegionKey) { count -= parts.removeValue(forKey: key)?.count ?? 0 }

    /// What of a range no part holds.
    func gaps(of key: RegionKey, in range: Range<UInt64>) -> [Range<UInt64>] {
        var gaps: [Range<UInt64>] = []
        var start = range.lowerBound
        for part in parts[key] ?? [] where start < range.upperBound && part.offset + part.length > start {
            if part.offset > start { gaps.append(start..<min(part.offset, range.upperBound)) }
            start = part.offset + part.length
        }
        if start < range.upperBound { gaps.append(start..<range.upperBound) }
        return gaps
    }

    /// All parts.
    var all: [Part] { parts.values.flatMap { $0 } }

    /// The part that holds the byte at `location`.
    func part(at location: RegionLocation) -> Part? {
        guard let list = parts[location.key] else { return nil }
        var (lower, upper) = (0, list.count)
        while lower < upper {
            let middle = (lower + upper) / 2
            if list[middle].offset <= location.offset { lower = middle + 1 } else { upper = middle }
        }
        guard lower > 0 else { return nil }
        let found = list[lower - 1]
        return location.offset - found.offset < found.length ? found : nil
    }
}

/// A range of a region behind one key of a device.
protocol RailPart {
    var key: RegionKey { get }
    var offset: UInt64 { get }
    var length: UInt64 { get }
}

extension RailRegion: RailPart {}

/// Cuts an operation into slices, each within one part here and one part there.
/// - Returns: nil when some of it can not be reached by RDMA.
func cut<Local: RailPart, Remote: RailPart>(
    _ local: RegionLocation, _ localMemory: borrowing RailMemory<Local>, _ remote: RegionLocation,
    _ remoteMemory: borrowing RailMemory<Remote>, length: UInt64, longest: UInt64
) -> [(local: Local, localOffset: UInt64, remote: Remote, remoteOffset: UInt64, length: UInt64)]? {
    var slices: [(local: Local, localOffset: UInt64, remote: Remote, remoteOffset: UInt64, length: UInt64)] = []
    var done: UInt64 = 0
    guard !local.offset.addingReportingOverflow(length).overflow,
        !remote.offset.addingReportingOverflow(length).overflow
    else { return nil }
    while done < length {
        let here = RegionLocation(key: local.key, offset: local.offset + done)
        let there = RegionLocation(key: remote.key, offset: remote.offset + done)
        guard let near = localMemory.part(at: here), let far = remoteMemory.part(at: there) else { return nil }
        let (nearOffset, farOffset) = (here.offset - near.offset, there.offset - far.offset)
        let count = min(length - done, longest, near.length - nearOffset, far.length - farOffset)
        slices.append((near, nearOffset, far, farOffset, count))
        done += count
    }
    return slices
}
