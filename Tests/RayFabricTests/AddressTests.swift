import RayFabric
import Testing

@Test func addressesRoundTrip() throws {
    for text in ["localhost:80", "[::1]:9", "unix:/tmp/x", "loopback:a"] {
        #expect(try Address(parsing: text).description == text)
    }
}
