// Tasks that this process has submitted: from their inputs to their returns.

internal import RayCore

extension WorkerMachine {
    /// - Precondition: the machine gave out the identifier for as many returns, and it was not used before.
    mutating func submit(_ submission: TaskSubmission) {
        precondition(
            submission.task.owner == id && submission.task.sequence + UInt64(submission.returns) <= lastSequence + 1,
            "\(submission.task) is not from makeTaskID")
        precondition(taskOfSequence[submission.task.sequence] == nil, "\(submission.task) exists")
        precondition(
            !submission.isStream || (submission.returns == 1 && submission.task.sequence & Self.streamMask == 0),
            "\(submission.task) is not from makeStreamID")
        let task = makeTask(submission)
        if tasks[task].arguments.count == submission.arguments.count + submission.nested.count {
            waitForInputs(task)
        } else {
            // An argument of our own that has ended can only have come from outside of the system.
            failTask(task) { ObjectError($0, .outOfScope) }
        }
    }

    mutating func makeTask(_ submission: TaskSubmission) -> Slot {
        let retries = submission.maximumRetries.map { UInt32(clamping: $0) }
        let task = tasks.insert(
            TaskRecord(
                id: submission.task, returns: UInt32(submission.returns), isStream: submission.isStream,
                liveReturns: UInt32(submission.returns), retriesLeft: retries, hadRetries: retries != 0,
                lineageBytes: max(0, submission.lineageBytes)))
        taskOfSequence[submission.task.sequence] = task
        for index in 0..<submission.returns {
            let slot = makeOwnRecord(submission.task.returnID(index))
            objects[slot].handles = 1
            objects[slot].task = task
            if submission.isStream { objects[slot].flags.insert(.isStream) }
        }
        for argument in submission.arguments { take(argument, for: task) }
        tasks[task].inputs = tasks[task].arguments.count
        for reference in submission.nested { take(reference, for: task) }
        return task
    }

    private mutating func take(_ argument: ObjectID, for task: Slot) {
        guard let slot = findOrBorrow(argument, .outOfBand) else { return }
        objects[slot].tasks += 1
        objects[slot].lineage += 1
        tasks[task].arguments.append(slot)
    }

    // MARK: Inputs

    /// Offers the task once all its inputs are there; those that are lost are recovered first.
    mutating func waitForInputs(_ task: Slot) {
        tasks[task].state = .waiting
        tasks[task].missing = 0
        if let error = failedInput(of: task) { return failTask(task) { _ in error } }
        for argument in tasks[task].arguments[..<tasks[task].inputs] where !objects[argument].isAvailable {
            tasks[task].missing += 1
            wait(for: argument, .input(of: task))
        }
        if tasks[task].missing == 0 { offer(task) }
    }

    /// The error of an input that will not come.
    private func failedInput(of task: Slot) -> ObjectError? {
        for argument in tasks[task].arguments[..<tasks[task].inputs] where !objects[argument].isAvailable {
            guard objects[argument].value == .failed || objects[argument].role == .ended else { continue }
            if let error = errors[argument] { return error }
        }
        return nil
    }

    /// Tasks whose inputs have failed fail in turn. They wait in a queue, for chains may be long.
    mutating func drainFailures() {
        while let (id, error) = failedTasks.popFirst() {
            guard let task = taskOfSequence[id.sequence] else { continue }
            failTask(task) { _ in error }
        }
    }

    mutating func inputArrived(_ task: Slot) {
        tasks[task].missing -= 1
        if tasks[task].missing == 0 { offer(task) }
    }

    private mutating func offer(_ task: Slot) {
        tasks[task].state = .offered
        directives.append(.runTask(tasks[task].id, attempt: tasks[task].attempt))
    }

    // MARK: Attempts

    func find(_ task: TaskID, _ attempt: UInt32) -> Slot? {
        guard task.owner == id, let slot = taskOfSequence[task.sequence], tasks[slot].attempt == attempt else {
            return nil
        }
        return slot
    }

    mutating func assign(_ id: TaskID, _ attempt: UInt32, to worker: WorkerID) {
        guard let task = find(id, attempt), tasks[task].state == .offered || tasks[task].state == .running else {
            return
        }
        // Named again, the attempt has moved: the worker named before has not begun it.
        leaveExecutor(task)
        guard let peer = openPeer(worker) else {
            let cause = deaths.death(of: worker)?.cause ?? .unknownMember
            return retryOrFail(task, .workerDied(worker, cause))
        }
        run(task, on: peer)
    }

    mutating func run(_ task: Slot, on peer: Slot) {
        tasks[task].state = .running
        tasks[task].executor = peer
        tasksOfExecutor.append(task, to: &peers[peer].running)
    }

    private mutating func leaveExecutor(_ task: Slot) {
        guard tasks[task].state == .running else { return }
        tasksOfExecutor.remove(task, from: &peers[tasks[task].executor].running)
        tasks[task].executor = .absent
        tasks[task].state = .offered
    }

    mutating func reject(_ id: TaskID, _ attempt: UInt32, _ failure: TaskFailure) {
        guard let task = find(id, attempt), tasks[task].state == .offered || tasks[task].state == .running else {
            return
        }
        leaveExecutor(task)
        if failure == .refused, !tasks[task].isCancelled {
            // It did not run: that costs no retry.
            tasks[task].attempt += 1
            waitForInputs(task)
        } else if failure == .inputUnavailable, !tasks[task].isCancelled, let error = failedInput(of: task) {
            failTask(task) { _ in error }
        } else {
            retryOrFail(task, .taskFailed(failure))
        }
    }

    /// The worker that runs a task is dead. What it has passed on is known to the owners once that is settled.
    mutating func executorDied(_ task: Slot, _ death: Death) {
        let peer = tasks[task].executor
        for argument in tasks[task].arguments { lend(argument, to: peer, .argument, token: nil) }
        leaveExecutor(task)
        retryOrFail(task, .workerDied(links.peer(peer), death.cause))
    }

    private mutating func retryOrFail(_ task: Slot, _ reason: ObjectError.Reason) {
        if tasks[task].isCancelled { return failTask(task) { ObjectError($0, .cancelled) } }
        guard tasks[task].canRunAgain else { return failTask(task) { ObjectError($0, reason) } }
        countAttempt(task)
        waitForInputs(task)
    }

    private mutating func countAttempt(_ task: Slot) {
        if let left = tasks[task].retriesLeft { tasks[task].retriesLeft = left - 1 }
        tasks[task].attempt += 1
    }

    mutating func cancel(_ id: TaskID) {
        guard id.owner == self.id, let task = taskOfSequence[id.sequence] else { return }
        tasks[task].isCancelled = true
        switch tasks[task].state {
        case .waiting: failTask(task) { ObjectError($0, .cancelled) }
        case .offered:
            directives.append(.stopTask(id, attempt: tasks[task].attempt, on: nil))
            failTask(task) { ObjectError($0, .cancelled) }
        case .running:
            directives.append(
                .stopTask(id, attempt: tasks[task].attempt, on: links.peer(tasks[task].executor)))
        case .finished: forget(task, .cancelled)
        }
    }

    // MARK: Completion

    mutating func completed(_ completion: TaskCompletion, _ peer: Slot) {
        guard let task = find(completion.task, completion.attempt), tasks[task].state == .running,
            tasks[task].executor == peer
        else { return declined(completion, peer) }
        leaveExecutor(task)
        switch completion.outcome {
        case .streamed(let items) where tasks[task].isStream:
            for reference in completion.kept { acceptKept(reference, by: peer) }
            endStream(task, items)
        case .succeeded(let returns) where returns.count == Int(tasks[task].returns) && !tasks[task].isStream:
            for (index, value) in returns.enumerated() {
                accept(value, as: completion.task.returnID(index), completion.attempt, from: peer)
            }
            for reference in completion.kept { acceptKept(reference, by: peer) }
            succeed(task)
        case .succeeded(let returns):
            for value in returns { declineContents(value.contents, from: peer) }
            for reference in completion.kept { acceptKept(reference, by: peer) }
            retryOrFail(task, .taskFailed(.refused))
        case .streamed:
            for reference in completion.kept { acceptKept(reference, by: peer) }
            retryOrFail(task, .taskFailed(.refused))
        case .failed(let failure):
            for reference in completion.kept { acceptKept(reference, by: peer) }
            retryOrFail(task, .taskFailed(failure))
        case .cancelled:
            for reference in completion.kept { acceptKept(reference, by: peer) }
            tasks[task].isCancelled = true
            failTask(task) { ObjectError($0, .cancelled) }
        }
    }

    /// One return of a task that succeeded. A value that is still there is kept, since somebody may have read it.
    mutating func accept(
        _ value: TaskCompletion.Return, as object: ObjectID, _ attempt: UInt32, from peer: Slot
    ) {
        let node = peers[peer].node
        guard let slot = find(object), objects[slot].value != .failed else {
            return decline(value, CopyID(object: object, attempt: attempt), at: node, from: peer)
        }
        if objects[slot].value == .sealed {
            // A node has one making of an object: the new one has taken the place of the old one there.
            if case .stored = value.value, let pair = locations.find(slot, node, in: objects[slot].locations) {
                removeLocation(pair)
            }
            if objects[slot].isAvailable {
                return decline(value, CopyID(object: object, attempt: attempt), at: node, from: peer)
            }
            orderAllFreed(slot)
        }
        let contents = value.contents.compactMap { acceptContent($0, from: peer) }
        seal(slot, value.value, contents: contents, attempt: attempt, at: nodes[node].id)
    }

    mutating func decline(_ value: TaskCompletion.Return, _ copy: CopyID, at node: Slot, from peer: Slot) {
        if case .stored = value.value { orderFreed(copy, at: node) }
        declineContents(value.contents, from: peer)
    }

    /// A completion that nobody waits for: what it made is of no use, what it holds it may hold.
    private mutating func declined(_ completion: TaskCompletion, _ peer: Slot) {
        if case .succeeded(let returns) = completion.outcome {
            for (index, value) in returns.enumerated() {
                let copy = CopyID(object: completion.task.returnID(index), attempt: completion.attempt)
                decline(value, copy, at: peers[peer].node, from: peer)
            }
        }
        for reference in completion.kept { acceptKept(reference, by: peer) }
    }

    mutating func succeed(_ task: Slot) {
        guard tasks[task].canRunAgain, hasStoredReturn(task) else { return forget(task, tasks[task].refusal) }
        for argument in tasks[task].arguments { releaseInput(argument) }
        tasks[task].state = .finished
        lineageLists.append(task, to: &lineage)
        lineageBytes += tasks[task].lineageBytes
        evictLineage()
    }

    private func hasStoredReturn(_ task: Slot) -> Bool {
        guard tasks[task].liveReturns > 0 else { return false }
        return (0..<Int(tasks[task].returns)).contains { index in
            guard let slot = find(tasks[task].id.returnID(index)) else { return false }
            return objects[slot].value == .lost || (objects[slot].value == .sealed && objects[slot].inline == nil)
        }
    }

    private mutating func releaseInput(_ argument: Slot) {
        objects[argument].tasks -= 1
        if objects[argument].tasks == 0 { touch(argument) }
    }

    /// The task will not make its returns. Those that wait for it get the error.
    mutating func failTask(_ task: Slot, _ error: (ObjectID) -> ObjectError) {
        for index in 0..<Int(tasks[task].returns) {
            let object = tasks[task].id.returnID(index)
            guard let slot = find(object) else { continue }
            switch objects[slot].value {
            case .pending, .recovering, .lost: fail(slot, error(object))
            case .sealed, .released, .failed: break
            }
        }
        forget(task, tasks[task].refusal)
    }

    /// The task will not run any more: its specification and its inputs are not needed.
    mutating func forget(_ task: Slot, _ refusal: ObjectRecord.Refusal) {
        leaveExecutor(task)
        while tasks[task].waiters != .absent { remove(tasks[task].waiters) }
        for index in 0..<(tasks[task].liveReturns > 0 ? Int(tasks[task].returns) : 0) {
            guard let slot = find(tasks[task].id.returnID(index)), objects[slot].task == task else { continue }
            objects[slot].task = .absent
            objects[slot].refusal = refusal
        }
        if tasks[task].state == .finished {
            lineageLists.remove(task, from: &lineage)
            lineageBytes -= tasks[task].lineageBytes
        } else {
            for argument in tasks[task].arguments { releaseInput(argument) }
        }
        for argument in tasks[task].arguments {
            objects[argument].lineage -= 1
            if objects[argument].lineage == 0 { touch(argument) }
        }
        directives.append(.forgetTask(tasks[task].id))
        taskOfSequence[tasks[task].id.sequence] = nil
        tasks.remove(task)
    }

    // MARK: Lineage

    /// Runs a finished task again. Its inputs are recovered first.
    mutating func runAgain(_ task: Slot) {
        guard tasks[task].state == .finished else { return }
        lineageLists.remove(task, from: &lineage)
        lineageBytes -= tasks[task].lineageBytes
        countAttempt(task)
        for argument in tasks[task].arguments {
            objects[argument].tasks += 1
            // Also what it does not wait for has to be there again, for it may ask.
            if objects[argument].value == .released { recoverSoon(argument) }
        }
        statistics.recoveredByTask += 1
        waitForInputs(task)
    }

    /// Forgets the tasks that finished first until the limit holds.
    private mutating func evictLineage() {
        while lineageBytes > configuration.lineageBytes, lineage != .absent {
            statistics.lineageEvictions += 1
            forget(lineage, .lineageEvicted)
        }
    }
}
