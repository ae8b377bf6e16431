// Running functions: drivers, tasks and actor calls as lists of steps.

internal import RayCore
internal import RayOwnership
internal import RayScheduler

extension Cluster {
    // MARK: Starting

    func startProgram(_ worker: Int, recipe: Int) {
        workers[worker].frame = frame(.driver, recipe: recipe)
        resumeSoon(worker)
    }

    private func frame(_ role: Frame.Role, recipe: Int) -> Frame {
        serial += 1
        let count = workload.recipes[recipe].variables
        return Frame(
            serial: serial, role: role, recipe: recipe, variables: Array(repeating: nil, count: count),
            contents: Array(repeating: [], count: count), word: mixed(UInt64(recipe), 1))
    }

    /// The executor's machine says that a task begins.
    func runTask(_ worker: Int, _ task: TaskID, attempt: UInt32) {
        guard let specification = specifications[task] else {
            return judge.violate(.unknownTask, "\(task) runs and was never submitted")
        }
        judge.ran(task, attempt: attempt, on: workers[worker].id)
        guard workers[worker].frame == nil, workers[worker].actor == nil else {
            return judge.violate(.grantedTwice, "\(workers[worker].id) runs two tasks at once")
        }
        if specification.isCreation { return actorStarted(worker, task, attempt: attempt) }
        begin(worker, .task(task, attempt: attempt), specification)
    }

    func begin(_ worker: Int, _ role: Frame.Role, _ specification: TaskSpecification) {
        guard let (task, attempt) = role.task else { preconditionFailure("a driver is no task") }
        var frame = frame(role, recipe: specification.recipe)
        frame.outstanding = 1
        workers[worker].frame = frame
        let objects = specification.arguments.map(\.object)
        owner(worker, .taskStarted(task, attempt: attempt, arguments: objects))
        guard workers[worker].isAlive else { return }
        for (index, object) in objects.enumerated() {
            acquire(worker, object, .task(task))
            workers[worker].frame?.variables[index] = object
        }
        var values: [Variable] = []
        for (index, argument) in specification.arguments.enumerated() where argument.isValue { values.append(index) }
        awaitValues(worker, values)
        // Arguments are local when a lease is granted, but not for later tasks of the lease: one that waits for them
        // gives its CPU back, as in any get, for what makes them anew may need it.
        if workers[worker].frame?.outstanding == 0 { resumeSoon(worker) } else { block(worker) }
    }

    func resumeSoon(_ worker: Int) {
        guard let frame = workers[worker].frame else { return }
        queue.insert(.resume(worker: worker, frame: frame.serial), at: now)
    }

    // MARK: Steps

    func resume(_ worker: Int, frame: UInt64) {
        guard workers[worker].isAlive, workers[worker].frame?.serial == frame else { return }
        if delayed(.resume(worker: worker, frame: frame), .worker(worker)) { return }
        unblock(worker)
        while workers[worker].isAlive, let role = workers[worker].frame?.role,
            workers[worker].frame?.serial == frame
        {
            if workers[worker].frame?.isInterrupted == true { return finish(worker, isCancelled: true) }
            let (recipe, counter) = (workers[worker].frame?.recipe ?? 0, workers[worker].frame?.counter ?? 0)
            let isOver = workers[worker].frame?.isFailed == true && role != .driver
            guard counter < workload.recipes[recipe].steps.count, !isOver else {
                return finish(worker, isCancelled: false)
            }
            workers[worker].frame?.counter = counter + 1
            guard run(workload.recipes[recipe].steps[counter], worker) else { return }
        }
    }

    /// - Returns: whether the next step may follow at once.
    private func run(_ step: Step, _ worker: Int) -> Bool {
        switch step {
        case .compute(let duration):
            guard let serial = workers[worker].frame?.serial else { return false }
            if settings.bug == .cpuGivenTwice, !workers[worker].isDriver {
                nodeScheduler(workers[worker].node, .workerBlocked(workers[worker].id))
            }
            queue.insert(.resume(worker: worker, frame: serial), at: now + duration * settings.workFactor)
            return false
        case .put(let variable, let bytes, let holding): put(worker, variable, bytes: bytes, holding: holding)
        case .putDetached(let variable, let bytes, let holding):
            putDetached(worker, variable, bytes: bytes, holding: holding)
            return false
        case .disown(let variable): disown(worker, variable)
        case .submit(let recipe, let arguments, let results):
            submit(worker, recipe: recipe, arguments: arguments, into: results, actor: nil)
        case .get(let variables):
            workers[worker].frame?.outstanding = 1
            awaitValues(worker, variables)
            if workers[worker].frame?.outstanding == 0 { return true }
            block(worker)
            return false
        case .take(let source, let index, let variable): take(worker, from: source, index: index, into: variable)
        case .drop(let variable): drop(worker, variable)
        case .createActor(let variable, let milliCPU, let restarts):
            createActor(worker, into: variable, milliCPU: milliCPU, restarts: restarts)
        case .call(let actor, let recipe, let arguments, let results):
            guard let handle = object(worker, actor) else { return true }
            submit(worker, recipe: recipe, arguments: arguments, into: results, actor: handle)
        case .keep(let variable): keep(worker, variable)
        case .cancel(let variable):
            guard let object = object(worker, variable), object.owner == workers[worker].id else { return true }
            judge.cancels()
            owner(worker, .cancel(TaskID(owner: object.owner, sequence: object.sequence)))
        }
        return true
    }

    func object(_ worker: Int, _ variable: Variable) -> ObjectID? {
        workers[worker].frame?.variables[variable]
    }

    private func put(_ worker: Int, _ variable: Variable, bytes: Int, holding: [Variable]) {
        guard let (word, counter) = workers[worker].frame.map({ ($0.word, $0.counter) }) else { return }
        let id = workers[worker].owner.makeObjectID()
        let contents = holding.compactMap { object(worker, $0) }
        let value = Value(word: mixed(word, UInt64(counter)), contents: contents)
        judge.acquire(id, by: workers[worker].id)
        judge.produced(id, value)
        if bytes <= Self.inlineLimit {
            owner(worker, .put(id, .inline(value.bytes), contents: contents))
        } else {
            seal(workers[worker].node, CopyID(object: id, attempt: 1), value, size: UInt64(bytes))
            owner(worker, .put(id, .stored(size: UInt64(bytes)), contents: contents))
        }
        assign(worker, variable, id)
    }

    static let inlineLimit = 100 << 10

    private func submit(
        _ worker: Int, recipe: Int, arguments: [Argument], into results: [Variable], actor: ObjectID?
    ) {
        var given: [(object: ObjectID, isValue: Bool)] = []
        for argument in arguments {
            // What could not be taken out of an error is missing: there is nothing to call the function with.
            guard let object = object(worker, argument.variable) else { return coverage.reach(.argumentMissing) }
            if case .value = argument { given.append((object, true)) } else { given.append((object, false)) }
        }
        let task = workers[worker].owner.makeTaskID(returns: results.count)
        specifications[task] = TaskSpecification(recipe: recipe, arguments: given, actor: actor, isCreation: false)
        let objects = given.map(\.object)
        judge.submitted(task, arguments: objects)
        for (index, variable) in results.enumerated() {
            judge.acquire(task.returnID(index), by: workers[worker].id)
            assign(worker, variable, task.returnID(index))
        }
        if let actor { submitCall(worker, task, to: actor) }
        owner(
            worker,
            .submit(
                RayOwnership.TaskSubmission(
                    task: task, returns: results.count, arguments: given.filter(\.isValue).map(\.object),
                    nested: given.filter { !$0.isValue }.map(\.object),
                    maximumRetries: workload.recipes[recipe].retries, lineageBytes: 200)))
    }

    private func take(_ worker: Int, from source: Variable, index: Int, into variable: Variable) {
        guard let outer = object(worker, source), let contents = workers[worker].frame?.contents[source],
            contents.indices.contains(index)
        else { return coverage.reach(.argumentMissing) }
        let inner = contents[index]
        acquire(worker, inner, .inside(outer))
        assign(worker, variable, inner)
    }

    private func drop(_ worker: Int, _ variable: Variable) {
        guard let object = object(worker, variable) else { return }
        workers[worker].frame?.variables[variable] = nil
        workers[worker].frame?.contents[variable] = []
        if specifications[TaskID(owner: object.owner, sequence: object.sequence)]?.isCreation == true,
            object.owner == workers[worker].id
        {
            endActor(worker, object)
        }
        release(worker, object)
    }

    /// Puts a reference, which the process has a handle for, into a variable. What was there is let go.
    func assign(_ worker: Int, _ variable: Variable, _ object: ObjectID) {
        drop(worker, variable)
        workers[worker].frame?.variables[variable] = object
    }

    // MARK: Handles

    func acquire(_ worker: Int, _ object: ObjectID, _ provenance: Provenance) {
        judge.acquire(object, by: workers[worker].id)
        if settings.bug == .handleForgotten, case .inside = provenance {
            workers[worker].forgotten[object, default: 0] += 1
            return
        }
        owner(worker, .handleCreated(object, provenance))
    }

    func release(_ worker: Int, _ object: ObjectID) {
        guard workers[worker].isAlive else { return }
        judge.release(object, by: workers[worker].id)
        if let count = workers[worker].forgotten[object], count > 0 {
            workers[worker].forgotten[object] = count - 1
            return
        }
        owner(worker, .handleReleased(object))
    }

    // MARK: Waiting

    /// Gets the values of variables. The frame counts them, and one more until all were asked for.
    private func awaitValues(_ worker: Int, _ variables: [Variable]) {
        for variable in variables {
            guard workers[worker].isAlive, let serial = workers[worker].frame?.serial,
                let object = object(worker, variable)
            else { continue }
            workers[worker].frame?.outstanding += 1
            get(worker, object, purpose: .variable(variable, frame: serial))
        }
        workers[worker].frame?.outstanding -= 1
    }

    func get(_ worker: Int, _ object: ObjectID, purpose: Waiter.Purpose) {
        let waiter = workers[worker].nextWaiter
        workers[worker].nextWaiter += 1
        let isShort = purpose != .dependency && execution.chance(settings.shortGets)
        let deadline = now + (isShort ? 1 + execution.exponential(mean: 5_000_000) : settings.getDeadline)
        workers[worker].waiters[waiter] = Waiter(
            object: object, purpose: purpose, deadline: deadline, isShort: isShort)
        getAgain(worker, waiter)
    }

    /// Asks the owner machine, for the first time or after a copy was not where it should be.
    func getAgain(_ worker: Int, _ waiter: UInt64) {
        guard workers[worker].isAlive, let waiting = workers[worker].waiters[waiter], !waiting.isAsked else { return }
        workers[worker].waiters[waiter]?.isAsked = true
        let deadline = nodes[workers[worker].node].clock.reading(at: waiting.deadline)
        owner(worker, .get(waiting.object, waiter: waiter, deadline: deadline))
    }

    /// The owner machine answers a get.
    func delivered(_ worker: Int, _ waiter: UInt64, _ outcome: GetOutcome) {
        guard let waiting = workers[worker].waiters[waiter], waiting.isAsked else {
            return judge.violate(.answeredTwice, "get \(waiter) of \(workers[worker].id) ended again: \(outcome)")
        }
        workers[worker].waiters[waiter]?.isAsked = false
        if case .located(let located) = outcome, case .variable = waiting.purpose {
            return fetch(worker, waiter, waiting.object, located)
        }
        workers[worker].waiters[waiter] = nil
        switch (outcome, waiting.purpose) {
        case (.inline(let bytes), .variable): answer(worker, waiting, Value(bytes: bytes))
        case (.inline, .dependency): submitter(worker, .resolved(waiting.object, .inline))
        case (.located(let located), .variable), (.located(let located), .dependency):
            let places = located.locations.filter { $0.chunks == nil }.map(\.node)
            submitter(worker, .resolved(waiting.object, .stored(bytes: located.size, nodes: places)))
        case (_, .nobody): break
        case (.failed(let error), let purpose):
            if let mark = error.mark { coverage.reach(mark) }
            let late = now > waiting.deadline ? now - waiting.deadline : 0
            let isWanted = purpose != .dependency || isTaken(waiting.object, worker)
            judge.failed(waiting.object, error, isWanted: isWanted, isShort: waiting.isShort, late: late)
            if purpose == .dependency {
                submitter(worker, .resolved(waiting.object, .failed))
            } else {
                answer(worker, waiting, nil, isError: true)
            }
        }
    }

    /// Whether a task that the scheduler has, and that its owner has not forgotten, takes this value.
    private func isTaken(_ object: ObjectID, _ worker: Int) -> Bool {
        workers[worker].scheduled.keys.contains { task in
            specifications[task].map { specification in
                !specification.isForgotten && specification.arguments.contains { $0.isValue && $0.object == object }
            } ?? false
        }
    }

    /// A value has come, or an error, for a variable of the running function.
    func answer(_ worker: Int, _ waiting: Waiter, _ value: Value?, isError: Bool = false) {
        guard case .variable(let variable, let serial) = waiting.purpose,
            workers[worker].frame?.serial == serial, let word = workers[worker].frame?.word
        else { return }
        if let value {
            judge.read(waiting.object, value, by: workers[worker].id)
            if value.word == Value.errorWord { workers[worker].frame?.isFailed = true }
            workers[worker].frame?.contents[variable] = value.contents
            workers[worker].frame?.word = mixed(word, value.word)
        } else if isError {
            workers[worker].frame?.isFailed = true
        } else {
            judge.violate(.wrongValue, "\(waiting.object) has bytes that were never written")
        }
        workers[worker].frame?.outstanding -= 1
        if workers[worker].frame?.outstanding == 0 { resumeSoon(worker) }
    }

    private func block(_ worker: Int) {
        guard case .task = workers[worker].frame?.role else { return }
        coverage.reach(.blocked)
        workers[worker].frame?.isBlocked = true
        judge.blocked(workers[worker].id)
        executor(worker, .blocked)
        if workers[worker].isAlive { nodeScheduler(workers[worker].node, .workerBlocked(workers[worker].id)) }
    }

    private func unblock(_ worker: Int) {
        guard workers[worker].frame?.isBlocked == true else { return }
        workers[worker].frame?.isBlocked = false
        executor(worker, .unblocked)
        if workers[worker].isAlive { nodeScheduler(workers[worker].node, .workerUnblocked(workers[worker].id)) }
    }

    // MARK: Ending

    /// Ends a task early: it is not wanted any more.
    func interrupt(_ worker: Int, _ task: TaskID) {
        if workers[worker].actor?.creation == task { return endActorRun(worker) }
        guard workers[worker].frame?.role.task?.0 == task else { return }
        workers[worker].frame?.isInterrupted = true
        for (waiter, waiting) in workers[worker].waiters.sorted(by: { $0.key < $1.key }) {
            guard case .variable = waiting.purpose else { continue }
            workers[worker].waiters[waiter]?.purpose = .nobody
            if waiting.isAsked {
                owner(worker, .cancelGet(waiter: waiter))
            } else {
                workers[worker].waiters[waiter] = nil
            }
        }
        workers[worker].frame?.outstanding = 0
        resumeSoon(worker)
    }

    private func finish(_ worker: Int, isCancelled: Bool) {
        guard let frame = workers[worker].frame else { return }
        workers[worker].frame = nil
        let held = frame.variables.compactMap(\.self)
        guard let (task, attempt) = frame.role.task else {
            for object in held { release(worker, object) }
            return programEnded(worker)
        }
        let values = isCancelled ? [] : returns(of: frame)
        // What is inside of returns is let go only after they are the caller's.
        var inside = Set(values.flatMap(\.contents))
        for object in held where !inside.contains(object) { release(worker, object) }
        for (index, value) in values.enumerated() {
            let id = task.returnID(index)
            judge.produced(id, value)
            let size = workload.recipes[frame.recipe].returns[index].bytes
            if !isInline(value, size) {
                seal(workers[worker].node, CopyID(object: id, attempt: attempt), value, size: UInt64(size))
            }
        }
        let returned = values.enumerated().map { index, value in
            let size = workload.recipes[frame.recipe].returns[index].bytes
            return ReturnedValue(
                isInline(value, size) ? .inline(value.bytes) : .stored(size: UInt64(size)), contents: value.contents)
        }
        owner(worker, .taskFinished(task, attempt: attempt, isCancelled ? .cancelled : .succeeded(returned)))
        for object in held where inside.contains(object) { release(worker, object) }
        inside.removeAll()
        guard workers[worker].isAlive else { return }
        if case .call = frame.role { return actor(worker, .finished(task, isCancelled: isCancelled)) }
        executor(worker, .finished(task, isCancelled: isCancelled))
    }

    private func isInline(_ value: Value, _ size: Int) -> Bool {
        value.word == Value.errorWord || size <= Self.inlineLimit
    }

    private func returns(of frame: Frame) -> [Value] {
        workload.recipes[frame.recipe].returns.enumerated().map { index, result in
            if frame.isFailed { return Value(word: Value.errorWord) }
            return Value(
                word: mixed(frame.word, UInt64(index)), contents: result.holding.compactMap { frame.variables[$0] })
        }
    }

    private func programEnded(_ worker: Int) {
        if settings.driverExit > 0 {
            coverage.reach(.driverExited)
            kill(worker, cause: .exited)
        }
    }

    /// A word from two: what a function computes.
    func mixed(_ first: UInt64, _ second: UInt64) -> UInt64 {
        var digest = Digest()
        digest.fold(first)
        digest.fold(second)
        return digest.value | 0x100
    }
}

extension Frame.Role {
    var task: (TaskID, UInt32)? {
        switch self {
        case .driver: nil
        case .task(let task, let attempt), .call(let task, let attempt): (task, attempt)
        }
    }
}
