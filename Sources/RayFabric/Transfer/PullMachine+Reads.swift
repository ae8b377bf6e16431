// Reads: which chunk is fetched from whom, and what its completion means.

internal import RayCore

extension PullMachine {
    func readOf(_ token: UInt64) -> Int? {
        let read = Int(token & 0xffff_ffff)
        guard token != 0, read < reads.count, reads[read].token == token else { return nil }
        return read
    }

    /// Lets every located source of the pull take part in reading it.
    mutating func readFromAll(_ pull: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        guard pulls[pull].stage == .reading, pulls[pull].map.hasUntaken else { return }
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            if sources[source].stage == .located, sources[source].queue == .none { enqueue(source, .readable) }
            source = pullLinks.next(after: source)
        }
        source = pulls[pull].sources.first
        while source != LinkTable.none {
            if sources[source].stage == .located { readNext(sources[source].node, now, &directives) }
            source = pullLinks.next(after: source)
        }
    }

    /// Starts the reads that a node's window allows, of the most urgent objects first.
    mutating func readNext(_ node: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        while !nodes[node].isStalled, nodes[node].reads < configuration.readsPerSource,
            let source = nodes[node].readable.first
        {
            let pull = sources[source].pull
            guard let chunk = pulls[pull].map.take() else {
                preconditionFailure("a readable source of an object with nothing to read")
            }
            startRead(chunk, from: source, now, &directives)
            if !pulls[pull].map.hasUntaken { stopReading(pull) }
        }
    }

    /// All chunks are being fetched: the sources have nothing to do for this pull.
    private mutating func stopReading(_ pull: Int) {
        var source = pulls[pull].sources.first
        while source != LinkTable.none {
            if sources[source].queue == .readable { dequeue(source) }
            source = pullLinks.next(after: source)
        }
    }

    private mutating func startRead(
        _ chunk: Int, from source: Int, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let index = readSlots.take()
        if index == reads.count { reads.append(Read()) }
        reads[index] = Read(
            source: source, pull: sources[source].pull, node: sources[source].node, chunk: chunk)
        readLinks.append(index, to: &sources[source].reads)
        pulls[sources[source].pull].reads += 1
        nodes[sources[source].node].reads += 1
        readPart(index, now, &directives)
    }

    /// Reads the next part of a chunk: up to its end or the end of the extent.
    private mutating func readPart(_ index: Int, _ now: Timestamp, _ directives: inout [PullDirective]) {
        let source = reads[index].source
        let chunk = pulls[reads[index].pull].map.range(of: reads[index].chunk)
        let offset = chunk.lowerBound + reads[index].position
        let extent = extent(of: source, at: offset)
        let skipped = offset - extent.start
        let length = min(chunk.upperBound - offset, extent.length - skipped)
        lastToken = lastToken >= UInt32(Int32.max) ? 1 : lastToken + 1
        reads[index].token = UInt64(lastToken) << 32 | UInt64(index)
        reads[index].length = length
        let remote = RegionLocation(key: extent.location.key, offset: extent.location.offset + UInt64(skipped))
        directives.append(
            .read(
                ChunkRead(
                    pull: id(of: reads[index].pull), connection: sources[source].connection, remote: remote,
                    offset: offset, length: length, token: reads[index].token,
                    deadline: now + configuration.readTimeout)))
    }

    /// The extent with the byte at `offset`.
    private func extent(of source: Int, at offset: Int) -> LocatedExtent {
        var lower = 0
        var upper = sources[source].extents.count
        while upper - lower > 1 {
            let middle = (lower + upper) / 2
            if sources[source].extents[middle].start <= offset { lower = middle } else { upper = middle }
        }
        return sources[source].extents[lower]
    }

    mutating func readEnded(
        _ read: Int, _ failure: FabricError.Code?, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let source = reads[read].source
        let pull = reads[read].pull
        // After the lease the source may have used the memory for something else.
        guard failure == nil, sources[source].stage == .located, now <= sources[source].leaseEnd else {
            statistics.readsWasted += 1
            reads[read].token = 0
            fail(source, failure.map(Self.reason) ?? .sourceUnavailable, now, &directives)
            return dropRead(read, giveBack: true, now, &directives)
        }
        reads[read].position += reads[read].length
        statistics.bytesRead += UInt64(reads[read].length)
        guard reads[read].position == pulls[pull].map.range(of: reads[read].chunk).count else {
            return readPart(read, now, &directives)
        }
        sources[source].failures = 0
        pulls[pull].map.markArrived(reads[read].chunk)
        let node = reads[read].node
        dropRead(read, giveBack: false, now, &directives)
        if pulls[pull].map.isComplete { publish(pull, now, &directives) }
        readNext(node, now, &directives)
    }

    /// What a failed read says about its source.
    private static func reason(_ failure: FabricError.Code) -> FabricError.Code {
        switch failure {
        case .closed: .connectionLost
        // Of ourselves, of the device or of the connection; a status that only the peer knows is none of them.
        case .protocolViolation, .peerUnresponsive, .connectionLost, .lockedMemoryLimit, .rdmaUnavailable,
            .unreachable, .staleIncarnation, .system, .outOfMemory:
            failure
        default: .sourceUnavailable
        }
    }

    /// Ends a read that will not complete any more; a chunk that is given back is fetched again.
    mutating func dropRead(
        _ read: Int, giveBack: Bool, _ now: Timestamp, _ directives: inout [PullDirective]
    ) {
        let dropped = reads[read]
        reads[read].token = 0
        readLinks.remove(read, from: &sources[dropped.source].reads)
        readSlots.give(read)
        pulls[dropped.pull].reads -= 1
        nodes[dropped.node].reads -= 1
        if giveBack {
            pulls[dropped.pull].map.giveBack(dropped.chunk)
            readFromAll(dropped.pull, now, &directives)
        }
        if sources[dropped.source].stage == .leaving, sources[dropped.source].reads.isEmpty {
            left(dropped.source, now, &directives)
            advance(dropped.pull, now, &directives)
        }
        if giveBack { readNext(dropped.node, now, &directives) }
    }
}
