// References of this process: handles, exports, and where they came from.

internal import RayCore

extension WorkerMachine {
    // MARK: Handles

    mutating func handleCreated(_ object: ObjectID, _ provenance: Provenance) {
        guard let slot = readItem(object) ?? findOrBorrow(object, provenance) else { return }
        objects[slot].handles += 1
    }

    mutating func handleReleased(_ object: ObjectID) {
        guard let slot = find(object), objects[slot].handles > 0 else { return }
        objects[slot].handles -= 1
        if objects[slot].handles == 0 { touch(slot) }
    }

    mutating func exported(_ object: ObjectID) {
        guard let slot = find(object) else { return }
        objects[slot].flags.insert(.exported)
    }

    mutating func exportRevoked(_ object: ObjectID) {
        guard let slot = find(object) else { return }
        objects[slot].flags.remove(.exported)
        touch(slot)
    }

    // MARK: Coming by a reference

    /// The record of an object that this process has come by. Nil for one of its own that has ended: whoever gave the
    /// reference out kept nothing.
    mutating func findOrBorrow(_ object: ObjectID, _ provenance: Provenance) -> Slot? {
        if let slot = find(object) { return slot }
        guard object.owner != id, let slot = borrow(object) else { return find(object) }
        if let found = keeper(for: provenance) {
            keep(slot, by: found.keeper, found.slot)
        } else {
            beginRegistration(slot)
        }
        return slot
    }

    /// What protects a reference from the given place; nil if nobody does, or that place is gone.
    private func keeper(for provenance: Provenance) -> (keeper: ObjectRecord.Keeper, slot: Slot)? {
        switch provenance {
        case .task(let task):
            // An execution whose submitter is dead has none.
            if let execution = executionOfTask[task], executions[execution].caller != .absent {
                return (.execution, execution)
            }
        case .inside(let container):
            // The contents of own values are held, and so found, as long as the value is.
            if container.owner != id, let slot = borrowedObjects[container], objects[slot].role != .ended {
                return (.container, slot)
            }
        case .outOfBand: break
        }
        return nil
    }

    /// A new record for an object of somebody else, without protection yet; nil if its owner is dead, and the object
    /// has ended: then there is a record that says so.
    mutating func borrow(_ object: ObjectID) -> Slot? {
        let slot = objects.insert(ObjectRecord(object, .guarded))
        borrowedObjects[object] = slot
        guard let owner = openPeer(object.owner) else {
            objects[slot].role = .ended
            errors[slot] = ownerDied(object)
            return nil
        }
        objects[slot].owner = owner
        ofOwner.append(slot, to: &peers[owner].borrowed)
        return slot
    }

    // MARK: Keepers

    mutating func keep(_ slot: Slot, by keeper: ObjectRecord.Keeper, _ keeperSlot: Slot, token: UInt64 = 0) {
        objects[slot].keeper = keeper
        objects[slot].keeperSlot = keeperSlot
        objects[slot].keeperToken = token
        switch keeper {
        case .execution: ofKeeper.append(slot, to: &executions[keeperSlot].kept)
        case .container: ofKeeper.append(slot, to: &objects[keeperSlot].kept)
        case .argumentLender, .contentLender: peers[keeperSlot].lendings += 1
        case .nobody: break
        }
    }

    /// The keeper is not needed any more; a lender is told.
    mutating func dismissKeeper(of slot: Slot) {
        let keeperSlot = objects[slot].keeperSlot
        let token = objects[slot].keeperToken
        switch objects[slot].keeper {
        case .nobody: break
        case .execution: ofKeeper.remove(slot, from: &executions[keeperSlot].kept)
        case .container:
            ofKeeper.remove(slot, from: &objects[keeperSlot].kept)
            if objects[keeperSlot].kept == .absent { touch(keeperSlot) }
        case .argumentLender: giveBack(.argument, token, to: keeperSlot)
        case .contentLender: giveBack(.content, token, to: keeperSlot)
        }
        objects[slot].keeper = .nobody
        objects[slot].keeperSlot = .absent
    }

    private mutating func giveBack(_ kind: LoanKind, _ token: UInt64, to peer: Slot) {
        send(.returned(kind, token: token), to: peer)
        peers[peer].lendings -= 1
        if peers[peer].isSettled, peers[peer].lendings == 0 { forgetPeer(peer) }
    }

    // MARK: Registering with the owner

    /// Tells the owner of this process. The keeper stays until the owner has answered.
    mutating func beginRegistration(_ slot: Slot) {
        let claim = barrier.begin()
        objects[slot].role = .registering
        objects[slot].claim = claim
        send(.register(objects[slot].id, claim: claim), to: objects[slot].owner)
    }

    mutating func registered(_ object: ObjectID, _ claim: UInt64) {
        guard let slot = borrowedObjects[object], objects[slot].role == .registering, objects[slot].claim == claim
        else { return }
        barrier.end(claim)
        objects[slot].role = .registered
        dismissKeeper(of: slot)
    }

    mutating func refused(_ object: ObjectID, _ claim: UInt64, _ error: ObjectError) {
        guard let slot = borrowedObjects[object], objects[slot].role == .registering, objects[slot].claim == claim
        else { return }
        statistics.refusedRegistrations += 1
        end(slot, error)
    }

    /// A borrowed object has ended. Who found references inside of it relies on it no longer.
    mutating func end(_ slot: Slot, _ error: ObjectError) {
        if objects[slot].role == .registering { barrier.end(objects[slot].claim) }
        dismissKeeper(of: slot)
        let owner = objects[slot].owner
        ofOwner.remove(slot, from: &peers[owner].borrowed)
        objects[slot].owner = .absent
        objects[slot].role = .ended
        objects[slot].value = .failed
        objects[slot].flags.remove(.isFollowing)
        errors[slot] = error
        while objects[slot].kept != .absent {
            let inner = objects[slot].kept
            if objects[inner].role == .guarded { beginRegistration(inner) }
            dismissKeeper(of: inner)
        }
        resolveWaiters(of: slot, failure: error)
        touch(slot)
    }
}
