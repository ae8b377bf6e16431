// The network between simulated nodes: when a message arrives, how often, or never.

internal import RayCore

/// Knobs of the network. Times are virtual; probabilities are for each message and independent.
package struct NetworkOptions: Sendable {
    /// The least time of a message between nodes.
    package var latencyMinimum: Duration = .microseconds(20)
    /// Mean of the exponential time that each message between nodes takes on top of the least.
    package var latencyJitter: Duration = .microseconds(5)
    /// Time of a message between processes of one node. Such messages are never lost, repeated or reordered.
    package var localLatency: Duration = .microseconds(5)
    /// What a node sends in a second; a message waits until those before it have left. 0 is no limit.
    package var bytesPerSecond: UInt64 = 0
    /// Probability that a message is lost.
    package var loss = 0.0
    /// Probability that a message arrives twice; the second copy takes a latency of its own.
    package var duplication = 0.0
    /// Probability that a message is held back, so that later ones overtake it.
    package var reordering = 0.0
    /// The most by which a message is held back.
    package var reorderingDelay: Duration = .milliseconds(2)
    /// Messages from one node to another arrive in order unless `reordering` strikes, as on a connection.
    /// False lets jitter alone decide, which needs no memory for each pair of nodes.
    package var ordered = true

    package init() {}
}

/// When the copies of one message arrive, in nanoseconds.
package struct Arrivals: Equatable, Sendable {
    package var first: UInt64?
    package var second: UInt64?
}

/// The state of all links. Cuts and clogs are one-way and are laid on by the faults of a run.
package struct Network {
    /// A directed pair of nodes; `everyNode` on one side stands for all.
    package struct Link: Hashable, Sendable {
        package var source: Int32
        package var target: Int32
        package static let everyNode: Int32 = -1

        package init(source: Int32, target: Int32) { (self.source, self.target) = (source, target) }
    }

    private struct Obstacle {
        /// Messages sent before this time are lost.
        var cutUntil: UInt64 = 0
        /// Messages that would arrive before this time arrive at it.
        var cloggedUntil: UInt64 = 0
    }

    private let options: NetworkOptions
    private let latencyMinimum, latencyJitter, localLatency, reorderingDelay: UInt64
    private let isFaultless: Bool
    private var random: SeededRandom
    /// Empty while nothing is cut or clogged. Looked up by key only: hashing decides nothing.
    private var obstacles: [Link: Obstacle] = [:]
    private var lastArrival: [Link: UInt64] = [:]
    private var sendFreeAt: ContiguousArray<UInt64>

    /// Messages sent, lost and repeated, for reports and coverage.
    package private(set) var sent = 0, lost = 0, repeated = 0, reordered = 0

    package init(nodes: Int, options: NetworkOptions, seed: UInt64) {
        self.options = options
        latencyMinimum = UInt64(options.latencyMinimum.saturatedNanoseconds)
        latencyJitter = UInt64(options.latencyJitter.saturatedNanoseconds)
        localLatency = UInt64(options.localLatency.saturatedNanoseconds)
        reorderingDelay = UInt64(options.reorderingDelay.saturatedNanoseconds)
        isFaultless = options.loss == 0 && options.duplication == 0 && options.reordering == 0
        random = SeededRandom(seed: seed, concern: .network)
        sendFreeAt = ContiguousArray(repeating: 0, count: nodes)
    }

    /// Room for one node more.
    package mutating func addNode() { sendFreeAt.append(0) }

    package mutating func cut(_ link: Link, until time: UInt64) {
        obstacles[link, default: Obstacle()].cutUntil = max(obstacles[link]?.cutUntil ?? 0, time)
    }

    package mutating func clog(_ link: Link, until time: UInt64) {
        obstacles[link, default: Obstacle()].cloggedUntil = max(obstacles[link]?.cloggedUntil ?? 0, time)
    }

    /// Ends all cuts and clogs.
    package mutating func heal() { obstacles.removeAll(keepingCapacity: true) }

    /// Sends a message of `bytes` from node `source` to node `target` at `now`.
    package mutating func send(from source: Int, to target: Int, bytes: Int, at now: UInt64) -> Arrivals {
        sent += 1
        if source == target { return Arrivals(first: now + localLatency) }
        var departure = now
        if options.bytesPerSecond > 0 {
            let duration = UInt64(bytes).multipliedReportingOverflow(by: 1_000_000_000).partialValue
            departure = max(now, sendFreeAt[source]) + duration / options.bytesPerSecond
            sendFreeAt[source] = departure
        }
        let link = Link(source: Int32(source), target: Int32(target))
        var cloggedUntil: UInt64 = 0
        if !obstacles.isEmpty {
            for key in [
                link, Link(source: link.source, target: Link.everyNode),
                Link(source: Link.everyNode, target: link.target),
            ] {
                guard let obstacle = obstacles[key] else { continue }
                if departure < obstacle.cutUntil {
                    lost += 1
                    return Arrivals()
                }
                cloggedUntil = max(cloggedUntil, obstacle.cloggedUntil)
            }
        }
        var arrivals = Arrivals(first: arrival(of: link, departure: departure, cloggedUntil: cloggedUntil))
        if isFaultless { return arrivals }
        if random.chance(options.duplication) {
            repeated += 1
            arrivals.second = arrival(of: link, departure: departure, cloggedUntil: cloggedUntil)
        }
        if random.chance(options.loss) {
            lost += 1
            arrivals.first = arrivals.second.take()
        }
        return arrivals
    }

    private mutating func arrival(of link: Link, departure: UInt64, cloggedUntil: UInt64) -> UInt64 {
        var time = max(departure + latencyMinimum + random.exponential(mean: latencyJitter), cloggedUntil)
        if options.reordering > 0, random.chance(options.reordering) {
            reordered += 1
            return time + UInt64(random.below(Int(reorderingDelay) + 1))
        }
        guard options.ordered else { return time }
        time = max(time, lastArrival[link] ?? 0)
        lastArrival[link] = time
        return time
    }
}
