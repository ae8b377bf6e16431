// What the host knows of one client, and its end of the rings shared with it.

internal import RayCore

/// One attached client. The ledger is written by the client: everything read from it is checked.
final class ClientSession {
    let index: Int
    private let ledger: Mapping
    private let mailbox: Mapping
    private let geometry: StoreGeometry
    /// Granted memory that is neither published nor given back.
    var outstanding = ExtentSet()
    /// The request for memory that could not be served yet.
    var request: (minimum: UInt64, preferred: UInt64)?
    /// Waits registered for this client.
    var waits = 0
    /// Only the host's own process may publish secondary copies: they can be evicted.
    let isTrusted: Bool
    let name: String
    private var commandsTaken: UInt64 = 0
    private var repliesWritten: UInt64 = 0

    init(
        index: Int, name: String, isTrusted: Bool, geometry: StoreGeometry, ledger: consuming Mapping,
        mailbox: consuming Mapping
    ) {
        self.index = index
        self.name = name
        self.isTrusted = isTrusted
        self.geometry = geometry
        self.ledger = ledger
        self.mailbox = mailbox
    }

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

    /// Lets the client reuse the places of the commands taken so far.
    func confirmCommands() { mailbox.storeReleasing(commandsTaken, at: RingLayout.Mailbox.commandsTaken) }

    /// Whether another reply fits. A client that takes none gets none.
    var canReply: Bool {
        let taken = ledger.loadAcquiring(RingLayout.Ledger.repliesTaken)
        return taken <= repliesWritten && repliesWritten - taken < RingLayout.replyCount
    }

    func reply(_ reply: StoreReply) {
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

    func markEvicted() { mailbox.storeHalfFencing(1, at: RingLayout.Mailbox.evicted) }

    /// How often the client has pinned an entry. Ordered after hiding the entry, see ObjectTable.hide.
    func pins(of entry: Int) -> UInt32 { ledger.loadHalfFencing(geometry.pinOffset(entry)) }

    /// The use clock when the client last used an entry.
    func lastUse(of entry: Int) -> UInt32 { ledger.loadHalf(geometry.pinOffset(entry) + 4) }
}
