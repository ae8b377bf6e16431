// One end's memory of a connection: control words and a byte ring that is mapped twice in a row.

internal import CLinux
internal import CSharedLayout
internal import RayCore
internal import Synchronization

/// A mapped segment. Because its ring is mapped twice in a row, a record that crosses the end of
/// the ring is contiguous in memory.
@safe
struct ShmSegment: ~Copyable {
    // SAFETY: [base, base + RF_SHM_RING_OFFSET + 2 * ringBytes) is mapped from init to deinit.
    private let base: UnsafeMutableRawPointer
    /// A power of two, and a multiple of the page size.
    let ringBytes: Int

    private static let controlBytes = Int(RF_SHM_RING_OFFSET)

    static func fileBytes(ringBytes: Int) -> Int { controlBytes + ringBytes }

    /// Maps a segment; `ringBytes` must be valid, and the file large enough and sealed.
    init(descriptor: Int32, ringBytes: Int, writable: Bool) throws(FabricError) {
        let size = Self.controlBytes + 2 * ringBytes
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        // The reservation is then replaced by the file, and by its ring once more.
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let result = unsafe mmap(nil, size, PROT_NONE, flags, -1, 0)
        guard let pointer = unsafe result, unsafe pointer != rf_map_failed() else {
            throw systemError("reserve addresses for a ring")
        }
        let mirror = unsafe pointer + Self.controlBytes + ringBytes
        // SAFETY: both ranges lie inside of the reservation, which is ours alone.
        let first = unsafe mmap(
            pointer, Self.controlBytes + ringBytes, protection, MAP_SHARED | MAP_FIXED, descriptor, 0)
        let second = unsafe mmap(
            mirror, ringBytes, protection, MAP_SHARED | MAP_FIXED, descriptor, Int(Self.controlBytes))
        guard unsafe first != rf_map_failed(), unsafe second != rf_map_failed() else {
            let error = systemError("map a ring of \(ringBytes) bytes")
            unsafe _ = munmap(pointer, size)
            throw error
        }
        unsafe base = pointer
        self.ringBytes = ringBytes
    }

    deinit { unsafe _ = munmap(base, Self.controlBytes + 2 * ringBytes) }

    /// The ring and its mirror.
    var ring: UnsafeMutableRawPointer { unsafe base + Self.controlBytes }

    // Control words. `heartbeat` and `sleep` need no order of their own, see their users.

    var consumed: UnsafeMutablePointer<Atomic<UInt64>> { unsafe word(RF_SHM_CONSUMED) }
    var sleep: UnsafeMutablePointer<Atomic<UInt64>> { unsafe word(RF_SHM_SLEEP) }
    var heartbeat: UnsafeMutablePointer<Atomic<UInt64>> { unsafe word(RF_SHM_HEARTBEAT) }

    private func word(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        // SAFETY: inside of the control page and aligned; Atomic<UInt64> has the layout of UInt64.
        unsafe (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    /// Writes what tells a segment from other memory.
    func initialise() {
        unsafe base.storeBytes(of: RF_SHM_MAGIC, as: UInt64.self)
        unsafe (base + 8).storeBytes(of: UInt64(RF_SHM_VERSION), as: UInt64.self)
    }

    /// Whether the other end wrote what `initialise` writes.
    var isInitialised: Bool {
        unsafe base.load(as: UInt64.self) == RF_SHM_MAGIC
            && (base + 8).load(as: UInt64.self) == UInt64(RF_SHM_VERSION)
    }
}

/// Whether a descriptor from a peer is a memfd of at least `byteCount` bytes that can not shrink:
/// only then can no access to its mapping fault, whatever the peer does.
func isSafeToMap(_ descriptor: Int32, byteCount: Int) -> Bool {
    let seals = rf_fcntl_int(descriptor, RF_F_GET_SEALS, 0)
    guard seals >= 0, seals & RF_SEAL_SHRINK != 0 else { return false }
    var fileSystem = statfs()
    // Huge-page files may fault for want of reserved pages.
    guard unsafe fstatfs(descriptor, &fileSystem) == 0, Int64(fileSystem.f_type) == RF_TMPFS_MAGIC else {
        return false
    }
    var status = stat()
    return unsafe fstat(descriptor, &status) == 0 && Int(status.st_size) >= byteCount
}
