// The worker's side of tasks on a lease as a machine without I/O.

public import RayCore

/// Runs the tasks that are pushed to one worker, one at a time, each push once.
///
/// Pushes are told apart by their lease and number. What has ended is remembered until the submitter says that it
/// knows, so a repeated push is answered again and never run again; a push of an older lease than the newest is
/// refused. While the running task waits for an object, tasks that have not begun go back: behind it they could
/// wait for ever, if it is one of them that it waits for.
public struct ExecutorMachine: Sendable {
    private struct Record: Sendable {
        let number: UInt32
        let task: TaskID?
        let execution: UInt32
        /// `accepted` until it has ended.
        var progress: TaskProgress
        var isRunning = false
    }

    /// Pushes that are remembered before further ones are returned.
    private static let limit = 1024

    public let id: WorkerID
    /// The newest lease that was heard of, and who has it.
    private var lease: UInt64 = 0
    private var submitter: Party?
    /// Pushes on it that are not forgotten, in the order in which they came.
    private var records: [Record] = []
    private var settledBelow: UInt32 = 0
    /// The task that runs, and the lease under which it began.
    private var running: (task: TaskID, lease: UInt64, number: UInt32, submitter: Party)?
    private var isBlocked = false

    public init(id: WorkerID) { self.id = id }

    /// Tasks that run or wait here.
    public var taskCount: Int { records.count { $0.progress == .accepted && !$0.isRunning } + (running == nil ? 0 : 1) }

    public mutating func handle(_ event: ExecutorEvent, now: Timestamp, into directives: inout [ExecutorDirective]) {
        switch event {
        case .received(.push(let push), let sender):
            guard isCurrent(push.lease, sender, push.number, &directives) else { return }
            received(push, &directives)
        case .received(.cancelTask(let cancel), let sender):
            guard isCurrent(cancel.lease, sender, cancel.number, &directives) else { return }
            received(cancel, &directives)
        case .received: return
        case .finished(let task, let isCancelled): finished(task, isCancelled, &directives)
        case .blocked: blocked(&directives)
        case .unblocked: isBlocked = false
        }
        runNext(&directives)
    }

    /// Turns to a newer lease; refuses an older one.
    private mutating func isCurrent(
        _ wanted: LeaseID, _ sender: Party, _ number: UInt32, _ directives: inout [ExecutorDirective]
    ) -> Bool {
        guard wanted.node == id.node else { return false }
        if wanted.number > lease {
            lease = wanted.number
            submitter = sender
            records.removeAll(keepingCapacity: true)
            settledBelow = 0
        }
        if wanted.number < lease {
            let report = TaskReport(lease: wanted, number: number, progress: .refused)
            directives.append(.send(.taskReport(report), to: sender))
            return false
        }
        return sender == submitter
    }

    private mutating func received(_ push: TaskPush, _ directives: inout [ExecutorDirective]) {
        if push.settledBelow > settledBelow {
            settledBelow = push.settledBelow
            let below = settledBelow
            records.removeAll { $0.number < below && $0.progress != .accepted }
        }
        guard push.number >= settledBelow else { return }
        if let known = records.first(where: { $0.number == push.number }) {
            return report(known.number, known.progress, &directives)
        }
        let isTaken = !isBlocked && records.count < Self.limit
        records.append(
            Record(
                number: push.number, task: push.task, execution: push.execution,
                progress: isTaken ? .accepted : .returned))
        if !isTaken { report(push.number, .returned, &directives) }
    }

    private mutating func received(_ cancel: TaskCancel, _ directives: inout [ExecutorDirective]) {
        guard cancel.number >= settledBelow else { return }
        guard let index = records.firstIndex(where: { $0.number == cancel.number }) else {
            // It has overtaken its push, which will find it.
            records.append(Record(number: cancel.number, task: nil, execution: 0, progress: .cancelled))
            return report(cancel.number, .cancelled, &directives)
        }
        if records[index].isRunning, let task = records[index].task { return directives.append(.interrupt(task)) }
        if records[index].progress == .accepted { records[index].progress = .cancelled }
        report(cancel.number, records[index].progress, &directives)
    }

    private mutating func finished(
        _ task: TaskID, _ isCancelled: Bool, _ directives: inout [ExecutorDirective]
    ) {
        guard let ended = running, ended.task == task else { return }
        running = nil
        let progress: TaskProgress = isCancelled ? .cancelled : .finished
        if ended.lease == lease, let index = records.firstIndex(where: { $0.number == ended.number }) {
            records[index].progress = progress
            records[index].isRunning = false
        }
        let report = TaskReport(
            lease: LeaseID(node: id.node, number: ended.lease), number: ended.number, progress: progress)
        directives.append(.send(.taskReport(report), to: ended.submitter))
    }

    private mutating func blocked(_ directives: inout [ExecutorDirective]) {
        isBlocked = true
        for index in records.indices where records[index].progress == .accepted && !records[index].isRunning {
            records[index].progress = .returned
            report(records[index].number, .returned, &directives)
        }
    }

    private mutating func runNext(_ directives: inout [ExecutorDirective]) {
        guard running == nil, let submitter,
            let index = records.firstIndex(where: { $0.progress == .accepted }), let task = records[index].task
        else { return }
        records[index].isRunning = true
        running = (task, lease, records[index].number, submitter)
        directives.append(.run(task, execution: records[index].execution))
    }

    private func report(_ number: UInt32, _ progress: TaskProgress, _ directives: inout [ExecutorDirective]) {
        guard let submitter else { return }
        let report = TaskReport(lease: LeaseID(node: id.node, number: lease), number: number, progress: progress)
        directives.append(.send(.taskReport(report), to: submitter))
    }
}
