// Running programs, and finding those that were built beside these tests.

import Foundation

/// A product of this build.
func product(_ name: String) -> URL {
    testProgram.deletingLastPathComponent().appending(path: name)
}

/// The program that runs these tests.
let testProgram = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()

/// Runs a program to its end.
/// - Returns: its exit status and what it wrote to standard output.
func run(_ path: String, _ arguments: String...) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}
