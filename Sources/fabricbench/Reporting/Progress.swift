// The progress line of long runs.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Writes what is being measured to standard error, in place; silent unless that is a terminal.
struct Progress {
    private let isShown = isatty(2) == 1

    func show(_ text: String) { if isShown { write("\r\u{1b}[K" + text) } }
    func clear() { if isShown { write("\r\u{1b}[K") } }

    private func write(_ text: String) { printError(text, terminator: "") }
}

/// Hands over what was printed, even when standard output is a pipe.
func flushOutput() throws(FabricError) {
    guard rf_flush_output() == 0 else { throw systemError("write to standard output") }
}

/// Writes to standard error at once.
func printError(_ text: String, terminator: String = "\n") {
    let bytes = Array((text + terminator).utf8)
    unsafe bytes.withUnsafeBytes { unsafe _ = CLinux.write(2, $0.baseAddress, $0.count) }
}
