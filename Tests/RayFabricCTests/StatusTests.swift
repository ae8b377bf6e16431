// Statuses of the C interface and codes of the Swift one are the same list.

import CRayFabric
import Foundation
import RayCore
import Testing

@testable import RayFabricC

/// The C name of a code: `ioUringForbidden` is `RF_IO_URING_FORBIDDEN`.
private func statusName(_ code: FabricError.Code) -> String {
    code.name.reduce("RF_") { $0 + ($1.isUppercase ? "_" : "") + $1.uppercased() }
}

private func header() throws -> String {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    return try String(contentsOf: root.appending(path: "Sources/CRayFabric/include/rayfabric.h"), encoding: .utf8)
}

/// No function of the C interface ends with these: it lets nobody choose an identifier, cancel, or reach a transport.
private let codesOfSwiftAlone: Set<FabricError.Code> = [
    .invalidState, .cancelled, .objectExists, .messageTooLarge, .remoteAccessDenied,
]
private let shownCodes = FabricError.Code.all.filter { !codesOfSwiftAlone.contains($0) }

@Suite struct StatusTests {
    @Test(arguments: shownCodes)
    func everyCodeHasItsStatus(code: FabricError.Code) throws {
        #expect(name(of: code.status).description == statusName(code))
        #expect(try header().contains("    \(statusName(code)) = \(code.rawValue),"))
    }

    @Test func everyStatusIsACodeOrOfTheInterface() throws {
        let declared = try header().matches(of: #/^ {4}(RF_[A-Z_]+) = ([0-9]+),?( |$)/#.anchorsMatchLineEndings())
        let own = Int(RF_HANDLE_INVALID)...Int(RF_BUFFER_TOO_SMALL)
        let codes = Set(shownCodes.map { Int($0.rawValue) })
        let statuses = declared.compactMap { match in
            match.1.hasPrefix("RF_TRANSPORT") || match.1.hasPrefix("RF_OPEN") ? nil : (String(match.1), Int(match.2))
        }
        #expect(statuses.count == codes.count + own.count + 1)
        for case let (text, number?) in statuses {
            #expect(name(of: rf_status(number)).description == text)
            #expect(number == 0 || codes.contains(number) || own.contains(number))
        }
    }

    @Test func theVersionTextIsTheVersion() {
        // SAFETY: a literal of the library.
        let text = unsafe rf_version_text().map { unsafe String(cString: $0) }
        #expect(text == "\(RF_VERSION_MAJOR).\(RF_VERSION_MINOR).\(RF_VERSION_PATCH)")
    }
}

@Suite struct StructureTests {
    /// First sizes never change, not even when the structures grow.
    @Test func firstSizesAreThoseOfTheFirstVersion() {
        #expect(unsafe rf_fabric_options.firstSize == 104 && MemoryLayout<rf_fabric_options>.size >= 104)
        #expect(unsafe rf_view.firstSize == 40 && MemoryLayout<rf_view>.size >= 40)
        #expect(rf_usage.firstSize == 72 && MemoryLayout<rf_usage>.size >= 72)
        #expect(rf_transfers.firstSize == 80 && MemoryLayout<rf_transfers>.size >= 80)
    }
}
