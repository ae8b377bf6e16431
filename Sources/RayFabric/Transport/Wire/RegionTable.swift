// Registered memory by key: the one place where a peer's key, offset and length become an address.

package import RayCore

/// The regions of one transport. Keys hold a slot in the lower half and a random number in the
/// upper, so the key of a deregistered region does not fit whatever took its slot.
package struct RegionTable: ~Copyable {
    @safe
    private struct Region {
        var key: RegionKey
        var memory: UnsafeMutableRawBufferPointer
        var access: RemoteAccess
    }

    /// Most regions at a time.
    package static let limit = 1 << 20

    private var regions: [Region?] = []
    private var free: [UInt32] = []

    package init() {}

    package var count: Int { regions.count - free.count }

    /// Takes memory in.
    ///
    /// SAFETY: the memory must stay mapped until `remove`, see `Transport.register`.
    /// - Throws: `outOfMemory` when there are too many regions.
    package mutating func insert(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess, using source: inout some RandomNumberGenerator
    ) throws(FabricError) -> RegionKey {
        guard count < Self.limit else {
            throw FabricError(.outOfMemory, "more than \(Self.limit) registered regions")
        }
        let slot = free.popLast() ?? UInt32(regions.count)
        let key = RegionKey(rawValue: UInt64(UInt32.random(in: 1...UInt32.max, using: &source)) << 32 | UInt64(slot))
        let region = unsafe Region(key: key, memory: memory, access: access)
        if slot == regions.count {
            regions.append(region)
        } else {
            regions[Int(slot)] = region
        }
        return key
    }

    /// Takes in a part of a region as one that peers may read.
    /// - Throws: `invalidArgument` when the region does not allow that, or does not have the range.
    package mutating func grant(
        _ part: RegionLocation, length: Int, using source: inout some RandomNumberGenerator
    ) throws(FabricError) -> RegionKey {
        guard length >= 0, let memory = unsafe memory(part, length: UInt64(length), access: .byGrant) else {
            throw FabricError(.invalidArgument, "\(length) bytes at \(part.offset) can not be granted to a peer")
        }
        return try unsafe insert(memory, access: .read, using: &source)
    }

    /// Forgets a region.
    /// - Returns: false when the key named none.
    package mutating func remove(_ key: RegionKey) -> Bool {
        let slot = Int(UInt32(truncatingIfNeeded: key.rawValue))
        guard slot < regions.count, regions[slot]?.key == key else { return false }
        regions[slot] = nil
        free.append(UInt32(slot))
        return true
    }

    /// All memory of a region.
    package func whole(_ key: RegionKey) -> UnsafeMutableRawBufferPointer? {
        let slot = Int(UInt32(truncatingIfNeeded: key.rawValue))
        guard slot < regions.count, let region = regions[slot], region.key == key else { return nil }
        return unsafe region.memory
    }

    /// The memory of `length` bytes at `location`, for the node's own operations; nil when the
    /// range is not within a region.
    package func local(_ location: RegionLocation, length: Int) -> UnsafeMutableRawBufferPointer? {
        guard length >= 0 else { return nil }
        return unsafe memory(location, length: UInt64(length), access: [])
    }

    /// The memory that a peer named, if it may do this to all of it.
    package func remote(
        _ location: RegionLocation, length: UInt64, access: RemoteAccess
    ) -> UnsafeMutableRawBufferPointer? {
        unsafe memory(location, length: length, access: access)
    }

    private func memory(
        _ location: RegionLocation, length: UInt64, access: RemoteAccess
    ) -> UnsafeMutableRawBufferPointer? {
        let slot = Int(UInt32(truncatingIfNeeded: location.key.rawValue))
        guard slot < regions.count, let region = regions[slot], region.key == location.key,
            region.access.isSuperset(of: access)
        else { return nil }
        let size = unsafe UInt64(region.memory.count)
        // Compared without adding, which could overflow.
        guard location.offset <= size, length <= size - location.offset else { return nil }
        let start = Int(location.offset)
        return unsafe UnsafeMutableRawBufferPointer(rebasing: region.memory[start..<(start + Int(length))])
    }
}
