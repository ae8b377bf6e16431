// What puts and gets cost, by counting.

import Testing

extension ProcessTests {
    @Suite struct CostTests {
        /// The thread that puts and gets may not make a system call: the kernel would kill it, and no
        /// answer would come.
        @Test func putsAndGetsMakeNoSystemCallAndAllocateNothing() throws {
            let path = StorePath()
            let host = try ProbeProcess.host("\(path)")
            let client = try ProbeProcess.client("\(path)")
            let tag = try client.begin("countCosts 2000")
            #expect(try client.reply(to: tag, within: .seconds(10)) == "allocations 0")
            _ = host
        }
    }
}
