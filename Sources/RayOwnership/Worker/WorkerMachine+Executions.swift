// Tasks that run in this process for their submitters.

internal import RayCore

/// An attempt of a task.
struct Attempt: Hashable, Sendable {
    var task: TaskID
    var number: UInt32
}

extension WorkerMachine {
    mutating func start(_ task: TaskID, _ attempt: UInt32, _ arguments: [ObjectID]) {
        guard executionOfTask[task] == nil, endedAttempts[Attempt(task: task, number: attempt)] == nil else { return }
        guard let caller = openPeer(task.owner) else {
            return directives.append(.abandonTask(task, attempt: attempt))
        }
        let execution = executions.insert(Execution(task: task, attempt: attempt, caller: caller))
        executionOfTask[task] = execution
        executionsOfCaller.append(execution, to: &peers[caller].executions)
        for argument in arguments {
            guard let slot = findOrBorrow(argument, .task(task)) else { continue }
            objects[slot].tasks += 1
            executions[execution].arguments.append(slot)
        }
    }

    mutating func finish(_ task: TaskID, _ attempt: UInt32, _ outcome: TaskOutcome) {
        guard let execution = executionOfTask[task], executions[execution].attempt == attempt else { return }
        let caller = executions[execution].caller
        let sent = caller == .absent ? .cancelled : lendContents(of: outcome, to: caller)
        for argument in executions[execution].arguments {
            objects[argument].tasks -= 1
            if objects[argument].tasks == 0 { touch(argument) }
        }
        // What this process has dropped is gone after this; what is left goes on being held.
        drainScope()
        if caller != .absent {
            let kept = keepArguments(of: execution, lentBy: caller)
            let completion = TaskCompletion(task: task, attempt: attempt, outcome: sent, kept: kept)
            send(.completed(completion), to: caller)
            executionsOfCaller.remove(execution, from: &peers[caller].executions)
        }
        executionOfTask[task] = nil
        endedAttempts.insert(Attempt(task: task, number: attempt), true)
        executions.remove(execution)
    }

    /// Holds what is inside of returns until the caller is known to the owners, or owns it itself.
    private mutating func lendContents(of outcome: TaskOutcome, to caller: Slot) -> TaskCompletion.Outcome {
        switch outcome {
        case .failed(let failure): return .failed(failure)
        case .streamed(let items): return .streamed(items: items)
        case .cancelled: return .cancelled
        case .succeeded(let values):
            return .succeeded(values.map { lendContents(of: $0, to: caller) })
        }
    }

    mutating func lendContents(of value: ReturnedValue, to caller: Slot) -> TaskCompletion.Return {
        let contents = value.contents.compactMap { object -> LentReference? in
            guard let slot = findOrBorrow(object, .outOfBand) else { return nil }
            let token = barrier.makeToken()
            lend(slot, to: caller, .content, token: token)
            return LentReference(object: object, token: token)
        }
        return TaskCompletion.Return(value: value.value, contents: contents)
    }

    /// Arguments, and what was found inside of them, that this process goes on holding: the caller, which has held them
    /// so far, goes on until the owners know this process. If it is the owner, it knows by this.
    private mutating func keepArguments(of execution: Slot, lentBy caller: Slot) -> [LentReference] {
        var kept: [LentReference] = []
        while executions[execution].kept != .absent {
            let slot = executions[execution].kept
            dismissKeeper(of: slot)
            if objects[slot].owner == caller {
                objects[slot].role = .registered
                objects[slot].claim = barrier.makeToken()
            } else {
                beginRegistration(slot)
                keep(slot, by: .argumentLender, caller, token: objects[slot].claim)
            }
            kept.append(LentReference(object: objects[slot].id, token: objects[slot].claim))
        }
        return kept
    }

    /// The caller is dead: what it held for this process is registered with the owners.
    mutating func abandon(_ execution: Slot) {
        let caller = executions[execution].caller
        while executions[execution].kept != .absent {
            let slot = executions[execution].kept
            beginRegistration(slot)
            dismissKeeper(of: slot)
        }
        executionsOfCaller.remove(execution, from: &peers[caller].executions)
        executions[execution].caller = .absent
        directives.append(.abandonTask(executions[execution].task, attempt: executions[execution].attempt))
    }
}
