// Memory that a program fills and that peers on the node can be given.

internal import CLinux
package import RayCore

/// An owned memory file and its mapping: what `ShmTransport.registerShared` takes. All zero at first.
@safe
package struct SharedMemory: ~Copyable {
    private let file: MemoryFile
    private let mapping: Mapping

    /// Reserves the memory, so that no later access can fail.
    /// - Throws: `invalidArgument` for less than one byte, `outOfMemory`, `descriptorLimit`.
    package init(byteCount: Int) throws(FabricError) {
        guard byteCount > 0 else { throw FabricError(.invalidArgument, "\(byteCount) bytes of shared memory") }
        let file = try MemoryFile(name: "rayfabric-shared", byteCount: byteCount)
        let mapping = try Mapping(file.descriptor.number, byteCount: byteCount, writable: true)
        // Clearing the pages now is much cheaper than one page fault each later.
        guard unsafe madvise(mapping.base, byteCount, RF_MADV_POPULATE_WRITE) == 0 else {
            throw systemError("reserve \(byteCount) bytes of shared memory")
        }
        self.file = file
        self.mapping = mapping
    }

    /// Of the memory file, to be lent.
    package var descriptor: Int32 { file.descriptor.number }

    /// SAFETY: good while this value lives.
    package var bytes: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: mapping.base, count: mapping.byteCount)
    }
}
