// The control store's side of placement groups as a machine without I/O.

public import RayCore

/// Places groups in two phases: all bundles of an attempt are reserved, or none; then all are opened to tasks.
///
/// Steps are repeated until answered or their node is dead. Attempts of a group count up, over restarts of the
/// control store too, and a node ignores older ones: so no step that comes late undoes a newer one. When a bundle's
/// node dies, the bundles that it had are placed anew and the others stay.
public struct GroupCoordinator: Sendable {
    private enum Phase: Sendable {
        /// To be placed when its time comes.
        case waiting
        case preparing
        case committing
        case placed
        /// What was reserved goes back; then it is tried again.
        case aborting
        /// All goes back; then it is gone.
        case removing
    }

    /// A step that a node has not answered.
    private struct Step: Sendable {
        let node: NodeID
        let bundles: [Int]
    }

    private struct Group: Sendable {
        let specification: GroupSpecification
        var phase = Phase.waiting
        var attempt: UInt64 = 0
        /// By bundle; nil where it is to be placed.
        var nodes: [NodeID?]
        /// Bundles that were reserved by this attempt.
        var fresh: [Int] = []
        var steps: [Step] = []
        var backoff: Duration
    }

    public let configuration: GroupConfiguration
    private var random: SeededRandom
    private var lastAttempt: UInt64
    private var groups: [Group] = []
    private var slots = SlotPool()
    private var slotOfGroup: [GroupID: Int] = [:]
    private var timers = DeadlineHeap()

    /// - Parameters:
    ///   - incarnation: of the control store; a higher one after each restart.
    ///   - configuration: times and bounds.
    ///   - seed: of the draws among equally good nodes.
    public init(incarnation: UInt32, configuration: GroupConfiguration = GroupConfiguration(), seed: UInt64) {
        self.configuration = configuration
        random = SeededRandom(seed: seed)
        lastAttempt = UInt64(incarnation) << 32
    }

    public var groupCount: Int { slots.used }

    public mutating func handle(
        _ event: GroupEvent, now: Timestamp, view: inout ClusterView, into directives: inout [GroupDirective]
    ) {
        switch event {
        case .create(let specification): create(specification, now, &view, &directives)
        case .remove(let group): remove(group, now, &view, &directives)
        case .received(.bundlesAnswer(let answer), .node(let node)):
            received(answer, node, now, &view, &directives)
        case .received: return
        case .nodeDied(let node): nodeDied(node, now, &view, &directives)
        }
    }

    // MARK: Time

    /// When `tick` is due; `.never` if nothing waits for time.
    public var nextDeadline: Timestamp { timers.earliest }

    /// Does what time has made due. Calling it early or often is harmless.
    public mutating func tick(now: Timestamp, view: inout ClusterView, into directives: inout [GroupDirective]) {
        while let slot = timers.popExpired(now) {
            switch groups[slot].phase {
            case .waiting: place(slot, now, &view, &directives)
            case .preparing, .committing, .aborting, .removing: sendSteps(slot, now, &directives)
            case .placed: break
            }
        }
    }

    // MARK: Users

    private mutating func create(
        _ specification: GroupSpecification, _ now: Timestamp, _ view: inout ClusterView,
        _ directives: inout [GroupDirective]
    ) {
        if let slot = slotOfGroup[specification.id] {
            if groups[slot].phase == .placed { sayPlaced(slot, &directives) }
            return
        }
        let slot = slots.take()
        let group = Group(
            specification: specification, nodes: Array(repeating: nil, count: specification.bundles.count),
            backoff: configuration.retry)
        if slot == groups.count { groups.append(group) } else { groups[slot] = group }
        slotOfGroup[specification.id] = slot
        place(slot, now, &view, &directives)
    }

    private mutating func remove(
        _ id: GroupID, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [GroupDirective]
    ) {
        guard let slot = slotOfGroup[id] else { return directives.append(.removed(id)) }
        guard groups[slot].phase != .removing else { return }
        // What a failed attempt gives back is reserved still, as far as is known.
        if groups[slot].phase == .aborting {
            for step in groups[slot].steps {
                for bundle in step.bundles { groups[slot].nodes[bundle] = step.node }
            }
        }
        giveBack(slot, groups[slot].nodes.indices.filter { groups[slot].nodes[$0] != nil }, .removing, now, &directives)
        // One that has no bundle anywhere is gone at once.
        advance(slot, now, &view, &directives)
    }

    private func sayPlaced(_ slot: Int, _ directives: inout [GroupDirective]) {
        directives.append(.placed(groups[slot].specification.id, nodes: groups[slot].nodes.compactMap { $0 }))
    }

    // MARK: Phases

    private mutating func place(
        _ slot: Int, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [GroupDirective]
    ) {
        var placement = GroupPlacement(
            specification: groups[slot].specification, nodes: groups[slot].nodes, random: random, now: now)
        let failure = placement.choose(&view)
        random = placement.random
        if let failure { return wait(slot, failure, now, &directives) }
        lastAttempt += 1
        groups[slot].attempt = lastAttempt
        groups[slot].fresh = groups[slot].nodes.indices.filter { groups[slot].nodes[$0] == nil }
        groups[slot].nodes = placement.nodes
        groups[slot].phase = .preparing
        groups[slot].steps = steps(slot, groups[slot].fresh)
        sendSteps(slot, now, &directives)
    }

    private mutating func wait(
        _ slot: Int, _ reason: GroupWait, _ now: Timestamp, _ directives: inout [GroupDirective]
    ) {
        groups[slot].phase = .waiting
        timers.set(slot, to: now + groups[slot].backoff)
        groups[slot].backoff = min(groups[slot].backoff * 3 / 2, configuration.longestRetry)
        directives.append(.waiting(groups[slot].specification.id, reason))
    }

    /// One step for each node of these bundles.
    private func steps(_ slot: Int, _ bundles: [Int]) -> [Step] {
        var steps: [Step] = []
        for bundle in bundles {
            guard let node = groups[slot].nodes[bundle] else { continue }
            if let known = steps.firstIndex(where: { $0.node == node }) {
                steps[known] = Step(node: node, bundles: steps[known].bundles + [bundle])
            } else {
                steps.append(Step(node: node, bundles: [bundle]))
            }
        }
        return steps
    }

    private mutating func sendSteps(_ slot: Int, _ now: Timestamp, _ directives: inout [GroupDirective]) {
        let group = groups[slot]
        let id = group.specification.id
        for step in group.steps {
            let ids = step.bundles.map { BundleID(group: id, index: UInt32($0)) }
            let message: BundleStep
            switch group.phase {
            case .preparing:
                message = .prepare(
                    step.bundles.map {
                        BundleDemand(
                            id: BundleID(group: id, index: UInt32($0)), demand: group.specification.bundles[$0])
                    })
            case .committing: message = .commit(ids)
            case .aborting, .removing: message = .release(ids)
            case .waiting, .placed: preconditionFailure("\(id) has steps while it is \(group.phase)")
            }
            directives.append(
                .send(
                    .bundles(BundleRequest(group: id, attempt: group.attempt, step: message)), to: .node(step.node)))
        }
        timers.set(slot, to: now + configuration.retransmission)
    }

    /// Gives bundles back under a new attempt, so that nothing of the old one can come late.
    private mutating func giveBack(
        _ slot: Int, _ bundles: [Int], _ phase: Phase, _ now: Timestamp, _ directives: inout [GroupDirective]
    ) {
        lastAttempt += 1
        groups[slot].attempt = lastAttempt
        groups[slot].phase = phase
        groups[slot].steps = steps(slot, bundles)
        for bundle in bundles { groups[slot].nodes[bundle] = nil }
        sendSteps(slot, now, &directives)
    }

    private mutating func received(
        _ answer: BundleAnswer, _ node: NodeID, _ now: Timestamp, _ view: inout ClusterView,
        _ directives: inout [GroupDirective]
    ) {
        guard let slot = slotOfGroup[answer.group], groups[slot].attempt == answer.attempt,
            let step = groups[slot].steps.firstIndex(where: { $0.node == node })
        else { return }
        switch (groups[slot].phase, answer.result) {
        case (.preparing, .refused), (.committing, .unknown):
            directives.append(.waiting(answer.group, .refused(node)))
            giveBack(slot, groups[slot].fresh, .aborting, now, &directives)
            return advance(slot, now, &view, &directives)
        case (.preparing, .prepared), (.committing, .committed), (.aborting, .released), (.removing, .released):
            groups[slot].steps.remove(at: step)
            advance(slot, now, &view, &directives)
        case (.waiting, _), (.preparing, _), (.committing, _), (.placed, _), (.aborting, _), (.removing, _): return
        }
    }

    /// All steps of a phase are answered: the next begins.
    private mutating func advance(
        _ slot: Int, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [GroupDirective]
    ) {
        guard groups[slot].steps.isEmpty else { return }
        switch groups[slot].phase {
        case .waiting, .placed: return
        case .preparing:
            groups[slot].phase = .committing
            groups[slot].steps = steps(slot, groups[slot].fresh)
            if groups[slot].steps.isEmpty { return advance(slot, now, &view, &directives) }
            sendSteps(slot, now, &directives)
        case .committing:
            timers.remove(slot)
            groups[slot].backoff = configuration.retry
            if groups[slot].nodes.contains(nil) { return place(slot, now, &view, &directives) }
            groups[slot].phase = .placed
            sayPlaced(slot, &directives)
        case .aborting:
            groups[slot].phase = .waiting
            timers.set(slot, to: now + groups[slot].backoff)
            groups[slot].backoff = min(groups[slot].backoff * 3 / 2, configuration.longestRetry)
        case .removing:
            timers.remove(slot)
            let id = groups[slot].specification.id
            slotOfGroup[id] = nil
            slots.give(slot)
            directives.append(.removed(id))
        }
    }

    private mutating func nodeDied(
        _ node: NodeID, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [GroupDirective]
    ) {
        view.nodeDied(node)
        for slot in groups.indices where slotOfGroup[groups[slot].specification.id] == slot {
            let isHit = groups[slot].nodes.contains(node) || groups[slot].steps.contains { $0.node == node }
            guard isHit else { continue }
            for bundle in groups[slot].nodes.indices where groups[slot].nodes[bundle] == node {
                groups[slot].nodes[bundle] = nil
            }
            groups[slot].steps.removeAll { $0.node == node }
            if groups[slot].phase == .placed {
                place(slot, now, &view, &directives)
            } else {
                advance(slot, now, &view, &directives)
            }
        }
    }
}
