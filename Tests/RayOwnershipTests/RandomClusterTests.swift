// Programs drawn from a seed, on a bad network, with deaths: no reference that is held is ever let go, and all is gone
// when all is dropped.

import RayCore
import RayOwnership
import Testing

/// One random run: what the processes hold, by the programs' own account, beside the machines'.
struct RandomRun {
    let cluster = Cluster()
    var random: SeededRandom
    let faults: Bool
    var nodes: [NodeID] = []
    var workers: [WorkerID] = []
    /// Handles of each process, in the order in which they came.
    var handles: [WorkerID: [ObjectID]] = [:]
    /// What is inside of values, by making.
    var contents: [CopyID: [ObjectID]] = [:]
    var running: [(task: TaskID, attempt: UInt32, worker: WorkerID, arguments: [ObjectID])] = []
    var arguments: [TaskID: [ObjectID]] = [:]
    var returns: [TaskID: Int] = [:]
    /// Items that streams have made so far, in any attempt.
    var items: [TaskID: UInt32] = [:]
    var waiters: [(waiter: UInt64, worker: WorkerID)] = []
    var lastNode: UInt64 = 0

    init(seed: UInt64, faults: Bool) {
        random = SeededRandom(seed: seed)
        self.faults = faults
        for _ in 0..<3 { addNode() }
        cluster.run(for: .seconds(1))
        var network = SeededRandom(seed: seed ^ 0xfeed)
        var delays = SeededRandom(seed: seed ^ 0xdead)
        cluster.fate = { _ in
            guard faults else { return .deliver }
            return network.chance(0.1) ? .lose : network.chance(0.1) ? .duplicate : .deliver
        }
        cluster.jitter = { .microseconds(Int64.random(in: 0..<2000, using: &delays)) }
    }

    mutating func addNode() {
        lastNode += 1
        let node = cluster.node(lastNode)
        nodes.append(node)
        for _ in 0..<2 { workers.append(cluster.worker(on: node)) }
    }

    private mutating func pick<Element>(_ elements: [Element]) -> Element? { elements.randomElement(using: &random) }

    private mutating func some(of objects: [ObjectID], atMost count: Int) -> [ObjectID] {
        (0..<Int.random(in: 0...count, using: &random)).compactMap { _ in objects.randomElement(using: &random) }
    }

    private mutating func liveWorker() -> WorkerID? { pick(workers.filter(cluster.counts)) }

    mutating func step() {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<12: put()
        case 12..<21: submit()
        case 21..<24: submitStream()
        case 24..<42: startOne()
        case 42..<58: finishOne()
        case 58..<72: take()
        case 72..<90: dropOne()
        case 90..<93: getOne()
        case 93: readItem()
        case 94..<97: moveCopies()
        default: if faults, random.chance(0.3) { strike() }
        }
        cluster.run(for: .microseconds(Int64.random(in: 0..<3000, using: &random)))
        check()
    }

    private mutating func put() {
        guard let worker = liveWorker() else { return }
        let usable = handles[worker, default: []].filter { hasValue($0, at: worker) }
        let inside = some(of: usable, atMost: 2)
        let object = cluster.put(worker, contents: inside, stored: random.chance(0.5))
        contents[CopyID(object: object, attempt: 1)] = inside
        handles[worker, default: []].append(object)
    }

    private mutating func submit() {
        guard let worker = liveWorker() else { return }
        let taken = some(of: handles[worker, default: []], atMost: 3)
        let count = Int.random(in: 1...2, using: &random)
        let task = cluster.submit(worker, taken, returns: count, retries: random.chance(0.2) ? 0 : 3)
        arguments[task] = taken
        returns[task] = count
        for index in 0..<count { handles[worker, default: []].append(task.returnID(index)) }
    }

    private mutating func submitStream() {
        guard let worker = liveWorker() else { return }
        let task = cluster.submitStream(worker, retries: random.chance(0.2) ? 0 : 3)
        (returns[task], items[task]) = (1, 0)
        handles[worker, default: []].append(task.returnID(0))
    }

    /// The owner of a stream takes an item from it, which may not be there yet, and never be.
    private mutating func readItem() {
        let streams = items.keys.filter { task in
            cluster.counts(task.owner) && handles[task.owner, default: []].contains(task.returnID(0))
        }
        guard let task = pick(streams.sorted()), let made = items[task] else { return }
        let item = task.returnID(Int(UInt32.random(in: 1...made + 2, using: &random)))
        cluster.take(task.owner, item)
        if cluster.knows(task.owner, item) { handles[task.owner, default: []].append(item) }
    }

    private mutating func startOne() {
        guard let task = pick(cluster.offers.keys.filter { cluster.counts($0.owner) }.sorted()),
            let attempt = cluster.offers[task], let worker = liveWorker()
        else { return }
        let taken = arguments[task] ?? []
        cluster.start(task, on: worker, taken)
        running.append((task, attempt, worker, taken))
    }

    private mutating func finishOne() {
        guard !running.isEmpty else { return }
        let run = running.remove(at: Int.random(in: running.indices, using: &random))
        guard cluster.isAlive(run.worker) else { return }
        if let made = items[run.task], random.chance(0.7) {
            produce(run.task, run.attempt, on: run.worker, UInt32.random(in: 1...made + 2, using: &random))
            return running.append(run)
        }
        if random.chance(0.1) {
            return cluster.feed(run.worker, .taskFinished(run.task, attempt: run.attempt, .failed(.outOfMemory)))
        }
        // Only what has a value already, and nothing old inside of a value made again: counts can not end a cycle.
        let usable = handles[run.worker, default: []].filter { hasValue($0, at: run.worker) }
        let inside = (0..<(returns[run.task] ?? 1)).map { _ in
            run.attempt == 1 ? some(of: usable, atMost: 2) : [cluster.put(run.worker)]
        }
        defer { if run.attempt > 1 { for objects in inside { cluster.drop(run.worker, objects[0]) } } }
        if let made = items[run.task] {
            return cluster.endStream(run.task, on: run.worker, attempt: run.attempt, items: made)
        }
        for (index, objects) in inside.enumerated() {
            contents[CopyID(object: run.task.returnID(index), attempt: run.attempt)] = objects
        }
        cluster.finish(
            run.task, on: run.worker, attempt: run.attempt, contents: inside, stored: random.chance(0.5))
    }

    private mutating func produce(_ task: TaskID, _ attempt: UInt32, on worker: WorkerID, _ index: UInt32) {
        let copy = CopyID(object: task.returnID(Int(index)), attempt: attempt)
        guard contents[copy] == nil else { return }
        let usable = handles[worker, default: []].filter { hasValue($0, at: worker) }
        let inside = attempt == 1 ? some(of: usable, atMost: 2) : []
        contents[copy] = inside
        cluster.produce(task, on: worker, attempt: attempt, index, contents: inside, stored: random.chance(0.5))
        items[task] = max(items[task] ?? 0, index)
    }

    /// A process makes a handle from an argument, from inside of an object that it holds, or one more of one it has.
    private mutating func take() {
        if random.chance(0.5), let run = pick(running.filter { cluster.counts($0.worker) }),
            let argument = pick(run.arguments), cluster.knows(run.worker, argument)
        {
            cluster.take(run.worker, argument, .task(run.task))
            handles[run.worker, default: []].append(argument)
            return
        }
        guard let worker = liveWorker(), let outer = pick(handles[worker, default: []]), hasValue(outer, at: worker),
            let attempt = cluster.summary(outer, at: outer.owner)?.attempt,
            let inner = pick(contents[CopyID(object: outer, attempt: attempt)] ?? [])
        else { return }
        cluster.take(worker, inner, .inside(outer))
        handles[worker, default: []].append(inner)
    }

    /// The owner has a value, and the process has not been told that the object has ended.
    private func hasValue(_ object: ObjectID, at worker: WorkerID) -> Bool {
        guard cluster.counts(object.owner), let here = cluster.summary(object, at: worker) else { return false }
        if case .failed = here.state { return false }
        switch cluster.summary(object, at: object.owner)?.state {
        case .inline, .stored: return true
        case .pending, .lost, .recovering, .released, .failed, .borrowed, nil: return false
        }
    }

    private mutating func dropOne() {
        guard let worker = liveWorker(), let count = handles[worker]?.count, count > 0 else { return }
        let object = handles[worker, default: []].remove(at: Int.random(in: 0..<count, using: &random))
        cluster.drop(worker, object)
    }

    private mutating func getOne() {
        guard let worker = liveWorker(), let object = pick(handles[worker, default: []]) else { return }
        waiters.append((cluster.get(worker, object, within: .seconds(20)), worker))
    }

    private mutating func moveCopies() {
        guard let from = pick(nodes), let to = pick(nodes),
            let copy = pick(cluster.stores[from, default: []].sorted { $0.object < $1.object })
        else { return }
        if random.chance(0.7) {
            if !cluster.stores[to, default: []].contains(where: { $0.object == copy.object }) {
                cluster.pull(copy, to: to)
            }
        } else {
            cluster.evict(copy, at: from)
        }
    }

    /// A process or a node dies, and another one comes.
    private mutating func strike() {
        guard let worker = liveWorker() else { return }
        switch Int.random(in: 0..<4, using: &random) {
        case 0, 1:
            cluster.kill(worker)
            workers.append(cluster.worker(on: worker.node))
        case 2:
            nodes.removeAll { $0 == worker.node }
            cluster.declareDead(worker.node)
            addNode()
        default:
            nodes.removeAll { $0 == worker.node }
            cluster.declareDeadByMistake(worker.node)
            addNode()
        }
    }

    /// What a process holds is there, unless its owner is dead.
    private func check() {
        for worker in workers where cluster.counts(worker) {
            for object in handles[worker, default: []] where cluster.counts(object.owner) {
                let isKnown = cluster.knows(worker, object)
                #expect(isKnown, "\(object) is not known at \(worker)")
                let state = cluster.summary(object, at: object.owner)?.state
                #expect(state != nil && state != .released, "\(object) is held by \(worker) and let go")
            }
        }
    }

    /// All is dropped, the network is good again: nothing may be left.
    mutating func end() {
        cluster.fate = { _ in .deliver }
        for run in running where cluster.isAlive(run.worker) {
            cluster.feed(run.worker, .taskFinished(run.task, attempt: run.attempt, .cancelled))
        }
        cluster.run(for: .seconds(30))
        for worker in workers where cluster.isAlive(worker) {
            for object in handles[worker, default: []] { cluster.drop(worker, object) }
            for task in returns.keys.sorted() where task.owner == worker { cluster.feed(worker, .cancel(task)) }
        }
        cluster.run(for: .seconds(120))
        for (waiter, worker) in waiters where cluster.isAlive(worker) {
            #expect(cluster.delivered[waiter] != nil, "a get was never answered")
        }
        #expect(cluster.controlStore.settledEpoch == cluster.controlStore.epoch)
        cluster.expectEmpty()
    }
}

@Suite struct RandomClusterTests {
    @Test(arguments: UInt64(0)..<6)
    func onAGoodNetwork(seed: UInt64) {
        var run = RandomRun(seed: seed, faults: false)
        for _ in 0..<150 { run.step() }
        run.end()
    }

    @Test(arguments: UInt64(0)..<24)
    func withLossRepeatsReorderingAndDeaths(seed: UInt64) {
        var run = RandomRun(seed: seed, faults: true)
        run.cluster.checksEachStep = seed % 4 == 0
        for _ in 0..<250 { run.step() }
        run.end()
    }

    @Test func aSeedIsARun() {
        func trace() -> [Int] {
            var run = RandomRun(seed: 7, faults: true)
            return (0..<100).map { _ in
                run.step()
                return run.cluster.sent
            }
        }
        #expect(trace() == trace())
    }
}
