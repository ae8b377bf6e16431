// Amounts and vectors of resources, and label selectors.

import RayScheduler
import Testing

@Suite struct ResourceTests {
    @Test func amountsAreExactInTenThousandths() {
        let tenth = ResourceAmount(fraction: 0.1)
        var sum = ResourceAmount.zero
        for _ in 0..<10 { sum += tenth }
        #expect(sum == .one)
        #expect(ResourceAmount(fraction: 0.00001) == ResourceAmount(units: 1), "nothing is free by rounding")
        #expect(ResourceAmount(units: 25_000).description == "2.5")
        #expect(ResourceAmount(units: -5_000).description == "-0.5")
        #expect(ResourceAmount(units: 10_010).description == "1.001")
    }

    @Test func amountsSaturate() {
        #expect(ResourceAmount(.max) > ResourceAmount(1 << 49))
        #expect(ResourceAmount(.min) < ResourceAmount(-1 << 49))
    }

    @Test func vectorsAddNamesAndCover() {
        let demand = ResourceVector(cpu: 2, others: [.init(.gpu, 1), .init("tpu", 1), .init(.gpu, 1)])
        #expect(demand[.gpu] == 2)
        #expect(demand.others.map(\.name) == [.gpu, "tpu"])
        var node = ResourceVector(cpu: 8, memory: 100, others: [.init("tpu", 4), .init(.gpu, 5)])
        #expect(node.covers(demand))
        #expect(node.multiples(of: demand, limit: 100) == 2)
        node.subtract(demand, times: 2)
        #expect(node == ResourceVector(cpu: 4, memory: 100, others: [.init("tpu", 2), .init(.gpu, 1)]))
        #expect(!node.covers(demand))
        #expect(node.shortage(of: demand)?.name == .gpu)
        #expect(node.multiples(of: .zero, limit: 7) == 7)
    }

    @Test func namesHaveTextOrderAndALimit() {
        #expect(ResourceName(String()) == nil)
        #expect(ResourceName(String(repeating: "a", count: 25)) == nil)
        #expect(ResourceName(String(repeating: "a", count: 24))?.description.count == 24)
        let names: [ResourceName] = ["b", "GPU", "ab", "a", "accelerator_type:A100"]
        #expect(names.sorted().map(\.description) == names.map(\.description).sorted())
    }

    @Test func selectorsMatchLabels() {
        let labels: NodeLabels = ["zone": "b", "accelerator": "A100", "zone": "a"]
        #expect(labels["zone"] == "a")
        func matches(_ condition: LabelSelector.Condition) -> Bool { LabelSelector([condition]).matches(labels) }
        #expect(matches(.isIn(key: "zone", values: ["a", "c"])) && !matches(.isIn(key: "zone", values: ["c"])))
        #expect(!matches(.isIn(key: "rack", values: ["a"])))
        #expect(matches(.isNotIn(key: "zone", values: ["c"])) && !matches(.isNotIn(key: "zone", values: ["a"])))
        #expect(matches(.isNotIn(key: "rack", values: ["a"])))
        #expect(matches(.exists(key: "zone")) && !matches(.exists(key: "rack")))
        #expect(matches(.existsNot(key: "rack")) && !matches(.existsNot(key: "zone")))
        #expect(LabelSelector.any.matches(.none))
    }
}
