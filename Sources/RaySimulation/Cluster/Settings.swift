// What a run is: chosen by hand, and drawn from the seed where it was not.

internal import RayCore
package import RayScheduler

/// What a user asks for. Everything that is nil is drawn from the seed.
package struct RunOptions: Sendable {
    package var seed: UInt64
    package var nodes: Int?
    package var tasks: Int?
    package var policy: SchedulingPolicy?
    package var workload: WorkloadKind?
    package var faults: FaultKinds?
    /// Faults of the plan, by their place in it, that do not happen.
    package var withoutFaults: [Int] = []
    package var bug: PlantedBug?

    package init(seed: UInt64) { self.seed = seed }
}

/// A run in full.
package struct Settings: Sendable {
    package var seed: UInt64
    package var nodes: Int
    package var tasks: Int
    package var drivers: Int
    /// Whole CPUs of each node.
    package var cpus: [Int]
    package var policy: SchedulingPolicy
    package var workload: WorkloadKind
    package var faults: FaultKinds
    package var plan: FaultPlan
    package var network = NetworkOptions()
    package var bug: PlantedBug?

    /// Functions work so many times as long as their recipe says: faults then meet them at work.
    var workFactor: UInt64
    /// From a process' start to its first message.
    var workerStart: UInt64
    /// From a node's death until the control store decides that it is dead.
    var detection: UInt64
    /// Probability that a copy that nobody needs to keep is evicted soon.
    var eviction: Double
    /// How long gets wait. Short ones are to end with an error.
    var getDeadline: UInt64 = 120_000_000_000
    var shortGets: Double
    /// Probability that a worker process does not start.
    var startFailure: Double
    /// Bytes of specifications that an owner keeps; a task has 200.
    var lineageBytes: Int
    /// Probability that a driver exits when it is done, instead of staying.
    var driverExit: Double

    package init(_ options: RunOptions) {
        var random = SeededRandom(seed: options.seed, concern: .options)
        seed = options.seed
        // Everything is drawn in any case, so that an option that is set by hand changes nothing else.
        let drawnNodes = 1 + random.below(5)
        nodes = options.nodes ?? drawnNodes
        let drawnTasks = 4 + random.below(40)
        tasks = options.tasks ?? drawnTasks
        drivers = 1 + random.below(2)
        let policies = SchedulingPolicy.allCases
        let drawnPolicy = random.chance(0.6) ? .localFirst : policies[random.below(policies.count)]
        policy = options.policy ?? drawnPolicy
        var additions = SeededRandom(seed: options.seed, concern: .additions)
        let firstWorkload = WorkloadKind.drawnFirst[random.below(WorkloadKind.drawnFirst.count)]
        let drawnWorkload = additions.chance(0.1) ? .detached : firstWorkload
        workload = options.workload ?? drawnWorkload
        var drawnFaults: FaultKinds = []
        let share = [0.0, 0.3, 0.6][random.below(3)]
        for named in FaultKinds.named {
            let isAddition = FaultKinds.additions.contains(named.kind)
            if isAddition ? additions.chance(share / 2) : random.chance(share) { drawnFaults.insert(named.kind) }
        }
        faults = options.faults ?? drawnFaults
        let cores = 1 + random.below(3)
        cpus = (0..<nodes).map { _ in cores }
        workerStart = [100_000, 5_000_000, 200_000_000][random.below(3)]
        detection = [1_000_000, 30_000_000, 1_000_000_000][random.below(3)]
        eviction = random.chance(0.3) ? 0.5 : 0
        shortGets = random.chance(0.1) ? 0.3 : 0
        startFailure = random.chance(0.1) ? [0.2, 0.7][random.below(2)] : 0
        lineageBytes = random.chance(0.2) ? 300 : 1 << 30
        driverExit = random.chance(0.3) ? 1 : 0
        network.latencyMinimum = .microseconds([5, 50, 1_000][random.below(3)])
        network.latencyJitter = .microseconds([1, 50, 2_000][random.below(3)])
        network.bytesPerSecond = random.chance(0.3) ? 1_000_000_000 : 0
        let rates = [0.01, 0.1, 0.3]
        let (loss, duplication, reordering) = (rates[random.below(3)], rates[random.below(3)], rates[random.below(3)])
        if faults.contains(.loss) { network.loss = loss }
        if faults.contains(.duplication) { network.duplication = duplication }
        if faults.contains(.reordering) { network.reordering = reordering }
        workFactor = [1, 1, 10, 100][random.below(4)]
        bug = options.bug

        var faultRandom = SeededRandom(seed: seed, concern: .faults)
        let window: UInt64 = [5_000_000, 50_000_000, 500_000_000][faultRandom.below(3)]
        plan = FaultPlan(
            faults, count: 1 + faultRandom.below(10), nodes: nodes, duration: window, random: &faultRandom)
        plan.add(faults, nodes: nodes, duration: window, random: &additions)
        plan.remove(options.withoutFaults)
    }
}

extension SchedulingPolicy {
    /// Whether requests go to a scheduler of the whole cluster, beside the control store.
    var hasGlobalScheduler: Bool {
        switch self {
        case .localFirst, .powerOfTwo: false
        case .bottomUp, .central: true
        }
    }
}
