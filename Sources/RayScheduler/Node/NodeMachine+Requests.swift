// Requests at the node: taken in, placed, cancelled, failed.

internal import RayCore

extension NodeMachine {
    mutating func received(
        _ request: LeaseRequest, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        if let refusal = request.refusal.first { view.apply(refusal) }
        switch requests.admit(request) {
        case .stale: return
        case .known(let record): reduce(record, to: request.wanted, &directives)
        case .new:
            let classIndex = classIndex(of: request.schedulingClass)
            let record = requests.add(request, classIndex: classIndex, now: now)
            if request.rejections > 0 { classes[classIndex].cameBack += Int(request.slots) }
            growSubmitters(to: Int(requests[record].submitter))
            reduce(record, to: request.wanted, &directives)
            guard requests[record].waiting > 0 else { return }
            if requests.waitingSlots > configuration.queueLimit {
                return fail(record, .tooManyRequests, &directives)
            }
            hasChanged = true
            if nextLook == .never, configuration.policy == .localFirst { nextLook = now + configuration.askAround }
            place(record, now, &view, &directives)
        }
    }

    private mutating func growSubmitters(to slot: Int) {
        while leasesOfSubmitter.count <= slot { leasesOfSubmitter.append(IndexList()) }
    }

    // MARK: Placing

    /// Decides about the slots of a request that is in no list: names other nodes, rejects, or lets it wait here.
    mutating func place(
        _ record: Int, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        let classIndex = Int(requests[record].classIndex)
        let group = classes[classIndex].schedulingClass.constraint.groupID
        if let group, bundlesOfGroup[group] == nil { return fail(record, .groupGone(group), &directives) }
        if group != nil {
            requests[record].mode = .queue
        } else if own.condition == .draining {
            leave(record, now, &view)
        } else {
            view.prepare(classes[classIndex].schedulingClass.shape, &classes[classIndex].shape, now)
            switch requests[record].mode {
            case .place: placeFreely(record, now, &view, &directives)
            case .grantOrReject: acceptOrReject(record, now)
            case .queue: break
            }
        }
        if requests[record].waiting > 0 { enqueue(record, &directives) }
    }

    private mutating func placeFreely(
        _ record: Int, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        let classIndex = Int(requests[record].classIndex)
        switch classes[classIndex].schedulingClass.constraint {
        case .node(let node):
            if node == id {
                requests[record].mode = .queue
            } else if node != id, view.isAlive(node) {
                send(record, requests[record].waiting, to: node, .queue)
            }
            return
        case .preferredNode(let node):
            if node == id, classes[classIndex].isFeasible { return requests[record].mode = .queue }
            if let slot = view.slot(of: node), view.bucket(classes[classIndex].shape, of: slot) != PlacementBucket.none
            {
                return send(record, requests[record].waiting, to: node, .queue)
            }
        case .hybrid, .spread, .group: break
        }
        if classes[classIndex].schedulingClass.constraint == .spread {
            placeInRound(record, now, &view)
        } else {
            switch configuration.policy {
            case .localFirst: placeByScore(record, now, &view)
            case .powerOfTwo: placeByTwoChoices(record, now, &view)
            case .bottomUp, .central: rejectBeyondRoom(record, now)
            }
        }
        guard requests[record].waiting > 0, requests[record].mode == .place else { return }
        if !classes[classIndex].isFeasible { queueElsewhere(record, now, &view) }
    }

    /// How many slots of a class could start now.
    private func roomFor(_ classIndex: Int, limit: UInt32) -> Int {
        guard classes[classIndex].isFeasible, !classes[classIndex].hasQueue else { return 0 }
        return pool.free.multiples(of: classes[classIndex].schedulingClass.demand, limit: Int(limit))
    }

    /// Ours: this node as long as no other is better, then the best others, in lots that keep them equally good.
    private mutating func placeByScore(_ record: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let classIndex = Int(requests[record].classIndex)
        let demand = classes[classIndex].schedulingClass.demand
        let shape = classes[classIndex].shape
        let ownSlot = view.slot(of: id)
        var room = roomFor(classIndex, limit: requests[record].waiting)
        guard !classes[classIndex].hasQueue || !classes[classIndex].isFeasible else { return }
        refreshOwn()
        var here = own
        here.isPullLimited = false
        var kept: UInt32 = 0
        var tries = 0
        while requests[record].waiting > kept, requests[record].rejections < configuration.rejectionLimit {
            let other = view.bestBucket(shape, excluding: ownSlot)
            let isHere =
                room > 0 && (requests[record].isLocalityChoice || view.bucket(shape, of: here) <= other)
            if isHere {
                let lot = here.slotsUntilWorse(demand, limit: room, threshold: view.spreadThreshold)
                here.available.subtract(demand, times: lot)
                room -= lot
                kept += UInt32(lot)
                continue
            }
            // Nodes that were filled by what was sent there may have room again: each is asked once more at most.
            let isDoubtful = other == PlacementBucket.doubtful
            guard other < PlacementBucket.available || (isDoubtful && tries < view.doubtfulCount(shape)),
                let slot = view.drawBest(shape, excluding: ownSlot, using: &random)
            else { return }
            if isDoubtful { tries += 1 }
            spill(record, limit: requests[record].waiting - kept, to: slot, now, &view)
        }
    }

    /// Names a node of the view for as many slots as keep it as good as it is.
    private mutating func spill(
        _ record: Int, limit: UInt32, to slot: Int, _ now: Timestamp, _ view: inout ClusterView
    ) {
        let demand = classes[Int(requests[record].classIndex)].schedulingClass.demand
        let lot = max(1, view.slotsUntilWorse(demand, at: slot, limit: Int(limit)))
        view.deduct(demand, slots: lot, at: slot, now)
        send(record, UInt32(lot), to: view.node(at: slot), .grantOrReject)
    }

    /// One node with room after the other; this one too.
    private mutating func placeInRound(_ record: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let classIndex = Int(requests[record].classIndex)
        let demand = classes[classIndex].schedulingClass.demand
        var kept: UInt32 = 0
        while requests[record].waiting > kept, requests[record].rejections < configuration.rejectionLimit {
            let count = view.availableCount(classes[classIndex].shape)
            guard let slot = view.nextInRound(classes[classIndex].shape) else { return }
            let lot = max(1, Int(requests[record].waiting - kept) / max(1, count))
            view.deduct(demand, slots: lot, at: slot, now)
            if view.node(at: slot) == id {
                kept += UInt32(lot)
            } else {
                send(record, UInt32(lot), to: view.node(at: slot), .grantOrReject)
            }
        }
        if kept > 0 { requests[record].mode = .queue }
    }

    /// The better of two nodes that are drawn, for each slot.
    private mutating func placeByTwoChoices(_ record: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let classIndex = Int(requests[record].classIndex)
        let demand = classes[classIndex].schedulingClass.demand
        let shape = classes[classIndex].shape
        var kept: UInt32 = 0
        while requests[record].waiting > kept {
            guard let first = view.drawAny(shape, excluding: nil, using: &random),
                let second = view.drawAny(shape, excluding: nil, using: &random)
            else { return }
            let chosen = view.load(demand, at: second) < view.load(demand, at: first) ? second : first
            view.addQueued(1, at: chosen, now)
            if view.node(at: chosen) == id {
                kept += 1
            } else {
                send(record, 1, to: view.node(at: chosen), .queue)
            }
        }
        if kept > 0 { requests[record].mode = .queue }
    }

    /// The bottom-up design: what does not start here now is for the global scheduler.
    private mutating func rejectBeyondRoom(_ record: Int, _ now: Timestamp) {
        let room = UInt32(roomFor(Int(requests[record].classIndex), limit: requests[record].waiting))
        reject(record, requests[record].waiting - room)
        if room > 0 { requests[record].mode = .queue }
    }

    /// A request that was spilled here: what does not start now goes back.
    private mutating func acceptOrReject(_ record: Int, _ now: Timestamp) {
        let room = UInt32(roomFor(Int(requests[record].classIndex), limit: requests[record].waiting))
        reject(record, requests[record].waiting - room)
        requests[record].mode = .queue
    }

    private mutating func reject(_ record: Int, _ slots: UInt32) {
        guard slots > 0 else { return }
        statistics.rejected += UInt64(slots)
        // A version of its own, so that it is newer than what the asker has.
        own.version += 1
        hasChanged = true
        refreshOwn()
        requests.settle(record, .rejected(slots: slots, own))
    }

    /// What this node can never run waits where it can be run, where the queues are shortest.
    private mutating func queueElsewhere(_ record: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let shape = classes[Int(requests[record].classIndex)].shape
        while requests[record].waiting > 0,
            let slot = view.drawBest(shape, excluding: view.slot(of: id), using: &random)
        {
            let lot = max(1, requests[record].waiting / UInt32(max(1, view.feasibleCount(shape))))
            view.addQueued(Int(lot), at: slot, now)
            send(record, lot, to: view.node(at: slot), .queue)
        }
    }

    /// This node is being drained: another one takes over what it was asked.
    private mutating func leave(_ record: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let classIndex = Int(requests[record].classIndex)
        let constraint = classes[classIndex].schedulingClass.constraint
        if requests[record].mode == .grantOrReject { return reject(record, requests[record].waiting) }
        if constraint == .node(id) { return }
        view.prepare(classes[classIndex].schedulingClass.shape, &classes[classIndex].shape, now)
        guard let slot = view.drawBest(classes[classIndex].shape, excluding: view.slot(of: id), using: &random) else {
            return
        }
        send(record, requests[record].unplaced, to: view.node(at: slot), .place)
    }

    private mutating func send(_ record: Int, _ slots: UInt32, to node: NodeID, _ mode: RequestMode) {
        statistics.spilled += UInt64(slots)
        requests.settle(record, .elsewhere(node, slots: slots, mode: mode))
    }

    // MARK: Queues

    /// Puts a request into the queue of its class, or among those whose arguments are awaited.
    private mutating func enqueue(_ record: Int, _ directives: inout [NodeDirective]) {
        let classIndex = Int(requests[record].classIndex)
        if !requests[record].arguments.isEmpty { addArguments(record, &directives) }
        if requests[record].missing > 0 {
            requests[record].place = .pulling
            requestLinks.append(record, to: &classes[classIndex].pulling)
            return noteIfUnused(classIndex)
        }
        enqueueReady(record)
    }

    mutating func enqueueReady(_ record: Int) {
        let classIndex = Int(requests[record].classIndex)
        if requests[record].mode == .place {
            requests[record].place = .ready
            requestLinks.append(record, to: &classes[classIndex].ready)
        } else {
            requests[record].place = .settled
            requestLinks.append(record, to: &classes[classIndex].settled)
        }
        listInRound(classIndex)
        noteIfUnused(classIndex)
        mayGrant = true
    }

    mutating func unlink(_ record: Int) {
        let classIndex = Int(requests[record].classIndex)
        switch requests[record].place {
        case .none: break
        case .ready: requestLinks.remove(record, from: &classes[classIndex].ready)
        case .settled: requestLinks.remove(record, from: &classes[classIndex].settled)
        case .pulling: requestLinks.remove(record, from: &classes[classIndex].pulling)
        }
        requests[record].place = .none
        if !classes[classIndex].hasQueue { dropFromRound(classIndex) }
        noteIfUnused(classIndex)
    }

    /// Takes a request out of its list if no slot of it waits for room any more.
    mutating func unlinkIfPlaced(_ record: Int) {
        guard requests[record].unplaced == 0, requests[record].place != .none else { return }
        unlink(record)
        dropArguments(of: record)
    }

    // MARK: Ends

    /// Gives up slots so that no more than `wanted` are left, counting those that are settled.
    private mutating func reduce(_ record: Int, to wanted: UInt32, _ directives: inout [NodeDirective]) {
        let settled = requests[record].settled
        let excess = settled + requests[record].waiting - max(settled, min(wanted, settled + requests[record].waiting))
        if excess > 0 { cancel(record, excess, .cancelled(slots: excess), &directives) }
    }

    mutating func fail(_ record: Int, _ failure: LeaseFailure, _ directives: inout [NodeDirective]) {
        let waiting = requests[record].waiting
        cancel(record, waiting, .failed(slots: waiting, failure), &directives)
    }

    /// Settles waiting slots, first those without resources.
    private mutating func cancel(
        _ record: Int, _ slots: UInt32, _ part: AnswerPart, _ directives: inout [NodeDirective]
    ) {
        hasChanged = true
        let starting = slots > requests[record].unplaced ? slots - requests[record].unplaced : 0
        if starting > 0 { endStartingLeases(of: record, Int(starting), &directives) }
        requests.settle(record, part)
        unlinkIfPlaced(record)
        releaseArguments(&directives)
    }

    /// Submitters are dead: what they asked for is not wanted, and what they have is taken back.
    mutating func submittersDied(_ directives: inout [NodeDirective], where isDead: (WorkerID) -> Bool) {
        for (slot, submitter) in requests.submitters(where: isDead) {
            for record in requests.waiting(of: submitter) {
                let waiting = requests[record].waiting
                cancel(record, waiting, .cancelled(slots: waiting), &directives)
            }
            for lease in leaseLinks.indices(of: leasesOfSubmitter[slot]) { revoke(lease, &directives) }
            requests.forget(submitter)
        }
    }

    // MARK: Another look

    /// The view has changed: what waits here may go elsewhere.
    mutating func reconsider(_ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]) {
        guard requests.waitingSlots > 0 else { return nextLook = .never }
        if nextLook == .never, configuration.policy == .localFirst { nextLook = now + configuration.askAround }
        for queue in activeQueues where queues[queue].key.group == nil {
            for classIndex in classLinks.indices(of: queues[queue].round) {
                reconsider(class: classIndex, now, &view, &directives)
            }
        }
        for classIndex in classLinks.indices(of: foreignClasses) {
            reconsider(class: classIndex, now, &view, &directives)
        }
        if own.isPullLimited { spillFromTails(now, &view, &directives) }
    }

    private mutating func reconsider(
        class classIndex: Int, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        if own.condition == .draining {
            while let record = classes[classIndex].settled.first ?? classes[classIndex].ready.first {
                let before = requests[record].unplaced
                leave(record, now, &view)
                guard requests[record].unplaced < before else { return }
                unlinkIfPlaced(record)
            }
            return
        }
        guard configuration.policy == .localFirst || !classes[classIndex].isFeasible,
            !classes[classIndex].ready.isEmpty
        else { return }
        if case .node(let node) = classes[classIndex].schedulingClass.constraint {
            guard node != id, view.isAlive(node) else { return }
            while let record = classes[classIndex].ready.first {
                send(record, requests[record].unplaced, to: node, .queue)
                unlinkIfPlaced(record)
            }
            return
        }
        view.prepare(classes[classIndex].schedulingClass.shape, &classes[classIndex].shape, now)
        let ownSlot = view.slot(of: id)
        while let record = classes[classIndex].ready.first,
            view.bestBucket(classes[classIndex].shape, excluding: ownSlot) < PlacementBucket.available,
            let slot = view.drawBest(classes[classIndex].shape, excluding: ownSlot, using: &random)
        {
            spill(record, limit: requests[record].unplaced, to: slot, now, &view)
            unlinkIfPlaced(record)
        }
        if !classes[classIndex].isFeasible {
            while let record = classes[classIndex].ready.first {
                let before = requests[record].waiting
                queueElsewhere(record, now, &view)
                guard requests[record].waiting < before else { return }
                unlinkIfPlaced(record)
            }
        }
    }

    /// Time has passed: what waits is looked at again, and what still finds no room in the view asks around.
    mutating func lookAgain(_ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]) {
        nextLook = .never
        reconsider(now, &view, &directives)
        guard configuration.policy == .localFirst, own.condition == .alive else { return }
        for queue in activeQueues where queues[queue].key.group == nil {
            for classIndex in classLinks.indices(of: queues[queue].round)
            where classes[classIndex].schedulingClass.constraint == .hybrid {
                askAround(classIndex, now, &view)
            }
        }
    }

    /// A view is as old as it is, and so shows room that is gone and none where some has come. So some of what waits is
    /// sent to nodes that are drawn, the better of two, one slot each: they grant or reject. As many as last time,
    /// twice as many where most were granted, half where most came back.
    private mutating func askAround(_ classIndex: Int, _ now: Timestamp, _ view: inout ClusterView) {
        let (asked, cameBack) = (classes[classIndex].asked, classes[classIndex].cameBack)
        let demand = classes[classIndex].schedulingClass.demand
        let shape = classes[classIndex].shape
        guard view.isPrepared(shape) else { return }
        let most = max(1, view.feasibleCount(shape) / 16)
        let next = asked == 0 ? classes[classIndex].askLimit : cameBack * 2 > asked ? asked / 2 : asked * 2
        let limit = min(most, max(1, next))
        classes[classIndex].askLimit = limit
        (classes[classIndex].asked, classes[classIndex].cameBack) = (0, 0)
        let ownSlot = view.slot(of: id)
        while classes[classIndex].asked < limit, let record = classes[classIndex].ready.first,
            let first = view.drawAny(shape, excluding: ownSlot, using: &random),
            let second = view.drawAny(shape, excluding: ownSlot, using: &random)
        {
            let slot = view.load(demand, at: second) < view.load(demand, at: first) ? second : first
            spill(record, limit: 1, to: slot, now, &view)
            unlinkIfPlaced(record)
            classes[classIndex].asked += 1
        }
    }

    mutating func pullLimit(
        _ isLimited: Bool, _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        guard own.isPullLimited != isLimited else { return }
        own.isPullLimited = isLimited
        hasChanged = true
        reconsider(now, &view, &directives)
        if isLimited { spillFromTails(now, &view, &directives) }
    }

    /// Arguments can not come in: the newest that wait for some go where there is room, the oldest keep their turn.
    private mutating func spillFromTails(
        _ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]
    ) {
        for classIndex in classes.indices {
            while let record = classes[classIndex].pulling.last, requests[record].mode == .place,
                classes[classIndex].schedulingClass.constraint == .hybrid
            {
                view.prepare(classes[classIndex].schedulingClass.shape, &classes[classIndex].shape, now)
                let ownSlot = view.slot(of: id)
                guard view.bestBucket(classes[classIndex].shape, excluding: ownSlot) < PlacementBucket.available,
                    let slot = view.drawBest(classes[classIndex].shape, excluding: ownSlot, using: &random)
                else { break }
                spill(record, limit: requests[record].unplaced, to: slot, now, &view)
                unlinkIfPlaced(record)
            }
        }
        releaseArguments(&directives)
    }

    mutating func drain(_ now: Timestamp, _ view: inout ClusterView, _ directives: inout [NodeDirective]) {
        guard own.condition == .alive else { return }
        own.condition = .draining
        hasChanged = true
        for classIndex in classes.indices {
            for record in requestLinks.indices(of: classes[classIndex].pulling) {
                leave(record, now, &view)
                unlinkIfPlaced(record)
            }
        }
        reconsider(now, &view, &directives)
        releaseArguments(&directives)
    }
}

extension RequestRecord {
    /// Slots that have no resources yet.
    var unplaced: UInt32 { waiting - UInt32(starting) }
}

extension PlacementConstraint {
    var groupID: GroupID? {
        switch self {
        case .group(let group, _): group
        case .hybrid, .spread, .node, .preferredNode: nil
        }
    }
}
