// The documents: what they point to is there, and what they show is true.

import Foundation
import Testing

/// Targets of the links of a Markdown text that lead into the repository, without anchors.
private func localLinks(in text: String) -> [String] {
    text.matches(of: #/\]\((?<target>[^)#\s]+)[^)]*\)/#).map { String($0.target) }.filter { !$0.contains("://") }
}

private func brokenLinks(of document: String, text: String) -> [String] {
    let folder = Repository.root.appending(path: document).deletingLastPathComponent()
    return localLinks(in: text).filter { !FileManager.default.fileExists(atPath: folder.appending(path: $0).path) }
}

@Suite struct DocumentTests {
    static let documents: [String] = {
        let top = (try? Repository.entries(of: ".")) ?? []
        let docs =
            (try? FileManager.default.subpathsOfDirectory(atPath: Repository.root.appending(path: "docs").path)) ?? []
        return (top + docs.map { "docs/" + $0 }).filter { $0.hasSuffix(".md") && !$0.hasPrefix("docs/site/") }.sorted()
    }()

    @Test(arguments: documents)
    func linksLeadSomewhere(document: String) throws {
        #expect(brokenLinks(of: document, text: try Repository.contents(of: document)) == [])
    }

    @Test func theNecessaryDocumentsAreThere() {
        for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
            #expect(Self.documents.contains(name))
        }
    }

    @Test func everyDecisionIsListed() throws {
        let index = try Repository.contents(of: "docs/adr/README.md")
        for decision in try Repository.entries(of: "docs/adr")
        where decision.hasSuffix(".md") && decision != "README.md" {
            #expect(index.contains("(\(decision))"), "\(decision)")
        }
    }

    @Test func brokenLinksAreFound() {
        let text = "See [this](README.md#layers), [that](docs/none.md) and [the web](https://swift.org)."
        #expect(brokenLinks(of: "README.md", text: text) == ["docs/none.md"])
    }
}

/// The table of docs/scenarios.md: each row has tests that exist, or says why not.
@Suite struct ScenarioTableTests {
    private static let folders = ["RayOwnershipTests", "RaySchedulerTests", "RaySimulationTests"]

    /// What is wrong with a row.
    /// - Parameter declares: whether a file of tests, without its ending, declares a function.
    private func faults(in row: Substring, _ declares: (_ file: String, _ test: String) -> Bool) -> [String] {
        let columns = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        guard columns.count == 2 else { return ["\(row): not two columns"] }
        if columns[1].hasPrefix("Not here: ") { return [] }
        let named = columns[1].matches(of: #/`(?<test>\w+)` in `(?<file>\w+)`/#)
        if named.isEmpty { return ["\(columns[0]): no test, and no reason"] }
        return named.filter { !declares(String($0.file), String($0.test)) }.map { "\($0.file) has no \($0.test)" }
    }

    private func rows(of text: String) -> [Substring] {
        text.split(separator: "\n").filter {
            $0.hasPrefix("| ") && !$0.hasPrefix("| scenario ") && !$0.hasPrefix("| --- ")
        }
    }

    @Test func eachTestOfTheTableExists() throws {
        let files = try Self.folders.flatMap { try Repository.swiftFiles(in: "Tests/\($0)") }
        let found = rows(of: try Repository.contents(of: "docs/scenarios.md")).flatMap { row in
            faults(in: row) { name, test in
                files.contains { file in
                    file.path.hasSuffix("/\(name).swift") && file.code.contains { $0.contains("func \(test)(") }
                }
            }
        }
        #expect(found == [])
    }

    @Test func badRowsAreFound() {
        let row = { (shown: String) in faults(in: "| a thing happens | \(shown) |") { $0 == "ATests" && $1 == "is" } }
        #expect(row("`is` in `ATests`") == [])
        #expect(row("Not here: it can not happen") == [])
        #expect(row("`is` in `ATests`, `gone` in `ATests`") == ["ATests has no gone"])
        #expect(row("`is` in `BTests`") == ["BTests has no is"])
        #expect(row("somewhere") == ["a thing happens: no test, and no reason"])
        #expect(row("`is` in `ATests` | more") != [])
    }
}

/// The fenced blocks of a Markdown text in the given language, in order.
private func blocks(of language: String, in text: String) -> [String] {
    text.components(separatedBy: "\n```\(language)\n").dropFirst().compactMap {
        $0.components(separatedBy: "\n```").first
    }
}

@Suite struct FirstProgramTests {
    @Test func theReadmeShowsTheProgram() throws {
        let readme = try Repository.contents(of: "README.md")
        let program = try Repository.contents(of: "Examples/FirstProgram/FirstProgram.swift")
        let shown = try #require(blocks(of: "swift", in: readme).first)
        #expect(program.hasSuffix("\n" + shown + "\n"))
    }

    @Test func itRunsAsPrinted() throws {
        let readme = try Repository.contents(of: "README.md")
        let after = try #require(readme.components(separatedBy: "It prints\n").last)
        let printed = try #require(blocks(of: "", in: after).first)
        let (status, output) = try run(product("FirstProgram").path)
        #expect(status == 0)
        #expect(output == printed + "\n")
    }
}
