// Where copies of own objects are: what raylets report, what followers are told, what is to be freed.

internal import RayCore

extension WorkerMachine {
    /// Locations that a follower is told of at most; different followers are told of different ones.
    private static var toldLocations: Int { 16 }

    // MARK: Locations

    mutating func addLocation(_ slot: Slot, _ node: Slot, _ location: Location) {
        if let pair = locations.find(slot, node, in: objects[slot].locations) {
            setLocation(pair, location)
        } else {
            locations.insert(slot, node, location, in: &objects[slot].locations)
            if location.isReadable { objects[slot].copies += 1 }
        }
    }

    private mutating func setLocation(_ pair: Slot, _ location: Location) {
        let slot = locations[pair].object
        let old = locations[pair].payload
        if old.chunks != .absent, old.chunks != location.chunks { bitmaps.remove(old.chunks) }
        if old.isReadable { objects[slot].copies -= 1 }
        locations[pair].payload = location
        if location.isReadable { objects[slot].copies += 1 }
    }

    mutating func removeLocation(_ pair: Slot) {
        let slot = locations[pair].object
        let location = locations[pair].payload
        if location.chunks != .absent { bitmaps.remove(location.chunks) }
        if location.isReadable { objects[slot].copies -= 1 }
        if objects[slot].primary == locations[pair].party { objects[slot].primary = .absent }
        locations.remove(pair, in: &objects[slot].locations)
    }

    /// A copy is gone, or can not be read.
    mutating func lostCopy(_ slot: Slot) {
        guard objects[slot].value == .sealed, objects[slot].inline == nil else { return }
        if objects[slot].primary == .absent || objects[slot].copies == 0 { recoverSoon(slot) }
        tellFollowersSoon(slot)
    }

    // MARK: Reports of raylets

    mutating func copyReported(_ report: CopyReport, _ peer: Slot) {
        guard links.peer(peer).number == WorkerID.raylet(of: links.peer(peer).node).number else { return }
        let node = peers[peer].node
        guard let slot = find(report.copy.object), objects[slot].role == .owner else {
            if report.state != .removed, !isItemUnderWay(report.copy) { orphaned(report.copy, at: node) }
            return
        }
        let pair = locations.find(slot, node, in: objects[slot].locations)
        let isOurMaking = report.copy.attempt == objects[slot].attempt
        if report.state == .removed {
            guard let pair, isOurMaking else { return }
            removeLocation(pair)
            return lostCopy(slot)
        }
        if let pair, !isOurMaking {
            // The node has one making of an object: this one has taken the place of ours.
            removeLocation(pair)
            lostCopy(slot)
        }
        guard isOurMaking, canUseCopies(slot) else {
            if !isBeingMade(report.copy, slot) { orphaned(report.copy, at: node) }
            return
        }
        use(report, slot, node)
    }

    /// A value that lies in stores is wanted here, or was lost with its contents still held.
    private func canUseCopies(_ slot: Slot) -> Bool {
        switch objects[slot].value {
        case .sealed: objects[slot].inline == nil
        case .lost, .recovering: true
        case .pending, .released, .failed: false
        }
    }

    /// The worker that makes this copy has yet to say so.
    private func isBeingMade(_ copy: CopyID, _ slot: Slot) -> Bool {
        let task = objects[slot].task
        return task != .absent && tasks[task].state == .running && tasks[task].attempt == copy.attempt
    }

    private mutating func use(_ report: CopyReport, _ slot: Slot, _ node: Slot) {
        let wasAvailable = objects[slot].isAvailable
        switch report.state {
        case .partial(let chunks): addLocation(slot, node, Location(chunks: bitmaps.insert(chunks)))
        case .complete, .pinned: addLocation(slot, node, Location())
        case .removed: break
        }
        if objects[slot].copies > 0 {
            objects[slot].value = .sealed
            if objects[slot].primary == .absent { recoverSoon(slot) }
        } else {
            lostCopy(slot)
        }
        if objects[slot].isAvailable, !wasAvailable { becameAvailable(slot) } else { tellFollowersSoon(slot) }
        touch(slot)
    }

    /// A raylet goes through what it holds. What we know is confirmed, what we do not is freed.
    mutating func reconcile(_ copy: CopyID, _ peer: Slot) {
        if let slot = find(copy.object), objects[slot].attempt == copy.attempt,
            locations.find(slot, peers[peer].node, in: objects[slot].locations) != nil
        {
            return
        }
        let size = find(copy.object).map { objects[$0].size } ?? 0
        copyReported(CopyReport(copy: copy, size: size, state: .complete), peer)
    }

    private mutating func orphaned(_ copy: CopyID, at node: Slot) {
        statistics.orphanCopies += 1
        orderFreed(copy, at: node)
    }

    // MARK: Copies that could not be read

    mutating func copyMissing(_ copy: CopyID, at node: NodeID) {
        guard copy.object.owner != id else { return suspect(copy, at: node) }
        guard let slot = borrowedObjects[copy.object], objects[slot].role != .ended else { return }
        objects[slot].value = .pending
        send(.missing(copy, at: node), to: objects[slot].owner)
    }

    /// The copy is not given out until its node has said whether it has it. A node that does not answer may be alive.
    mutating func suspect(_ copy: CopyID, at node: NodeID) {
        guard let slot = find(copy.object), objects[slot].attempt == copy.attempt, let nodeSlot = nodeOfID[node],
            let pair = locations.find(slot, nodeSlot, in: objects[slot].locations),
            locations[pair].payload.isReadable
        else { return }
        setLocation(pair, Location(isSuspect: true))
        send(.verify([copy]), to: .raylet(of: node))
        lostCopy(slot)
    }

    // MARK: Followers

    mutating func follow(_ object: ObjectID, _ peer: Slot) {
        guard let slot = find(object), objects[slot].role == .owner else {
            return send(.status(object, .failed(ObjectError(object, .outOfScope))), to: peer)
        }
        if followers.find(slot, peer, in: objects[slot].followers) == nil {
            followers.insert(slot, peer, (), in: &objects[slot].followers)
        }
        if objects[slot].value == .lost { recoverSoon(slot) }
        send(.status(object, status(of: slot, for: peer)), to: peer)
    }

    mutating func unfollow(_ object: ObjectID, _ peer: Slot) {
        guard let slot = find(object), let pair = followers.find(slot, peer, in: objects[slot].followers) else {
            return
        }
        followers.remove(pair, in: &objects[slot].followers)
    }

    mutating func tellFollowers(_ slot: Slot) {
        objects[slot].flags.remove(.isInStatusQueue)
        var pair = objects[slot].followers
        while pair != .absent {
            let peer = followers[pair].party
            send(.status(objects[slot].id, status(of: slot, for: peer)), to: peer)
            pair = followers.next(after: pair, in: objects[slot].followers)
        }
    }

    /// Gathers changes: the last state of a short time is told.
    private mutating func tellFollowersSoon(_ slot: Slot) {
        guard objects[slot].followers != .absent, !objects[slot].flags.contains(.isInStatusQueue) else { return }
        objects[slot].flags.insert(.isInStatusQueue)
        statusQueue.append(slot)
        gather()
    }

    private func status(of slot: Slot, for peer: Slot) -> ObjectStatus {
        guard case .located = status(of: slot) else { return status(of: slot) }
        return .located(located(slot, startingAt: Int(peer)))
    }

    /// The object with some of its locations, complete ones first. Followers start at different places of the list, so
    /// that not all ask the same node.
    func located(_ slot: Slot, startingAt start: Int) -> LocatedObject {
        var complete: [ObjectLocation] = []
        var partial: [ObjectLocation] = []
        var pair = objects[slot].locations
        while pair != .absent {
            let location = locations[pair].payload
            let node = nodes[locations[pair].party].id
            if location.isReadable {
                complete.append(ObjectLocation(node: node, chunks: nil))
            } else if location.chunks != .absent {
                partial.append(ObjectLocation(node: node, chunks: bitmaps[location.chunks]))
            }
            pair = locations.next(after: pair, in: objects[slot].locations)
        }
        var told: [ObjectLocation] = []
        for list in [complete, partial] {
            for offset in 0..<min(list.count, Self.toldLocations - told.count) {
                told.append(list[(start + offset) % list.count])
            }
        }
        return LocatedObject(size: objects[slot].size, attempt: objects[slot].attempt, locations: told)
    }

    // MARK: Orders to free

    mutating func orderFreed(_ copy: CopyID, at node: Slot) {
        if nodes[node].orders.isEmpty { nodesWithOrders.append(node) }
        nodes[node].orders.append(copy)
        gather()
    }

    mutating func orderAllFreed(_ slot: Slot) {
        while objects[slot].locations != .absent {
            let pair = objects[slot].locations
            let copy = CopyID(object: objects[slot].id, attempt: objects[slot].attempt)
            orderFreed(copy, at: locations[pair].party)
            removeLocation(pair)
        }
    }

    private mutating func gather() {
        if gatherUntil == .never { gatherUntil = now + configuration.statusDelay }
    }

    mutating func flushGathered() {
        gatherUntil = .never
        for slot in statusQueue where objects[slot].flags.contains(.isInStatusQueue) { tellFollowers(slot) }
        statusQueue.removeAll(keepingCapacity: true)
        for node in nodesWithOrders where !nodes[node].orders.isEmpty {
            send(.free(nodes[node].orders), to: .raylet(of: nodes[node].id))
            nodes[node].orders = []
        }
        nodesWithOrders.removeAll(keepingCapacity: true)
    }
}
