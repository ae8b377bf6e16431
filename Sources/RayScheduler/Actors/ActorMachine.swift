// An actor: it runs the calls of each caller in their order, each once, one at a time.

internal import RayCore

/// The calls at one incarnation of an actor. docs/scheduling.md, Calls of actors.
public struct ActorMachine: Sendable {
    /// The calls of one caller.
    private struct Lane: Sendable {
        let caller: WorkerID
        /// The number whose turn it is to be taken in.
        var next: UInt64 = 1
        /// What came before its turn.
        var early: [ActorCall] = []
        /// How calls ended that the caller may ask about again.
        var ended: [(number: UInt64, isCancelled: Bool)] = []
        var isDead = false
    }

    /// So far ahead of its turn a call may come; beyond it is ignored, and comes again.
    private static let earlyLimit: UInt64 = 4096

    public let place: ActorPlace
    private var lanes: [Lane] = []
    private var laneOfCaller = IndexMap<WorkerID>()
    /// Taken in, in the order in which they run.
    private var queue = Fifo<ActorCall>()
    private var running: ActorCall?

    public init(place: ActorPlace) { self.place = place }

    /// Takes in an event and appends what is to be done to `directives`.
    public mutating func handle(_ event: ActorEvent, into directives: inout [ActorDirective]) {
        switch event {
        case .received(.call(let call)): received(call, &directives)
        case .received(.report): break
        case .finished(let task, let isCancelled):
            guard let call = running, call.task == task else { return }
            running = nil
            end(call, isCancelled: isCancelled, &directives)
        case .callerDied(let caller): close(lane(of: caller), &directives)
        case .nodeDied(let node):
            for index in lanes.indices where lanes[index].caller.node == node { close(index, &directives) }
        }
        runNext(&directives)
    }

    private mutating func close(_ index: Int, _ directives: inout [ActorDirective]) {
        let caller = lanes[index].caller
        lanes[index] = Lane(caller: caller, isDead: true)
        if let call = running, call.task.owner == caller { directives.append(.interrupt(call.task)) }
    }

    private mutating func lane(of caller: WorkerID) -> Int {
        if let index = laneOfCaller[caller] { return index }
        lanes.append(Lane(caller: caller))
        laneOfCaller.insert(caller, lanes.count - 1)
        return lanes.count - 1
    }

    private mutating func received(_ call: ActorCall, _ directives: inout [ActorDirective]) {
        guard call.actor == place.actor, call.incarnation == place.incarnation else { return }
        let index = lane(of: call.task.owner)
        guard !lanes[index].isDead else { return }
        lanes[index].ended.removeAll { $0.number < call.settledBelow }
        guard call.number >= lanes[index].next else { return repeated(call, index, &directives) }
        guard call.number - lanes[index].next < Self.earlyLimit else { return }
        if let place = lanes[index].early.firstIndex(where: { $0.number == call.number }) {
            // A cancellation counts, whichever copy comes first.
            lanes[index].early[place].isCancelled = call.isCancelled || lanes[index].early[place].isCancelled
        } else {
            lanes[index].early.append(call)
        }
        while let place = lanes[index].early.firstIndex(where: { $0.number == lanes[index].next }) {
            queue.append(lanes[index].early.remove(at: place))
            lanes[index].next += 1
        }
    }

    /// A call that was taken in: its end is said again, or it is given up.
    private mutating func repeated(_ call: ActorCall, _ index: Int, _ directives: inout [ActorDirective]) {
        if let ended = lanes[index].ended.first(where: { $0.number == call.number }) {
            return report(call, isCancelled: ended.isCancelled, &directives)
        }
        guard call.isCancelled else { return }
        if let current = running, current.isSame(as: call), !current.isCancelled {
            running?.isCancelled = true
            directives.append(.interrupt(call.task))
        } else {
            queue.change { if $0.isSame(as: call) { $0.isCancelled = true } }
        }
    }

    private mutating func runNext(_ directives: inout [ActorDirective]) {
        while running == nil, let call = queue.popFirst() {
            guard !lanes[lane(of: call.task.owner)].isDead else { continue }
            guard !call.isCancelled else {
                end(call, isCancelled: true, &directives)
                continue
            }
            running = call
            directives.append(.run(call.task, execution: call.execution))
        }
    }

    private mutating func end(_ call: ActorCall, isCancelled: Bool, _ directives: inout [ActorDirective]) {
        let index = lane(of: call.task.owner)
        guard !lanes[index].isDead else { return }
        lanes[index].ended.append((call.number, isCancelled))
        report(call, isCancelled: isCancelled, &directives)
    }

    private func report(_ call: ActorCall, isCancelled: Bool, _ directives: inout [ActorDirective]) {
        let report = ActorReport(
            actor: place.actor, incarnation: place.incarnation, number: call.number, isCancelled: isCancelled)
        directives.append(.send(.report(report), to: call.task.owner))
    }
}

extension ActorCall {
    fileprivate func isSame(as other: ActorCall) -> Bool {
        number == other.number && task.owner == other.task.owner
    }
}
