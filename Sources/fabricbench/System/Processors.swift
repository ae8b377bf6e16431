// The CPUs that this process may use, and staying on one of them.

internal import CLinux
internal import RayCore
internal import RayFabric

enum Processors {
    /// The CPUs that this process may run on, in order.
    static let allowed: [Int] = {
        var words: [16 of UInt64] = InlineArray(repeating: 0)
        var span = words.mutableSpan
        let bytes = unsafe span.withUnsafeMutableBytes { unsafe Int(rf_get_affinity($0.baseAddress, $0.count)) }
        return (0..<max(bytes, 0) * 8).filter { words[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
    }()

    /// Keeps the calling thread, and those that it starts later, on one CPU.
    static func pin(to cpu: Int) throws(FabricError) {
        guard rf_pin_thread(Int32(cpu)) == 0 else { throw systemError("run on CPU \(cpu)") }
    }
}
