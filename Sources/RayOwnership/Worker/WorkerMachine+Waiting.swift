// Gets and tasks that wait for an object.

internal import RayCore

extension WorkerMachine {
    // MARK: Gets

    mutating func get(_ object: ObjectID, _ token: UInt64, _ deadline: Timestamp) {
        precondition(waiterOfToken[token] == nil, "waiter \(token) waits already")
        guard let slot = find(object) else {
            return deliver(token, .failed(ObjectError(object, .outOfScope)))
        }
        if let outcome = outcome(of: slot) { return deliver(token, outcome) }
        guard deadline > now else { return deliver(token, .failed(ObjectError(object, .deadlineExceeded))) }
        let waiter = wait(for: slot, .get(token))
        waiterOfToken[token] = waiter
        getDeadlines.set(Int(waiter), to: deadline)
    }

    mutating func cancelGet(_ token: UInt64) {
        guard let waiter = waiterOfToken[token] else { return }
        endGet(waiter, .cancelled)
    }

    mutating func endGet(_ waiter: Slot, _ reason: ObjectError.Reason) {
        let slot = waiters[waiter].object
        guard case .get(let token) = waiters[waiter].purpose else { return }
        remove(waiter)
        stopFollowingIfIdle(slot)
        deliver(token, .failed(ObjectError(objects[slot].id, reason)))
    }

    private mutating func deliver(_ token: UInt64, _ outcome: GetOutcome) {
        directives.append(.deliver(waiter: token, outcome))
    }

    /// What a get of the object gives at once; nil if it has to wait. Owners of borrowed objects are always asked.
    private func outcome(of slot: Slot) -> GetOutcome? {
        guard objects[slot].role == .owner else {
            guard objects[slot].role == .ended else { return nil }
            return .failed(errors[slot] ?? ObjectError(objects[slot].id, .outOfScope))
        }
        return outcome(of: status(of: slot))
    }

    private func outcome(of status: ObjectStatus) -> GetOutcome? {
        switch status {
        case .pending: nil
        case .inline(let bytes, _): .inline(bytes)
        case .located(let located): .located(located)
        case .failed(let error): .failed(error)
        }
    }

    // MARK: Waiters

    /// Waits for an object, and has done what makes it come.
    @discardableResult
    mutating func wait(for slot: Slot, _ purpose: Waiter.Purpose) -> Slot {
        let waiter = waiters.insert(Waiter(object: slot, purpose: purpose))
        waitersOfObject.append(waiter, to: &objects[slot].waiters)
        if case .input(let task) = purpose { waitersOfTask.append(waiter, to: &tasks[task].waiters) }
        if objects[slot].role == .owner {
            if objects[slot].value == .lost || objects[slot].value == .released { recoverSoon(slot) }
        } else if objects[slot].role != .ended, !objects[slot].flags.contains(.isFollowing) {
            objects[slot].flags.insert(.isFollowing)
            send(.follow(objects[slot].id), to: objects[slot].owner)
        }
        return waiter
    }

    mutating func remove(_ waiter: Slot) {
        let slot = waiters[waiter].object
        waitersOfObject.remove(waiter, from: &objects[slot].waiters)
        switch waiters[waiter].purpose {
        case .get(let token):
            waiterOfToken[token] = nil
            getDeadlines.remove(Int(waiter))
        case .input(let task): waitersOfTask.remove(waiter, from: &tasks[task].waiters)
        }
        waiters.remove(waiter)
        if objects[slot].waiters == .absent { touch(slot) }
    }

    /// Ends all waits for an object: by `failure`, or since it is there.
    mutating func resolveWaiters(of slot: Slot, failure: ObjectError?) {
        guard objects[slot].waiters != .absent else { return }
        if let failure {
            resolveWaiters(of: slot, .failed(failure))
        } else if let outcome = outcome(of: slot) {
            resolveWaiters(of: slot, outcome)
        }
    }

    private mutating func resolveWaiters(of slot: Slot, _ outcome: GetOutcome) {
        while objects[slot].waiters != .absent {
            let waiter = objects[slot].waiters
            let purpose = waiters[waiter].purpose
            remove(waiter)
            switch purpose {
            case .get(let token): deliver(token, outcome)
            case .input(let task):
                if case .failed(let error) = outcome {
                    failedTasks.append((tasks[task].id, error))
                } else {
                    inputArrived(task)
                }
            }
        }
    }

    // MARK: News of borrowed objects

    mutating func statusChanged(_ object: ObjectID, _ status: ObjectStatus) {
        guard let slot = borrowedObjects[object], objects[slot].flags.contains(.isFollowing),
            let outcome = outcome(of: status)
        else { return }
        if case .failed = outcome {} else { objects[slot].value = .sealed }
        resolveWaiters(of: slot, outcome)
        stopFollowingIfIdle(slot)
    }

    private mutating func stopFollowingIfIdle(_ slot: Slot) {
        guard objects[slot].waiters == .absent, objects[slot].flags.contains(.isFollowing) else { return }
        objects[slot].flags.remove(.isFollowing)
        send(.unfollow(objects[slot].id), to: objects[slot].owner)
    }
}
