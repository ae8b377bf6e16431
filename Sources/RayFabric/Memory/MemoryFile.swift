// Anonymous shared memory: nothing in /dev/shm, nothing left when its last user dies.

internal import CLinux
package import RayCore

/// A memfd that can neither shrink nor grow, so that nobody who maps it can be made to fault.
package struct MemoryFile: ~Copyable, Sendable {
    package let descriptor: FileDescriptor
    package let byteCount: Int

    /// Creates a file of `byteCount` bytes, all zero, that use no memory until they are touched.
    /// - Parameter hasOnlyWriter: `mapAsOnlyWriter` follows.
    package init(name: String, byteCount: Int, hasOnlyWriter: Bool = false) throws(FabricError) {
        let number = unsafe rf_memfd_create(name)
        guard number >= 0 else { throw systemError("create shared memory") }
        let file = FileDescriptor(owning: number)
        guard ftruncate(number, byteCount) == 0 else {
            throw systemError("size shared memory to \(byteCount) bytes")
        }
        // Other users who were given a descriptor for reading can not open the file anew for writing.
        guard fchmod(number, 0o400) == 0 else { throw systemError("protect shared memory") }
        let last = hasOnlyWriter ? 0 : RF_SEAL_SEAL
        guard rf_add_seals(number, RF_SEAL_SHRINK | RF_SEAL_GROW | last) == 0 else {
            throw systemError("seal shared memory")
        }
        descriptor = file
        self.byteCount = byteCount
    }

    /// Maps the file for writing. No process can write to it in any other way from then on, not even one
    /// of the same user that opens it anew.
    package func mapAsOnlyWriter() throws(FabricError) -> Mapping {
        let mapping = try Mapping(descriptor.number, byteCount: byteCount, writable: true)
        guard rf_add_seals(descriptor.number, RF_SEAL_FUTURE_WRITE | RF_SEAL_SEAL) == 0 else {
            throw systemError("seal shared memory against other writers")
        }
        return mapping
    }

    /// A descriptor of the same memory that can only be read.
    package func readOnlyDescriptor() throws(FabricError) -> FileDescriptor {
        let number = unsafe rf_open("/proc/self/fd/\(descriptor.number)", O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw systemError("open shared memory for reading") }
        return FileDescriptor(owning: number)
    }

    /// Makes all of the memory exist, in huge pages where the system has them. Slow: the kernel
    /// clears every page. Afterwards no access to it can fail.
    /// - Parameter isCancelled: asked between steps; the rest is left out when it is true.
    /// - Throws: `outOfMemory` when the machine or its memory cgroup has none left.
    package func populate(unless isCancelled: () -> Bool) throws(FabricError) {
        let mapping = try Mapping(descriptor.number, byteCount: byteCount, writable: true)
        var start = 0
        while start < byteCount, !isCancelled() {
            let count = min(Self.populateStep, byteCount - start)
            gather(mapping, start, count)
            if !mapping.populate(start, count) {
                let number = rf_errno()
                // Before Linux 5.14: reserving the blocks gives the same promise.
                guard number == EINVAL, rf_fallocate(descriptor.number, Int64(start), Int64(count)) == 0 else {
                    throw FabricError(.outOfMemory, errno: number, "reserve \(count) bytes for the store")
                }
            }
            start += count
        }
    }

    private static let populateStep = 4 << 20
    private static let pageBytes = 4096
    package static let hugePageBytes = 2 << 20

    /// Gets huge pages for a part: one small page each has to be there, the kernel makes the rest.
    /// A system that gives none leaves small pages.
    private func gather(_ mapping: borrowing Mapping, _ start: Int, _ count: Int) {
        let whole = count - count % Self.hugePageBytes
        guard whole > 0 else { return }
        for page in stride(from: start, to: start + whole, by: Self.hugePageBytes) {
            guard mapping.populate(page, Self.pageBytes) else { return }
        }
        _ = mapping.collapse(start, whole)
    }

    /// Whether the system gives huge pages to shared memory now; tried on one.
    package static func givesHugePages() -> Bool {
        guard let file = try? MemoryFile(name: "fabric-probe", byteCount: hugePageBytes),
            let mapping = try? Mapping(file.descriptor.number, byteCount: hugePageBytes, writable: true)
        else { return false }
        return mapping.populate(0, pageBytes) && mapping.collapse(0, hugePageBytes)
    }
}
