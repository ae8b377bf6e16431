// How much memory this process may lock, and so register with RDMA devices.

internal import RayCore

struct LockedMemory {
    /// Bytes; nil where there is no limit.
    var limit: UInt64?
    /// Whether this process may lock more all the same.
    var isExempt: Bool

    /// Of this process; nil when the system does not say.
    static var here: LockedMemory? {
        guard let limit = Environment.limit("Max locked memory") else { return nil }
        return LockedMemory(
            limit: limit, status: Environment.file("/proc/self/status") ?? "",
            userMap: Environment.file("/proc/self/uid_map") ?? "")
    }

    /// - Parameters:
    ///   - limit: as in /proc/PID/limits.
    ///   - status: /proc/PID/status.
    ///   - userMap: /proc/PID/uid_map: capabilities in a user namespace do not count.
    init?(limit: String, status: String, userMap: String) {
        if limit != "unlimited" {
            guard let bytes = UInt64(limit) else { return nil }
            self.limit = bytes
        }
        let effective = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }?.split(separator: "\t").last
        let capabilities = effective.flatMap { UInt64($0, radix: 16) } ?? 0
        let isInitialNamespace = userMap.split(whereSeparator: \.isWhitespace) == ["0", "0", "4294967295"]
        isExempt = isInitialNamespace && capabilities >> Self.mayLock & 1 == 1
    }

    /// CAP_IPC_LOCK.
    private static let mayLock: UInt64 = 14

    /// What it means for stores, and how it is raised.
    var explanation: String {
        let need = "verbs locks the whole capacity of a store"
        guard let limit else { return "unlimited; \(need)" }
        let size = sizeText(Int(clamping: limit))
        if isExempt { return "\(size), which does not bind this process (CAP_IPC_LOCK); \(need)" }
        return """
            \(size); \(need), and a larger one can not be registered.
                Raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 for a container
            """
    }
}
