// The published examples of SHA-256 (FIPS 180-4, NIST CAVP) and HMAC-SHA256 (RFC 4231).

import Testing

@testable import RayFabric

private func text(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

private func digest(_ pieces: [UInt8]...) -> String {
    var hash = SHA256()
    for piece in pieces { hash.update(piece) }
    return text(hash.finalize())
}

private func code(_ key: [UInt8], _ message: [UInt8]) -> String {
    text(MessageAuthentication(key: key).code(for: message))
}

@Suite struct MessageAuthenticationTests {
    @Test func digestsArePublishedOnes() {
        #expect(digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(digest(Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let two = Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
        #expect(digest(two) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(digest([0xbd]) == "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        #expect(digest(million) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    /// Each length around the size of a block, in two pieces: it does not matter where they are cut.
    @Test func piecesMakeNoDifference() {
        for count in 50...140 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 31) }
            let whole = digest(bytes)
            for cut in stride(from: 0, through: count, by: 7) {
                #expect(digest(Array(bytes.prefix(cut)), Array(bytes.dropFirst(cut))) == whole)
            }
        }
    }

    @Test func codesArePublishedOnes() {
        #expect(
            code([UInt8](repeating: 0x0b, count: 20), Array("Hi There".utf8))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            code(Array("Jefe".utf8), Array("what do ya want for nothing?".utf8))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            code([UInt8](repeating: 0xaa, count: 20), [UInt8](repeating: 0xdd, count: 50))
                == "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe")
        #expect(
            code(Array(1...25), [UInt8](repeating: 0xcd, count: 50))
                == "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b")
        #expect(
            code(
                [UInt8](repeating: 0xaa, count: 131),
                Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    @Test func onlyTheRightCodeIsValid() {
        let authentication = MessageAuthentication(key: Array("key".utf8))
        let message = Array("message".utf8)
        let right = authentication.code(for: message)
        #expect(authentication.isValid(right, for: message))
        for index in right.indices {
            var wrong = right
            wrong[index] ^= 0x10
            #expect(!authentication.isValid(wrong, for: message))
        }
        #expect(!authentication.isValid(right.dropLast(), for: message))
        #expect(!authentication.isValid([], for: message))
        #expect(!authentication.isValid(right + [0], for: message))
    }
}

extension MessageAuthentication {
    fileprivate func isValid(_ code: ArraySlice<UInt8>, for message: [UInt8]) -> Bool {
        isValid(Array(code), for: message)
    }
}
