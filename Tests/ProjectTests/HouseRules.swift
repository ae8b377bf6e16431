// The rules of CONTRIBUTING.md that text alone can show to be broken.

/// Checks files against the house rules.
struct HouseRules {
    /// Lines that a file may have. One subject needs no more.
    static let maximumLines = 700
    /// Where raw memory is handled, and unsafe pointer types with it. Everywhere else bytes are spans.
    static let pointerFolders = [
        "Sources/RayFabric/Memory/", "Sources/RayFabric/Store/", "Sources/RayFabric/Transport/", "Sources/RayFabricC/",
        "Sources/fabricbench/",
    ]
    /// Programs, which may print.
    static let programs = ["fabricbench"]

    static func violations(in file: SourceFile) -> [Violation] {
        wholeFile(file)
            + file.code.indices.flatMap { index in
                (banned(file.code[index], in: file) + leftovers(file.text[index]) + unexplained(index, in: file))
                    .map { Violation(path: file.path, line: index + 1, rule: $0) }
            }
    }

    private static func wholeFile(_ file: SourceFile) -> [Violation] {
        var broken: [String] = []
        let lines = file.text.last == "" ? file.text.count - 1 : file.text.count
        if lines > maximumLines { broken.append("\(lines) lines, at most \(maximumLines): one subject a file") }
        if file.text.first?.hasPrefix("// ") != true { broken.append("starts with no comment that says what it is") }
        return broken.map { Violation(path: file.path, line: 0, rule: $0) }
    }

    /// Code that is never right in a library.
    private static func banned(_ line: String, in file: SourceFile) -> [String] {
        var broken: [String] = []
        if line.contains("try!") { broken.append("try!: handle the error") }
        if line.contains("as!") { broken.append("as!: make the type certain") }
        if line.contains("Error(") || line.contains("Failure("),
            line.contains(#/\b(fatalError|preconditionFailure|assertionFailure)\(\s*\)/#)
        {
            broken.append("a trap without text: say what was broken")
        }
        if ["Unsafe", "OpaquePointer", "Unmanaged"].contains(where: line.contains),
            line.contains(#/\b(Unsafe(Mutable)?(Raw)?(Buffer)?Pointer|OpaquePointer|Unmanaged)\b/#),
            !pointerFolders.contains(where: file.path.hasPrefix)
        {
            broken.append("an unsafe pointer outside of \(pointerFolders.joined(separator: ", "))")
        }
        if line.contains("rint(") || line.contains("dump("), line.contains(#/\b(print|debugPrint|dump)\(/#),
            !programs.contains(file.target)
        {
            broken.append("a library prints nothing")
        }
        return broken
    }

    private static func leftovers(_ line: String) -> [String] {
        // A whole word: XXXXXX is a template of mkdtemp.
        ["TODO", "FIXME", "XXX"].contains(where: line.contains) && line.contains(#/\b(TODO|FIXME|XXX)\b/#)
            ? ["a leftover: do it, or open an issue"] : []
    }

    /// Promises to the compiler that it can not check need their reason, a few lines away at most.
    private static func unexplained(_ index: Int, in file: SourceFile) -> [String] {
        guard ["@unchecked Sendable", "nonisolated(unsafe)"].contains(where: file.code[index].contains) else {
            return []
        }
        let around = file.text[max(0, index - 8)...min(index + 8, file.text.count - 1)]
        return around.contains { $0.contains("SAFETY:") }
            ? [] : ["an unchecked promise without a SAFETY: comment by it"]
    }
}
