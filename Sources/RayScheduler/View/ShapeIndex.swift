// Nodes in buckets, from best to worst, for one shape of demand: what makes a decision independent of the number
// of nodes.

internal import RayCore

/// How good a node is for a shape; lower is better. Nodes of one bucket are equally good.
struct PlacementBucket {
    /// Steps of utilisation: one below the spread threshold, eight above.
    static let utilisations = 9
    /// Available: nodes without, then nodes with accelerators that the shape does not ask for.
    static let available = 2 * utilisations
    /// Had room when it was heard of last, and was sent enough since to fill it: it may have room again by now.
    static let doubtful = available
    /// Without room: eight steps of queue length.
    static let full = doubtful + 1
    static let count = full + 8
    /// Not feasible, or not alive.
    static let none: UInt8 = 255
}

/// The buckets of one shape over the slots of a view.
struct ShapeIndex: Sendable {
    let shape: PlacementShape
    /// Tells users of an index that has been replaced.
    let generation: UInt32
    /// For the choice of the index to replace.
    var lastUse: UInt64 = 0
    /// Where the round of `spread` has come to.
    var cursor = 0

    private var buckets = [[Int32]](repeating: [], count: PlacementBucket.count)
    /// A bit for each bucket that is not empty.
    private var occupied: UInt32 = 0
    private var bucketOfSlot: [UInt8] = []
    private var positionOfSlot: [Int32] = []
    /// Whether totals and labels would do, whatever is free.
    private var isEligible: [Bool] = []
    /// A bit for each slot with room.
    private var availableBits: [UInt64] = []
    private(set) var availableCount = 0
    private(set) var feasibleCount = 0

    init(shape: PlacementShape, generation: UInt32) {
        self.shape = shape
        self.generation = generation
    }

    var doubtfulCount: Int { buckets[PlacementBucket.doubtful].count }

    // MARK: Changes

    /// Puts a slot where its node's state says.
    /// - Parameter isStructural: totals, labels or condition may have changed, not just what is free.
    mutating func update(
        _ slot: Int, of nodes: [NodeReport], isAssumed: Bool, threshold: Double, isStructural: Bool
    ) {
        while bucketOfSlot.count <= slot {
            bucketOfSlot.append(PlacementBucket.none)
            positionOfSlot.append(-1)
            isEligible.append(false)
            if bucketOfSlot.count > availableBits.count * 64 { availableBits.append(0) }
        }
        if isStructural {
            isEligible[slot] =
                nodes[slot].condition == .alive && nodes[slot].total.covers(shape.demand)
                && shape.labels.matches(nodes[slot].labels)
        }
        var bucket = PlacementBucket.none
        if isEligible[slot] {
            bucket = self.bucket(of: nodes[slot], threshold: threshold)
            if isAssumed, bucket > PlacementBucket.doubtful, !nodes[slot].isPullLimited {
                bucket = UInt8(PlacementBucket.doubtful)
            }
        }
        if bucket != bucketOfSlot[slot] { move(slot, to: bucket) }
    }

    /// The bucket of a node that is eligible.
    @inline(__always)
    func bucket(of report: NodeReport, threshold: Double) -> UInt8 {
        guard report.available.covers(shape.demand), !report.isPullLimited else {
            let cpus = max(1, UInt64(clamping: report.total.cpu.units / ResourceAmount.unitsPerWhole))
            let level = min(7, UInt64.bitWidth - (UInt64(report.queued) * 2 / cpus).leadingZeroBitCount)
            return UInt8(PlacementBucket.full + level)
        }
        let utilisation = shape.demand.utilisation(of: report)
        var bucket = 0
        if utilisation >= threshold {
            let steps = Double(PlacementBucket.utilisations - 1)
            // Compared before it is converted: a report may say anything.
            bucket = 1 + Int(min(steps - 1, (utilisation - threshold) / (1 - threshold) * steps))
        }
        if shape.demand.others.isEmpty, !report.total.others.isEmpty { bucket += PlacementBucket.utilisations }
        return UInt8(bucket)
    }

    private mutating func move(_ slot: Int, to bucket: UInt8) {
        let old = bucketOfSlot[slot]
        if old != PlacementBucket.none {
            let position = Int(positionOfSlot[slot])
            let last = buckets[Int(old)].removeLast()
            if Int(last) != slot {
                buckets[Int(old)][position] = last
                positionOfSlot[Int(last)] = Int32(position)
            }
            if buckets[Int(old)].isEmpty { occupied &= ~(1 << UInt32(old)) }
        }
        if bucket != PlacementBucket.none {
            positionOfSlot[slot] = Int32(buckets[Int(bucket)].count)
            buckets[Int(bucket)].append(Int32(slot))
            occupied |= 1 << UInt32(bucket)
        }
        bucketOfSlot[slot] = bucket
        count(old, -1, slot)
        count(bucket, 1, slot)
    }

    private mutating func count(_ bucket: UInt8, _ difference: Int, _ slot: Int) {
        guard bucket != PlacementBucket.none else { return }
        feasibleCount += difference
        guard bucket < PlacementBucket.available else { return }
        availableCount += difference
        if difference > 0 {
            availableBits[slot / 64] |= 1 << UInt64(slot % 64)
        } else {
            availableBits[slot / 64] &= ~(1 << UInt64(slot % 64))
        }
    }

    // MARK: Choices. Inlined, since the compiler would else copy the index, and count references, for each call.

    /// The bucket of a slot; `none` when its node is not feasible or not known.
    @inline(__always)
    func bucket(of slot: Int?) -> UInt8 {
        guard let slot, slot < bucketOfSlot.count else { return PlacementBucket.none }
        return bucketOfSlot[slot]
    }

    /// The best bucket of any slot but `excluded`; `none` if there is none.
    @inline(__always)
    func bestBucket(excluding excluded: Int?) -> UInt8 {
        var mask = occupied
        let own = bucket(of: excluded)
        if own != PlacementBucket.none, buckets[Int(own)].count == 1 { mask &= ~(1 << UInt32(own)) }
        return mask == 0 ? PlacementBucket.none : UInt8(mask.trailingZeroBitCount)
    }

    /// Draws among the best: at least `fraction` of those with room, or the whole best bucket. Without any room
    /// among the whole bucket with the shortest queues.
    @inline(__always)
    func drawBest(excluding excluded: Int?, fraction: Double, using random: inout SeededRandom) -> Int? {
        let best = bestBucket(excluding: excluded)
        guard best != PlacementBucket.none else { return nil }
        var width = 0
        if best < PlacementBucket.available { width = max(1, Int(fraction * Double(availableCount))) }
        var before = 0
        for bucket in 0..<Int(best) { before += buckets[bucket].count }
        width = max(width, before + buckets[Int(best)].count)
        return draw(among: width, excluding: excluded, using: &random)
    }

    /// Draws among all feasible nodes.
    @inline(__always)
    func drawAny(excluding excluded: Int?, using random: inout SeededRandom) -> Int? {
        draw(among: feasibleCount, excluding: excluded, using: &random)
    }

    func firstAvailable(where isWanted: (Int) -> Bool) -> Int? {
        for bucket in 0..<PlacementBucket.available {
            for slot in buckets[bucket] where isWanted(Int(slot)) { return Int(slot) }
        }
        return nil
    }

    /// The next slot with room in the round.
    mutating func nextInRound() -> Int? {
        guard availableCount > 0 else { return nil }
        var word = cursor / 64
        var bits = word < availableBits.count ? availableBits[word] & (~0 << UInt64(cursor % 64)) : 0
        for _ in 0...availableBits.count {
            if bits != 0 {
                let slot = word * 64 + bits.trailingZeroBitCount
                cursor = slot + 1
                return slot
            }
            word += 1
            if word >= availableBits.count { word = 0 }
            bits = availableBits[word]
        }
        return nil
    }

    /// One of the first `width` slots in bucket order, each as likely as the others, but not `excluded`.
    @inline(__always)
    private func draw(among width: Int, excluding excluded: Int?, using random: inout SeededRandom) -> Int? {
        var width = width
        var rank = Int.max
        let own = bucket(of: excluded)
        if own != PlacementBucket.none, let excluded {
            rank = Int(positionOfSlot[excluded])
            for bucket in 0..<Int(own) { rank += buckets[bucket].count }
        }
        if rank < width { width -= 1 }
        guard width > 0 else { return nil }
        var target = Int(random.next(upperBound: UInt64(width)))
        if target >= rank { target += 1 }
        for bucket in buckets.indices {
            if target < buckets[bucket].count { return Int(buckets[bucket][target]) }
            target -= buckets[bucket].count
        }
        return nil
    }
}

extension ResourceVector {
    /// The largest share in use of CPU, memory, and what this demand names, of a node.
    @inline(__always)
    func utilisation(of report: NodeReport) -> Double {
        func share(_ available: ResourceAmount, _ total: ResourceAmount) -> Double {
            total.units > 0 ? 1 - Double(available.units) / Double(total.units) : 0
        }
        var largest = max(
            share(report.available.cpu, report.total.cpu), share(report.available.memory, report.total.memory))
        for entry in others { largest = max(largest, share(report.available[entry.name], report.total[entry.name])) }
        return largest
    }
}
