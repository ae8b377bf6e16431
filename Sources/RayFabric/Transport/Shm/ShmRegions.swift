// Registered memory: this end's regions, and the peer's regions that this end has mapped.

internal import CLinux
internal import CSharedLayout
internal import RayCore

/// The regions of one transport, and the directory that tells peers which of them they may map.
struct ShmRegions: ~Copyable {
    /// A region whose memory file peers may have.
    final class Shared {
        /// Without write access to the file unless peers may write to the region.
        let descriptor: FileDescriptor
        let offset: Int
        let length: Int
        let access: RemoteAccess

        init(_ descriptor: consuming FileDescriptor, offset: Int, length: Int, access: RemoteAccess) {
            self.descriptor = descriptor
            self.offset = offset
            self.length = length
            self.access = access
        }
    }

    private var table = RegionTable()
    private var shared: [RegionKey: Shared] = [:]
    /// A word per slot: the key of the shared region that lives there, else 0.
    let directoryFile: MemoryFile
    private let directory: Mapping
    private var random = SystemRandomNumberGenerator()

    static let directoryBytes = Int(RF_SHM_DIRECTORY_WORDS) * 8

    init() throws(FabricError) {
        let file = try MemoryFile(name: "rayfabric-shm-directory", byteCount: Self.directoryBytes)
        directory = try Mapping(file.descriptor.number, byteCount: Self.directoryBytes, writable: true)
        directoryFile = file
    }

    /// Where the directory has its word for a key; nil for a slot that it has no word for.
    static func directoryOffset(_ key: RegionKey) -> Int? {
        let slot = Int(UInt32(truncatingIfNeeded: key.rawValue))
        return slot < Int(RF_SHM_DIRECTORY_WORDS) ? slot * 8 : nil
    }

    mutating func register(
        _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        try unsafe table.insert(memory, access: access, using: &random)
    }

    mutating func grant(_ part: RegionLocation, length: Int) throws(FabricError) -> RegionKey {
        try table.grant(part, length: length, using: &random)
    }

    mutating func registerShared(
        descriptor: Int32, offset: Int, memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
    ) throws(FabricError) -> RegionKey {
        let length = memory.count
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard offset >= 0, !overflow, isSafeToMap(descriptor, byteCount: end) else {
            throw FabricError(
                .invalidArgument, "shared memory is a memfd sealed against shrinking that holds the range")
        }
        let number =
            unsafe access.contains(.write)
            ? rf_fcntl_int(descriptor, RF_F_DUPFD_CLOEXEC, 0)
            : rf_open("/proc/self/fd/\(descriptor)", O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw systemError("duplicate the descriptor of shared memory") }
        let region = Shared(FileDescriptor(owning: number), offset: offset, length: length, access: access)
        let key = try unsafe table.insert(memory, access: access, using: &random)
        guard let place = Self.directoryOffset(key) else {
            _ = table.remove(key)
            throw FabricError(.outOfMemory, "more than \(RF_SHM_DIRECTORY_WORDS) regions")
        }
        shared[key] = region
        // Peers learn keys by messages, which order this before their first look.
        directory.storeReleasing(key.rawValue, at: place)
        return key
    }

    mutating func deregister(_ key: RegionKey) {
        if shared.removeValue(forKey: key) != nil, let place = Self.directoryOffset(key) {
            directory.storeReleasing(0, at: place)
        }
        _ = table.remove(key)
    }

    func local(_ location: RegionLocation, length: Int) -> UnsafeMutableRawBufferPointer? {
        unsafe table.local(location, length: length)
    }

    func remote(
        _ location: RegionLocation, length: UInt64, access: RemoteAccess
    ) -> UnsafeMutableRawBufferPointer? {
        unsafe table.remote(location, length: length, access: access)
    }

    func sharedRegion(_ key: RegionKey) -> Shared? { shared[key] }
}

/// What one link knows of its peer's shared regions.
struct ShmRemoteRegions: ~Copyable {
    /// The peer's region, mapped here.
    final class Mapped {
        private let mapping: Mapping
        private let offset: Int
        let length: UInt64
        let access: RemoteAccess

        /// - Precondition: `isSafeToMap` for the range.
        init(_ descriptor: Int32, offset: Int, length: Int, access: RemoteAccess) throws(FabricError) {
            mapping = try Mapping(descriptor, byteCount: offset + length, writable: access.contains(.write))
            self.offset = offset
            self.length = UInt64(length)
            self.access = access
        }

        /// SAFETY: `place` is at most `length`; the pointer is good for the rest of the region while
        /// this object lives.
        func pointer(at place: UInt64) -> UnsafeMutableRawPointer { unsafe mapping.base + offset + Int(place) }
    }

    private enum State {
        case asked
        case mapped(Mapped)
        case failed(FabricError.Code)
    }

    /// The way to a region.
    enum Route {
        case direct(Mapped)
        /// Through the ring; the peer's thread moves the bytes.
        case served
        /// Unknown until the peer has answered the question.
        case mustAsk
        case asked
        case failed(FabricError.Code)
    }

    private let directory: Mapping
    private var known: [RegionKey: State] = [:]

    init(directory: consuming Mapping) { self.directory = directory }

    /// Acquire: what the peer wrote before it registered the region is visible.
    private func isShared(_ key: RegionKey) -> Bool {
        guard let place = ShmRegions.directoryOffset(key) else { return false }
        return directory.loadAcquiring(place) == key.rawValue
    }

    mutating func route(to key: RegionKey) -> Route {
        guard isShared(key) else {
            known[key] = nil
            return .served
        }
        switch known[key] {
        case .mapped(let region): return .direct(region)
        case .asked: return .asked
        case .failed(let code):
            known[key] = nil
            return .failed(code)
        case nil: return .mustAsk
        }
    }

    /// Notes a question, and forgets the regions that the peer has deregistered since.
    mutating func noteAsked(_ key: RegionKey) {
        for old in known.keys where !isShared(old) { known[old] = nil }
        known[key] = .asked
    }

    /// Takes the peer's answer in. False when nobody had asked, or the answer can not be true.
    mutating func takeAnswer(_ packet: rf_shm_packet, _ descriptor: consuming FileDescriptor?) -> Bool {
        let key = RegionKey(rawValue: packet.key)
        guard case .asked = known[key] else {
            // The region may have been deregistered, and forgotten, while the answer travelled.
            return !isShared(key)
        }
        guard packet.status == 0 else {
            known[key] = .failed(.remoteAccessDenied)
            return true
        }
        guard let descriptor = descriptor.take() else {
            // The system dropped it for want of a free descriptor.
            known[key] = .failed(.descriptorLimit)
            return true
        }
        let (end, overflow) = packet.offset.addingReportingOverflow(packet.length)
        guard !overflow, end <= 1 << 47, packet.access & ~3 == 0, isSafeToMap(descriptor.number, byteCount: Int(end))
        else { return false }
        do throws(FabricError) {
            let access = RemoteAccess(rawValue: UInt8(packet.access))
            known[key] = .mapped(
                try Mapped(
                    descriptor.number, offset: Int(packet.offset), length: Int(packet.length), access: access))
        } catch {
            known[key] = .failed(error.code)
        }
        return true
    }
}
