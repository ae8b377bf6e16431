// Stores of nodes, and pulls between them.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    /// A local process has made an object.
    func seal(_ node: Int, _ copy: CopyID, _ value: Value, size: UInt64) {
        nodes[node].store[copy.object] = Copy(attempt: copy.attempt, size: size, value: value, isPinned: true)
        holder(node, .sealed(copy, size: size))
        if settings.bug == .pinnedEvicted, execution.chance(0.1) {
            nodes[node].store[copy.object]?.isPinned = false
            evictSoon(node, copy)
        }
        if settings.faults.contains(.disks), copy.attempt > 1, execution.chance(0.5) {
            judge.losesCopy()
            nodes[node].store[copy.object]?.isPinned = false
            evictSoon(node, copy)
        }
        if isReading(node, copy.object) { arrived(node, copy.object) }
    }

    private func isReading(_ node: Int, _ object: ObjectID) -> Bool { nodes[node].pulls[object] != nil }

    // MARK: Who wants an object

    /// A get of a local worker was told where the value is.
    func fetch(_ worker: Int, _ waiter: UInt64, _ object: ObjectID, _ located: LocatedObject) {
        let node = workers[worker].node
        if let copy = nodes[node].store[object], copy.attempt == located.attempt {
            guard let waiting = workers[worker].waiters.removeValue(forKey: waiter) else { return }
            return answer(worker, waiting, copy.value)
        }
        if located.locations.contains(where: { $0.node == nodes[node].id && $0.chunks == nil }) {
            return missing(worker, waiter, CopyID(object: object, attempt: located.attempt), at: nodes[node].id)
        }
        nodes[node].pulls[object, default: Pull()].waiters.append((worker, waiter))
        if nodes[node].pulls[object]?.located == nil { nodes[node].pulls[object]?.located = located }
        follow(node, object)
        requestPull(node, object)
    }

    /// The scheduler wants an argument here.
    func pullArgument(_ node: Int, _ object: ObjectID) {
        nodes[node].pulls[object, default: Pull()].isArgument = true
        if nodes[node].store[object] != nil || nodes[node].pulls[object]?.hasNoCopies == true {
            return answerArgument(node, object)
        }
        // It is nowhere, by what was heard before it was wanted: there may be news.
        if nodes[node].pulls[object]?.located == nil { unfollow(node, object) }
        follow(node, object)
        requestPull(node, object)
    }

    func releaseArgument(_ node: Int, _ object: ObjectID) {
        guard nodes[node].pulls[object] != nil else { return }
        nodes[node].pulls[object]?.isArgument = false
        nodes[node].pulls[object]?.isAnswered = false
        endPullIfUnwanted(node, object)
    }

    private func answerArgument(_ node: Int, _ object: ObjectID) {
        guard let pull = nodes[node].pulls[object], pull.isArgument, !pull.isAnswered else { return }
        nodes[node].pulls[object]?.isAnswered = true
        nodeScheduler(node, .argumentLocal(object))
    }

    /// The object is to be made again, which may take what would wait for it.
    private func argumentGone(_ node: Int, _ object: ObjectID) {
        guard let pull = nodes[node].pulls[object], pull.isArgument, !pull.isAnswered else { return }
        coverage.reach(.argumentGone)
        nodeScheduler(node, .argumentGone(object))
    }

    private func follow(_ node: Int, _ object: ObjectID) {
        guard nodes[node].pulls[object]?.isFollowed == false else { return }
        nodes[node].pulls[object]?.isFollowed = true
        holder(node, .follow(object))
    }

    private func unfollow(_ node: Int, _ object: ObjectID) {
        guard nodes[node].pulls[object]?.isFollowed == true else { return }
        nodes[node].pulls[object]?.isFollowed = false
        holder(node, .unfollow(object))
    }

    private func endPullIfUnwanted(_ node: Int, _ object: ObjectID) {
        guard let pull = nodes[node].pulls[object], !pull.isArgument, pull.waiters.isEmpty else { return }
        nodes[node].pulls[object] = nil
        if pull.isFollowed { holder(node, .unfollow(object)) }
    }

    // MARK: News of an object

    func statusChanged(_ node: Int, _ object: ObjectID, _ status: ObjectStatus) {
        guard nodes[node].pulls[object] != nil else { return }
        switch status {
        case .pending:
            nodes[node].pulls[object]?.located = nil
            nodes[node].pulls[object]?.hasNoCopies = false
            argumentGone(node, object)
        case .located(let located):
            nodes[node].pulls[object]?.located = located
            nodes[node].pulls[object]?.hasNoCopies = false
            requestPull(node, object)
        case .inline, .failed:
            // Those who wait are told by the owner machine; the task gets the error when it reads.
            nodes[node].pulls[object]?.located = nil
            nodes[node].pulls[object]?.hasNoCopies = true
            getAllAgain(node, object)
            answerArgument(node, object)
        }
    }

    private func getAllAgain(_ node: Int, _ object: ObjectID) {
        guard let waiters = nodes[node].pulls[object]?.waiters else { return }
        nodes[node].pulls[object]?.waiters = []
        for (worker, waiter) in waiters { queue.insert(.getAgain(worker: worker, waiter: waiter), at: now) }
        endPullIfUnwanted(node, object)
    }

    /// A copy is not where the directory says.
    private func missing(_ worker: Int, _ waiter: UInt64, _ copy: CopyID, at source: NodeID) {
        guard workers[worker].isAlive else { return }
        coverage.reach(.copyMissing)
        owner(worker, .copyMissing(copy, at: source))
        queue.insert(.getAgain(worker: worker, waiter: waiter), at: now + Self.pullPause)
    }

    // MARK: Pulling

    static let pullPause: UInt64 = 20_000_000
    static let pullTimeout: UInt64 = 200_000_000

    func requestPull(_ node: Int, _ object: ObjectID) {
        guard let pull = nodes[node].pulls[object], pull.request == nil, let located = pull.located,
            !(pull.isAnswered && pull.waiters.isEmpty)
        else { return }
        let sources = located.locations.filter { $0.chunks == nil && $0.node != nodes[node].id }
        guard !sources.isEmpty else { return }
        let source = sources[pull.turn % sources.count].node
        serial += 1
        nodes[node].pulls[object]?.request = serial
        nodes[node].pulls[object]?.turn += 1
        let incarnation = nodes[node].id.incarnation
        queue.insert(
            .pullTimeout(node: node, incarnation: incarnation, object, request: serial), at: now + Self.pullTimeout)
        guard let place = self.node(source) else { return }
        sendSurely(
            .pullRequest(
                CopyID(object: object, attempt: located.attempt), request: serial, from: node,
                incarnation: incarnation),
            to: raylet(place), from: node)
    }

    func answerPull(_ source: Int, _ copy: CopyID, request: UInt64, to node: Int, _ incarnation: UInt32) {
        let held = nodes[source].store[copy.object]
        let found = held?.attempt == copy.attempt ? held : nil
        sendSurely(
            .pullAnswer(copy, request: request, found?.value, size: found?.size ?? 0),
            to: .raylet(node, incarnation: incarnation), from: source, bytes: 200 + Int(found?.size ?? 0))
    }

    func pulled(_ node: Int, _ copy: CopyID, request: UInt64, value: Value?, size: UInt64) {
        guard nodes[node].pulls[copy.object]?.request == request else { return }
        nodes[node].pulls[copy.object]?.request = nil
        guard var value else { return sourceFailed(node, copy) }
        if settings.bug == .pullCorrupted { value.word += 1 }
        coverage.reach(.pulled)
        if nodes[node].store[copy.object].map({ $0.attempt < copy.attempt }) ?? true {
            nodes[node].store[copy.object] = Copy(attempt: copy.attempt, size: size, value: value, isPinned: false)
            holder(node, .pulled(copy, size: size))
            if execution.chance(settings.eviction) { evictSoon(node, copy) }
        }
        arrived(node, copy.object)
    }

    /// A complete copy is in the store: all who wait for it read it now.
    private func arrived(_ node: Int, _ object: ObjectID) {
        guard let copy = nodes[node].store[object], let pull = nodes[node].pulls[object] else { return }
        nodes[node].pulls[object]?.waiters = []
        for (worker, waiter) in pull.waiters where workers[worker].isAlive {
            guard let waiting = workers[worker].waiters.removeValue(forKey: waiter) else { continue }
            answer(worker, waiting, copy.value)
        }
        answerArgument(node, object)
        endPullIfUnwanted(node, object)
    }

    /// The asked node does not have it, or does not answer.
    private func sourceFailed(_ node: Int, _ copy: CopyID) {
        guard let pull = nodes[node].pulls[copy.object], let located = pull.located else { return }
        let complete = located.locations.filter { $0.chunks == nil && $0.node != nodes[node].id }
        nodes[node].pulls[copy.object]?.waiters = []
        if !complete.isEmpty {
            let source = complete[(pull.turn + complete.count - 1) % complete.count].node
            for (worker, waiter) in pull.waiters { missing(worker, waiter, copy, at: source) }
        } else {
            for (worker, waiter) in pull.waiters { queue.insert(.getAgain(worker: worker, waiter: waiter), at: now) }
        }
        if pull.isArgument {
            queue.insert(
                .pullAgain(node: node, incarnation: nodes[node].id.incarnation, copy.object),
                at: now + Self.pullPause)
        }
        endPullIfUnwanted(node, copy.object)
    }

    func pullTimedOut(_ node: Int, _ incarnation: UInt32, _ object: ObjectID, request: UInt64) {
        guard isAlive(node, incarnation), let pull = nodes[node].pulls[object], pull.request == request else { return }
        coverage.reach(.pullTimedOut)
        nodes[node].pulls[object]?.request = nil
        // Silence says nothing about the copy: those who wait ask the owner again.
        for (worker, waiter) in pull.waiters { queue.insert(.getAgain(worker: worker, waiter: waiter), at: now) }
        nodes[node].pulls[object]?.waiters = []
        if pull.isArgument { requestPull(node, object) }
        endPullIfUnwanted(node, object)
    }

    // MARK: Leaving

    func freeCopy(_ node: Int, _ copy: CopyID) {
        guard nodes[node].store[copy.object]?.attempt == copy.attempt else { return }
        nodes[node].store[copy.object] = nil
        getAllAgain(node, copy.object)
    }

    private func evictSoon(_ node: Int, _ copy: CopyID) {
        queue.insert(
            .evict(node: node, incarnation: nodes[node].id.incarnation, copy),
            at: now + execution.exponential(mean: 20_000_000))
    }

    func evict(_ copy: CopyID, _ node: Int, _ incarnation: UInt32) {
        guard isAlive(node, incarnation), let held = nodes[node].store[copy.object], held.attempt == copy.attempt,
            !held.isPinned, nodes[node].pulls[copy.object] == nil
        else { return }
        coverage.reach(.evicted)
        nodes[node].store[copy.object] = nil
        holder(node, .removed(copy.object))
    }

    /// A copy is gone, whoever needs it.
    func loseCopy(_ node: Int, _ number: Int) {
        let objects = nodes[node].store.keys.sorted()
        guard nodes[node].isAlive, !objects.isEmpty else { return }
        coverage.reach(.copyLost)
        let object = objects[number % objects.count]
        nodes[node].store[object] = nil
        judge.losesCopy()
        holder(node, .removed(object))
        guard nodes[node].pulls[object]?.isAnswered == true else { return }
        nodes[node].pulls[object]?.isAnswered = false
        nodeScheduler(node, .argumentLost(object))
    }
}
