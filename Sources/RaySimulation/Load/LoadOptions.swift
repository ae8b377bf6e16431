// Load runs: the scheduler's machines alone, at sizes and rates where designs of scheduling differ.

internal import RayCore
package import RayScheduler

/// A cluster of healthy nodes under an open load: tasks arrive whether or not those before are done.
package struct LoadOptions: Sendable {
    package var seed: UInt64 = 1
    package var nodes = 100
    /// Whole CPUs of a node; each task takes one.
    package var cpus = 4
    package var tasks = 100_000
    /// Processes that submit, each on a node of its own: a hundredth of the nodes, but 1 to 100.
    package var drivers: Int { min(100, max(1, nodes / 100)) }
    package var policy = SchedulingPolicy.localFirst
    /// Between reports of a node, and between broadcasts of the control store.
    package var viewAge: Duration = .milliseconds(100)
    /// False gives each lease one task.
    package var isReusingLeases = true
    /// Share of all CPUs that the load takes. Nil lets all tasks arrive at once.
    package var utilization: Double? = 0.8
    /// Mean of the exponential time that a task runs.
    package var taskDuration: Duration = .milliseconds(100)
    /// Functions, which are classes to the scheduler. Tasks take them in turn.
    package var functions = 4
    /// What a process takes for each message, one after the other: the limit of whoever gets them all.
    package var messageCost: Duration = .microseconds(2)
    /// From the wish for a worker process until it is there. All CPUs have one from the start.
    package var workerStart: Duration = .milliseconds(20)

    package init() {}
}

/// What a load run showed.
package struct LoadReport: Sendable {
    package var options: LoadOptions
    /// From the first arrival to the end of the last task.
    package var makespan: Duration
    /// From the submission of a task until it runs.
    package var queueingMedian: Duration
    package var queueingP99: Duration
    package var messagesPerTask: Double
    /// Slots that a node sent elsewhere, a task.
    package var spillbacksPerTask: Double
    /// Slots that the other node rejected, a task.
    package var rejectionsPerTask: Double
    package var finished: Int
    package var events: Int
    package var digest: UInt64
}
