// What programs that use the fabric link: Foundation costs 40 MB and its start-up time.

import Foundation
import Testing

/// The shared libraries that an ELF file asks for, as `readelf` shows them.
private func neededLibraries(of file: URL) throws -> [String] {
    let (status, output) = try run("/usr/bin/readelf", "--dynamic", "--wide", file.path)
    try #require(status == 0, "readelf could not read \(file.path)")
    return output.split(separator: "\n").compactMap { line in
        line.contains("(NEEDED)") ? line.split(separator: "[").last.map { String($0.dropLast()) } : nil
    }
}

/// Libraries of Foundation.
private func foundation(in libraries: [String]) -> [String] {
    libraries.filter { $0.hasPrefix("libFoundation") }
}

@Suite struct LinkageTests {
    /// The argument parser of fabricbench brings FoundationEssentials; what links RayFabric alone has none of it.
    @Test(arguments: [("fabricbench", ["libFoundationEssentials.so"]), ("FirstProgram", [])])
    func programsDoNotLinkFoundation(name: String, allowed: [String]) throws {
        let libraries = try neededLibraries(of: product(name))
        #expect(libraries.contains("libswiftCore.so"))
        #expect(foundation(in: libraries) == allowed)
    }

    /// This test program uses Foundation: the check must see that.
    @Test func theCheckSeesFoundation() throws {
        let libraries = try neededLibraries(of: testProgram)
        #expect(foundation(in: libraries).contains("libFoundation.so"))
    }
}
