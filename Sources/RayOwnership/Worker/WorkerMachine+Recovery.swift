// What is done when copies are lost: another one is pinned, or the task runs again.

internal import RayCore

extension WorkerMachine {
    mutating func recoverByRequest(_ object: ObjectID) {
        guard object.owner == id else {
            return directives.append(.recoveryRefused(object, ObjectError(object, .borrowed)))
        }
        guard let slot = find(object) else {
            return directives.append(.recoveryRefused(object, ObjectError(object, .outOfScope)))
        }
        recoverSoon(slot)
    }

    /// Looks after an own object at the end of this event. Chains of inputs may be long.
    mutating func recoverSoon(_ slot: Slot) {
        guard !objects[slot].flags.contains(.isInRecoveryQueue) else { return }
        objects[slot].flags.insert(.isInRecoveryQueue)
        recoveryQueue.append(slot)
    }

    mutating func drainRecovery() {
        while let slot = recoveryQueue.popFirst() {
            guard objects[slot].flags.contains(.isInRecoveryQueue) else { continue }
            objects[slot].flags.remove(.isInRecoveryQueue)
            recover(slot)
        }
    }

    /// Does the first of these that helps: nothing, if the value is there and pinned; another copy is pinned; the task
    /// runs again; the object fails with the reason why not.
    private mutating func recover(_ slot: Slot) {
        switch objects[slot].value {
        case .pending, .recovering, .failed: return
        case .sealed:
            guard objects[slot].inline == nil else { return }
            if objects[slot].copies > 0 { return pinOne(slot) }
            // While a node is asked whether it has its copy, the copy is not lost.
            guard !hasSuspect(slot) else { return }
            orderAllFreed(slot)
            objects[slot].value = .lost
            tellFollowers(slot)
        case .lost, .released: break
        }
        guard needsValue(slot) else { return touch(slot) }
        makeAgain(slot)
    }

    private mutating func makeAgain(_ slot: Slot) {
        let task = objects[slot].task
        guard task != .absent, tasks[task].state != .finished || tasks[task].canRunAgain else {
            let refusal = task == .absent ? objects[slot].refusal : tasks[task].refusal
            let error = ObjectError(objects[slot].id, refusal.reason)
            directives.append(.recoveryRefused(objects[slot].id, error))
            return fail(slot, error)
        }
        let wasReleased = objects[slot].value == .released
        objects[slot].value = wasReleased ? .pending : .recovering
        if wasReleased { tellFollowers(slot) }
        runAgain(task)
    }

    /// Makes sure that one copy stays whatever happens.
    private mutating func pinOne(_ slot: Slot) {
        guard objects[slot].primary == .absent, let pair = firstReadable(slot) else { return }
        let node = locations[pair].party
        objects[slot].primary = node
        statistics.recoveredByPin += 1
        let copy = CopyID(object: objects[slot].id, attempt: objects[slot].attempt)
        send(.pin(copy), to: .raylet(of: nodes[node].id))
    }

    private func firstReadable(_ slot: Slot) -> Slot? {
        var pair = objects[slot].locations
        while pair != .absent {
            if locations[pair].payload.isReadable { return pair }
            pair = locations.next(after: pair, in: objects[slot].locations)
        }
        return nil
    }

    private func hasSuspect(_ slot: Slot) -> Bool {
        var pair = objects[slot].locations
        while pair != .absent {
            if locations[pair].payload.isSuspect { return true }
            pair = locations.next(after: pair, in: objects[slot].locations)
        }
        return false
    }
}
