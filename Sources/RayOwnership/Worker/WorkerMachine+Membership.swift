// Deaths and epochs.

internal import RayCore

extension WorkerMachine {
    mutating func welcomed(_ epoch: UInt64, _ settled: UInt64, _ deaths: [Death]) {
        guard epoch >= self.epoch else { return }
        self.epoch = epoch
        reportedEpoch = max(reportedEpoch, epoch)
        settledEpoch = max(settledEpoch, settled)
        for death in deaths { apply(death) }
        settlePeers()
    }

    /// A death, from who hands deaths on in their order, or as the answer to an inquiry.
    mutating func told(_ death: Death, by peer: Slot) {
        let teller = links.peer(peer)
        guard teller == configuration.relay || teller == configuration.controlStore else { return }
        apply(death)
        if teller == configuration.relay, death.epoch > epoch {
            epoch = death.epoch
            barrier.apply(epoch: epoch)
        }
        settlePeers()
    }

    mutating func settled(_ epoch: UInt64) {
        settledEpoch = max(settledEpoch, epoch)
        settlePeers()
    }

    /// Tells that all references taken over before an epoch are known to their owners.
    mutating func reportBarrier() {
        guard barrier.passed > reportedEpoch else { return }
        reportedEpoch = barrier.passed
        send(.applied(epoch: reportedEpoch), to: configuration.relay)
    }

    private mutating func apply(_ death: Death) {
        guard !deaths.isKnown(death.member) else { return }
        if death.member == .node(id.node) || death.member == .worker(id) {
            return directives.append(.terminate(death.cause))
        }
        deaths.insert(death)
        directives.append(.died(death))
        switch death.member {
        case .worker(let worker):
            if let peer = links.find(worker) { end(peer, death) }
        case .node(let node):
            if let slot = nodeOfID[node] { endNode(slot, death) }
        }
    }

    private mutating func endNode(_ node: Slot, _ death: Death) {
        while true {
            let pair = locations.first(of: node)
            guard pair != .absent else { break }
            let slot = locations[pair].object
            removeLocation(pair)
            lostCopy(slot)
        }
        while nodes[node].peers != .absent { end(nodes[node].peers, death) }
        nodeOfID[nodes[node].id] = nil
        nodesWithOrders.removeAll { $0 == node }
        nodes.remove(node)
    }

    /// A process is dead. What it owned ends; what it ran is tried again; what is held for it is held until all that it
    /// passed on is known to the owners.
    private mutating func end(_ peer: Slot, _ death: Death) {
        guard isAlive(peer) else { return }
        peers[peer].death = death
        links.close(peer)
        peersOfNode.remove(peer, from: &nodes[peers[peer].node].peers)
        unsettled.append(peer)
        while peers[peer].borrowed != .absent {
            let slot = peers[peer].borrowed
            end(slot, ownerDied(objects[slot].id))
        }
        while peers[peer].executions != .absent { abandon(peers[peer].executions) }
        while peers[peer].running != .absent { executorDied(peers[peer].running, death) }
        while true {
            let pair = followers.first(of: peer)
            guard pair != .absent else { break }
            followers.remove(pair, in: &objects[followers[pair].object].followers)
        }
    }

    /// Lets go what was held for dead peers, once nobody has references from them that owners do not know.
    private mutating func settlePeers() {
        while !unsettled.isEmpty, let death = peers[unsettled[0]].death, death.epoch <= settledEpoch,
            let peer = unsettled.popFirst()
        {
            while true {
                let pair = borrowers.first(of: peer)
                guard pair != .absent else { break }
                removeBorrower(pair)
            }
            while peers[peer].loans != .absent { endLoan(peers[peer].loans) }
            if peers[peer].lendings == 0 { forgetPeer(peer) } else { peers[peer].isSettled = true }
        }
    }

    /// A dead and settled peer that nothing names any more.
    mutating func forgetPeer(_ peer: Slot) {
        peers.clear(peer)
        links.remove(peer)
    }
}
