// Sizes and lists as users write them.

internal import ArgumentParser
internal import RayFabric

/// Numbers of bytes: `8`, `64KiB`, `1MiB`, `2GiB`; lists with commas.
struct SizeList: CustomStringConvertible {
    let bytes: [Int]

    init(_ bytes: [Int]) { self.bytes = bytes }

    /// - Throws: a usage error that says what would be right.
    init(parsing text: String) throws {
        bytes = try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let size = Self.size(part) else {
                throw ValidationError("sizes are 1 to 1GiB, written 8, 64KiB, 1MiB or 1GiB, several with commas")
            }
            return size
        }
    }

    var description: String { bytes.map(sizeText).joined(separator: ",") }
    var largest: Int { bytes.max() ?? 1 }

    /// One size; nil for zero, for what is not a size, and above the largest payload.
    static func size(_ text: some StringProtocol) -> Int? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits) else { return nil }
        let scale: Int
        switch text.dropFirst(digits.count) {
        case "", "B": scale = 1
        case "KiB", "K", "k": scale = 1 << 10
        case "MiB", "M": scale = 1 << 20
        case "GiB", "G": scale = 1 << 30
        case _: return nil
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: scale)
        return overflow || !(1...ControlLimits.payloadBytes).contains(bytes) ? nil : bytes
    }
}

/// Names of transports, with commas.
struct TransportList {
    let kinds: [TransportKind]

    /// - Throws: a usage error that says what would be right.
    init(parsing text: String) throws {
        kinds = try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let kind = TransportKind(rawValue: String(part)) else {
                let names = TransportKind.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("transports are \(names), several with commas")
            }
            return kind
        }
    }
}
