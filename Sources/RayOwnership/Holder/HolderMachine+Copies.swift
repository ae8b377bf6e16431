// Copies at this node: what owners are told of them, and what owners order.

internal import RayCore

extension HolderMachine {
    // MARK: The store

    mutating func have(_ copy: CopyID, _ size: UInt64, _ state: CopyReport.State) {
        guard let owner = openPeer(copy.object.owner) else {
            // Its owner is dead, and so is the object.
            return directives.append(.free(copy))
        }
        guard let slot = copyOfObject[copy.object] else {
            let slot = copies.insert(HeldCopy(id: copy, size: size, state: state, owner: owner))
            copyOfObject[copy.object] = slot
            if peers[owner].copies == .absent { ownerLists.append(owner, to: &owners) }
            copiesOfOwner.append(slot, to: &peers[owner].copies)
            if sweepAt == .never { sweepAt = now + configuration.sweepInterval }
            return changed(slot)
        }
        // A node has one making of an object: the new one takes the place of the old one. What is complete or pinned
        // stays so.
        if copies[slot].id == copy {
            switch (copies[slot].state, state) {
            case (.pinned, _), (.complete, .partial), (.complete, .complete): return
            case (.partial, _), (.removed, _), (.complete, _): break
            }
        }
        copies[slot].id = copy
        copies[slot].size = size
        copies[slot].state = state
        changed(slot)
    }

    mutating func removed(_ object: ObjectID) {
        guard let slot = copyOfObject[object], copies[slot].state != .removed else { return }
        copies[slot].state = .removed
        changed(slot)
    }

    private mutating func changed(_ slot: Slot) {
        guard !copies[slot].isChanged else { return }
        copies[slot].isChanged = true
        let owner = copies[slot].owner
        changesOfOwner.append(slot, to: &peers[owner].changes)
        if !peers[owner].isToBeTold {
            peers[owner].isToBeTold = true
            ownersToTell.append(owner)
        }
        if reportAt == .never { reportAt = now + configuration.reportDelay }
    }

    mutating func forget(_ slot: Slot) {
        let owner = copies[slot].owner
        if copies[slot].isChanged { changesOfOwner.remove(slot, from: &peers[owner].changes) }
        copiesOfOwner.remove(slot, from: &peers[owner].copies)
        if peers[owner].copies == .absent { ownerLists.remove(owner, from: &owners) }
        copyOfObject[copies[slot].id.object] = nil
        copies.remove(slot)
    }

    // MARK: Reports

    /// Tells owners of changes. One that has not acknowledged the last report is told later.
    mutating func report() {
        reportAt = .never
        let waiting = ownersToTell
        ownersToTell.removeAll(keepingCapacity: true)
        for owner in waiting {
            if links.isIdle(owner) { report(to: owner) }
            if peers[owner].changes == .absent {
                peers[owner].isToBeTold = false
            } else {
                ownersToTell.append(owner)
            }
        }
        if !ownersToTell.isEmpty { reportAt = now + configuration.reportDelay }
    }

    private mutating func report(to owner: Slot) {
        var reports: [CopyReport] = []
        while reports.count < configuration.reportBatch, peers[owner].changes != .absent {
            let slot = peers[owner].changes
            changesOfOwner.remove(slot, from: &peers[owner].changes)
            copies[slot].isChanged = false
            reports.append(CopyReport(copy: copies[slot].id, size: copies[slot].size, state: copies[slot].state))
            if copies[slot].state == .removed {
                lost.insert(copies[slot].id.object, copies[slot].id.attempt)
                forget(slot)
            }
        }
        if !reports.isEmpty { send(.copies(reports), to: owner) }
    }

    func state(of copy: CopyID) -> CopyReport {
        guard let slot = copyOfObject[copy.object], copies[slot].id == copy else {
            return CopyReport(copy: copy, size: 0, state: .removed)
        }
        return CopyReport(copy: copy, size: copies[slot].size, state: copies[slot].state)
    }

    // MARK: Orders

    mutating func freeOrdered(_ copy: CopyID, by peer: Slot) {
        guard links.peer(peer) == copy.object.owner, let slot = copyOfObject[copy.object], copies[slot].id == copy
        else { return }
        if copies[slot].state != .removed { directives.append(.free(copy)) }
        forget(slot)
    }

    mutating func pinOrdered(_ copy: CopyID, by peer: Slot) {
        guard links.peer(peer) == copy.object.owner else { return }
        if let slot = copyOfObject[copy.object], copies[slot].id == copy, copies[slot].state == .complete {
            copies[slot].state = .pinned
            directives.append(.pin(copy))
        }
        send(.copies([state(of: copy)]), to: peer)
    }

    // MARK: The sweep

    /// Asks one owner about some of its copies here: an order that was lost, or never given, is found again.
    mutating func sweep() {
        guard let owner = ownerLists.removeFirst(of: &owners) else { return sweepAt = .never }
        ownerLists.append(owner, to: &owners)
        sweepAt = now + configuration.sweepInterval
        guard links.isIdle(owner) else { return }
        var held: [CopyID] = []
        let first = peers[owner].copies
        var slot = first
        for _ in 0..<configuration.reportBatch {
            switch copies[slot].state {
            case .complete, .pinned: held.append(copies[slot].id)
            case .partial, .removed: break
            }
            slot = copiesOfOwner.next(after: slot, in: first)
            if slot == .absent { break }
        }
        // The next sweep goes on behind these.
        peers[owner].copies = slot == .absent ? first : slot
        if !held.isEmpty { send(.reconcile(held), to: owner) }
    }
}
