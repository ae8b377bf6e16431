// Seeds that failed once. Each runs on every build.

import RayScheduler
import RaySimulation
import Testing

/// A run that failed, and what was wrong.
struct PastFailure: Sendable, CustomTestStringConvertible {
    let seed: UInt64
    var nodes: Int?
    var tasks: Int?
    var workload: WorkloadKind?
    var faults: FaultKinds?
    let was: String

    var testDescription: String { "\(seed): \(was)" }

    var options: RunOptions {
        var options = RunOptions(seed: seed)
        (options.nodes, options.tasks, options.workload, options.faults) = (nodes, tasks, workload, faults)
        return options
    }

    /// Kinds of faults that there were when a run failed with all of them.
    private static let firstKinds = FaultKinds.all.subtracting([.drains, .restarts, .disks])

    static let all = [
        PastFailure(seed: 38, faults: [], was: "a task that was handed on to another worker lost its result"),
        PastFailure(seed: 49, faults: [], was: "the same, found by another workload"),
        PastFailure(seed: 1083, was: "the same, with messages that came twice"),
        PastFailure(seed: 1112, was: "the same: an argument was kept for ever"),
        PastFailure(seed: 25, faults: [], was: "a request that was spilled waited for a CPU at the other node"),
        PastFailure(seed: 3014, workload: .fanOut, faults: firstKinds, was: "the same, after its argument had come"),
        PastFailure(
            seed: 854, faults: [.loss, .duplication, .clogs, .slowness, .skew, .workers],
            was: "a task ran after its caller was told that it had died: unbegun, it moved on"),
        PastFailure(seed: 1620, was: "an attempt that a death had replaced moved on and ran beside the next one"),
        PastFailure(seed: 1_015_877, was: "a lease that came with another one, for one task, was kept for ever"),
        PastFailure(seed: 73_676, was: "a removal was told before the value: its node waited for its own copy"),
        PastFailure(seed: 26_783, was: "a request waited for ever for arguments whose task had run elsewhere"),
        PastFailure(seed: 2217, was: "a node that was taken for dead spoke to the scheduler alone: nobody told it"),
        PastFailure(seed: 29_402, was: "a lost argument was wanted again, of which the owner had said that it is lost"),
        PastFailure(
            seed: 12_786, faults: [.loss, .duplication, .reordering, .slowness, .skew],
            was: "a call that came after its actor had ended was never answered"),
        PastFailure(
            seed: 2_019_080, faults: [.loss, .duplication, .reordering, .cuts, .workers, .nodes, .copies],
            was: "a slot waited for an argument that who got no slot was to make again"),
        PastFailure(
            seed: 1_007_457, faults: [.slowness, .nodes, .copies],
            was: "the judge took a task that had failed for one that holds its arguments"),
        PastFailure(
            seed: 18_030, workload: .tree,
            was: "the judge counted a grant that was taken back, with its worker, before it was told"),
        PastFailure(
            seed: 34, workload: .actors,
            was: "a call whose value came before the report waited for ever when its actor was over"),
        PastFailure(seed: 291, workload: .actors, was: "the same, when its actor had run elsewhere"),
    ]
}

@Suite struct CorpusTests {
    @Test(arguments: PastFailure.all)
    func staysMended(failure: PastFailure) {
        let violation = Simulation.run(failure.options).violation
        #expect(violation == nil, "\(failure.options.command)")
    }
}
