// What a probe asks of the system: limits, users, and what it holds itself.

import CLinux
import CSeccomp
import Glibc
import RayCore
import RayFabric
import Synchronization

enum System {
    private static let spent = Mutex<[Int32]>([])

    /// Uses up this process's descriptors but `count`.
    static func leaveDescriptors(_ count: Int) throws(FabricError) {
        restoreDescriptors()
        try limitDescriptors(256)
        spent.withLock { spent in
            while true {
                let number = unsafe rf_open("/dev/null", O_RDONLY | O_CLOEXEC)
                guard number >= 0 else { break }
                spent.append(number)
            }
            for number in spent.suffix(count) { _ = close(number) }
            spent.removeLast(min(count, spent.count))
        }
    }

    static func restoreDescriptors() {
        spent.withLock { spent in
            for number in spent { _ = close(number) }
            spent = []
        }
    }

    private static func limitDescriptors(_ count: Int) throws(FabricError) {
        var limit = rlimit(rlim_cur: rlim_t(count), rlim_max: rlim_t(count))
        guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw FabricError(.system, errno: rf_errno(), "setrlimit")
        }
    }

    /// Takes io_uring away from this process, as containers do.
    static func forbidIOUring() throws(FabricError) {
        guard forbid_io_uring() == 0 else { throw FabricError(.system, errno: rf_errno(), "forbid io_uring") }
    }

    static func becomeUser(_ user: UInt32, group: UInt32) throws(FabricError) {
        guard setgroups(0, nil) == 0, setgid(group) == 0, setuid(user) == 0 else {
            throw FabricError(.permissionDenied, errno: rf_errno(), "become user \(user)")
        }
    }

    /// Open descriptors of this process; those of the store's segments, which come with the memory in
    /// the background, apart.
    static func descriptors() -> (segments: Int, others: Int) {
        guard let directory = unsafe opendir("/proc/self/fd") else { return (-1, -1) }
        defer { unsafe _ = closedir(directory) }
        var (segments, others) = (0, 0)
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            var target = [CChar](repeating: 0, count: 256)
            let length = unsafe readlink("/proc/self/fd/\(name)", &target, target.count)
            let text = String(decoding: target[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.hasPrefix("/memfd:fabric-segment ") { segments += 1 } else if length > 0 { others += 1 }
        }
        return (segments, others)
    }

    /// Mappings of ledgers and mailboxes: two for each client that the host knows.
    static func ringMappings() throws(FabricError) -> Int {
        guard let file = unsafe fopen("/proc/self/maps", "re") else { throw FabricError(.system, "read the mappings") }
        defer { unsafe _ = fclose(file) }
        var line = [CChar](repeating: 0, count: 4096)
        var count = 0
        while unsafe fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.contains("fabric-ledger") || text.contains("fabric-mailbox") { count += 1 }
        }
        return count
    }
}
