// Values of own objects: put, sealed, failed, freed.

internal import RayCore

extension WorkerMachine {
    /// - Precondition: the machine gave out `object`, and it was not used before.
    mutating func put(_ object: ObjectID, _ value: ObjectValue, _ contents: [ObjectID]) {
        precondition(object.owner == id && object.sequence <= lastSequence, "\(object) is not from makeObjectID")
        precondition(ownObjects[object.sequence] == nil, "\(object) exists")
        let slot = makeOwnRecord(object)
        objects[slot].handles = 1
        let inside = contents.compactMap { inner -> Slot? in
            guard let inner = findOrBorrow(inner, .outOfBand) else { return nil }
            objects[inner].containers += 1
            return inner
        }
        seal(slot, value, contents: inside, attempt: 1, at: id.node)
    }

    /// The value has come. `contents` have been counted.
    mutating func seal(_ slot: Slot, _ value: ObjectValue, contents: [Slot], attempt: UInt32, at node: NodeID) {
        objects[slot].value = .sealed
        objects[slot].attempt = attempt
        objects[slot].contents.append(contentsOf: contents)
        errors[slot] = nil
        switch value {
        case .inline(let bytes):
            objects[slot].inline = bytes
            objects[slot].size = UInt64(bytes.count)
        case .stored(let size):
            objects[slot].size = size
            let node = openNode(node)
            addLocation(slot, node, Location())
            objects[slot].primary = node
        }
        becameAvailable(slot)
        touch(slot)
    }

    /// The object has an error instead of a value. What its earlier values contained stays: borrowers may rely on it.
    mutating func fail(_ slot: Slot, _ error: ObjectError) {
        objects[slot].value = .failed
        objects[slot].inline = nil
        orderAllFreed(slot)
        errors[slot] = error
        resolveWaiters(of: slot, failure: error)
        tellFollowers(slot)
        touch(slot)
    }

    mutating func becameAvailable(_ slot: Slot) {
        resolveWaiters(of: slot, failure: nil)
        tellFollowers(slot)
    }

    mutating func freeByRequest(_ object: ObjectID) {
        guard let slot = find(object), objects[slot].role == .owner, objects[slot].value != .released else { return }
        directives.append(.freed(object))
        fail(slot, ObjectError(object, .freed))
    }

    /// What is known of an own object.
    func status(of slot: Slot) -> ObjectStatus {
        switch objects[slot].value {
        case .failed: return .failed(errors[slot] ?? ObjectError(objects[slot].id, .outOfScope))
        case .released: return .failed(ObjectError(objects[slot].id, .outOfScope))
        case .pending, .lost, .recovering: return .pending
        case .sealed:
            if let bytes = objects[slot].inline { return .inline(bytes, attempt: objects[slot].attempt) }
            guard objects[slot].copies > 0 else { return .pending }
            return .located(located(slot, startingAt: 0))
        }
    }

    // MARK: Detached objects

    mutating func askForAdoption(_ request: UInt64) {
        send(.adopt(request: request, claim: barrier.makeToken()), to: configuration.detachedOwner)
    }

    /// The owner of detached objects makes the object the return of a task that the creator runs: so value, contents
    /// and the creator's death are dealt with as for any other task.
    mutating func adopt(_ request: UInt64, _ claim: UInt64, _ peer: Slot) {
        guard id == configuration.detachedOwner else { return }
        let task = makeTaskID(returns: 1)
        let record = makeTask(
            TaskSubmission(task: task, returns: 1, arguments: [], maximumRetries: 0, lineageBytes: 0))
        tasks[record].state = .offered
        guard let slot = find(task.returnID(0)) else { return }
        objects[slot].handles = 0
        objects[slot].flags.insert(.detached)
        setBorrower(peer, of: slot, claim)
        run(record, on: peer)
        send(.adopted(request: request, task, claim: claim), to: peer)
    }

    mutating func adopted(_ request: UInt64, _ task: TaskID, _ claim: UInt64, _ peer: Slot) {
        guard links.peer(peer) == configuration.detachedOwner, find(task.returnID(0)) == nil,
            let slot = borrow(task.returnID(0))
        else { return }
        objects[slot].role = .registered
        objects[slot].claim = claim
        objects[slot].handles = 1
        start(task, 1, [])
        directives.append(.adopted(request: request, task))
    }

    mutating func askToDisown(_ object: ObjectID) {
        guard object.owner == configuration.detachedOwner else { return }
        send(.disown(object), to: object.owner)
    }

    mutating func disown(_ object: ObjectID) {
        guard let slot = find(object), objects[slot].flags.contains(.detached) else { return }
        objects[slot].flags.remove(.detached)
        touch(slot)
    }
}
