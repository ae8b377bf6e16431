// What happens when nothing refers to an object any more.

internal import RayCore

extension WorkerMachine {
    mutating func drainScope() {
        while let slot = scopeQueue.popFirst() {
            objects[slot].flags.remove(.isInScopeQueue)
            if objects[slot].role == .owner { examineOwn(slot) } else { examineBorrowed(slot) }
        }
    }

    // MARK: Own objects

    /// True if the value has to stay, or has to be made again if it is lost.
    ///
    /// What can not be made again stays for the sake of tasks that may run again, as their input.
    func needsValue(_ slot: Slot) -> Bool {
        objects[slot].isHeldHere || objects[slot].borrowers != .absent
            || (objects[slot].lineage > 0 && !canBeMadeAgain(slot))
    }

    func canBeMadeAgain(_ slot: Slot) -> Bool {
        let task = objects[slot].task
        return task != .absent && tasks[task].canRunAgain
    }

    private mutating func examineOwn(_ slot: Slot) {
        guard !needsValue(slot) else { return }
        releaseValue(slot)
        if objects[slot].lineage == 0 { erase(slot) }
    }

    /// Frees the value everywhere. A return whose task has not ended stays pending.
    mutating func releaseValue(_ slot: Slot) {
        switch objects[slot].value {
        case .sealed, .lost:
            objects[slot].value = .released
            directives.append(.freed(objects[slot].id))
            // A raylet may still want it for a task that has run elsewhere. Where the record goes, it is told with
            // that.
            if objects[slot].lineage > 0 { tellFollowers(slot) }
        case .recovering: objects[slot].value = .pending
        case .pending, .released, .failed: break
        }
        objects[slot].inline = nil
        orderAllFreed(slot)
        releaseContents(slot)
        if objects[slot].flags.contains(.isStream) { releaseUnread(of: slot) }
    }

    private mutating func releaseContents(_ slot: Slot) {
        guard !objects[slot].contents.isEmpty else { return }
        var contents: [Slot] = []
        swap(&contents, &objects[slot].contents)
        for inner in contents {
            objects[inner].containers -= 1
            if objects[inner].containers == 0 { touch(inner) }
        }
    }

    private mutating func erase(_ slot: Slot) {
        let object = objects[slot].id
        let error = errors.removeValue(forKey: slot) ?? ObjectError(object, .outOfScope)
        while objects[slot].followers != .absent {
            let pair = objects[slot].followers
            send(.status(object, .failed(error)), to: followers[pair].party)
            followers.remove(pair, in: &objects[slot].followers)
        }
        let task = objects[slot].task
        ownObjects[object.sequence] = nil
        // A status that is still to be told finds no such object in the slot, or another one that it fits as well.
        objects.remove(slot)
        guard task != .absent else { return }
        tasks[task].liveReturns -= 1
        if tasks[task].liveReturns == 0, tasks[task].state == .finished { forget(task, .lineageEvicted) }
    }

    // MARK: Borrowed objects

    private mutating func examineBorrowed(_ slot: Slot) {
        guard !objects[slot].isHeldHere, objects[slot].lineage == 0 else { return }
        guard objects[slot].kept == .absent else { return registerKept(by: objects[slot].kept) }
        drop(slot)
    }

    /// Objects that rely on a keeper which is about to go are registered; then the keeper is let go.
    mutating func registerKept(by first: Slot) {
        var inner = first
        while inner != .absent {
            if objects[inner].role == .guarded { beginRegistration(inner) }
            inner = ofKeeper.next(after: inner, in: first)
        }
    }

    /// This process has no reference any more: the owner is told if it knows of one.
    private mutating func drop(_ slot: Slot) {
        let object = objects[slot].id
        let owner = objects[slot].owner
        if objects[slot].flags.contains(.isFollowing) { send(.unfollow(object), to: owner) }
        switch objects[slot].role {
        case .guarded, .ended, .owner: break
        case .registering:
            barrier.end(objects[slot].claim)
            send(.release(object, claim: objects[slot].claim), to: owner)
        case .registered: send(.release(object, claim: objects[slot].claim), to: owner)
        }
        dismissKeeper(of: slot)
        if owner != .absent { ofOwner.remove(slot, from: &peers[owner].borrowed) }
        errors[slot] = nil
        borrowedObjects[object] = nil
        objects.remove(slot)
    }
}
