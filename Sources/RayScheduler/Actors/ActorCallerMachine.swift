// Calls to actors, at the process that makes them: in order, again after a restart, ended with the actor.

public import RayCore

/// The calls of one process to all its actors. docs/scheduling.md, Calls of actors.
public struct ActorCallerMachine: Sendable {
    private struct Callee: Sendable {
        let actor: ObjectID
        /// Of the run that calls go to, or went to last.
        var incarnation: UInt32 = 0
        /// Nil while it does not run.
        var worker: WorkerID?
        /// A later run, until the death of the one before is heard of: only then it is certain what it has done.
        var next: ActorPlace?
        var isDead = false
        var calls = CallQueue()
        /// Calls that were sent and not reported.
        var underWay = 0
        var lastNumber: UInt64 = 0
        var pause = Duration.zero
    }

    private let configuration: ActorCallerConfiguration
    private var callees: [Callee] = []
    private var calleeOfActor = IndexMap<ObjectID>()
    /// By where it runs, or is to run next: an actor has its process for itself.
    private var calleeOfWorker = IndexMap<WorkerID>()
    private var placeOfTask: [TaskID: (callee: Int, place: Int)] = [:]
    /// When calls of a callee are sent again.
    private var timers = DeadlineHeap()

    public init(configuration: ActorCallerConfiguration = ActorCallerConfiguration()) {
        self.configuration = configuration
    }

    /// Calls that have not ended.
    public var callCount: Int { placeOfTask.count }

    /// When `tick` is due, or `.never`.
    public var nextDeadline: Timestamp { timers.earliest }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(
        _ event: ActorCallerEvent, now: Timestamp, into directives: inout [ActorCallerDirective]
    ) {
        switch event {
        case .submit(let task, let actor): submit(task, to: actor)
        case .ready(let task, let execution): ready(task, execution, now, &directives)
        case .withdraw(let task): withdraw(task, now, &directives)
        case .placed(let place): placed(place, now, &directives)
        case .workerDied(let worker):
            guard let index = calleeOfWorker[worker] else { return }
            died(index, now, &directives) { $0 == worker }
        case .nodeDied(let node):
            for index in callees.indices { died(index, now, &directives) { $0.node == node } }
        case .dead(let actor): dead(callee(of: actor), &directives)
        case .received(.report(let report)): received(report, now, &directives)
        case .received(.call): break
        }
    }

    /// Sends again what was not reported.
    public mutating func tick(now: Timestamp, into directives: inout [ActorCallerDirective]) {
        while let index = timers.popExpired(now) {
            callees[index].pause = min(callees[index].pause * 2, configuration.poll)
            timers.set(index, to: now + callees[index].pause)
            let calls = callees[index].calls
            for place in calls.first..<calls.cursor { transmit(place, index, &directives) }
        }
    }

    private mutating func callee(of actor: ObjectID) -> Int {
        if let index = calleeOfActor[actor] { return index }
        callees.append(Callee(actor: actor))
        calleeOfActor.insert(actor, callees.count - 1)
        return callees.count - 1
    }

    // MARK: Calls

    private mutating func submit(_ task: TaskID, to actor: ObjectID) {
        precondition(placeOfTask[task] == nil, "\(task) was submitted")
        let index = callee(of: actor)
        placeOfTask[task] = (index, callees[index].calls.append(task))
    }

    private mutating func ready(
        _ task: TaskID, _ execution: UInt32, _ now: Timestamp, _ directives: inout [ActorCallerDirective]
    ) {
        guard let (index, place) = placeOfTask[task], execution > callees[index].calls[place].execution,
            callees[index].calls[place].state == .waiting
        else { return }
        callees[index].calls[place].execution = execution
        callees[index].calls[place].state = .ready
        if callees[index].isDead { return end(index, place, .actorDead, &directives) }
        sendReady(index, now, &directives)
    }

    private mutating func withdraw(_ task: TaskID, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        guard let (index, place) = placeOfTask[task] else { return }
        switch callees[index].calls[place].state {
        case .waiting: remove(index, place)
        case .ready: end(index, place, .cancelled, &directives)
        case .sent:
            callees[index].calls[place].state = .sent(isCancelled: true)
            return transmit(place, index, &directives)
        case .over: preconditionFailure("\(task) has a place and is over")
        }
        sendReady(index, now, &directives)
    }

    private mutating func end(
        _ index: Int, _ place: Int, _ end: ActorCallEnd, _ directives: inout [ActorCallerDirective]
    ) {
        let ended = callees[index].calls[place]
        remove(index, place)
        directives.append(.ended(ended.task, execution: ended.execution, end))
    }

    private mutating func remove(_ index: Int, _ place: Int) {
        let call = callees[index].calls[place]
        placeOfTask[call.task] = nil
        callees[index].calls.close(place)
        guard call.isSent else { return }
        callees[index].underWay -= 1
        if callees[index].underWay == 0 { timers.remove(index) }
    }

    // MARK: Sending

    /// Sends what is ready, in order: a call whose inputs are not there holds up those behind it.
    private mutating func sendReady(_ index: Int, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        guard let worker = callees[index].worker else { return }
        while callees[index].underWay < configuration.window, callees[index].calls.cursor < callees[index].calls.end {
            let place = callees[index].calls.cursor
            let call = callees[index].calls[place]
            switch call.state {
            case .over: callees[index].calls.pass(number: callees[index].lastNumber)
            case .waiting: return
            case .sent: preconditionFailure("\(call.task) was sent, and is behind the cursor")
            case .ready:
                callees[index].lastNumber += 1
                callees[index].calls[place].state = .sent(isCancelled: false)
                callees[index].calls.pass(number: callees[index].lastNumber)
                callees[index].underWay += 1
                directives.append(.assigned(call.task, execution: call.execution, to: worker))
                transmit(place, index, &directives)
                guard callees[index].underWay == 1 else { continue }
                callees[index].pause = configuration.retransmission
                timers.set(index, to: now + callees[index].pause)
            }
        }
    }

    private func transmit(_ place: Int, _ index: Int, _ directives: inout [ActorCallerDirective]) {
        let calls = callees[index].calls
        guard let worker = callees[index].worker, case .sent(let isCancelled) = calls[place].state else { return }
        // Calls are sent in order: the first has the lowest number, and what is below it has ended.
        var message = ActorCall(
            actor: callees[index].actor, incarnation: callees[index].incarnation, number: calls[place].number,
            task: calls[place].task, execution: calls[place].execution, settledBelow: calls[calls.first].number)
        message.isCancelled = isCancelled
        directives.append(.send(.call(message), to: worker))
    }

    private mutating func received(
        _ report: ActorReport, _ now: Timestamp, _ directives: inout [ActorCallerDirective]
    ) {
        guard let index = calleeOfActor[report.actor], callees[index].incarnation == report.incarnation,
            callees[index].worker != nil, let place = callees[index].calls.place(of: report.number)
        else { return }
        end(index, place, report.isCancelled ? .cancelled : .finished, &directives)
        sendReady(index, now, &directives)
    }

    // MARK: The actor's life

    private mutating func placed(_ place: ActorPlace, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        let index = callee(of: place.actor)
        let known = callees[index].next?.incarnation ?? callees[index].incarnation
        guard !callees[index].isDead, place.incarnation > known else { return }
        if let skipped = callees[index].next { _ = calleeOfWorker.remove(skipped.worker) }
        calleeOfWorker.insert(place.worker, index)
        callees[index].next = place
        goOn(index, now, &directives)
    }

    /// Turns to the next run, if there is one and the one before is dead.
    private mutating func goOn(_ index: Int, _ now: Timestamp, _ directives: inout [ActorCallerDirective]) {
        guard callees[index].worker == nil, let place = callees[index].next else { return }
        (callees[index].incarnation, callees[index].worker) = (place.incarnation, place.worker)
        callees[index].next = nil
        sendReady(index, now, &directives)
    }

    private mutating func died(
        _ index: Int, _ now: Timestamp, _ directives: inout [ActorCallerDirective], _ isDead: (WorkerID) -> Bool
    ) {
        if let next = callees[index].next, isDead(next.worker) {
            callees[index].next = nil
            _ = calleeOfWorker.remove(next.worker)
        }
        guard let worker = callees[index].worker, isDead(worker) else { return }
        lost(index, &directives)
        goOn(index, now, &directives)
    }

    /// What was under way keeps its place: its owner says whether it runs again, and then it goes before what is behind
    /// it.
    private mutating func lost(_ index: Int, _ directives: inout [ActorCallerDirective]) {
        guard let worker = callees[index].worker else { return }
        callees[index].worker = nil
        _ = calleeOfWorker.remove(worker)
        for place in callees[index].calls.first..<callees[index].calls.cursor
        where callees[index].calls[place].isSent {
            callees[index].calls[place].state = .waiting
            let ended = callees[index].calls[place]
            directives.append(.ended(ended.task, execution: ended.execution, .died))
        }
        callees[index].calls.rewind()
        (callees[index].underWay, callees[index].lastNumber) = (0, 0)
        timers.remove(index)
    }

    /// What is under way goes on until its process is dead too.
    private mutating func dead(_ index: Int, _ directives: inout [ActorCallerDirective]) {
        callees[index].isDead = true
        if let next = callees[index].next.take() { _ = calleeOfWorker.remove(next.worker) }
        for place in callees[index].calls.first..<callees[index].calls.end
        where callees[index].calls[place].state == .ready {
            end(index, place, .actorDead, &directives)
        }
    }
}
