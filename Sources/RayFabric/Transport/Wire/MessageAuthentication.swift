// HMAC-SHA256 (RFC 2104) by libsodium: the proof that a node knows the cluster key.

internal import CSodium

/// Codes of messages under one key.
struct MessageAuthentication: Sendable {
    /// Of any length.
    let key: [UInt8]

    /// The code of a message: 32 bytes.
    func code(for message: [UInt8]) -> [UInt8] {
        var state = crypto_auth_hmacsha256_state()
        var code = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        // SAFETY: each array is as long as is said; none is kept.
        unsafe _ = crypto_auth_hmacsha256_init(&state, key, key.count)
        unsafe _ = crypto_auth_hmacsha256_update(&state, message, UInt64(message.count))
        unsafe _ = crypto_auth_hmacsha256_final(&state, &code)
        return code
    }

    /// Whether `code` is the code of a message. The time it takes does not tell how much of it is right.
    func isValid(_ code: [UInt8], for message: [UInt8]) -> Bool {
        let right = self.code(for: message)
        // SAFETY: both have this length.
        return unsafe code.count == right.count && sodium_memcmp(code, right, right.count) == 0
    }
}
