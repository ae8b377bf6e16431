// The judge of a run: a model of its own of who holds what, which knows nothing of the machines' counters.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

/// Sees what programs do and what the machines answer, and says when that does not fit.
struct Judge {
    var now: UInt64 = 0
    private(set) var violation: Violation?
    var leases = LeaseJudge()
    var actors = ActorJudge()
    var marks: [Mark] = []

    /// An object as programs see it.
    private struct JudgedObject {
        /// Handles of living processes, arguments of open tasks, and places in values that can be reached.
        var references = 0
        var contents: [ObjectID] = []
        /// What its bytes say. Fixed by the first making of it.
        var word: UInt64?
        /// A process that held it has died or was declared dead: what it lent may be gone with it.
        var isTainted = false
    }

    private struct JudgedTask {
        var arguments: [ObjectID]
        var isOpen = true
        /// Attempts that the scheduler has and has not ended.
        var scheduled: UInt32?
    }

    private struct Run: Hashable {
        var task: TaskID
        var attempt: UInt32
    }

    private var objects: [ObjectID: JudgedObject] = [:]
    private var tasks: [TaskID: JudgedTask] = [:]
    private var tasksOfOwner: [WorkerID: [TaskID]] = [:]
    private var runs: Set<Run> = []
    /// Handles by process, so that they end with it. Iterated only to count down, which has no order.
    private var handles: [WorkerID: [ObjectID: Int]] = [:]
    /// Dead, or declared so: nothing that they do counts any more.
    private var gone: Set<WorkerID> = []
    private var goneNodes: Set<NodeID> = []
    private var detached: Set<ObjectID> = []
    private var hasCancelled = false
    private var hasLostCopies = false

    init(_ settings: Settings) {}

    mutating func violate(_ rule: Violation.Rule, _ text: @autoclosure () -> String) {
        if violation == nil { violation = Violation(rule: rule, text: text(), time: now) }
    }

    func isGone(_ worker: WorkerID) -> Bool { gone.contains(worker) || goneNodes.contains(worker.node) }

    // MARK: Handles

    mutating func acquire(_ object: ObjectID, by worker: WorkerID) {
        guard !isGone(worker) else { return }
        handles[worker, default: [:]][object, default: 0] += 1
        reference(object)
    }

    mutating func release(_ object: ObjectID, by worker: WorkerID) {
        guard !isGone(worker) else { return }
        guard let count = handles[worker]?[object], count > 0 else {
            return violate(.brokenInvariant, "the simulator releases \(object) twice")
        }
        handles[worker]?[object] = count > 1 ? count - 1 : nil
        unreference(object)
    }

    private mutating func reference(_ object: ObjectID) {
        objects[object, default: JudgedObject()].references += 1
        guard let judged = objects[object], judged.references == 1 else { return }
        for inner in judged.contents { reference(inner) }
    }

    private mutating func unreference(_ object: ObjectID) {
        guard let judged = objects[object], judged.references > 0 else {
            preconditionFailure("the judge lost count of \(object)")
        }
        objects[object]?.references -= 1
        guard judged.references == 1 else { return }
        for inner in judged.contents { unreference(inner) }
    }

    // MARK: Detached objects

    /// It lives for itself: its owner holds it.
    mutating func detached(_ object: ObjectID, by owner: WorkerID) {
        detached.insert(object)
        acquire(object, by: owner)
    }

    mutating func disowned(_ object: ObjectID, by owner: WorkerID) {
        guard detached.remove(object) != nil else { return }
        release(object, by: owner)
    }

    func isDetached(_ object: ObjectID) -> Bool { detached.contains(object) }

    /// What was not disowned is there, whoever died.
    mutating func expectDetached(_ isKnown: (ObjectID) -> Bool) {
        for object in detached.sorted() where !isKnown(object) {
            violate(.freedWhileReachable, "\(object) is detached, and gone")
        }
    }

    // MARK: Values

    /// A value was made, for the first time or again.
    mutating func produced(_ object: ObjectID, _ value: Value) {
        if let word = objects[object]?.word, word != value.word, value.word != Value.errorWord {
            return violate(.wrongValue, "\(object) was made again with another value")
        }
        let before = objects[object]?.contents ?? []
        if value.word != Value.errorWord { objects[object, default: JudgedObject()].word = value.word }
        objects[object, default: JudgedObject()].contents = value.contents
        guard objects[object]?.references ?? 0 > 0 else { return }
        for inner in value.contents { reference(inner) }
        for inner in before { unreference(inner) }
    }

    mutating func read(_ object: ObjectID, _ value: Value, by worker: WorkerID) {
        guard let word = objects[object]?.word else {
            if value.word != Value.errorWord { violate(.wrongValue, "\(worker) read \(object), which was never made") }
            return
        }
        if value.word != word, value.word != Value.errorWord {
            violate(.wrongValue, "\(worker) read \(value.word) from \(object), which is \(word)")
        }
    }

    /// The owner let go of a value.
    mutating func freed(_ object: ObjectID, by owner: WorkerID) {
        guard !isGone(owner), let judged = objects[object], judged.references > 0, !judged.isTainted else { return }
        violate(.freedWhileReachable, "\(owner) freed \(object) with \(judged.references) references")
    }

    /// A get ended with an error.
    /// - Parameter isWanted: a program waits for the object, or a task that is not forgotten takes it.
    mutating func failed(_ object: ObjectID, _ error: ObjectError, isWanted: Bool, isShort: Bool, late: UInt64) {
        let hasDeaths = !gone.isEmpty || !goneNodes.isEmpty
        switch error.reason {
        case .ownerDied:
            if !isGone(error.object.owner) { inexact(object, error, "its owner lives") }
        case .workerDied(let worker, _):
            if !isGone(worker) { inexact(object, error, "the worker lives") }
        case .lostPut, .lostRetriesDisabled, .lostRetriesExhausted, .lostLineageEvicted, .lostCancelled:
            if !hasDeaths, !hasLostCopies { inexact(object, error, "nothing died") }
        case .outOfScope:
            // The last task that takes an object may end while its scheduler still asks where its arguments are.
            if isWanted, objects[error.object]?.isTainted != true { inexact(object, error, "it can be reached") }
        case .freed, .borrowed, .endOfStream: inexact(object, error, "nobody asked for that")
        case .cancelled:
            if !hasCancelled { inexact(object, error, "nobody cancelled anything") }
        case .taskFailed: break
        case .deadlineExceeded:
            if !isShort { violate(.hangs, "a get of \(object) waited in vain until its deadline") }
        }
        // A late timer of a slow process is no breach; anything beyond is.
        if late > 10_000_000_000 { violate(.lateAnswer, "a get of \(object) ended \(late) ns after its deadline") }
    }

    private mutating func inexact(_ object: ObjectID, _ error: ObjectError, _ why: String) {
        violate(.inexactError, "a get of \(object) ended with '\(error)', but \(why)")
    }

    // MARK: Tasks

    mutating func submitted(_ task: TaskID, arguments: [ObjectID]) {
        tasks[task] = JudgedTask(arguments: arguments)
        tasksOfOwner[task.owner, default: []].append(task)
        for object in arguments { reference(object) }
    }

    private mutating func close(_ task: TaskID) {
        guard let judged = tasks[task], judged.isOpen else { return }
        tasks[task]?.isOpen = false
        for object in judged.arguments { unreference(object) }
    }

    /// It is to run once more: what it takes is needed again.
    mutating func runsAgain(_ task: TaskID) {
        guard let judged = tasks[task], !judged.isOpen, !isGone(task.owner) else { return }
        tasks[task]?.isOpen = true
        for object in judged.arguments { reference(object) }
    }

    func isOpen(_ task: TaskID) -> Bool { tasks[task]?.isOpen ?? false }

    /// The owner will never need it again.
    mutating func forgotten(_ task: TaskID) { close(task) }

    /// A copy vanishes from a store.
    mutating func losesCopy() { hasLostCopies = true }

    /// A program gives up a task.
    mutating func cancels() { hasCancelled = true }

    /// A completion that arrives closes the task: its arguments are needed no more.
    mutating func received(_ envelope: Envelope) {
        if case .completed(let completion) = envelope.message { close(completion.task) }
    }

    mutating func scheduled(_ task: TaskID, attempt: UInt32) {
        if tasks[task]?.scheduled != nil { violate(.brokenInvariant, "\(task) is scheduled twice") }
        tasks[task]?.scheduled = attempt
    }

    mutating func ended(_ task: TaskID, attempt: UInt32) {
        guard tasks[task]?.scheduled == attempt else {
            return violate(.answeredTwice, "attempt \(attempt) of \(task) ended twice")
        }
        tasks[task]?.scheduled = nil
    }

    mutating func ran(_ task: TaskID, attempt: UInt32, on worker: WorkerID) {
        if !runs.insert(Run(task: task, attempt: attempt)).inserted, !isGone(worker) {
            violate(.ranTwice, "attempt \(attempt) of \(task) ran again, on \(worker)")
        }
    }

    // MARK: Life and death

    mutating func joined(_ node: NodeID, cpus: Int) { leases.joined(node, cpus: cpus) }

    mutating func left(_ node: NodeID) { goneNodes.insert(node) }

    mutating func died(_ worker: WorkerID) {
        leases.died(worker)
        lose(worker)
    }

    /// The control store has declared a member dead; it may live on for a while, and nothing it does counts.
    mutating func declared(_ death: Death) {
        switch death.member {
        case .worker(let worker): lose(worker)
        case .node(let node):
            goneNodes.insert(node)
            let lost = handles.keys.filter { $0.node == node }
            for worker in lost { lose(worker) }
        }
    }

    private mutating func lose(_ worker: WorkerID) {
        gone.insert(worker)
        let held = handles.removeValue(forKey: worker) ?? [:]
        for (object, count) in held {
            taint(object)
            for _ in 0..<count { unreference(object) }
        }
        for task in tasksOfOwner.removeValue(forKey: worker) ?? [] { close(task) }
    }

    /// What can be reached through a lost process' object may be lost as well.
    private mutating func taint(_ object: ObjectID) {
        // What is detached outlives whoever held it.
        guard objects[object]?.isTainted == false, !detached.contains(object) else { return }
        objects[object]?.isTainted = true
        for inner in objects[object]?.contents ?? [] { taint(inner) }
    }

    /// Objects that can be reached.
    var reachableCount: Int { objects.values.count { $0.references > 0 } }

    // MARK: Machines

    mutating func inspect(_ machine: borrowing WorkerMachine) {
        if let text = machine.violations().first { violate(.brokenInvariant, "\(machine.id): \(text)") }
    }
}
