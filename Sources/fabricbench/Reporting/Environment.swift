// The machine and the settings that the figures depend on.

internal import CLinux
internal import RayCore
internal import RayFabric

/// What is written beside the results, so that they can be judged and repeated.
struct Environment {
    private let stealAtStart = Environment.stolenSeconds()

    var json: JSON {
        return .object([
            ("fabricbench", .string(toolVersion)),
            ("kernel", .text(Self.file("/proc/sys/kernel/osrelease"))),
            ("cpu", .text(Self.processorName)), ("cores", .integer(Int64(sysconf(Int32(_SC_NPROCESSORS_ONLN))))),
            ("cores_allowed", .integer(Int64(Processors.allowed.count))),
            ("governor", .text(Self.file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))),
            ("hypervisor", .bool(Self.processorFlags.contains("hypervisor"))),
            ("transparent_huge_pages", .text(Self.chosen("/sys/kernel/mm/transparent_hugepage/enabled"))),
            ("shared_memory_huge_pages", .text(Self.chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))),
            ("limits", limits),
            ("io_uring_disabled", .text(Self.file("/proc/sys/kernel/io_uring_disabled"))),
            ("load_average", .text(Self.file("/proc/loadavg"))),
            ("steal_s", .figure(Self.stolenSeconds() - stealAtStart)),
            ("transports", .array(TransportCatalog.all.map(\.json))),
            ("recommended", .string(TransportCatalog.recommendation)),
            ("rdma_ports", .array(RDMAReport.uses.map(\.json))),
        ])
    }

    private var limits: JSON {
        .object([
            ("memlock_bytes", .text(Self.limit("Max locked memory"))),
            ("open_files", .text(Self.limit("Max open files"))),
            ("rmem_max", .text(Self.file("/proc/sys/net/core/rmem_max"))),
            ("wmem_max", .text(Self.file("/proc/sys/net/core/wmem_max"))),
            ("tcp_rmem", .text(Self.file("/proc/sys/net/ipv4/tcp_rmem"))),
            ("tcp_wmem", .text(Self.file("/proc/sys/net/ipv4/tcp_wmem"))),
        ])
    }

    /// The soft limit of this process that /proc names so.
    static func limit(_ name: String) -> String? {
        guard let line = lines("/proc/self/limits").first(where: { $0.hasPrefix(name) }) else { return nil }
        return line.dropFirst(name.count).split(separator: " ").first.map(String.init)
    }

    static var processorName: String? { processorField("model name") }
    private static var processorFlags: [Substring] { (processorField("flags") ?? "").split(separator: " ") }

    private static func processorField(_ name: String) -> String? {
        guard let line = lines("/proc/cpuinfo").first(where: { $0.hasPrefix(name) }),
            let colon = line.firstIndex(of: ":")
        else { return nil }
        return String(line[line.index(after: colon)...].drop { $0 == " " })
    }

    /// The word in brackets of a file such as `always [madvise] never`.
    static func chosen(_ path: String) -> String? {
        file(path)?.split(separator: " ").first { $0.hasPrefix("[") }.map { String($0.dropFirst().dropLast()) }
    }

    /// Time that the hypervisor kept from the CPUs of this machine, all together, since it started.
    private static func stolenSeconds() -> Double {
        let fields = lines("/proc/stat").first?.split(separator: " ") ?? []
        guard fields.count > 8, let ticks = Double(fields[8]) else { return 0 }
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func lines(_ path: String) -> [Substring] { file(path)?.split(separator: "\n") ?? [] }

    /// A small file of the kernel without its last line break; nil when there is none.
    static func file(_ path: String) -> String? {
        let number = unsafe rf_open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { return nil }
        let descriptor = FileDescriptor(owning: number)
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = unsafe part.withUnsafeMutableBytes { unsafe read(descriptor.number, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            bytes += part[0..<count]
        }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.last == "\n" ? String(text.dropLast()) : text
    }
}
