// The published examples of HMAC-SHA256 (RFC 4231).

import Testing

@testable import RayFabric

private func text(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

private func code(_ key: [UInt8], _ message: [UInt8]) -> String {
    text(MessageAuthentication(key: key).code(for: message))
}

@Suite struct MessageAuthenticationTests {
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
