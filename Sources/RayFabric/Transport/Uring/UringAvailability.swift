// Whether io_uring works on this system, and how well.

internal import CLinux
public import RayCore

extension UringTransport {
    /// Tries io_uring out. About 100 us; for `fabricbench list` and `explain`, and for the choice of a
    /// transport.
    /// - Returns: the kernel and the ring features that it gives, in words.
    /// - Throws: `ioUringForbidden`, or `descriptorLimit`, `outOfMemory`, `system`.
    public static func availability() throws(FabricError) -> String {
        let ring = try Ring()
        let kernel = text(ofFile: "/proc/sys/kernel/osrelease") ?? "of unknown version"
        let buffers =
            SocketOptions.bulkBufferBytes() == nil
            ? "; net.core.wmem_max or rmem_max is under 2 MiB, so bulk lanes keep the system's buffers" : ""
        return "Linux \(kernel), io_uring with \(ring.description)\(buffers)"
    }
}

/// The first line of a small file; nil if it can not be read.
func text(ofFile path: String) -> String? {
    let number = unsafe rf_open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return nil }
    let file = FileDescriptor(owning: number)
    var bytes = [UInt8](repeating: 0, count: 128)
    let count = unsafe read(file.number, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return String(decoding: bytes.prefix(count).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
}
