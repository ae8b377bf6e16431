// SHA-256 (FIPS 180-4) and HMAC (RFC 2104): the proof that a node knows the cluster key. Here and not in a
// library for the reason in docs/adr/0008. No branch and no address depends on what is secret.

/// The SHA-256 of bytes that come in pieces.
struct SHA256: Sendable {
    static let byteCount = 32
    static let blockBytes = 64

    private var state: InlineArray<8, UInt32> = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    /// What has not filled a block yet.
    private var rest: [UInt8] = []
    private var byteCount: UInt64 = 0

    init() { rest.reserveCapacity(Self.blockBytes) }

    mutating func update(_ bytes: some Sequence<UInt8>) {
        for byte in bytes {
            rest.append(byte)
            byteCount += 1
            if rest.count == Self.blockBytes { compress() }
        }
    }

    /// The digest: 32 bytes.
    consuming func finalize() -> [UInt8] {
        let bits = byteCount * 8
        rest.append(0x80)
        if rest.count > Self.blockBytes - 8 {
            rest += Array(repeating: 0, count: Self.blockBytes - rest.count)
            compress()
        }
        rest += Array(repeating: 0, count: Self.blockBytes - 8 - rest.count)
        rest += bigEndianBytes(bits)
        compress()
        return state.indices.flatMap { bigEndianBytes(state[$0]) }
    }

    /// Takes the block in `rest` into the state.
    private mutating func compress() {
        var schedule = InlineArray<64, UInt32>(repeating: 0)
        for index in 0..<16 {
            schedule[index] = rest[(4 * index)..<(4 * index + 4)].reduce(0) { $0 << 8 | UInt32($1) }
        }
        for index in 16..<64 {
            let (early, late) = (schedule[index - 15], schedule[index - 2])
            let first = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
            let second = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
            schedule[index] = schedule[index - 16] &+ first &+ schedule[index - 7] &+ second
        }
        var words = state
        for index in 0..<64 {
            let (a, b, c, e, f, g) = (words[0], words[1], words[2], words[4], words[5], words[6])
            let first = words[7] &+ (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) &+ (e & f ^ ~e & g)
            let mixed = first &+ Self.constants[index] &+ schedule[index]
            let second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ (a & b ^ a & c ^ b & c)
            for target in (1..<8).reversed() { words[target] = words[target - 1] }
            words[4] &+= mixed
            words[0] = mixed &+ second
        }
        for index in state.indices { state[index] &+= words[index] }
        rest.removeAll(keepingCapacity: true)
    }

    private static let constants: InlineArray<64, UInt32> = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]
}

/// HMAC-SHA256 of a message under a key.
struct MessageAuthentication: Sendable {
    private let key: [UInt8]

    init(key: [UInt8]) {
        var short = key
        if short.count > SHA256.blockBytes {
            var hash = SHA256()
            hash.update(key)
            short = hash.finalize()
        }
        self.key = short + Array(repeating: 0, count: SHA256.blockBytes - short.count)
    }

    /// The code of a message: 32 bytes.
    func code(for message: [UInt8]) -> [UInt8] {
        var inner = SHA256()
        inner.update(key.lazy.map { $0 ^ 0x36 })
        inner.update(message)
        var outer = SHA256()
        outer.update(key.lazy.map { $0 ^ 0x5c })
        outer.update(inner.finalize())
        return outer.finalize()
    }

    /// Whether `code` is the code of a message. The time it takes does not tell how much of it is right.
    func isValid(_ code: [UInt8], for message: [UInt8]) -> Bool {
        let right = self.code(for: message)
        guard code.count == right.count else { return false }
        return zip(code, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

private func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }

private func bigEndianBytes(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: value.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
}
