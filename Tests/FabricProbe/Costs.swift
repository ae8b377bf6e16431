// What puts and gets cost, shown on a thread that dies at its first system call.

import CProcessCosts
import Glibc
import RayCore
import RayFabric

struct Costs: Sendable {
    let fabric: Fabric
    let tag: String
    let repeats: Int

    /// Puts and gets until everything is warm; then counts allocations and forbids system calls, puts and
    /// gets again, and replies with the number of allocations.
    /// - Returns: only if the system can not forbid them.
    func run() throws(FabricError) {
        let payload = [UInt8](repeating: 7, count: 64)
        let known = try fabric.put(payload)
        _ = try fabric.get(known, within: .seconds(5))
        try useStore(payload, known)
        var line = Array("\(tag) allocations ".utf8) + [UInt8](repeating: 0, count: 20)
        let place = line.count - 20
        guard costs_forbid_system_calls() == 0 else { return }
        let before = costs_allocations()
        do throws(FabricError) { try useStore(payload, known) } catch { costs_end_thread() }
        var count = costs_allocations() - before
        // Nothing here may allocate either.
        var digits = 0
        repeat {
            for index in stride(from: place + digits, to: place, by: -1) { line[index] = line[index - 1] }
            line[place] = UInt8(ascii: "0") + UInt8(count % 10)
            count /= 10
            digits += 1
        } while count > 0
        line[place + digits] = UInt8(ascii: "\n")
        unsafe _ = write(1, line, place + digits + 1)
        costs_end_thread()
    }

    private func useStore(_ payload: [UInt8], _ known: ObjectID) throws(FabricError) {
        for _ in 0..<repeats {
            _ = try fabric.put(payload)
            _ = try fabric.get(known, within: .zero)
        }
    }
}
