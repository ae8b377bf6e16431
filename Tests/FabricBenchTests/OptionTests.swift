// Sizes and numbers: as users write them, and as they are shown.

import ArgumentParser
import RayFabric
import Testing

@testable import fabricbench

@Suite struct OptionTests {
    @Test(arguments: [
        ("8", [8]), ("64KiB,1MiB", [65536, 1 << 20]), ("1GiB", [1 << 30]), ("3k,2M,7B", [3072, 2 << 20, 7]),
    ])
    func sizesAreUnderstood(text: String, bytes: [Int]) throws {
        #expect(try SizeList(parsing: text).bytes == bytes)
    }

    @Test(arguments: ["", "0", "-1", "8x", "1.5MiB", "2GiB", "8,", ",", "KiB", "99999999999999999999", "9999999999GiB"])
    func whatIsNoSizeIsRefused(text: String) {
        #expect(throws: ValidationError.self) { try SizeList(parsing: text) }
    }

    @Test func sizesAreShownAsTheyAreWritten() throws {
        for bytes in [1, 63, 1 << 10, 100 << 10, 1 << 20, 256 << 20, 1 << 30] {
            #expect(try SizeList(parsing: sizeText(bytes)).bytes == [bytes])
        }
    }

    @Test func transportsAreNamed() throws {
        #expect(try TransportList(parsing: "shm,nio").kinds == [.shm, .nio])
        #expect(throws: ValidationError.self) { try TransportList(parsing: "tcp") }
    }

    @Test func numbersKeepTheDigitsThatMatter() {
        #expect([0.049, 9.996, 12.34, 1234.5].map(short) == ["0.05", "10.00", "12.3", "1235"])
        #expect(fixed(-1.005, 1) == "-1.0")
        #expect(fixed(.infinity, 2) == "-")
        #expect(rounded(1234.5678, significantDigits: 3) == 1235)
        #expect(rounded(0.00123456, significantDigits: 3) == 0.00123)
    }
}
