// The state of a bulk lane: the memory that the kernel works on while a send or a receive is in flight.

internal import CLinux
internal import RayCore

/// One bulk lane. Headers have a fixed length here, payload goes straight from and to its memory.
@safe
final class BulkLane {
    static let headerBytes = WireLimits.headerBytes

    /// What the payload on its way in belongs to.
    enum Purpose: Equatable {
        case read(token: UInt64)
        case write(token: UInt64, total: UInt64, notification: UInt64?)
    }

    // Receiving.
    let incomingHeader: UnsafeMutableRawPointer
    /// Bytes of the header or payload on its way that have come.
    var received = 0
    /// Set while a payload is on its way, nil while a header is.
    var purpose: Purpose?
    var payloadCount = 0
    /// Where the payload goes; nil while it is thrown away.
    var target: UnsafeMutableRawBufferPointer?
    /// The region of `target`.
    var targetKey = RegionKey(rawValue: 0)
    /// The rest of the payload is to be thrown away as soon as the kernel lets go of `target`.
    var isDropping = false

    // Sending.
    /// Headers of pieces: zero-copy sends keep theirs until the kernel lets go of it.
    private let outgoingHeaders: UnsafeMutableRawPointer
    /// Zero-copy sends of each header whose memory the kernel still holds.
    private var notices: InlineArray<8, UInt16> = InlineArray(repeating: 0)
    /// The header of the piece on its way.
    private(set) var outgoing = 0
    let message: UnsafeMutablePointer<msghdr>
    let vectors: UnsafeMutablePointer<iovec>
    /// The transfer whose piece is on its way out.
    var sendingToken: UInt64?
    var sendingIsServing = false
    /// The region of the piece; zero once it is sent from a copy.
    var sourceKey = RegionKey(rawValue: 0)
    /// The rest of the piece is to be copied as soon as the kernel lets go of it.
    var isReleasing = false
    /// The rest of a piece whose region is gone.
    private var copy: UnsafeMutableRawBufferPointer?

    init() {
        unsafe incomingHeader = .allocate(byteCount: Self.headerBytes, alignment: 8)
        unsafe outgoingHeaders = .allocate(byteCount: notices.count * Self.headerBytes, alignment: 8)
        unsafe message = .allocate(capacity: 1)
        unsafe vectors = .allocate(capacity: 2)
        unsafe message.initialize(to: msghdr())
        unsafe vectors.initialize(repeating: iovec(), count: 2)
    }

    deinit {
        unsafe incomingHeader.deallocate()
        unsafe outgoingHeaders.deallocate()
        unsafe message.deallocate()
        unsafe vectors.deallocate()
        unsafe copy?.deallocate()
    }

    /// Whether another piece may be loaded.
    var hasFreeHeader: Bool { notices.indices.contains { notices[$0] == 0 } }

    /// A zero-copy send has ended, and the kernel holds on to its memory.
    func noticeIsDue(_ header: Int) { notices[header] += 1 }

    /// The kernel has let go of the memory of a zero-copy send.
    func noticeCame(_ header: Int) { notices[header] -= 1 }

    /// Prepares header and payload to be sent. Needs a free header.
    func load(_ frame: Frame, payload: UnsafeMutableRawBufferPointer) {
        guard let free = notices.indices.first(where: { notices[$0] == 0 }) else {
            preconditionFailure("a piece without a free header")
        }
        outgoing = free
        let outgoingHeader = unsafe outgoingHeaders + free * Self.headerBytes
        unsafe outgoingHeader.initializeMemory(as: UInt8.self, repeating: 0, count: Self.headerBytes)
        unsafe encodeFrame(frame, payload: payload.count, at: outgoingHeader)
        unsafe vectors[0] = iovec(iov_base: outgoingHeader, iov_len: Self.headerBytes)
        unsafe vectors[1] = iovec(iov_base: payload.baseAddress, iov_len: payload.count)
        unsafe message.pointee.msg_iov = vectors
        unsafe message.pointee.msg_iovlen = 2
    }

    /// Bytes not sent yet.
    var unsent: Int { unsafe vectors[0].iov_len + vectors[1].iov_len }

    /// Steps over what was sent.
    func advance(_ count: Int) {
        var rest = count
        for index in 0..<2 {
            let step = unsafe min(rest, vectors[index].iov_len)
            unsafe vectors[index].iov_len -= step
            if let base = unsafe vectors[index].iov_base { unsafe vectors[index].iov_base = base + step }
            rest -= step
        }
    }

    /// Moves the rest of the payload into memory of the lane, so that its region may go.
    func copyRest() {
        let count = unsafe vectors[1].iov_len
        guard count > 0, let base = unsafe vectors[1].iov_base else { return }
        let buffer = unsafe copy ?? .allocate(byteCount: WireLimits.pieceBytes, alignment: 64)
        // SAFETY: a piece has at most pieceBytes.
        unsafe buffer.copyMemory(from: UnsafeRawBufferPointer(start: base, count: count))
        unsafe copy = buffer
        unsafe vectors[1].iov_base = buffer.baseAddress
        sourceKey = RegionKey(rawValue: 0)
    }
}
