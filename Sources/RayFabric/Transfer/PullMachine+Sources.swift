// Sources and nodes: who is asked for an object, when, and how often.

internal import RayCore

extension PullMachine {
    // MARK: Nodes

    mutating func findOrAddNode(_ id: NodeID) -> Int? {
        if let node = nodeOfID[id] { return node }
        guard nodeSlots.used < configuration.maximumNodes else { return nil }
        let node = nodeSlots.take()
        if node == nodes.count { nodes.append(Node(id: id)) } else { nodes[node] = Node(id: id) }
        nodeOfID[id] = node
        return node
    }

    private mutating func freeIfUnused(_ node: Int) {
        guard nodes[node].sources.isEmpty, nodes[node].connection == nil else { return }
        guard nodeOfID.removeValue(forKey: nodes[node].id) != nil else { return }
        nodeSlots.give(node)
    }

    /// The node's connection ended or did not come about.
    mutating func failAllSources(
        of node: Int, _ code: FabricError.Code, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        var source = nodes[node].sources.first
        while source != LinkTable.none {
            // Failing a source frees at most the source itself: a pull has one source at a node.
            let next = nodeLinks.next(after: source)
            fail(source, code == .closed ? .connectionLost : code, now, &directives)
            source = next
        }
        freeIfUnused(node)
    }

    // MARK: Sources

    /// Adds a source to a pull, or gives one that had failed another chance.
    /// - Returns: false if no more nodes can be remembered.
    mutating func addSource(_ id: NodeID, to pull: Int) -> Bool {
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            if nodes[sources[source].node].id == id {
                if sources[source].stage == .failed { sources[source].stage = .idle }
                if sources[source].afterLeaving == .failed { sources[source].afterLeaving = .idle }
                sources[source].failures = 0
                return true
            }
            source = pullLinks.next(after: source)
        }
        guard pulls[pull].sources.count < configuration.sourcesPerObject else { return true }
        guard let node = findOrAddNode(id) else { return false }
        let index = sourceSlots.take()
        if index == sources.count {
            sources.append(Source(pull: pull, node: node))
        } else {
            let extents = sources[index].extents
            sources[index] = Source(pull: pull, node: node)
            sources[index].extents = extents
        }
        pullLinks.append(index, to: &pulls[pull].sources)
        nodeLinks.append(index, to: &nodes[node].sources)
        return true
    }

    /// - Precondition: the source has no request and no reads.
    mutating func removeSource(_ source: Int) {
        precondition(sources[source].request == 0 && sources[source].reads.isEmpty, "the source is in use")
        let node = sources[source].node
        sourceTimers.remove(source)
        pullLinks.remove(source, from: &pulls[sources[source].pull].sources)
        nodeLinks.remove(source, from: &nodes[node].sources)
        sourceSlots.give(source)
        freeIfUnused(node)
    }

    func sourceOf(_ request: UInt64, _ connection: Connection) -> Int? {
        let source = Int(request & 0xffff_ffff)
        guard request != 0, source < sources.count, sources[source].request == request,
            sources[source].connection == connection
        else { return nil }
        return source
    }

    // MARK: Queues of a node

    mutating func enqueue(_ source: Int, _ queue: Source.Queue) {
        let node = sources[source].node
        let priority = pulls[sources[source].pull].priority
        sources[source].queue = queue
        sources[source].queuedAs = priority
        switch queue {
        case .none: break
        case .waiting: queueLinks.append(source, to: &nodes[node].waiting[priority])
        case .urgent: queueLinks.append(source, to: &nodes[node].urgent)
        case .readable: queueLinks.append(source, to: &nodes[node].readable[priority])
        }
    }

    mutating func dequeue(_ source: Int) {
        let node = sources[source].node
        let priority = sources[source].queuedAs
        switch sources[source].queue {
        case .none: break
        case .waiting: queueLinks.remove(source, from: &nodes[node].waiting[priority])
        case .urgent: queueLinks.remove(source, from: &nodes[node].urgent)
        case .readable: queueLinks.remove(source, from: &nodes[node].readable[priority])
        }
        sources[source].queue = .none
    }

    /// The pull now holds budget: its sources must not wait behind objects that wait for budget.
    mutating func makeUrgent(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            if sources[source].queue == .waiting {
                dequeue(source)
                enqueue(source, .urgent)
                askNext(sources[source].node, now, &directives)
            }
            source = pullLinks.next(after: source)
        }
    }

    // MARK: Asking

    /// An idle source is needed.
    mutating func start(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        let node = sources[source].node
        sources[source].stage = .waiting
        sources[source].isSlow = false
        sourceTimers.set(source, to: now + configuration.requestTimeout)
        enqueue(source, pulls[sources[source].pull].holdsDraft ? .urgent : .waiting)
        if nodes[node].connection != nil {
            askNext(node, now, &directives)
        } else if !nodes[node].isConnecting {
            nodes[node].isConnecting = true
            directives.append(.connect(nodes[node].id))
        }
    }

    /// Sends the requests that a node's connection and limit allow.
    mutating func askNext(_ node: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        guard let connection = nodes[node].connection else { return }
        while !nodes[node].urgent.isEmpty {
            ask(nodes[node].urgent.first, connection, now, &directives)
        }
        while nodes[node].requests < configuration.requestsPerSource, let source = nodes[node].waiting.first {
            ask(source, connection, now, &directives)
        }
    }

    private mutating func ask(
        _ source: Int, _ connection: Connection, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        dequeue(source)
        lastRequest = lastRequest == .max ? 1 : lastRequest + 1
        sources[source].stage = .asked
        sources[source].request = UInt64(lastRequest) << 32 | UInt64(source)
        sources[source].connection = connection
        sources[source].attempt = 1
        sources[source].inlineLimit = pulls[sources[source].pull].holdsDraft ? 0 : configuration.inlineLimit
        sources[source].sentAt = now
        nodes[sources[source].node].requests += 1
        statistics.requestsSent += 1
        sendRequest(source, now, &directives)
    }

    private mutating func sendRequest(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        sourceTimers.set(source, to: now + configuration.requestTimeout)
        let call = TransferCall.request(
            sources[source].request, attempt: sources[source].attempt, pulls[sources[source].pull].object,
            inlineLimit: UInt32(clamping: sources[source].inlineLimit))
        directives.append(.send(call, sources[source].connection))
    }

    mutating func timeIsUp(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        switch sources[source].stage {
        case .waiting:
            sources[source].isSlow = true
            advance(sources[source].pull, now, &directives)
        case .asked:
            guard sources[source].attempt < configuration.requestAttempts else {
                return fail(source, .sourceUnavailable, now, &directives)
            }
            sources[source].attempt += 1
            sources[source].isSlow = true
            statistics.requestsRepeated += 1
            sendRequest(source, now, &directives)
            advance(sources[source].pull, now, &directives)
        case .located:
            renew(source, now, &directives)
        case .resting:
            sources[source].stage = .idle
            advance(sources[source].pull, now, &directives)
        case .idle, .leaving, .failed:
            preconditionFailure("a source that is \(sources[source].stage) has no time to wait for")
        }
    }

    // MARK: Leases

    private mutating func renew(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        guard now < sources[source].leaseEnd else { return fail(source, .sourceUnavailable, now, &directives) }
        sources[source].attempt &+= 1
        sources[source].sentAt = now
        let call = TransferCall.renew(
            sources[source].request, grant: sources[source].grant, attempt: sources[source].attempt)
        directives.append(.send(call, sources[source].connection))
        sourceTimers.set(source, to: min(now + sources[source].lease / 3, sources[source].leaseEnd))
    }

    /// The source has kept its pin. The lease counts from when the renewal was sent, for it can not
    /// have been received earlier.
    mutating func renewed(_ source: Int, attempt: UInt32, _ now: Timestamp) {
        guard sources[source].stage == .located, sources[source].attempt == attempt else { return }
        sources[source].leaseEnd = sources[source].sentAt + sources[source].lease
        sourceTimers.set(source, to: sources[source].sentAt + sources[source].lease / 3)
    }

    // MARK: Answers

    mutating func located(
        _ source: Int, _ size: Int, _ metadataSize: Int, _ extents: [RemoteExtent], lease: Duration,
        _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let pull = sources[source].pull
        guard lease >= .milliseconds(100), sizesMatch(pull, size, metadataSize),
            store(extents, in: source, byteCount: size + metadataSize)
        else { return violated(source, now, &directives) }
        sources[source].stage = .located
        sources[source].isSlow = false
        sources[source].lease = lease
        sources[source].leaseEnd = sources[source].sentAt + lease
        guard now < sources[source].leaseEnd else { return fail(source, .sourceUnavailable, now, &directives) }
        sourceTimers.set(source, to: sources[source].sentAt + lease / 3)
        switch pulls[pull].stage {
        case .asking:
            (pulls[pull].size, pulls[pull].metadataSize) = (size, metadataSize)
            awaitBudget(pull, now, &directives)
        case .awaitingBudget, .allocating:
            break
        case .reading:
            readFromAll(pull, now, &directives)
        case .publishing, .delivering, .draining:
            preconditionFailure("a source is asked while its pull is \(pulls[pull].stage)")
        }
    }

    mutating func inline(
        _ source: Int, _ size: Int, _ metadataSize: Int, _ payload: Range<Int>,
        _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let pull = sources[source].pull
        guard sizesMatch(pull, size, metadataSize), payload.count == size + metadataSize,
            payload.count <= sources[source].inlineLimit
        else { return violated(source, now, &directives) }
        // An inline reply has no pin, so its request ends here, without a release.
        endRequest(source)
        sourceTimers.remove(source)
        sources[source].stage = .idle
        switch pulls[pull].stage {
        case .asking, .awaitingBudget:
            if pulls[pull].stage == .awaitingBudget {
                awaitingBudgetLinks.remove(pull, from: &awaitingBudget[pulls[pull].priority])
            }
            pulls[pull].stage = .delivering
            pulls[pull].deliverer = source
            (pulls[pull].size, pulls[pull].metadataSize) = (size, metadataSize)
            statistics.bytesInline += UInt64(payload.count)
            directives.append(
                .deliverInline(
                    id(of: pull), pulls[pull].object, size: size, metadataSize: metadataSize, payload: payload))
            leaveAllSources(of: pull, now, &directives)
        case .allocating, .reading:
            break
        case .publishing, .delivering, .draining:
            preconditionFailure("a source is asked while its pull is \(pulls[pull].stage)")
        }
        askNext(sources[source].node, now, &directives)
    }

    /// True if the sizes are possible, and those of the sources before.
    private func sizesMatch(_ pull: Int, _ size: Int, _ metadataSize: Int) -> Bool {
        guard size >= 0, metadataSize >= 0, !size.addingReportingOverflow(metadataSize).overflow else {
            return false
        }
        return pulls[pull].stage == .asking
            || (size, metadataSize) == (pulls[pull].size, pulls[pull].metadataSize)
    }

    /// Keeps where the object lies; false if the extents are not exactly its bytes.
    private mutating func store(_ extents: [RemoteExtent], in source: Int, byteCount: Int) -> Bool {
        guard extents.count <= TransferMessage.maximumExtents else { return false }
        sources[source].extents.removeAll(keepingCapacity: true)
        var start = 0
        for extent in extents {
            guard let length = Int(exactly: extent.length), length > 0, length <= byteCount - start,
                !extent.location.offset.addingReportingOverflow(extent.length).overflow
            else { return false }
            sources[source].extents.append(
                LocatedExtent(start: start, length: length, location: extent.location))
            start += length
        }
        return start == byteCount
    }

    private mutating func violated(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        statistics.protocolViolations += 1
        fail(source, .protocolViolation, now, &directives)
    }

    // MARK: Failing and leaving

    /// The source does not help now. It rests and is tried again, unless the failure is for good.
    mutating func fail(
        _ source: Int, _ code: FabricError.Code, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        switch sources[source].stage {
        case .idle, .leaving, .resting, .failed: return
        case .waiting, .asked, .located: break
        }
        sources[source].failures += 1
        sources[source].failure = code
        let isFinal = Self.isFinal(code) || sources[source].failures >= configuration.failuresPerSource
        leave(source, then: isFinal ? .failed : .resting, now, &directives)
        advance(sources[source].pull, now, &directives)
    }

    /// Failures that trying again soon does not mend.
    private static func isFinal(_ code: FabricError.Code) -> Bool {
        switch code {
        case .objectNotFound, .objectDeleted, .protocolViolation, .connectionRefused, .staleIncarnation,
            .authenticationFailed, .versionMismatch, .notOurProtocol, .addressInvalid, .hostNotFound, .keyRequired:
            true
        default: false
        }
    }

    /// Gives up a source that works. Its request ends when its last read has completed.
    private mutating func leave(
        _ source: Int, then stage: Source.Stage, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        dequeue(source)
        sourceTimers.remove(source)
        sources[source].stage = .leaving
        sources[source].afterLeaving = stage
        var read = sources[source].reads.first
        while read != LinkTable.none {
            if reads[read].token != 0 {
                directives.append(.cancelRead(sources[source].connection, token: reads[read].token))
            }
            read = readLinks.next(after: read)
        }
        if sources[source].reads.isEmpty { left(source, now, &directives) }
    }

    /// The last read of a leaving source has completed, so its pin is not needed any more.
    mutating func left(_ source: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        let node = sources[source].node
        sources[source].stage = sources[source].afterLeaving
        if sources[source].stage == .resting {
            let doublings = min(sources[source].failures, 16) - 1
            sourceTimers.set(source, to: now + configuration.retryDelay * (1 << max(doublings, 0)))
        }
        guard sources[source].request != 0 else { return }
        if nodes[node].connection == sources[source].connection {
            directives.append(.send(.release(sources[source].request), sources[source].connection))
        }
        endRequest(source)
        askNext(node, now, &directives)
    }

    private mutating func endRequest(_ source: Int) {
        sources[source].request = 0
        nodes[sources[source].node].requests -= 1
    }

    /// The pull needs no sources any more, or none until somebody waits for it again.
    mutating func leaveAllSources(of pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            switch sources[source].stage {
            case .waiting, .asked, .located:
                leave(source, then: .idle, now, &directives)
            case .resting:
                sourceTimers.remove(source)
                sources[source].stage = .idle
            case .leaving:
                if sources[source].afterLeaving == .resting { sources[source].afterLeaving = .idle }
            case .idle, .failed:
                break
            }
            source = pullLinks.next(after: source)
        }
    }
}
