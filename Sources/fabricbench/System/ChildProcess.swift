// A second process: started without a shell, ended and reaped in any case.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A child of this process. When it goes out of scope the child is killed, if it still runs, and reaped.
struct ChildProcess: ~Copyable {
    let identifier: pid_t
    /// How long a child may take to end by itself once it is no longer needed.
    private static let grace: Int32 = 500
    /// Descriptors from here on are used by nobody else at the start.
    private static let parking: Int32 = 900

    /// Starts `path`. The child gets `descriptors[i]` as its descriptor 3 + i, and nothing else of ours
    /// but the standard streams; `output` takes the place of its standard output and error.
    init(
        _ path: String, arguments: [String], environment: [String]? = nil, descriptors: [Int32] = [],
        output: Int32? = nil
    ) throws(FabricError) {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe _ = posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        // By way of high numbers, since a target may be the number of another source.
        for (index, descriptor) in descriptors.enumerated() {
            unsafe _ = posix_spawn_file_actions_adddup2(&actions, descriptor, Self.parking + Int32(index))
        }
        for index in descriptors.indices {
            unsafe _ = posix_spawn_file_actions_adddup2(&actions, Self.parking + Int32(index), Int32(3 + index))
            unsafe _ = posix_spawn_file_actions_addclose(&actions, Self.parking + Int32(index))
        }
        if let output {
            unsafe _ = posix_spawn_file_actions_adddup2(&actions, output, 1)
            unsafe _ = posix_spawn_file_actions_adddup2(&actions, output, 2)
        }
        var child: pid_t = 0
        let status = unsafe Self.withStrings([path] + arguments) { argv in
            guard let environment else {
                return unsafe posix_spawn(&child, path, &actions, nil, argv, rf_environment())
            }
            return unsafe Self.withStrings(environment) { envp in
                unsafe posix_spawn(&child, path, &actions, nil, argv, envp)
            }
        }
        guard status == 0 else { throw systemError(status, "start \(path)") }
        identifier = child
    }

    deinit {
        if !Self.hasEnded(identifier, within: Self.grace) { _ = kill(identifier, SIGKILL) }
        Self.reap(identifier)
    }

    /// Ends the child now.
    consuming func terminate() { _ = kill(identifier, SIGKILL) }

    /// Waits for the child to end.
    /// - Returns: whether it has, within `milliseconds`.
    func ends(within milliseconds: Int32) -> Bool { Self.hasEnded(identifier, within: milliseconds) }

    private static func hasEnded(_ child: pid_t, within milliseconds: Int32) -> Bool {
        let number = rf_pidfd_open(child)
        guard number >= 0 else { return true }
        let handle = FileDescriptor(owning: number)
        var entry = pollfd(fd: handle.number, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, milliseconds) > 0
    }

    private static func reap(_ child: pid_t) {
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0, rf_errno() == EINTR {}
    }

    static func withStrings<Result>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
        defer { unsafe pointers.forEach { unsafe free($0) } }
        return unsafe pointers.withUnsafeMutableBufferPointer { unsafe body(UnsafePointer($0.baseAddress!)) }
    }
}
