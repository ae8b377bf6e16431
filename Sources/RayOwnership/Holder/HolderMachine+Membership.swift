// What a raylet follows, and how deaths go from the control store to the processes of its node.

internal import RayCore

extension HolderMachine {
    // MARK: Following

    mutating func follow(_ object: ObjectID) {
        if let slot = followedOfObject[object] {
            followed[slot].count += 1
            if let status = followed[slot].status { directives.append(.statusChanged(object, status)) }
            return
        }
        let slot = followed.insert(Followed(object: object, count: 1))
        followedOfObject[object] = slot
        guard let owner = openPeer(object.owner) else { return ownerDied(slot) }
        followed[slot].owner = owner
        followedOfOwner.append(slot, to: &peers[owner].followed)
        send(.follow(object), to: owner)
    }

    mutating func unfollow(_ object: ObjectID) {
        guard let slot = followedOfObject[object] else { return }
        followed[slot].count -= 1
        guard followed[slot].count == 0 else { return }
        let owner = followed[slot].owner
        if owner != .absent {
            followedOfOwner.remove(slot, from: &peers[owner].followed)
            send(.unfollow(object), to: owner)
        }
        followedOfObject[object] = nil
        followed.remove(slot)
    }

    mutating func statusChanged(_ object: ObjectID, _ status: ObjectStatus) {
        guard let slot = followedOfObject[object], followed[slot].owner != .absent else { return }
        followed[slot].status = status
        if case .located(let located) = status { contradict(object, located, to: followed[slot].owner) }
        directives.append(.statusChanged(object, status))
    }

    /// An owner that takes this node for a holder, which it is not, has heard that the copy is gone before it heard
    /// that it was made.
    private mutating func contradict(_ object: ObjectID, _ located: LocatedObject, to owner: Slot) {
        guard located.locations.contains(where: { $0.node == node && $0.chunks == nil }) else { return }
        let copy = CopyID(object: object, attempt: located.attempt)
        // One that this machine has never had may have been made a moment ago.
        guard lost[object] == copy.attempt, copyOfObject[object] == nil else { return }
        send(.copies([CopyReport(copy: copy, size: 0, state: .removed)]), to: owner)
    }

    private mutating func ownerDied(_ slot: Slot) {
        let object = followed[slot].object
        let cause = deaths.death(of: object.owner)?.cause ?? .unknownMember
        let status = ObjectStatus.failed(ObjectError(object, .ownerDied(cause)))
        followed[slot].owner = .absent
        followed[slot].status = status
        directives.append(.statusChanged(object, status))
    }

    // MARK: Processes of this node

    mutating func started(_ worker: WorkerID) {
        guard !processes.contains(where: { $0.worker == worker }) else { return }
        processes.append(LocalProcess(worker: worker, applied: epoch))
        welcome(worker)
    }

    private mutating func welcome(_ worker: WorkerID) {
        let told = deaths.latest(configuration.rememberedDeaths)
        send(.welcome(epoch: epoch, settled: settledEpoch, deaths: told), to: worker)
    }

    mutating func exited(_ worker: WorkerID, _ cause: DeathCause) {
        guard let index = processes.firstIndex(where: { $0.worker == worker }) else { return }
        processes.remove(at: index)
        send(.exited(worker, cause), to: configuration.controlStore)
        reportApplied()
    }

    mutating func inquired(_ worker: WorkerID) {
        guard worker.node == node, worker != id, !processes.contains(where: { $0.worker == worker }) else { return }
        send(.exited(worker, .unknownMember), to: configuration.controlStore)
    }

    // MARK: Epochs

    mutating func welcomed(_ epoch: UInt64, _ settled: UInt64, _ deaths: [Death]) {
        self.epoch = max(self.epoch, epoch)
        reportedEpoch = max(reportedEpoch, epoch)
        settledEpoch = max(settledEpoch, settled)
        for death in deaths { apply(death) }
        for index in processes.indices {
            processes[index].applied = max(processes[index].applied, epoch)
            welcome(processes[index].worker)
        }
    }

    mutating func told(_ death: Death, by peer: Slot) {
        guard links.peer(peer) == configuration.controlStore else { return }
        apply(death)
        guard death.epoch > epoch else { return }
        epoch = death.epoch
        for process in processes { send(.died(death), to: process.worker) }
        reportApplied()
    }

    mutating func settled(_ epoch: UInt64) {
        settledEpoch = max(settledEpoch, epoch)
        for process in processes { send(.settled(epoch: epoch), to: process.worker) }
    }

    mutating func applied(_ epoch: UInt64, by peer: Slot) {
        let worker = links.peer(peer)
        guard let index = processes.firstIndex(where: { $0.worker == worker }) else { return }
        processes[index].applied = max(processes[index].applied, epoch)
        reportApplied()
    }

    /// An epoch is applied here once all processes of the node have applied it.
    private mutating func reportApplied() {
        let applied = processes.reduce(epoch) { min($0, $1.applied) }
        guard applied > reportedEpoch else { return }
        reportedEpoch = applied
        send(.applied(epoch: applied), to: configuration.controlStore)
    }

    private mutating func apply(_ death: Death) {
        guard !deaths.isKnown(death.member) else { return }
        if death.member == .node(node) { return directives.append(.terminate(death.cause)) }
        deaths.insert(death)
        directives.append(.died(death))
        switch death.member {
        case .worker(let worker):
            // A process of this node that was declared dead applies no epoch any more.
            processes.removeAll { $0.worker == worker }
            if let peer = links.find(worker) { end(peer) }
        case .node(let dead):
            while let peer = nodes[dead], peer != .absent { end(peer) }
            nodes[dead] = nil
        }
    }

    /// A process is dead: what it owned ends here.
    private mutating func end(_ peer: Slot) {
        while peers[peer].copies != .absent {
            let slot = peers[peer].copies
            if copies[slot].state != .removed { directives.append(.free(copies[slot].id)) }
            forget(slot)
        }
        while let slot = followedOfOwner.removeFirst(of: &peers[peer].followed) { ownerDied(slot) }
        ownersToTell.removeAll { $0 == peer }
        peersOfNode.remove(peer, from: &nodes[links.peer(peer).node, default: .absent])
        peers.clear(peer)
        links.close(peer)
        links.remove(peer)
    }
}
