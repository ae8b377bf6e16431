// What the host knows of one client, and its end of the rings shared with it.

internal import RayCore

/// One attached client. The ledger is written by the client: everything read from it is checked.
final class ClientSession {
    let index: Int
    /// The client as an owner of objects. No other session of this host ever has the same.
    let worker: WorkerID
    /// Only the host's own process may publish secondary copies, which can be evicted, and objects of
    /// other owners.
    let isTrusted: Bool
    /// The client's process, which may live on after its session; nil for the host's own.
    let process: Int32?
    /// What the client calls itself, fit to be shown.
    let name: String
    private let ledger: Mapping
    private let mailbox: Mapping
    private let geometry: StoreGeometry
    /// Granted memory that is neither published nor given back.
    var outstanding = ExtentSet()
    /// The request for memory that could not be served yet.
    var request: (minimum: UInt64, preferred: UInt64)?
    /// Waits registered for this client.
    var waits = 0
    /// The client broke the protocol: nothing of it is looked at any more.
    private(set) var isCutOff = false
    private(set) var commandsTaken: UInt64 = 0
    private var repliesWritten: UInt64 = 0
    /// Replies that found no room in the ring.
    private var unsent: [StoreReply] = []
    /// Whether the client was asked to ring when it has made room in the ring.
    private var isBlocked = false

    /// - Parameter process: the client's process, nil for a trusted one, which the host trusts to write
    ///   to nothing after its session.
    init(
        index: Int, worker: WorkerID, name: String, process: Int32?, geometry: StoreGeometry,
        ledger: consuming Mapping, mailbox: consuming Mapping
    ) {
        self.index = index
        self.worker = worker
        self.name = String.printable(name, maximumBytes: ControlRequest.maximumNameBytes)
        self.process = process
        isTrusted = process == nil
        self.geometry = geometry
        self.ledger = ledger
        self.mailbox = mailbox
    }

    /// Tells this session from every other one, earlier and later ones with the same index included.
    var number: UInt32 { worker.number }

    /// The next complete command. A kind that does not exist gives an error.
    func nextCommand() throws(TransportFailure) -> StoreCommand? {
        let place = RingLayout.Ledger.command(commandsTaken)
        // Acquire: pairs with the release in CommandRing.push, after which the rest is written.
        guard ledger.loadAcquiring(place) == commandsTaken &+ 1 else { return nil }
        let kindAndFlags = ledger.load(place + 8)
        let sizes = ledger.load(place + 56)
        commandsTaken &+= 1
        guard let kind = StoreCommand.Kind(rawValue: UInt32(truncatingIfNeeded: kindAndFlags)) else {
            throw TransportFailure(.protocolViolation)
        }
        return StoreCommand(
            kind: kind, flags: .init(rawValue: UInt32(truncatingIfNeeded: kindAndFlags >> 32)),
            id: ObjectID(words: (ledger.load(place + 16), ledger.load(place + 24), ledger.load(place + 32))),
            offset: ledger.load(place + 40), size: ledger.load(place + 48),
            metadataSize: UInt32(truncatingIfNeeded: sizes), token: UInt32(truncatingIfNeeded: sizes >> 32))
    }

    /// Goes on to the next complete command behind those that a thread claimed a place for and never wrote.
    /// - Returns: whether there is one before `end`.
    func skipGap(before end: UInt64) -> Bool {
        var position = commandsTaken
        while position < end {
            // Acquire: as in nextCommand.
            if ledger.loadAcquiring(RingLayout.Ledger.command(position)) == position &+ 1 {
                commandsTaken = position
                return true
            }
            position += 1
        }
        return false
    }

    /// Lets the client reuse the places of the commands taken so far.
    func confirmCommands() { mailbox.storeReleasing(commandsTaken, at: RingLayout.Mailbox.commandsTaken) }

    // MARK: Replies

    private var ringHasRoom: Bool {
        let taken = ledger.loadAcquiring(RingLayout.Ledger.repliesTaken)
        return taken <= repliesWritten && repliesWritten - taken < RingLayout.replyCount
    }

    /// Replies that wait for room.
    var unsentReplies: Int { unsent.count }

    /// Whether another reply can be sent now. If not, the client rings once it has taken some.
    func hasRoomForReply() -> Bool {
        guard unsent.isEmpty else { return false }
        if ringHasRoom { return true }
        isBlocked = true
        // A fence: the client takes replies and then reads this word, see CommandRing.hasUnsentReplies;
        // the host writes it and then looks for room.
        mailbox.storeHalfFencing(1, at: RingLayout.Mailbox.unsent)
        return ringHasRoom
    }

    /// Sends a reply, or keeps it until there is room for it.
    func reply(_ reply: StoreReply) {
        if hasRoomForReply() { write(reply) } else { unsent.append(reply) }
    }

    /// Sends the replies that waited for room.
    /// - Returns: whether there was room for some or all, and maybe for others.
    func unblock() -> Bool {
        guard isBlocked, ringHasRoom else { return false }
        isBlocked = false
        mailbox.storeHalfFencing(0, at: RingLayout.Mailbox.unsent)
        let waiting = unsent
        unsent = []
        for reply in waiting { self.reply(reply) }
        return true
    }

    private func write(_ reply: StoreReply) {
        let place = RingLayout.Mailbox.reply(repliesWritten)
        mailbox.store(UInt64(reply.kind.rawValue) | UInt64(reply.token) << 32, at: place)
        mailbox.store(reply.offset, at: place + 8)
        mailbox.store(reply.size, at: place + 16)
        mailbox.store(UInt64(reply.code.rawValue), at: place + 24)
        repliesWritten += 1
        mailbox.storeReleasing(repliesWritten, at: RingLayout.Mailbox.repliesWritten)
    }

    /// Changes the word that the client's threads sleep on. The shell then wakes them.
    func countWake() {
        mailbox.storeHalfFencing(mailbox.loadHalf(RingLayout.Mailbox.wake) &+ 1, at: RingLayout.Mailbox.wake)
    }

    func wakeSleepers() { mailbox.wakeAll(at: RingLayout.Mailbox.wake) }

    func cutOff() {
        isCutOff = true
        mailbox.storeHalfFencing(1, at: RingLayout.Mailbox.evicted)
    }

    /// How often the client has pinned an entry. Ordered after hiding the entry, see ObjectTable.hide.
    func pins(of entry: Int) -> UInt32 { ledger.loadHalfFencing(geometry.pinOffset(entry)) }

    /// The use clock when the client last used an entry.
    func lastUse(of entry: Int) -> UInt32 { ledger.loadHalf(geometry.pinOffset(entry) + 4) }
}
