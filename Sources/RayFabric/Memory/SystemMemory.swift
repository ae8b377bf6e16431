// How much memory the system would still give.

internal import CLinux

package enum SystemMemory {
    /// Bytes available on the machine or within this process's memory cgroup, whichever is less;
    /// nil when the system does not tell.
    package static var available: Int? {
        let machine = value(ofField: "MemAvailable:", in: "/proc/meminfo").map { $0 * 1024 }
        let limit = number(in: "/sys/fs/cgroup/memory.max")
        let used = number(in: "/sys/fs/cgroup/memory.current")
        guard let limit, let used else { return machine }
        return min(machine ?? .max, max(0, limit - used))
    }

    private static func number(in path: String) -> Int? {
        TextFile.read(path).flatMap { Int($0.split(separator: "\n").first ?? "") }
    }

    private static func value(ofField field: String, in path: String) -> Int? {
        for line in TextFile.read(path)?.split(separator: "\n") ?? [] where line.hasPrefix(field) {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
        return nil
    }
}

/// Small files of the kernel.
package enum TextFile {
    /// The first 64 KiB of a file; nil when it cannot be read.
    package static func read(_ path: String) -> String? {
        let number = unsafe rf_open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let file = FileDescriptor(owning: number)
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = unsafe CLinux.read(file.number, &bytes, bytes.count)
        return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }
}
