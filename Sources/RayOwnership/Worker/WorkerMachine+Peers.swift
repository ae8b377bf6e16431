// Finding records, peers and nodes, and sending.

internal import RayCore

extension WorkerMachine {
    /// The record of an object, own or borrowed.
    func find(_ object: ObjectID) -> Slot? {
        object.owner == id ? ownObjects[object.sequence] : borrowedObjects[object]
    }

    mutating func makeOwnRecord(_ object: ObjectID) -> Slot {
        let slot = objects.insert(ObjectRecord(object, .owner))
        ownObjects[object.sequence] = slot
        return slot
    }

    /// The slot of a peer, known or new; nil if it is dead.
    mutating func openPeer(_ worker: WorkerID) -> Slot? {
        if let slot = links.find(worker) { return peers[slot].death == nil ? slot : nil }
        guard deaths.death(of: worker) == nil else { return nil }
        let slot = links.open(worker)
        peers.grow(toInclude: slot)
        let node = openNode(worker.node)
        peers[slot] = PeerRecord(node: node)
        peersOfNode.append(slot, to: &nodes[node].peers)
        return slot
    }

    mutating func openNode(_ node: NodeID) -> Slot {
        if let slot = nodeOfID[node] { return slot }
        let slot = nodes.insert(NodeRecord(id: node))
        nodeOfID[node] = slot
        return slot
    }

    mutating func send(_ message: OwnershipMessage, to worker: WorkerID) {
        guard let peer = openPeer(worker) else { return }
        links.send(message, to: peer, now: now)
    }

    mutating func send(_ message: OwnershipMessage, to peer: Slot) {
        links.send(message, to: peer, now: now)
    }

    func isAlive(_ peer: Slot) -> Bool { peers[peer].death == nil }

    /// Looks at an object again at the end of this event: it may be out of scope.
    mutating func touch(_ slot: Slot) {
        guard !objects[slot].flags.contains(.isInScopeQueue) else { return }
        objects[slot].flags.insert(.isInScopeQueue)
        scopeQueue.append(slot)
    }

    func ownerDied(_ object: ObjectID) -> ObjectError {
        ObjectError(object, .ownerDied(deaths.death(of: object.owner)?.cause ?? .unknownMember))
    }
}
