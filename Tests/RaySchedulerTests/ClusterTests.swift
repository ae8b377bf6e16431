// Whole clusters under faults: every task ends, once, and nothing is left over.

import RayCore
import RayScheduler
import Testing

@Suite struct ClusterTests {
    private func finish(_ cluster: inout Cluster, tasks: Int) {
        let isDone = cluster.run(for: .seconds(120)) { $0.ended.count == tasks }
        #expect(isDone, "\(cluster.ended.count) of \(tasks) ended")
        cluster.run(for: .seconds(60))
        #expect(cluster.leftovers == [])
        #expect(cluster.violations.prefix(5) == [])
        #expect(cluster.ended.values.filter { $0 != .finished } == [])
    }

    @Test func tasksRunOnOneNode() {
        var cluster = Cluster(nodes: [capacity(4)])
        let driver = cluster.addSubmitter(on: 0)
        cluster.submit(100, of: oneCPU, by: driver)
        finish(&cluster, tasks: 100)
    }

    @Test(arguments: SchedulingPolicy.allCases)
    func tasksRunOnManyNodes(policy: SchedulingPolicy) {
        var nodeConfiguration = NodeConfiguration()
        nodeConfiguration.policy = policy
        var configuration = SubmitterConfiguration()
        configuration.policy = policy
        var cluster = Cluster(nodes: Array(repeating: capacity(4), count: 10), configuration: nodeConfiguration)
        cluster.runTime = 50_000_000
        cluster.run(for: .seconds(1))
        let driver = cluster.addSubmitter(on: 0, configuration: configuration)
        cluster.submit(400, of: oneCPU, by: driver)
        finish(&cluster, tasks: 400)
        #expect(Set(cluster.ran.values.map(\.node)).count == 10, "all nodes have work")
    }

    @Test(arguments: SchedulingPolicy.allCases, 1...10)
    func tasksEndOnceUnderFaults(policy: SchedulingPolicy, seed: UInt64) {
        var nodeConfiguration = NodeConfiguration()
        nodeConfiguration.policy = policy
        var configuration = SubmitterConfiguration()
        configuration.policy = policy
        var cluster = Cluster(
            nodes: Array(repeating: capacity(2), count: 5), configuration: nodeConfiguration, seed: seed, faults: .rough
        )
        let drivers = (0..<3).map { cluster.addSubmitter(on: $0, configuration: configuration) }
        for driver in drivers { cluster.submit(50, of: oneCPU, by: driver) }
        finish(&cluster, tasks: 150)
    }

    @Test(arguments: 1...5)
    func aSeedIsOneRun(seed: UInt64) {
        func run() -> (UInt64, Int, Int) {
            var cluster = Cluster(nodes: Array(repeating: capacity(2), count: 5), seed: seed, faults: .rough)
            let drivers = (0..<3).map { cluster.addSubmitter(on: $0) }
            for driver in drivers { cluster.submit(50, of: oneCPU, by: driver) }
            cluster.run(for: .seconds(120)) { $0.ended.count == 150 }
            return (cluster.now.nanoseconds, cluster.messages, cluster.ran.count)
        }
        #expect(run() == run())
    }
}
