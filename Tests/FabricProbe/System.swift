// What a probe asks of the system: limits, users, and what it holds itself.

import CLinux
import Glibc
import RayCore
import RayFabric

enum System {
    /// The highest descriptor that this process may open, from now on.
    static func limitDescriptors(_ count: Int) throws(FabricError) {
        var limit = rlimit(rlim_cur: rlim_t(count), rlim_max: rlim_t(count))
        guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw FabricError(.system, errno: rf_errno(), "setrlimit")
        }
    }

    static func becomeUser(_ user: UInt32, group: UInt32) throws(FabricError) {
        guard setgroups(0, nil) == 0, setgid(group) == 0, setuid(user) == 0 else {
            throw FabricError(.permissionDenied, errno: rf_errno(), "become user \(user)")
        }
    }

    /// Open descriptors of this process, without those of the store's segments: these come with the
    /// memory, in the background.
    static func descriptors() -> Int {
        guard let directory = unsafe opendir("/proc/self/fd") else { return -1 }
        defer { unsafe _ = closedir(directory) }
        var count = 0
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            var target = [CChar](repeating: 0, count: 256)
            let length = unsafe readlink("/proc/self/fd/\(name)", &target, target.count)
            let text = String(decoding: target[..<max(0, length)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if length > 0, !text.hasPrefix("/memfd:fabric-segment ") { count += 1 }
        }
        return count
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
