// Calls to actors, at the process that makes them: in order, again after a restart, ended with the actor.

public import RayCore

/// The calls of one process to all its actors. docs/scheduling.md, Calls of actors.
public struct ActorCallerMachine: Sendable {
    /// A call from its submission until it has ended for good, in the order of submission.
    private struct Call: Sendable {
        let task: TaskID
        /// Grows with each call of the process.
        let order: UInt64
        /// Of the execution that may run; 0 before the first.
        var execution: UInt32 = 0
        var state = State.waiting

        enum State: Equatable, Sendable {
            /// For its inputs, or for its owner's word that it runs again.
            case waiting
            case ready
            case sent(number: UInt64, isCancelled: Bool)
        }
    }

    private struct Callee: Sendable {
        let actor: ObjectID
        /// The latest that is known of.
        var incarnation: UInt32 = 0
        /// Nil while it does not run.
        var worker: WorkerID?
        var isDead = false
        var calls: [Call] = []
        /// Calls before this one were sent.
        var next = 0
        var lastNumber: UInt64 = 0
        var repeatAt = Timestamp.never
        var pause = Duration.zero
    }

    private let configuration: ActorCallerConfiguration
    private var callees: [Callee] = []
    private var calleeOfActor = IndexMap<ObjectID>()
    private var placeOfTask: [TaskID: (callee: Int, order: UInt64)] = [:]
    private var lastOrder: UInt64 = 0

    public init(configuration: ActorCallerConfiguration = ActorCallerConfiguration()) {
        self.configuration = configuration
    }

    /// Calls that have not ended.
    public var callCount: Int { callees.reduce(0) { $0 + $1.calls.count } }

    /// When `tick` is due, or `.never`.
    public var nextDeadline: Timestamp { callees.reduce(.never) { min($0, $1.repeatAt) } }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(
        _ event: ActorCallerEvent, now: Timestamp, into directives: inout [ActorCallerDirective]
    ) {
        switch event {
        case .submit(let task, let actor): submit(task, to: actor)
        case .ready(let task, let execution): ready(task, execution, now, &directives)
        case .withdraw(let task): withdraw(task, now, &directives)
        case .placed(let place): placed(place, now, &directives)
        case .lost(let actor): if let index = calleeOfActor[actor] { lost(index, &directives) }
        case .dead(let actor): dead(callee(of: actor), &directives)
        case .received(.report(let report)): received(report, now, &directives)
        case .received(.call): break
        }
    }

    /// Sends again what was not reported.
    public mutating func tick(now: Timestamp, into directives: inout [ActorCallerDirective]) {
        for index in callees.indices where callees[index].repeatAt <= now {
            callees[index].pause = min(callees[index].pause * 2, configuration.poll)
            callees[index].repeatAt = now + callees[index].pause
            for call in callees[index].calls[..<callees[index].next] { transmit(call, index, &directives) }
        }
    }

    private mutating func callee(of actor: ObjectID) -> Int {
        if let index = calleeOfActor[actor] { return index }
        callees.append(Callee(actor: actor))
        calleeOfActor.insert(actor, callees.count - 1)
        return callees.count - 1
    }

    private func find(_ task: TaskID) -> (callee: Int, call: Int)? {
        guard let place = placeOfTask[task] else { return nil }
        let calls = callees[place.callee].calls
        var (low, high) = (0, calls.count)
        while low < high {
            let middle = (low + high) / 2
            if calls[middle].order < place.order { low = middle + 1 } else { high = middle }
        }
        return (place.callee, low)
    }

    // MARK: Calls

    private mutating func submit(_ task: TaskID, to actor: ObjectID) {
        precondition(placeOfTask[task] == nil, "\(task) was submitted")
        let index = callee(of: actor)
        lastOrder += 1
        callees[index].calls.append(Call(task: task, order: lastOrder))
        placeOfTask[task] = (index, lastOrder)
    }

    private mutating func ready(
        _ task: TaskID, _ execution: UInt32, _ now: Timestamp, _ directives: inout [ActorCallerDirective]
    ) {
        guard let (index, call) = find(task), execution > callees[index].calls[call].execution,
            callees[index].calls[call].state == .waiting
        else { return }
        callees[index].calls[call].execution = execution
        callees[index].calls[call].state = .ready
        if callees[index].isDead { return end(index, call, .actorDead, &directives) }
        sendReady(index, now, &directives)
    }

    private mutating func withdraw(_ task: TaskID, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        guard let (index, call) = find(task) else { return }
        switch callees[index].calls[call].state {
        case .waiting: remove(index, call)
        case .ready: end(index, call, .cancelled, &directives)
        case .sent(let number, _):
            callees[index].calls[call].state = .sent(number: number, isCancelled: true)
            return transmit(callees[index].calls[call], index, &directives)
        }
        sendReady(index, now, &directives)
    }

    private mutating func end(
        _ index: Int, _ call: Int, _ end: ActorCallEnd, _ directives: inout [ActorCallerDirective]
    ) {
        let ended = callees[index].calls[call]
        remove(index, call)
        directives.append(.ended(ended.task, execution: ended.execution, end))
    }

    private mutating func remove(_ index: Int, _ call: Int) {
        placeOfTask[callees[index].calls[call].task] = nil
        callees[index].calls.remove(at: call)
        if call < callees[index].next { callees[index].next -= 1 }
        if callees[index].next == 0 { callees[index].repeatAt = .never }
    }

    // MARK: Sending

    /// Sends what is ready, in order: a call whose inputs are not there holds up those behind it.
    private mutating func sendReady(_ index: Int, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        guard let worker = callees[index].worker else { return }
        while callees[index].next < min(callees[index].calls.count, configuration.window),
            callees[index].calls[callees[index].next].state == .ready
        {
            let call = callees[index].next
            callees[index].next += 1
            callees[index].lastNumber += 1
            callees[index].calls[call].state = .sent(number: callees[index].lastNumber, isCancelled: false)
            let sent = callees[index].calls[call]
            directives.append(.assigned(sent.task, execution: sent.execution, to: worker))
            transmit(sent, index, &directives)
            guard callees[index].repeatAt == .never else { continue }
            callees[index].pause = configuration.retransmission
            callees[index].repeatAt = now + callees[index].pause
        }
    }

    private func transmit(_ call: Call, _ index: Int, _ directives: inout [ActorCallerDirective]) {
        guard let worker = callees[index].worker, case .sent(let number, let isCancelled) = call.state,
            // Calls are sent in order: the first has the lowest number, and what is below it has ended.
            case .sent(let settledBelow, _)? = callees[index].calls.first?.state
        else { return }
        var message = ActorCall(
            actor: callees[index].actor, incarnation: callees[index].incarnation, number: number, task: call.task,
            execution: call.execution, settledBelow: settledBelow)
        message.isCancelled = isCancelled
        directives.append(.send(.call(message), to: worker))
    }

    private mutating func received(
        _ report: ActorReport, _ now: Timestamp, _ directives: inout [ActorCallerDirective]
    ) {
        guard let index = calleeOfActor[report.actor], callees[index].incarnation == report.incarnation,
            let call = callees[index].calls[..<callees[index].next].firstIndex(where: { call in
                if case .sent(report.number, _) = call.state { true } else { false }
            })
        else { return }
        end(index, call, report.isCancelled ? .cancelled : .finished, &directives)
        sendReady(index, now, &directives)
    }

    // MARK: The actor's life

    private mutating func placed(_ place: ActorPlace, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        let index = callee(of: place.actor)
        guard !callees[index].isDead, place.incarnation > callees[index].incarnation else { return }
        // News of the restart may come before that of the death.
        lost(index, &directives)
        (callees[index].incarnation, callees[index].worker) = (place.incarnation, place.worker)
        sendReady(index, now, &directives)
    }

    /// What was under way keeps its place: its owner says whether it runs again, and then it goes before what is behind it.
    private mutating func lost(_ index: Int, _ directives: inout [ActorCallerDirective]) {
        callees[index].worker = nil
        for call in 0..<callees[index].next {
            callees[index].calls[call].state = .waiting
            let ended = callees[index].calls[call]
            directives.append(.ended(ended.task, execution: ended.execution, .died))
        }
        (callees[index].next, callees[index].lastNumber, callees[index].repeatAt) = (0, 0, .never)
    }

    private mutating func dead(_ index: Int, _ directives: inout [ActorCallerDirective]) {
        lost(index, &directives)
        callees[index].isDead = true
        while let call = callees[index].calls.firstIndex(where: { $0.state == .ready }) {
            end(index, call, .actorDead, &directives)
        }
    }
}
