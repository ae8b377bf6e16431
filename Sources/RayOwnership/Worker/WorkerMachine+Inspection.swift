// What a machine shows of itself: to people, to tests and to the simulator.

public import RayCore

/// An object as a process sees it.
public struct ObjectSummary: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case pending, inline, stored, lost, recovering, released
        case failed(ObjectError)
        /// Somebody else's; whether the owner has acknowledged this process.
        case borrowed(isRegistered: Bool)
    }

    public var state: State
    /// The making of the value; 0 before the first.
    public var attempt: UInt32
    public var size: UInt64
    public var handles: Int
    public var tasks: Int
    public var containers: Int
    public var loans: Int
    public var lineage: Int
    public var borrowers: [WorkerID]
    public var locations: [NodeID]
}

extension WorkerMachine {
    /// Objects that this process knows, its own and borrowed ones.
    public var objectCount: Int { objects.count }
    public var taskCount: Int { tasks.count }
    public var executionCount: Int { executions.count }
    public var peerCount: Int { links.count }

    public func knows(_ object: ObjectID) -> Bool { find(object) != nil }

    /// Whether a task that this process has submitted is to end yet. Not so while it is only kept to make values again.
    public func isUnderWay(_ task: TaskID) -> Bool {
        guard task.owner == id, let slot = taskOfSequence[task.sequence] else { return false }
        return tasks[slot].state != .finished
    }

    /// Whether the process was declared dead, by itself or with its node, as far as is known and remembered here.
    public func isKnownDead(_ worker: WorkerID) -> Bool { deaths.death(of: worker) != nil }

    /// What this process knows of an object; nil if nothing.
    /// - Complexity: linear in its borrowers and locations.
    public func summary(of object: ObjectID) -> ObjectSummary? {
        guard let slot = find(object) else { return nil }
        let record = objects[slot]
        var borrowing: [WorkerID] = []
        var pair = record.borrowers
        while pair != .absent {
            borrowing.append(links.peer(borrowers[pair].party))
            pair = borrowers.next(after: pair, in: record.borrowers)
        }
        return ObjectSummary(
            state: state(of: slot), attempt: record.attempt, size: record.size, handles: Int(record.handles),
            tasks: Int(record.tasks), containers: Int(record.containers), loans: Int(record.loans),
            lineage: Int(record.lineage),
            borrowers: borrowing, locations: located(slot, startingAt: 0).locations.map(\.node))
    }

    private func state(of slot: Slot) -> ObjectSummary.State {
        let failure = ObjectSummary.State.failed(errors[slot] ?? ObjectError(objects[slot].id, .outOfScope))
        switch objects[slot].role {
        case .guarded, .registering: return .borrowed(isRegistered: false)
        case .registered: return .borrowed(isRegistered: true)
        case .ended: return failure
        case .owner: break
        }
        switch objects[slot].value {
        case .pending: return .pending
        case .sealed: return objects[slot].inline == nil ? .stored : .inline
        case .lost: return .lost
        case .recovering: return .recovering
        case .released: return .released
        case .failed: return failure
        }
    }

    /// Objects in the order of their records, which is the same in each run.
    public func forEachObject(_ body: (ObjectID) -> Void) {
        for slot in 0..<objects.end where find(objects[slot].id) == slot { body(objects[slot].id) }
    }

    /// Checks counts against what they count, and lists against tables. Linear in the state.
    /// - Returns: a text for each rule that is broken.
    public func violations() -> [String] {
        var expected: [Slot: Expected] = [:]
        for slot in 0..<objects.end where find(objects[slot].id) == slot {
            for inner in objects[slot].contents { expected[inner, default: Expected()].containers += 1 }
        }
        for (_, task) in taskOfSequence {
            for argument in tasks[task].arguments {
                expected[argument, default: Expected()].lineage += 1
                if tasks[task].state != .finished { expected[argument, default: Expected()].tasks += 1 }
            }
        }
        for (_, execution) in executionOfTask {
            for argument in executions[execution].arguments { expected[argument, default: Expected()].tasks += 1 }
        }
        var broken: [String] = []
        for slot in 0..<objects.end where find(objects[slot].id) == slot {
            broken += violations(of: slot, expected[slot] ?? Expected())
        }
        if objects.count != ownObjects.count + borrowedObjects.count { broken.append("records without an index") }
        if !scopeQueue.isEmpty || !recoveryQueue.isEmpty || !failedTasks.isEmpty { broken.append("work left undone") }
        return broken
    }

    private struct Expected {
        var containers: UInt32 = 0
        var tasks: UInt32 = 0
        var lineage: UInt32 = 0
    }

    private func violations(of slot: Slot, _ expected: Expected) -> [String] {
        let record = objects[slot]
        var broken: [String] = []
        func check(_ isRight: Bool, _ text: String) {
            if !isRight { broken.append("\(record.id) at \(id): \(text)") }
        }
        check(record.containers == expected.containers, "\(record.containers) containers, not \(expected.containers)")
        check(record.tasks == expected.tasks, "\(record.tasks) tasks, not \(expected.tasks)")
        check(record.lineage == expected.lineage, "\(record.lineage) lineage, not \(expected.lineage)")
        check((record.role == .owner) == (record.id.owner == id), "role \(record.role)")
        if record.role == .owner {
            check(needsValue(slot) || record.lineage > 0, "nobody needs it")
            check(needsValue(slot) || record.value != .sealed, "its value is kept for nobody")
            check(record.value != .released || record.lineage > 0, "released without lineage")
            check(record.value == .sealed || record.copies == 0 || record.value == .recovering, "copies of no value")
            check(record.value != .failed || errors[slot] != nil, "failed without an error")
        } else {
            check(
                record.isHeldHere || record.lineage > 0 || record.kept != .absent, "borrowed and not held")
            check(record.role != .ended || errors[slot] != nil, "ended without an error")
            check(record.role != .guarded || record.keeper != .nobody, "nobody keeps it")
            check(record.role != .registered || record.keeper == .nobody, "registered, and \(record.keeper) keeps it")
            check(record.waiters == .absent || record.flags.contains(.isFollowing), "waits for nothing")
        }
        return broken
    }
}
