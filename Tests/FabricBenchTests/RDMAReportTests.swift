// What is said of RDMA ports and of the limit on locked memory.

import RayCore
import RayFabric
import Testing

@testable import fabricbench

@Suite struct LockedMemoryTests {
    private let wholeMap = "         0          0 4294967295"

    @Test func theLimitBindsWithoutTheCapability() throws {
        let status = "Name:\tx\nCapEff:\t00000000a80425fb\n"
        let memory = try #require(LockedMemory(limit: "8388608", status: status, userMap: wholeMap))
        #expect(memory.limit == 8 << 20 && !memory.isExempt)
        #expect(memory.explanation.hasPrefix("8MiB;") && memory.explanation.contains("ulimit -l unlimited"))
    }

    @Test func theCapabilityLiftsItOutsideOfUserNamespaces() throws {
        let status = "CapEff:\t000001ffffffffff\n"
        let memory = try #require(LockedMemory(limit: "8388608", status: status, userMap: wholeMap))
        #expect(memory.isExempt && !memory.explanation.contains("ulimit"))
        let confined = try #require(LockedMemory(limit: "8388608", status: status, userMap: "0 1000 1"))
        #expect(!confined.isExempt)
    }

    @Test func noLimitAllowsAll() throws {
        let memory = try #require(LockedMemory(limit: "unlimited", status: "", userMap: ""))
        #expect(memory.limit == nil && memory.explanation.hasPrefix("unlimited"))
        #expect(LockedMemory(limit: "?", status: "", userMap: "") == nil)
    }
}

@Suite struct RDMAReportTests {
    @Test func noPortIsSaid() { #expect(RDMAReport.table([]).hasPrefix("RDMA ports: none")) }

    @Test func nobodyReachesLoopbackByRDMA() {
        #expect(RDMAReport.route(to: .tcp(host: "127.0.0.1", port: 7)).hasPrefix("no: this end is 127.0.0.1"))
    }
}
