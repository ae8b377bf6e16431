// Progress: taking records from hot links, moving what waits, spinning and sleeping.

internal import CLinux
public import RayCore
internal import Synchronization

extension ShmTransport {
    /// Records taken from one link before the next one gets its turn.
    private static let burstLimit = 64
    /// The clock is read every so many polls.
    private static let pollsPerTick: UInt64 = 64
    /// Links that are looked at in every poll, however quiet they are.
    private static let hotLinks = 4
    /// A link beyond these is left to ring after so many polls without an arrival.
    private static let quietPolls: UInt64 = 4096

    public mutating func poll() -> TransportEvent? {
        pollCount &+= 1
        if pollCount % Self.pollsPerTick == 0 { tick() }
        if !dirty.isEmpty { publishDirty() }
        if !working.isEmpty { advanceWorking() }
        if !context.events.isEmpty { return context.events.popFirst() }
        if let event = takeRecords() { return event }
        if working.isEmpty { return nil }
        advanceWorking()
        return context.events.popFirst()
    }

    /// The next event from the rings of hot links.
    @inline(__always)
    private mutating func takeRecords() -> TransportEvent? {
        var untried = hot.count
        while untried > 0 {
            if cursor >= hot.count { cursor = 0 }
            let handle = hot[cursor]
            let header = handle.link.consumer.header()
            if header != 0, burst < Self.burstLimit {
                burst += 1
                if let event = takeRecord(header, from: handle) { return event }
                if !context.events.isEmpty { return context.events.popFirst() }
                // The link may be gone now, and the list shorter.
                untried = min(untried, hot.count)
                continue
            }
            burst = 0
            cursor += 1
            untried -= 1
            if header == 0, handle.link.hungUp { endDrained(handle) }
        }
        return nil
    }

    @inline(__always)
    private mutating func takeRecord(_ header: UInt64, from handle: ShmLinkHandle) -> TransportEvent? {
        do throws(ShmViolation) {
            // What was taken before is no longer looked at by anybody.
            if handle.link.consumer.unreleased >= handle.link.releaseThreshold { handle.link.release(&context) }
            let (kind, payload) = unsafe try handle.link.consumer.take(header)
            handle.link.lastArrival = pollCount
            guard kind == .message else { return unsafe try takeOther(kind, payload, from: handle) }
            guard !handle.link.peerFinished else { throw ShmViolation() }
            unsafe received = payload
            context.statistics.messagesReceived += 1
            context.statistics.bytesReceived += UInt64(payload.count)
            return .message(handle.link.connection)
        } catch {
            fail(handle, .protocolViolation)
            return nil
        }
    }

    private mutating func takeOther(
        _ kind: ShmRecordKind, _ payload: UnsafeRawBufferPointer, from handle: ShmLinkHandle
    ) throws(ShmViolation) -> TransportEvent? {
        let event = unsafe try handle.link.receive(kind, payload, &context)
        if handle.link.hasWork { noteWorking(handle) }
        if kind == .finish {
            context.events.append(.finished(handle.link.connection))
            endIfFinished(handle)
            return nil
        }
        return event
    }

    private mutating func publishDirty() {
        for handle in dirty {
            handle.link.isDirty = false
            handle.link.publish(&context)
        }
        dirty.removeAll(keepingCapacity: true)
    }

    private mutating func advanceWorking() {
        canGoOn = false
        // Backwards, because a link that has nothing left, or is gone, leaves the list.
        for index in working.indices.reversed() where index < working.count { advance(working[index]) }
    }

    /// Moves a link on, and takes it off the list when nothing is left.
    mutating func advance(_ handle: ShmLinkHandle) {
        do throws(ShmViolation) {
            if try handle.link.advance(&context) { canGoOn = true }
        } catch {
            fail(handle, .protocolViolation)
            return
        }
        if !handle.link.hasWork, handle.link.isWorking {
            handle.link.isWorking = false
            if let index = working.firstIndex(of: handle) { working.swapAt(index, working.count - 1) }
            working.removeLast()
        }
        endIfFinished(handle)
    }

    // MARK: Waiting

    public mutating func wait(until deadline: Timestamp) {
        if isReady() { return }
        releaseAll()
        if spin(until: deadline) { return }
        sleep(until: deadline)
        isWoken = false
    }

    /// Whether the next `poll` has something to do. Moves on what can be moved.
    private mutating func isReady() -> Bool {
        if !dirty.isEmpty { publishDirty() }
        if !working.isEmpty { advanceWorking() }
        if canGoOn || isWoken || !context.events.isEmpty {
            isWoken = false
            return true
        }
        return hotHasRecords()
    }

    @inline(__always)
    private func hotHasRecords() -> Bool {
        for handle in hot where handle.link.consumer.header() != 0 || handle.link.hungUp { return true }
        return false
    }

    /// Spins for as long as the configuration says. True when there is something, or time is up.
    private mutating func spin(until deadline: Timestamp) -> Bool {
        guard configuration.spin > .zero else { return false }
        let end = Timestamp.now + configuration.spin
        repeat {
            for _ in 0..<16 {
                for _ in 0..<4 {
                    if hotHasRecords() { return true }
                    rf_cpu_pause()
                }
                if !working.isEmpty, isReady() { return true }
            }
            tick()
            if isReady() || context.now >= deadline { return true }
        } while context.now < end
        return false
    }

    /// Sleeps until a peer, the waker or the time ends it.
    private mutating func sleep(until deadline: Timestamp) {
        for handle in hot { handle.link.arm() }
        // Pairs with the fence in ShmLink.ringBell: either the peer sees that we sleep, or we see
        // what it wrote.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if !isReady() {
            context.now = .now
            let end = min(deadline, nextDue())
            if end > context.now {
                context.statistics.sleeps += 1
                checkSockets(waiting: end == .never ? nil : end - context.now)
            }
        }
        for handle in hot { handle.link.disarm() }
        tick()
    }

    // MARK: Time

    /// What is due by the clock.
    mutating func tick() {
        let now = Timestamp.now
        context.now = now
        releaseAll()
        if now >= nextSocketCheck { checkSockets(waiting: .zero) }
        if hot.count > Self.hotLinks { coolDown() }
        for handle in hot where handle.link.isDrainedTooLong { endDrained(handle) }
        expire(now)
        if now >= nextBeat { beat(now) }
    }

    private mutating func releaseAll() {
        for handle in hot where handle.link.consumer.unreleased > 0 { handle.link.release(&context) }
    }

    /// Leaves quiet links to ring.
    private mutating func coolDown() {
        for index in hot.indices.reversed() where hot.count > Self.hotLinks {
            let handle = hot[index]
            guard pollCount &- handle.link.lastArrival > Self.quietPolls, !handle.link.hungUp, !handle.link.isWorking
            else { continue }
            handle.link.arm()
            atomicMemoryFence(ordering: .sequentiallyConsistent)
            if handle.link.consumer.header() != 0 {
                handle.link.disarm()
                continue
            }
            handle.link.isHot = false
            hot.remove(at: index)
        }
    }

    private mutating func beat(_ now: Timestamp) {
        // Time in which nobody called us does not count against the peers.
        let elapsed = min(now - nextBeat, beatInterval) + beatInterval
        nextBeat = now + beatInterval
        resumeAccepting()
        for handle in links {
            handle.link.beat(after: elapsed)
            handle.link.flushPackets(context)
            if handle.link.silence >= configuration.livenessTimeout { fail(handle, .peerUnresponsive) }
        }
    }

    /// Ends operations and set-ups whose time is over.
    private mutating func expire(_ now: Timestamp) {
        if nextDeadline <= now {
            nextDeadline = .never
            for handle in links {
                expire(handle, now)
                nextDeadline = min(nextDeadline, handle.link.operations.nextDeadline)
            }
        }
        for opening in openings {
            if opening.deadline <= now {
                end(opening, TransportFailure(.deadlineExceeded))
            } else if opening.stage == .dialing {
                carryOut(opening.dial(), opening)
            }
        }
    }

    private mutating func expire(_ handle: ShmLinkHandle, _ now: Timestamp) {
        guard handle.link.operations.nextDeadline <= now else { return }
        for slot in handle.link.operations.expired(at: now) {
            handle.link.complete(slot, TransportFailure(.deadlineExceeded), &context)
        }
    }

    /// When `tick` next has something to do, whatever arrives.
    private func nextDue() -> Timestamp {
        var due = links.isEmpty && !acceptPaused ? Timestamp.never : nextBeat
        due = min(due, nextDeadline)
        for opening in openings {
            due = min(due, opening.stage == .dialing ? context.now + .milliseconds(1) : opening.deadline)
        }
        return due
    }
}
