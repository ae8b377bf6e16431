// Pulls and their waiters: from the first request to the published object.

internal import RayCore

extension PullMachine {
    func pullOf(_ id: PullID) -> Int? {
        let index = Int(id.index)
        guard index < pulls.count, pulls[index].generation == id.generation else { return nil }
        return index
    }

    func id(of pull: Int) -> PullID {
        PullID(index: UInt32(pull), generation: pulls[pull].generation)
    }

    // MARK: Waiters

    mutating func findOrAddPull(_ object: ObjectID) -> Int? {
        if let pull = pullOfObject[object] { return pull }
        guard pullSlots.used < configuration.maximumPulls else { return nil }
        let pull = pullSlots.take()
        if pull == pulls.count { pulls.append(Pull()) }
        pulls[pull].object = object
        pulls[pull].stage = .asking
        pulls[pull].priority = .taskArgument
        pullOfObject[object] = pull
        return pull
    }

    mutating func addWaiter(_ token: UInt64, to pull: Int, priority: PullPriority, deadline: Timestamp) {
        let waiter = Waiter(token: token, pull: pull, priority: priority)
        let index = waiterSlots.take()
        if index == waiters.count { waiters.append(waiter) } else { waiters[index] = waiter }
        waiterOfToken[token] = index
        waiterLinks.append(index, to: &pulls[pull].waiters)
        waiterDeadlines.set(index, to: deadline)
        pulls[pull].waitersOf[Int(priority.rawValue)] += 1
        updatePriority(pull)
    }

    /// Takes the waiter out and gives it its result; the pull may be without waiters then.
    private mutating func removeWaiter(
        _ index: Int, _ failure: FabricError.Code?, _ directives: inout [PullDirective]
    ) {
        let waiter = waiters[index]
        waiterOfToken[waiter.token] = nil
        waiterDeadlines.remove(index)
        waiterLinks.remove(index, from: &pulls[waiter.pull].waiters)
        pulls[waiter.pull].waitersOf[Int(waiter.priority.rawValue)] -= 1
        waiterSlots.give(index)
        directives.append(.finished(waiter: waiter.token, failure: failure))
    }

    mutating func endWaiter(
        _ index: Int, _ failure: FabricError.Code, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let pull = waiters[index].pull
        removeWaiter(index, failure, &directives)
        if pulls[pull].waiters.isEmpty {
            windDown(pull, now, &directives)
        } else {
            updatePriority(pull)
            admit(now, &directives)
        }
    }

    /// Keeps the pull and its sources in the queues of the highest priority of its waiters.
    private mutating func updatePriority(_ pull: Int) {
        guard let priority = PullPriority.allCases.first(where: { pulls[pull].waitersOf[Int($0.rawValue)] > 0 }),
            priority != pulls[pull].priority
        else { return }
        if pulls[pull].stage == .awaitingBudget {
            awaitingBudgetLinks.remove(pull, from: &awaitingBudget[pulls[pull].priority])
            awaitingBudgetLinks.append(pull, to: &awaitingBudget[priority])
        }
        pulls[pull].priority = priority
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            let queue = sources[source].queue
            if queue != .none {
                dequeue(source)
                enqueue(source, queue)
            }
            source = pullLinks.next(after: source)
        }
    }

    // MARK: Going on, and ending

    /// A waiter joins a pull whose draft was about to be dropped: it goes on with what has arrived.
    mutating func revive(_ pull: Int) {
        if pulls[pull].stage == .draining { pulls[pull].stage = .reading }
    }

    /// Sees to it that as many sources work on the pull as are useful, or ends it when there are none.
    mutating func advance(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        guard !pulls[pull].waiters.isEmpty else { return windDown(pull, now, &directives) }
        switch pulls[pull].stage {
        case .publishing, .delivering, .draining: return
        case .asking, .awaitingBudget, .allocating, .reading: break
        }
        let wanted =
            pulls[pull].stage == .reading && pulls[pull].map.missingBytes >= configuration.spreadBytes
            ? configuration.sourcesAtOnce : 1
        var working = 0
        var located = 0
        var hope = false
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            switch sources[source].stage {
            case .located:
                located += 1
                working += 1
            case .waiting, .asked:
                hope = true
                if !sources[source].isSlow { working += 1 }
            case .leaving, .resting: hope = true
            case .idle, .failed: break
            }
            source = pullLinks.next(after: source)
        }
        if located == 0, pulls[pull].stage == .awaitingBudget {
            awaitingBudgetLinks.remove(pull, from: &awaitingBudget[pulls[pull].priority])
            pulls[pull].stage = .asking
        }
        source = pulls[pull].sources.first
        while source != LinkTable.none, working < wanted {
            if sources[source].stage == .idle {
                start(source, now, &directives)
                working += 1
            }
            source = pullLinks.next(after: source)
        }
        if working == 0, !hope { end(pull, reasonOfFailure(pull), now, &directives) }
    }

    /// The code that all sources failed with; `objectDeleted` if any said so.
    private func reasonOfFailure(_ pull: Int) -> FabricError.Code {
        var reason: FabricError.Code?
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            let code = sources[source].failure
            if code == .objectDeleted { return code }
            reason = reason == nil || reason == code ? code : .sourceUnavailable
            source = pullLinks.next(after: source)
        }
        return reason ?? .sourceUnavailable
    }

    /// Gives all waiters their result and winds the pull down.
    mutating func end(
        _ pull: Int, _ failure: FabricError.Code?, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        while !pulls[pull].waiters.isEmpty {
            removeWaiter(pulls[pull].waiters.first, failure, &directives)
        }
        windDown(pull, now, &directives)
    }

    /// Nobody waits any more: ends what can be ended now. The rest follows when reads complete or
    /// the shell answers.
    private mutating func windDown(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        switch pulls[pull].stage {
        case .asking:
            leaveAllSources(of: pull, now, &directives)
            free(pull)
        case .awaitingBudget:
            awaitingBudgetLinks.remove(pull, from: &awaitingBudget[pulls[pull].priority])
            leaveAllSources(of: pull, now, &directives)
            free(pull)
            admit(now, &directives)
        case .allocating:
            leaveAllSources(of: pull, now, &directives)
        case .reading, .draining:
            pulls[pull].stage = .draining
            leaveAllSources(of: pull, now, &directives)
            guard pulls[pull].reads == 0 else { return }
            directives.append(.abort(id(of: pull)))
            giveBackBudget(of: pull)
            free(pull)
            admit(now, &directives)
        case .publishing, .delivering:
            break
        }
    }

    private mutating func free(_ pull: Int) {
        while !pulls[pull].sources.isEmpty { removeSource(pulls[pull].sources.first) }
        pullOfObject[pulls[pull].object] = nil
        pulls[pull].generation &+= 1
        pullSlots.give(pull)
    }

    // MARK: Budget, draft and publishing

    /// A source has the object pinned: its size is known, and it may ask for budget.
    mutating func awaitBudget(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        guard pulls[pull].byteCount <= configuration.maximumObjectBytes else {
            return end(pull, .objectTooLarge, now, &directives)
        }
        pulls[pull].stage = .awaitingBudget
        awaitingBudgetLinks.append(pull, to: &awaitingBudget[pulls[pull].priority])
        admit(now, &directives)
    }

    /// Asks for drafts in order of priority. The first one that does not fit holds up those behind
    /// it, so that large objects have their turn.
    mutating func admit(_ now: Timestamp, _ directives: inout [PullDirective]) {
        while storeFullUntil <= now, drafts < configuration.maximumDrafts, let pull = awaitingBudget.first {
            let byteCount = pulls[pull].byteCount
            guard drafts == 0 || byteCount <= configuration.budgetBytes - draftBytes else { return }
            awaitingBudgetLinks.remove(pull, from: &awaitingBudget[pulls[pull].priority])
            pulls[pull].stage = .allocating
            drafts += 1
            draftBytes += byteCount
            directives.append(
                .allocate(
                    id(of: pull), pulls[pull].object, size: pulls[pull].size,
                    metadataSize: pulls[pull].metadataSize))
            makeUrgent(pull, now, &directives)
        }
    }

    private mutating func giveBackBudget(of pull: Int) {
        drafts -= 1
        draftBytes -= pulls[pull].byteCount
    }

    mutating func draftMade(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        pulls[pull].map.reset(byteCount: pulls[pull].byteCount, chunkBytes: configuration.chunkBytes)
        pulls[pull].stage = .reading
        if !pulls[pull].waiters.isEmpty, pulls[pull].map.isComplete {
            publish(pull, now, &directives)
        } else {
            readFromAll(pull, now, &directives)
            advance(pull, now, &directives)
        }
    }

    mutating func draftRefused(
        _ pull: Int, _ code: FabricError.Code, retry: Bool, _ now: Timestamp,
        _ directives: inout [PullDirective]
    ) {
        giveBackBudget(of: pull)
        if retry, !pulls[pull].waiters.isEmpty {
            storeFullUntil = now + configuration.storeRetryDelay
            pulls[pull].stage = .awaitingBudget
            awaitingBudgetLinks.prepend(pull, to: &awaitingBudget[pulls[pull].priority])
            advance(pull, now, &directives)
        } else {
            pulls[pull].stage = .asking
            end(pull, code == .objectExists ? nil : code, now, &directives)
            admit(now, &directives)
        }
    }

    mutating func publish(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        pulls[pull].stage = .publishing
        directives.append(.publish(id(of: pull)))
        leaveAllSources(of: pull, now, &directives)
    }

    mutating func publishEnded(
        _ pull: Int, _ failure: FabricError.Code?, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        if pulls[pull].stage == .publishing {
            if failure != nil { directives.append(.abort(id(of: pull))) }
            giveBackBudget(of: pull)
        }
        if failure == nil { statistics.objectsPulled += 1 }
        pulls[pull].stage = .asking
        end(pull, failure == .objectExists ? nil : failure, now, &directives)
        admit(now, &directives)
    }

    /// The store had no room for an inline object: its source is asked again after a while.
    mutating func deliverAgain(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        pulls[pull].stage = .asking
        guard !pulls[pull].waiters.isEmpty else { return windDown(pull, now, &directives) }
        let source = pulls[pull].deliverer
        sources[source].stage = .resting
        sourceTimers.set(source, to: now + configuration.storeRetryDelay)
    }
}
