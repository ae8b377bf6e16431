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

    @Test(arguments: SchedulingPolicy.allCases, 1...4)
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

    @Test(arguments: 1...2)
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

    /// Nodes, workers and submitters die; tasks need GPUs, groups and arguments.
    @Test(arguments: 1...8)
    func nothingIsLeftOverAfterDeaths(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var cluster = Cluster(
            nodes: (0..<6).map { capacity(2, gpus: $0 % 2 == 0 ? 2 : 0) }, seed: seed, faults: .rough)
        cluster.runTime = 20_000_000
        let drivers = (0..<4).map { cluster.addSubmitter(on: $0) }
        let object = ObjectID(owner: drivers[0], sequence: 1)
        cluster.resolutions[object] = .stored(bytes: 1 << 20, nodes: [cluster.nodeIDs[4], cluster.nodeIDs[5]])
        let group = GroupID(creator: drivers[1], number: 1)
        cluster.handle(
            .create(
                GroupSpecification(
                    id: group, strategy: .spread, bundles: Array(repeating: ResourceVector(cpu: 1), count: 3))))
        let halfGPU = SchedulingClass(
            demand: ResourceVector(cpu: 1, others: [.init(.gpu, ResourceAmount(fraction: 0.5))]), function: 2)
        let inGroup = SchedulingClass(
            demand: ResourceVector(cpu: 1), constraint: .group(group, bundle: nil), function: 3)
        for round in 0..<8 {
            for (index, driver) in drivers.enumerated() where cluster.submitters[driver] != nil {
                cluster.submit(5, of: oneCPU, by: driver, from: round * 100)
                cluster.submit(5, of: halfGPU, by: driver, from: round * 100 + 10)
                cluster.submit(5, of: oneCPU, by: driver, from: round * 100 + 20, dependencies: [object])
                guard index == 1 else { continue }
                cluster.submit(5, of: inGroup, by: driver, from: round * 100 + 30)
            }
            cluster.run(for: .milliseconds(Int64.random(in: 1...200, using: &random)))
            if round == 3 { cluster.kill(node: cluster.nodeIDs[5]) }
            if round == 4 { cluster.kill(worker: drivers[0]) }
            if random.chance(0.5), let worker = cluster.executors.keys.sorted().randomElement(using: &random) {
                cluster.kill(worker: worker)
            }
        }
        let isDone = cluster.run(for: .seconds(120)) { cluster in
            drivers.allSatisfy { cluster.submitters[$0].map { $0.machine.taskCount == 0 } ?? true }
        }
        #expect(isDone)
        cluster.handle(.remove(group))
        cluster.run(for: .seconds(60))
        #expect(cluster.groupsRemoved == [group])
        #expect(cluster.leftovers == [])
        #expect(cluster.violations.prefix(5) == [])
    }
}
