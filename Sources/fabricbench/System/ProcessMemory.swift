// What a process costs: its memory, as the kernel accounts for it, and its CPU time.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Resident memory of a process.
struct ProcessMemory {
    /// Bytes of its own and of mapped files, the program among them.
    var ownBytes: Int
    /// Bytes of shared memory that it has mapped: the store's segments, directory and rings.
    var sharedBytes: Int

    /// - Throws: `system` when the process has gone.
    init(of process: pid_t) throws(FabricError) {
        let status = Environment.file("/proc/\(process)/status") ?? ""
        guard let anonymous = Self.bytes("RssAnon:", in: status), let file = Self.bytes("RssFile:", in: status),
            let shared = Self.bytes("RssShmem:", in: status)
        else { throw FabricError(.system, "process \(process) does not tell its memory") }
        ownBytes = anonymous + file
        sharedBytes = shared
    }

    /// Bytes of this process, shared memory too; a page that is mapped twice counts once.
    static var proportional: Int {
        Environment.file("/proc/self/smaps_rollup").flatMap { bytes("Pss:", in: $0) } ?? 0
    }

    /// The field of a file in the form `Name:   123 kB`.
    static func bytes(_ field: String, in text: String) -> Int? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(field) }) else { return nil }
        return line.dropFirst(field.count).split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }.map {
            $0 << 10
        }
    }
}

/// CPU time that another process has used, all its threads together.
func processorTime(of process: pid_t) throws(FabricError) -> Duration {
    var clock = clockid_t()
    var time = timespec()
    let status = unsafe clock_getcpuclockid(process, &clock)
    guard status == 0, unsafe clock_gettime(clock, &time) == 0 else {
        throw systemError(status == 0 ? rf_errno() : status, "ask for the CPU time of process \(process)")
    }
    return .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec))
}
