// Flow control of the packets that carry a rail's messages, as a machine without I/O.

internal import RayCore

/// Cuts the stream of one end into packets, and counts what the peer has room for.
///
/// Both ends have posted the same number of receives. A packet takes one of the peer's; the peer says in
/// each packet of its own how many it has taken out and posted again, and says so in an empty packet once
/// half of them are owed and it has nothing else to send. The last place is kept for such empty packets,
/// so that two ends that wait for each other can always tell. A sender never counts on a receive that is
/// not there, so a device never has to ask for a repetition.
///
/// Bytes stay in the ring until the peer has taken them out of its receives, not only until its device
/// has them: whatever happens to a queue pair, what the peer has not seen can be sent again.
struct PacketWindow: Sendable {
    /// What to post: bytes of the stream, with the number of packets taken as immediate data.
    struct Packet: Hashable, Sendable {
        var offset: UInt64
        var length: Int
        var taken: UInt32
        /// Whether its completion is wanted.
        var isSignalled: Bool
    }

    struct Shape: Hashable, Sendable {
        /// Packets that each end has room for, at most 32.
        var receives = 32
        /// Most bytes of a packet.
        var packetBytes = 8 << 10
        /// Bytes of the stream that are kept, a power of two.
        var ringBytes = 512 << 10
        /// Places in the send queue.
        var depth = 64
    }

    let shape: Shape
    private(set) var isOpen = true
    /// The stream of this end: all bytes, those that were posted, those that the peer has taken out.
    private(set) var written: UInt64 = 0
    private(set) var posted: UInt64 = 0
    private(set) var acknowledged: UInt64 = 0
    /// Bytes of the peer's stream that have arrived.
    private(set) var arrived: UInt64 = 0

    /// Packets sent, and how many of them the peer has taken out.
    private var sent: UInt64 = 0
    private var returned: UInt64 = 0
    /// Where the packets end that the peer has not taken out, by their numbers modulo `mostReceives`.
    private var ends = InlineArray<32, UInt64>(repeating: 0)
    /// The peer's packets that were taken out, and how many of them it was told of.
    private var taken: UInt64 = 0
    private var told: UInt64 = 0
    private var isAsked = false
    /// Receives of this end that the device holds.
    private(set) var receivesPosted: Int
    private var occupied = 0
    private var unsignalled = 0
    /// Completions that were asked for and have not come.
    private var signals = 0

    private static let mostReceives = 32

    init(_ shape: Shape) {
        precondition((4...Self.mostReceives).contains(shape.receives) && shape.depth >= 4)
        precondition(shape.ringBytes.nonzeroBitCount == 1)
        self.shape = shape
        receivesPosted = shape.receives
    }

    /// Bytes that the ring has room for.
    var room: Int { shape.ringBytes - Int(written - acknowledged) }
    /// Whether the peer has taken out all that was written.
    var isAcknowledged: Bool { acknowledged == written }

    // MARK: Sending

    mutating func write(_ count: Int) {
        precondition(count <= room)
        written += UInt64(count)
    }

    /// Packets that the peer has room for.
    private var places: Int { shape.receives - Int(sent - returned) }

    /// Whether there is a packet to post now.
    var hasNext: Bool {
        guard isOpen, occupied < shape.depth else { return false }
        let isDue = isAsked || taken - told >= UInt64(shape.receives / 2)
        return written > posted && places >= 2 || isDue && places >= 1
    }

    /// The next packet to post now.
    mutating func next() -> Packet? {
        guard hasNext else { return nil }
        let length = places >= 2 ? min(Int(written - posted), shape.packetBytes, untilRingEnd) : 0
        let packet = Packet(
            offset: posted, length: length, taken: UInt32(truncatingIfNeeded: taken), isSignalled: signalNext())
        posted += UInt64(length)
        ends[Int(sent % UInt64(Self.mostReceives))] = posted
        sent += 1
        told = taken
        isAsked = false
        return packet
    }

    private var untilRingEnd: Int { shape.ringBytes - Int(posted % UInt64(shape.ringBytes)) }

    /// One in eight asks for a completion, which frees the places of all before it.
    private mutating func signalNext() -> Bool {
        occupied += 1
        unsignalled += 1
        guard unsignalled == signalInterval else { return false }
        signals += 1
        unsignalled = 0
        return true
    }

    private var signalInterval: Int { min(8, shape.depth / 4) }

    /// A completion that was asked for has come.
    mutating func completed() {
        precondition(signals > 0, "a completion that nobody asked for")
        signals -= 1
        occupied -= signalInterval
    }

    // MARK: Receiving

    /// A packet has arrived.
    /// - Throws: `malformed` when the peer says that it has taken out what was not sent.
    mutating func received(_ count: Int, taken number: UInt32) throws(WireError) {
        receivesPosted -= 1
        arrived += UInt64(count)
        let news = UInt64(number &- UInt32(truncatingIfNeeded: returned))
        guard news <= sent - returned else { throw .malformed }
        guard news > 0 else { return }
        returned += news
        acknowledged = ends[Int((returned - 1) % UInt64(Self.mostReceives))]
    }

    /// The user is done with a packet.
    /// - Returns: whether its receive is to be posted again.
    mutating func takeOut() -> Bool {
        taken += 1
        if isOpen { receivesPosted += 1 }
        return isOpen
    }

    /// The peer waits to hear that all was taken out.
    mutating func ask() { isAsked = true }

    // MARK: Ending

    /// Nothing more is posted. The receives come back.
    mutating func breakDown() { isOpen = false }

    /// A receive has come back without a packet.
    mutating func receiveFlushed() { receivesPosted -= 1 }

    /// Nothing more comes back: the device is gone.
    mutating func abandon() {
        isOpen = false
        receivesPosted = 0
    }

    /// Whether all that arrived is known.
    var isDrained: Bool { !isOpen && receivesPosted == 0 }

    /// The bytes that the peer has not got, given how many it has.
    /// - Throws: `malformed` when it can not have that many.
    mutating func handOver(from count: UInt64) throws(WireError) -> Range<UInt64> {
        guard acknowledged <= count, count <= posted else { throw .malformed }
        acknowledged = written
        return count..<written
    }
}
