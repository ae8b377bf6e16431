// Requests for leases at the submitter: sent, repeated, reduced, answered.

internal import RayCore

extension SubmitterMachine {
    /// Slots that may be asked for beyond twice the need before some are given up.
    private static let surplus = 8

    // MARK: Lanes

    /// Does what is to do for each lane that something happened to.
    mutating func pumpStirred(_ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        var next = 0
        while next < stirred.count {
            let lane = stirred[next]
            next += 1
            lanes[lane].isStirred = false
            pushTasks(of: lane, now, &directives)
            adjustRequests(of: lane, now, &directives)
            dropLaneIfUnused(lane)
        }
        stirred.removeAll(keepingCapacity: true)
    }

    /// Asks for as many leases as there are tasks without one, and for no more.
    private mutating func adjustRequests(
        of lane: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        let needed = Int(lanes[lane].queue.count)
        if lanes[lane].requestedSlots > (needed == 0 ? 0 : 2 * needed + Self.surplus) {
            return reduceRequests(of: lane, to: needed, now, &directives)
        }
        if lanes[lane].requestedSlots >= needed { return }
        let schedulingClass = classes[Int(lanes[lane].key.classIndex)].schedulingClass
        if lanes[lane].key.node != nil, schedulingClass.constraint == .hybrid {
            return requestWithArguments(for: lane, now, &directives)
        }
        // One at a time until something is heard: what is submitted meanwhile goes into the next request together.
        guard lanes[lane].unheard == 0, Int(lanes[lane].requests.count) < configuration.requestsPerLane else { return }
        let slots = min(needed - lanes[lane].requestedSlots, configuration.slotsPerRequest)
        ask(firstParty(of: lane), for: lane, slots: UInt32(slots), isFirst: true, now: now, &directives)
    }

    /// One request for each task, with its arguments.
    private mutating func requestWithArguments(
        for lane: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        var task = lanes[lane].queue.first
        var position = 0
        while let current = task, Int(lanes[lane].requests.count) < configuration.requestsPerLane {
            if position >= lanes[lane].requestedSlots {
                ask(
                    firstParty(of: lane), for: lane, slots: 1, arguments: tasks[current].arguments,
                    isLocalityChoice: true, now: now, &directives)
            }
            position += 1
            task = taskLinks.next(after: current)
        }
    }

    /// Gives up slots that are not needed, of the newest requests first.
    private mutating func reduceRequests(
        of lane: Int, to needed: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        var surplus = lanes[lane].requestedSlots - needed
        var next = lanes[lane].requests.last
        while let request = next, surplus > 0 {
            next = requestLinks.previous(before: request)
            let unneeded = min(
                UInt32(surplus), requests[request].wanted - min(requests[request].wanted, requests[request].settled))
            guard unneeded > 0 else { continue }
            surplus -= Int(unneeded)
            lanes[lane].requestedSlots -= Int(unneeded)
            requests[request].wanted -= unneeded
            requests[request].backoff = configuration.retransmission
            send(request, now, &directives)
        }
    }

    /// Whom a lane asks first.
    func firstParty(of lane: Int) -> Party {
        guard
            configuration.policy != .central
                || classes[Int(lanes[lane].key.classIndex)].schedulingClass.constraint.groupID != nil,
            let node = lanes[lane].key.node, !deadNodes.contains(node)
        else { return home }
        return .node(node)
    }

    // MARK: Requests

    /// Asks for slots, which count as requested.
    private mutating func ask(
        _ party: Party, for lane: Int, slots: UInt32, mode: RequestMode = .place, rejections: UInt8 = 0,
        refusal: [NodeReport] = [], arguments: [TaskArgument] = [], isLocalityChoice: Bool = false,
        isFirst: Bool = false, now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        lastSequence += 1
        let slot = requestSlots.take()
        let request = OpenRequest(
            sequence: lastSequence, party: party, lane: Int32(lane), slots: slots, wanted: slots, mode: mode,
            rejections: rejections, refusal: refusal, arguments: arguments, isLocalityChoice: isLocalityChoice,
            isUnheard: isFirst, backoff: configuration.retransmission)
        if slot == requests.count { requests.append(request) } else { requests[slot] = request }
        requestOfSequence.insert(lastSequence, slot)
        requestLinks.append(slot, to: &lanes[lane].requests)
        openLinks.append(slot, to: &openRequests)
        lanes[lane].requestedSlots += Int(slots)
        if isFirst { lanes[lane].unheard += 1 }
        send(slot, now, &directives)
    }

    private mutating func send(_ slot: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        requests[slot].attempt += 1
        let request = requests[slot]
        var message = LeaseRequest(
            id: LeaseRequestID(submitter: id, sequence: request.sequence), attempt: request.attempt,
            settledBelow: openRequests.first.map { requests[$0].sequence } ?? request.sequence,
            schedulingClass: classes[Int(lanes[Int(request.lane)].key.classIndex)].schedulingClass,
            slots: request.slots, answered: request.parts, arguments: request.arguments, mode: request.mode,
            rejections: request.rejections, refusal: request.refusal, isLocalityChoice: request.isLocalityChoice)
        message.wanted = request.wanted
        directives.append(.send(.request(message), to: request.party))
        requestTimers.set(slot, to: now + request.backoff)
    }

    mutating func repeatRequest(_ slot: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        requests[slot].backoff = min(requests[slot].backoff * 2, configuration.poll)
        send(slot, now, &directives)
    }

    private mutating func noteHeard(_ slot: Int) {
        guard requests[slot].isUnheard else { return }
        requests[slot].isUnheard = false
        lanes[Int(requests[slot].lane)].unheard -= 1
    }

    /// Forgets a request. Slots that nobody has settled are no more requested.
    private mutating func close(_ slot: Int) {
        noteHeard(slot)
        let lane = Int(requests[slot].lane)
        lanes[lane].requestedSlots -= Int(requests[slot].wanted - min(requests[slot].wanted, requests[slot].settled))
        requestLinks.remove(slot, from: &lanes[lane].requests)
        openLinks.remove(slot, from: &openRequests)
        requestTimers.remove(slot)
        requestOfSequence.remove(requests[slot].sequence)
        requests[slot].arguments = []
        requests[slot].refusal = []
        requestSlots.give(slot)
        if lanes[lane].requests.isEmpty { lanes[lane].reason = nil }
        stir(lane)
    }

    // MARK: Answers

    mutating func received(
        _ answer: LeaseAnswer, _ sender: Party, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        guard answer.id.submitter == id else { return }
        guard let slot = requestOfSequence[answer.id.sequence], requests[slot].party == sender else {
            return giveBackUnwanted(answer, &directives)
        }
        noteHeard(slot)
        if answer.first > requests[slot].parts {
            // A part is missing in between: it is asked for again at once.
            return send(slot, now, &directives)
        }
        let known = Int(requests[slot].parts - answer.first)
        for part in answer.parts.dropFirst(known) {
            guard part.slots > 0, part.slots <= requests[slot].waiting else { return }
            requests[slot].parts += 1
            settle(slot, part.slots)
            take(part, of: slot, now, &directives)
        }
        let lane = Int(requests[slot].lane)
        stir(lane)
        if requests[slot].waiting == 0 { return close(slot) }
        if let reason = answer.reason { lanes[lane].reason = (reason, sender) }
        guard answer.attempt == requests[slot].attempt else { return }
        requests[slot].backoff = configuration.poll
        requestTimers.set(slot, to: now + configuration.poll)
    }

    /// Leases that came for a request that is over, and that are not held, go back.
    private func giveBackUnwanted(_ answer: LeaseAnswer, _ directives: inout [SubmitterDirective]) {
        for part in answer.parts {
            guard case .granted(let grant) = part, leaseOfID[grant.lease] == nil else { continue }
            directives.append(.send(.giveBack(LeaseReturn(lease: grant.lease)), to: .node(grant.lease.node)))
        }
    }

    private mutating func settle(_ slot: Int, _ count: UInt32) {
        let before = requests[slot].wanted - min(requests[slot].wanted, requests[slot].settled)
        requests[slot].settled += count
        let after = requests[slot].wanted - min(requests[slot].wanted, requests[slot].settled)
        lanes[Int(requests[slot].lane)].requestedSlots -= Int(before - after)
    }

    private mutating func take(
        _ part: AnswerPart, of slot: Int, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        let request = requests[slot]
        let lane = Int(request.lane)
        switch part {
        case .granted(let grant): granted(grant, to: lane, now, &directives)
        case .elsewhere(let node, let slots, let mode):
            if mode == .place, request.party == home { home = .node(node) }
            guard let needed = stillNeeded(slots, in: lane) else { return }
            let party: Party = deadNodes.contains(node) ? firstParty(of: lane) : .node(node)
            ask(
                party, for: lane, slots: needed, mode: party == .node(node) ? mode : .place,
                rejections: request.rejections, arguments: request.arguments, now: now, &directives)
        case .rejected(let slots, let report):
            guard let needed = stillNeeded(slots, in: lane) else { return }
            let isBottomUp = configuration.policy == .bottomUp && request.mode == .place
            ask(
                isBottomUp ? .controlStore : firstParty(of: lane), for: lane, slots: needed,
                rejections: isBottomUp ? request.rejections : min(.max - 1, request.rejections) + 1,
                refusal: [report], arguments: request.arguments, now: now, &directives)
        case .cancelled: return
        case .failed(let slots, let failure): fail(slots, failure, lane, &directives)
        }
    }

    /// How many slots to ask for anew: those that tasks wait for; nil for none.
    private func stillNeeded(_ slots: UInt32, in lane: Int) -> UInt32? {
        let missing = Int(lanes[lane].queue.count) - lanes[lane].requestedSlots
        return missing > 0 ? min(slots, UInt32(missing)) : nil
    }

    private mutating func fail(
        _ slots: UInt32, _ failure: LeaseFailure, _ lane: Int, _ directives: inout [SubmitterDirective]
    ) {
        switch failure {
        case .workerStartFailed: failQueue(lane, failure, &directives)
        case .groupGone(let group):
            // It may have moved: its tasks wait until it is said where it is, or that it is gone.
            groups[group] = nil
            moveQueue(lane, &directives)
        case .argumentGone(let object): awaitAnew(object, in: lane, &directives)
        case .tooManyRequests:
            for _ in 0..<slots {
                guard let task = lanes[lane].queue.last else { return }
                end(task, .unschedulable(failure), &directives)
            }
        }
    }

    // MARK: Death

    mutating func nodeDied(_ node: NodeID, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard deadNodes.insert(node).inserted else { return }
        if home == .node(node) { home = .node(id.node) }
        loseLeases(of: node, now, &directives)
        for slot in openLinks.indices(of: openRequests) where requests[slot].party == .node(node) {
            let request = requests[slot]
            let lane = Int(request.lane)
            close(slot)
            guard let needed = stillNeeded(request.waiting, in: lane) else { continue }
            ask(
                firstParty(of: lane), for: lane, slots: needed, rejections: request.rejections,
                arguments: request.arguments, now: now, &directives)
        }
        for lane in lanes.indices where lanes[lane].key.node == node && !lanes[lane].queue.isEmpty {
            moveQueue(lane, &directives)
        }
    }
}
