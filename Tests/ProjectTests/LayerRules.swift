// Which module may import what: the arrows of ARCHITECTURE.md, which point down only.

/// What the files of a folder may import beside the standard library. The longest folder that
/// matches a file decides. A folder of Sources without a rule is a violation itself.
struct LayerRules {
    var allowed: [String: Set<String>]

    static let project = LayerRules(allowed: [
        "RayCore": [],
        // Pure cores: no system, no clock, no source of randomness.
        "RayOwnership": ["RayCore"],
        // Counters that any thread may change; atomics of the Swift distribution, no system.
        "RayOwnership/Handles": ["RayCore", "Synchronization"],
        "RayScheduler": ["RayCore"],
        // Drives the pure cores under virtual time: as pure as they are.
        "RaySimulation": ["RayCore", "RayOwnership", "RayScheduler"],
        "RayFabric": ["RayCore", "CLinux", "CLiburing", "CSharedLayout", "CSodium", "Synchronization"],
        // Machines without I/O, which the simulation drives too. Their shell is a folder of its own.
        "RayFabric/Transfer": ["RayCore"],
        "RayFabric/Transfer/Shell": ["RayCore", "CLinux", "Synchronization"],
        // Glibc for the members of sockaddr_un, which the compiler finds nowhere else.
        "RayFabric/Transport/Shm": ["RayCore", "CLinux", "CSharedLayout", "Glibc", "Synchronization"],
        "RayFabric/Transport/Verbs": ["RayCore", "CLinux", "CVerbs", "Synchronization"],
        "RayFabric/Transport/NIO": ["RayCore", "CLinux", "NIOCore", "NIOPosix", "Synchronization"],
        "RayFabricC": ["RayCore", "RayFabric", "CRayFabric", "Glibc", "Synchronization"],
        "fabricbench": [
            "RayCore", "RayFabric", "RayScheduler", "RaySimulation", "CLinux", "CLiburing", "Glibc",
            "Synchronization", "ArgumentParser", "Histogram",
        ],
    ])

    func violations(in file: SourceFile) -> [Violation] {
        let folder = file.path.split(separator: "/").dropFirst().dropLast().joined(separator: "/")
        let matching = allowed.keys.filter { folder == $0 || folder.hasPrefix($0 + "/") }
        guard let rule = matching.max(by: { $0.count < $1.count }), let permitted = allowed[rule] else {
            return [Violation(path: file.path, line: 0, rule: "no layer rule covers this folder")]
        }
        return file.code.enumerated().compactMap { index, line in
            guard let module = importedModule(in: line), !permitted.contains(module), module != "Swift" else {
                return nil
            }
            return Violation(path: file.path, line: index + 1, rule: "\(rule) may not import \(module)")
        }
    }
}

/// The module that a line of code imports, without submodules; nil for other lines.
func importedModule(in line: String) -> String? {
    guard line.contains("import") else { return nil }
    let attributes = #/\s*(@\w+(\(\w*\))?\s+)*((public|package|internal|fileprivate|private)\s+)?/#
    let declaration = #/import\s+((struct|class|enum|protocol|actor|typealias|func|let|var)\s+)?(?<module>\w+)/#
    guard let start = line.prefixMatch(of: attributes) else { return nil }
    return line[start.range.upperBound...].prefixMatch(of: declaration).map { String($0.module) }
}
