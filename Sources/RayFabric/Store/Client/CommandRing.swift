// A client's end of the rings: commands out, replies in. All threads of the process may use it.

internal import RayCore
internal import Synchronization

/// Writes commands without locks; the host reads them.
struct CommandRing: ~Copyable, Sendable {
    private let ledger: Mapping
    private let mailbox: Mapping
    private let geometry: StoreGeometry

    init(ledger: consuming Mapping, mailbox: consuming Mapping, geometry: StoreGeometry) {
        self.ledger = ledger
        self.mailbox = mailbox
        self.geometry = geometry
    }

    /// Appends a command.
    /// - Returns: its position; nil when the ring is full.
    @inline(__always)
    func push(_ command: StoreCommand) -> UInt64? {
        while true {
            let tail = ledger.load(RingLayout.Ledger.tail)
            // Acquire: the host has copied what it says it took, so the place may be written.
            if tail &- commandsTaken >= RingLayout.commandCount { return nil }
            if ledger.compareExchange(tail, with: tail &+ 1, at: RingLayout.Ledger.tail) {
                write(command, at: tail)
                return tail
            }
        }
    }

    @inline(__always)
    private func write(_ command: StoreCommand, at position: UInt64) {
        let place = RingLayout.Ledger.command(position)
        let id = command.id.words
        ledger.store(UInt64(command.kind.rawValue) | UInt64(command.flags.rawValue) << 32, at: place + 8)
        ledger.store(id.0, at: place + 16)
        ledger.store(id.1, at: place + 24)
        ledger.store(id.2, at: place + 32)
        ledger.store(command.offset, at: place + 40)
        ledger.store(command.size, at: place + 48)
        ledger.store(UInt64(command.metadataSize) | UInt64(command.token) << 32, at: place + 56)
        // Release: pairs with the acquire in ClientSession.nextCommand.
        ledger.storeReleasing(position &+ 1, at: place)
    }

    /// The host has taken all commands before this position.
    @inline(__always)
    var commandsTaken: UInt64 { mailbox.loadAcquiring(RingLayout.Mailbox.commandsTaken) }

    /// Whether the host has commands to take.
    var hasPendingCommands: Bool { ledger.load(RingLayout.Ledger.tail) != commandsTaken }

    /// The next reply. Callers hold the inbox lock.
    func nextReply() -> StoreReply? {
        let taken = ledger.load(RingLayout.Ledger.repliesTaken)
        guard taken < mailbox.loadAcquiring(RingLayout.Mailbox.repliesWritten) else { return nil }
        let place = RingLayout.Mailbox.reply(taken)
        let kindAndToken = mailbox.load(place)
        let reply = StoreReply.Kind(rawValue: UInt32(truncatingIfNeeded: kindAndToken)).map { kind in
            StoreReply(
                kind: kind, token: UInt32(truncatingIfNeeded: kindAndToken >> 32), offset: mailbox.load(place + 8),
                size: mailbox.load(place + 16),
                code: .init(rawValue: UInt16(truncatingIfNeeded: mailbox.load(place + 24))))
        }
        ledger.storeReleasing(taken + 1, at: RingLayout.Ledger.repliesTaken)
        return reply
    }

    /// Whether the host keeps replies for want of room. Looked at after replies were taken.
    var hasUnsentReplies: Bool {
        // A fence, see ClientSession.hasRoomForReply.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        return mailbox.loadHalf(RingLayout.Mailbox.unsent) != 0
    }

    // MARK: Pins

    /// Starts to fetch the pin of an entry while its entry is still being read.
    @inline(__always)
    func prefetchPin(_ entry: Int) { ledger.prefetch(geometry.pinOffset(entry)) }

    /// Pins an entry, if its version is still `version`: from then on its object stays where it is.
    @inline(__always)
    func pin(_ entry: Int, version: UInt64, in directory: borrowing Directory) -> Bool {
        let place = geometry.pinOffset(entry)
        // A fence between the pin and the look at the version, see ObjectTable.hide.
        _ = ledger.addHalfFencing(1, at: place)
        if directory.version(entry) == version {
            ledger.storeHalf(directory.memory.loadHalf(StoreGeometry.Header.useClock), at: place + 4)
            return true
        }
        _ = unpin(entry, in: directory)
        return false
    }

    /// Takes a pin away.
    /// - Returns: whether the entry is dying and the host must be told.
    @inline(__always)
    func unpin(_ entry: Int, in directory: borrowing Directory) -> Bool {
        let before = ledger.subtractHalfFencing(1, at: geometry.pinOffset(entry))
        precondition(before > 0, "released more often than pinned")
        return before == 1 && directory.version(entry) & 0xff == ObjectEntry.State.dying.rawValue
    }

    // MARK: Sleep

    var wakeCount: UInt32 { mailbox.loadHalfAcquiring(RingLayout.Mailbox.wake) }

    var isEvicted: Bool { mailbox.loadHalf(RingLayout.Mailbox.evicted) != 0 }

    func sleep(whileWakeCount count: UInt32, for limit: Duration) {
        mailbox.sleep(while: count, at: RingLayout.Mailbox.wake, for: limit)
    }

    func wakeSleepers() { mailbox.wakeAll(at: RingLayout.Mailbox.wake) }
}
