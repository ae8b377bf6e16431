// A place for the sockets of a benchmark, gone when it is over.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A directory that only this user can enter. It is removed with the sockets in it when this value
/// goes out of scope, and when Ctrl-C or a TERM signal ends the process before. One at a time.
struct TemporaryDirectory: ~Copyable {
    let path: String
    /// All that is ever made in it, and last the directory itself.
    private static let names = ["/end", "/store", "/store.lock", ""]

    init() throws(FabricError) {
        var template = Array("/tmp/fabricbench-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkdtemp($0.baseAddress!) != nil }
        guard made else { throw systemError("make a directory in /tmp") }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        unsafe removal.paths = Self.names.map { unsafe strdup(path + $0) }
        for number in [SIGINT, SIGTERM, SIGHUP] {
            _ = signal(number) { number in
                removeAll()
                rf_default_signal(number)
                _ = raise(number)
            }
        }
        self.path = path
    }

    deinit {
        for number in [SIGINT, SIGTERM, SIGHUP] { rf_default_signal(number) }
        removeAll()
        unsafe removal.paths.forEach { unsafe free($0) }
        unsafe removal.paths = []
    }
}

/// What is to be removed. C strings, made beforehand: a signal handler must not allocate.
@safe
private struct Removal {
    var paths: [UnsafeMutablePointer<CChar>?] = unsafe []
}

// SAFETY: changed only by the main thread while no handler is installed, and read by the handler.
nonisolated(unsafe) private var removal = Removal()

private func removeAll() {
    for index in unsafe removal.paths.indices {
        guard let path = unsafe removal.paths[index] else { continue }
        if unsafe unlink(path) != 0 { unsafe _ = rmdir(path) }
    }
}
