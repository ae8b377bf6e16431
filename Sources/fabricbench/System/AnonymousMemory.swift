// Private memory for payloads: page-aligned, and present before anything is measured.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Zeroed memory of this process, unmapped when it goes out of scope.
@safe
struct AnonymousMemory: ~Copyable {
    // SAFETY: mapped from init to deinit.
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int) throws(FabricError) {
        let size = (max(byteCount, 1) + 4095) & ~4095
        let result = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let base = unsafe result, unsafe base != rf_map_failed() else {
            throw systemError("map \(size) bytes of memory")
        }
        // Advice only: without huge pages, or on an old kernel, warm-up touches the pages.
        unsafe _ = madvise(base, size, RF_MADV_HUGEPAGE)
        unsafe _ = madvise(base, size, RF_MADV_POPULATE_WRITE)
        unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: size)
    }

    deinit { unsafe _ = munmap(bytes.baseAddress, bytes.count) }
}
