// A Swift file of this repository, with its code told apart from comments and string literals.

import Foundation

/// One source file. `code` has the lines of `text` with comments and the contents of string
/// literals left out, so that rules about code do not stumble over words.
struct SourceFile {
    /// Relative to the root of the repository, such as `Sources/RayCore/Identifiers.swift`.
    let path: String
    let text: [String]
    let code: [String]

    init(path: String, contents: String) {
        self.path = path
        text = contents.components(separatedBy: "\n")
        var scanner = CodeScanner(contents)
        code = scanner.code().components(separatedBy: "\n")
    }

    /// The folder right below Sources or Tests.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

/// A broken rule, and where.
struct Violation: Hashable, CustomStringConvertible {
    let path: String
    /// From 1; 0 for the file as a whole.
    let line: Int
    let rule: String

    var description: String { "\(path):\(line): \(rule)" }
}

/// The repository that these tests were built from.
enum Repository {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static func contents(of path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// Names right below a folder, sorted.
    static func entries(of folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: folder).path).sorted()
    }

    /// All Swift files below a folder, sorted by path.
    static func swiftFiles(in folder: String) throws -> [SourceFile] {
        try FileManager.default.subpathsOfDirectory(atPath: root.appending(path: folder).path).sorted()
            .filter { $0.hasSuffix(".swift") }
            .map { try SourceFile(path: "\(folder)/\($0)", contents: contents(of: "\(folder)/\($0)")) }
    }
}

/// Leaves out comments and the contents of string literals, and keeps every line break. Code inside
/// of `\( )` is kept.
private struct CodeScanner {
    private let bytes: [UInt8]
    private var position = 0
    private var output: [UInt8] = []

    init(_ contents: String) {
        bytes = Array(contents.utf8)
        output.reserveCapacity(bytes.count)
    }

    mutating func code() -> String {
        scanCode(untilParenthesis: false)
        return String(decoding: output, as: UTF8.self)
    }

    private func starts(with text: StaticString, at offset: Int = 0) -> Bool {
        let start = position + offset
        guard start + text.utf8CodeUnitCount <= bytes.count else { return false }
        // SAFETY: a static string has that many code units.
        return (0..<text.utf8CodeUnitCount).allSatisfy { unsafe text.utf8Start[$0] == bytes[start + $0] }
    }

    private mutating func skip(_ count: Int) {
        let end = min(position + count, bytes.count)
        for byte in bytes[position..<end] where byte == UInt8(ascii: "\n") { output.append(byte) }
        position = end
    }

    private mutating func scanCode(untilParenthesis: Bool) {
        var depth = 0
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "/") where starts(with: "//"):
                while position < bytes.count, bytes[position] != UInt8(ascii: "\n") { position += 1 }
                continue
            case UInt8(ascii: "/") where starts(with: "/*"):
                scanBlockComment()
                continue
            case UInt8(ascii: "\""), UInt8(ascii: "#"):
                if let hashes = hashesOfString() {
                    scanString(hashes: hashes)
                    continue
                }
            case UInt8(ascii: "("):
                depth += 1
            case UInt8(ascii: ")"):
                if untilParenthesis, depth == 0 { return }
                depth -= 1
            default:
                break
            }
            output.append(byte)
            position += 1
        }
    }

    private mutating func scanBlockComment() {
        var depth = 0
        repeat {
            if starts(with: "/*") {
                depth += 1
                skip(2)
            } else if starts(with: "*/") {
                depth -= 1
                skip(2)
            } else {
                skip(1)
            }
        } while depth > 0 && position < bytes.count
    }

    private func countOfHashes(at start: Int) -> Int {
        bytes[min(start, bytes.count)...].prefix { $0 == UInt8(ascii: "#") }.count
    }

    /// How many `#` come before the quote, where a string literal starts here.
    private func hashesOfString() -> Int? {
        let hashes = countOfHashes(at: position)
        return starts(with: "\"", at: hashes) ? hashes : nil
    }

    private mutating func scanString(hashes: Int) {
        position += hashes
        let quotes = starts(with: "\"\"\"") ? 3 : 1
        output += [UInt8(ascii: "\""), UInt8(ascii: "\"")]
        skip(quotes)
        while position < bytes.count {
            let isQuote = quotes == 3 ? starts(with: "\"\"\"") : starts(with: "\"")
            if isQuote, countOfHashes(at: position + quotes) >= hashes { break }
            if starts(with: "\\"), countOfHashes(at: position + 1) >= hashes {
                let isInterpolation = starts(with: "(", at: 1 + hashes)
                skip(2 + hashes)
                guard isInterpolation else { continue }
                scanCode(untilParenthesis: true)
            }
            skip(1)
        }
        skip(quotes + hashes)
    }
}
