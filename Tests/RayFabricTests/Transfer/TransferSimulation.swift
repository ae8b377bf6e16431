// A small cluster under virtual time: real pull and serve machines, with a network, stores and
// faults that come from a seed.

import RayCore

@testable import RayFabric

/// An invariant that did not hold.
struct SimulationFailure: Error, CustomStringConvertible {
    let description: String
}

/// What a run went through, to show that the runs together reach what they are meant to reach.
struct SimulationCoverage: Equatable {
    /// Events of the run.
    var steps = 0
    var outcomes: [FabricError.Code: Int] = [:]
    var successes = 0
    var reached: [String: Int] = [:]

    mutating func add(_ other: SimulationCoverage) {
        steps += other.steps
        successes += other.successes
        outcomes.merge(other.outcomes, uniquingKeysWith: +)
        reached.merge(other.reached, uniquingKeysWith: +)
    }
}

/// Nodes at places, links between them, and one queue of events. A node that restarts keeps its
/// place and gets a new incarnation; events for the old one are dropped.
struct TransferSimulation {
    enum Event {
        case deliver(link: Int, to: Int, [UInt8])
        case connect(NodeID)
        case accepted(link: Int)
        case linkDown(link: Int, FabricError.Code)
        case serveRead(link: Int, token: UInt64)
        case completeRead(link: Int, token: UInt64, TransportFailure?)
        case writable(link: Int)
        case lookup(LookupID, ObjectID)
        case allocate(PullID)
        case publish(PullID)
        case tick
        case fault(Fault)
    }

    /// What the script of a run may do.
    enum Fault: CaseIterable {
        case pull, pullMany, cancel, addSource, cutLink, partition, kill, restart, pause, evict, delete
        case fillStore, emptyStore, stall, evictAll
    }

    struct Scheduled {
        var time: Timestamp
        var order: UInt64
        var place: Int
        /// Only for this incarnation of the node; nil for the script.
        var incarnation: UInt32?
        var event: Event
    }

    struct Link {
        var places: (Int, Int)
        var incarnations: (UInt32, UInt32)
        /// Open as each end knows it.
        var isOpen = (true, true)
        /// Messages of one direction stay in order: none arrives before this.
        var lastArrival = (Timestamp.zero, Timestamp.zero)
    }

    static let end = Timestamp(nanoseconds: 4_000_000_000)

    var random: SeededRandom
    var now = Timestamp(nanoseconds: 1_000_000)
    var queue: [Scheduled] = []
    var order: UInt64 = 0
    var nodes: [VirtualNode] = []
    var links: [Link] = []
    /// Contents of all objects that exist; the metadata is at the end.
    var contents: [ObjectID: [UInt8]] = [:]
    var objects: [ObjectID] = []
    var deleted: Set<ObjectID> = []
    /// Until when two places can not reach each other.
    var partitions: [[Timestamp]] = []
    /// How slow the network of this run is; slow ones are cut in the middle of transfers.
    var slowness = 1
    /// A place whose replies are made up, or -1.
    var hostile = -1
    var nextWaiter: UInt64 = 1
    var coverage = SimulationCoverage()
    var isTraced = false

    var pullDirectives: [PullDirective] = []
    var serveDirectives: [ServeDirective] = []
    var extents: [RemoteExtent] = []
    /// The message that is being handled, and whether it comes from the hostile place.
    var message: [UInt8] = []
    var isFromHostile = false

    /// After the script no messages are lost any more and all waits must come to their end.
    var isCalm: Bool { now >= Self.end }

    // MARK: A run

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let count = Int.random(in: 2...5, using: &random)
        if random.chance(0.15) { hostile = count - 1 }
        slowness = [1, 10, 60, 200].randomElement(using: &random)!
        for place in 0..<count { nodes.append(VirtualNode(place: place, incarnation: 1, &random)) }
        partitions = Array(repeating: Array(repeating: .zero, count: count), count: count)
        for sequence in 0..<Int.random(in: 3...12, using: &random) { makeObject(UInt64(sequence)) }
        let weights: [(Fault, Int)] = [
            (.pull, 14), (.pullMany, 2), (.cancel, 4), (.addSource, 3), (.cutLink, 2), (.partition, 1), (.kill, 1),
            (.restart, 2), (.pause, 1), (.evict, 4), (.delete, 1), (.fillStore, 1), (.emptyStore, 1), (.stall, 3),
        ]
        let deck = weights.flatMap { Array(repeating: $0.0, count: $0.1) }
        // Bursts, so that much happens at the same time.
        var time = now
        for _ in 0..<Int.random(in: 10...60, using: &random) {
            let pause = random.chance(0.1) ? 400_000_000 : random.chance(0.5) ? 300_000 : 20_000_000
            time = time + .nanoseconds(Int.random(in: 0...pause, using: &random))
            guard time < Self.end else { break }
            schedule(.fault(deck.randomElement(using: &random)!), at: time, place: 0, incarnation: nil)
        }
        for fault in [Fault.emptyStore, .restart] {
            for place in 0..<count { schedule(.fault(fault), at: Self.end, place: place, incarnation: nil) }
        }
    }

    /// Runs to the end.
    /// - Throws: the first invariant that did not hold.
    mutating func run() throws(SimulationFailure) {
        while let next = popEvent() {
            coverage.steps += 1
            try check(coverage.steps < 100_000, "the run does not come to an end")
            now = max(now, next.time)
            guard let incarnation = next.incarnation else {
                try handle(next)
                continue
            }
            let node = nodes[next.place]
            guard node.isAlive, node.id.incarnation == incarnation else { continue }
            if node.pausedUntil > now {
                // A shell that continues takes what has arrived before it looks at the clock.
                let isTick = if case .tick = next.event { true } else { false }
                let time = node.pausedUntil + (isTick ? .milliseconds(1) : .zero)
                schedule(next.event, at: time, place: next.place, incarnation: incarnation)
                continue
            }
            try handle(next)
            try settle(next.place)
        }
        for node in nodes where node.isAlive {
            try node.checkAtEnd()
            if node.pull.statistics.readsWasted > 0 { reached("read wasted") }
        }
    }

    mutating func handle(_ scheduled: Scheduled) throws(SimulationFailure) {
        let place = scheduled.place
        switch scheduled.event {
        case .deliver(let link, let end, let bytes): try deliver(bytes, link, to: end)
        case .connect(let node): connect(place, to: node)
        case .accepted(let link): accepted(link, at: place)
        case .linkDown(let link, let code): linkDown(link, at: place, code)
        case .serveRead(let link, let token): try serveRead(link, token, at: place)
        case .completeRead(let link, let token, let failure): completeRead(link, token, failure, at: place)
        case .writable(let link):
            nodes[place].pull.writable(handle(link, at: place), now: now, into: &pullDirectives)
        case .lookup(let lookup, let object): answer(lookup, object, at: place)
        case .allocate(let pull): try allocate(pull, at: place)
        case .publish(let pull): try publish(pull, at: place)
        case .tick:
            if nodes[place].tickAt <= now { nodes[place].tickAt = .never }
            nodes[place].pull.tick(now: now, into: &pullDirectives)
            nodes[place].serve.tick(now: now, into: &serveDirectives)
        case .fault(let fault): try inject(fault, place)
        }
    }

    /// Runs the directives of a node, checks its invariants and sees to its next tick.
    mutating func settle(_ place: Int) throws(SimulationFailure) {
        var next = (0, 0)
        while next.0 < pullDirectives.count || next.1 < serveDirectives.count {
            if next.0 < pullDirectives.count {
                next.0 += 1
                trace("n\(place) \(pullDirectives[next.0 - 1])")
                try run(pullDirectives[next.0 - 1], at: place)
            } else {
                next.1 += 1
                trace("n\(place) \(serveDirectives[next.1 - 1])")
                try run(serveDirectives[next.1 - 1], at: place)
            }
        }
        pullDirectives.removeAll(keepingCapacity: true)
        serveDirectives.removeAll(keepingCapacity: true)
        try nodes[place].checkAfterStep()
        let due = min(nodes[place].pull.nextDeadline, nodes[place].serve.nextDeadline)
        if due < nodes[place].tickAt {
            nodes[place].tickAt = max(due, now)
            schedule(.tick, at: nodes[place].tickAt, place: place, incarnation: nodes[place].id.incarnation)
        }
    }

    // MARK: Events

    mutating func schedule(_ event: Event, at time: Timestamp, place: Int, incarnation: UInt32?) {
        order += 1
        queue.append(Scheduled(time: time, order: order, place: place, incarnation: incarnation, event: event))
        var child = queue.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            queue.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// For the node at `place` as it is now.
    mutating func schedule(_ event: Event, after delay: Duration, place: Int) {
        schedule(event, at: now + delay, place: place, incarnation: nodes[place].id.incarnation)
    }

    private mutating func popEvent() -> Scheduled? {
        guard !queue.isEmpty else { return nil }
        queue.swapAt(0, queue.count - 1)
        let event = queue.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in (2 * parent + 1)...(2 * parent + 2) where child < queue.count {
                if isBefore(child, least) { least = child }
            }
            if least == parent { return event }
            queue.swapAt(parent, least)
            parent = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (queue[left].time, queue[left].order) < (queue[right].time, queue[right].order)
    }

    /// Mostly short, sometimes long.
    mutating func delay() -> Duration {
        .microseconds(
            random.chance(0.03)
                ? Int.random(in: 1000...60_000, using: &random)
                : Int.random(in: 10...300, using: &random) * slowness)
    }

    mutating func reached(_ what: String) { coverage.reached[what, default: 0] += 1 }

    func check(_ condition: Bool, _ text: @autoclosure () -> String) throws(SimulationFailure) {
        if !condition { throw SimulationFailure(description: "at \(now): \(text())") }
    }

    func trace(_ text: @autoclosure () -> String) {
        if isTraced { print(now.nanoseconds / 1000, text()) }
    }

    private mutating func makeObject(_ sequence: UInt64) {
        let creator = Int.random(in: 0..<nodes.count, using: &random)
        let id = ObjectID(owner: WorkerID(node: nodes[creator].id, number: 1), sequence: sequence)
        let sizes = [0, 1, 30, 64, 100, 400, 900, 2000]
        let bound = sizes.randomElement(using: &random)!
        let size = bound == 0 ? 0 : Int.random(in: bound / 2...bound, using: &random)
        contents[id] = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8 &+ Int(sequence) &* 31) }
        objects.append(id)
        for place in nodes.indices where place == creator || random.chance(0.5) {
            nodes[place].add(id, contents[id]!, &random)
        }
    }
}
