// The rules, applied to the sources; and bad samples that show that each rule can go red.

import Testing

@Suite struct SourceRuleTests {
    @Test func layersPointDown() throws {
        let files = try Repository.swiftFiles(in: "Sources")
        #expect(files.count >= 10)
        let violations = files.flatMap(LayerRules.project.violations)
        #expect(violations.isEmpty, "\(violations.map(\.description).joined(separator: "\n"))")
    }

    @Test func houseRulesHold() throws {
        let violations = try Repository.swiftFiles(in: "Sources").flatMap(HouseRules.violations)
        #expect(violations.isEmpty, "\(violations.map(\.description).joined(separator: "\n"))")
    }

    @Test(arguments: ["Tests", "Bench/Benchmarks", "Fuzz"])
    func filesAreOfReadableLength(folder: String) throws {
        guard try Repository.entries(of: ".").contains(String(folder.prefix { $0 != "/" })) else { return }
        for file in try Repository.swiftFiles(in: folder) {
            #expect(file.text.count <= HouseRules.maximumLines + 1, "\(file.path)")
        }
    }
}

@Suite struct LayerRuleSamples {
    private func rules(broken path: String, _ contents: String) -> [String] {
        LayerRules.project.violations(in: SourceFile(path: path, contents: contents)).map(\.rule)
    }

    @Test func importsUpwardsAreFound() {
        #expect(rules(broken: "Sources/RayCore/A.swift", "import RayFabric") == ["RayCore may not import RayFabric"])
        #expect(
            rules(broken: "Sources/RayScheduler/A.swift", "import CLinux") == ["RayScheduler may not import CLinux"])
        #expect(
            rules(broken: "Sources/RayOwnership/A.swift", "internal import Glibc") == [
                "RayOwnership may not import Glibc"
            ])
    }

    @Test(arguments: [
        "import Foundation", "public import Foundation", "  @preconcurrency internal import Foundation",
        "import struct Foundation.Date", "@_spi(Private) import class Foundation.NSObject",
        "#if canImport(Foundation)\nimport Foundation\n#endif", "/* why */ import Foundation",
    ])
    func everyFormOfImportIsSeen(form: String) {
        #expect(rules(broken: "Sources/RayFabric/Store/A.swift", form) == ["RayFabric may not import Foundation"])
    }

    @Test func heavyModulesStayInTheirFolder() {
        #expect(rules(broken: "Sources/RayFabric/Transport/NIO/A.swift", "internal import NIOPosix") == [])
        #expect(rules(broken: "Sources/RayFabric/Transport/NIOther/A.swift", "internal import NIOPosix").count == 1)
        #expect(rules(broken: "Sources/RayFabric/Store/A.swift", "internal import NIOCore").count == 1)
    }

    @Test func aNewTargetNeedsARule() {
        #expect(rules(broken: "Sources/RayNovelty/A.swift", "") == ["no layer rule covers this folder"])
    }

    @Test func wordsInCommentsAndStringsAreNoImports() {
        let sample =
            "// import Foundation\n/* import\nimport Foundation\n*/\nlet text = \"\"\"\nimport Foundation\n\"\"\"\n"
        #expect(rules(broken: "Sources/RayCore/A.swift", sample) == [])
    }
}

@Suite struct HouseRuleSamples {
    private func violations(_ code: String, path: String = "Sources/RayCore/A.swift") -> [Violation] {
        HouseRules.violations(in: SourceFile(path: path, contents: "// A sample.\n" + code))
    }

    @Test(arguments: [
        "let a = try! make()", "let a = b as! Int", "fatalError()", "preconditionFailure( )",
        "// TODO: later", "let a = 1  // FIXME", "print(a)", "let a = \"\\(try! make())\"",
        "func f(_ memory: UnsafeMutableRawBufferPointer) {}", "let a: UnsafePointer<Int>? = nil",
        "struct A: @unchecked Sendable {}", "nonisolated(unsafe) var a = 1",
    ])
    func eachBadLineIsFound(line: String) {
        let found = violations(line)
        #expect(found.count == 1)
        #expect(found.first?.line == 2)
    }

    @Test(arguments: [
        "let a = try? make()", "fatalError(\"the ring is broken\")", "// never use try! here",
        "let a = \"try! print(\"",
        "let a = #\"print(\"as!\")\"#",
        "// SAFETY: written once, before the threads start.\nnonisolated(unsafe) var a = 1",
        "let a = b as Int", "imprint(a)", "let a = \"/tmp/XXXXXX\"",
    ])
    func goodLinesPass(line: String) {
        #expect(violations(line) == [])
    }

    @Test func pointersAreAllowedWhereMemoryIsHandled() {
        #expect(violations("let a: UnsafeRawPointer", path: "Sources/RayFabric/Memory/A.swift") == [])
        #expect(violations("let a: UnsafeRawPointer", path: "Sources/RayFabric/Transfer/A.swift").count == 1)
    }

    @Test func filesSayWhatTheyAre() {
        let bare = SourceFile(path: "Sources/RayCore/A.swift", contents: "let a = 1\n")
        #expect(HouseRules.violations(in: bare).map(\.line) == [0])
    }

    @Test func longFilesAreFound() {
        let lines = String(repeating: "let a = 1\n", count: HouseRules.maximumLines - 1)
        #expect(violations(lines) == [])
        #expect(violations(lines + "let b = 1\n").map(\.line) == [0])
    }
}
