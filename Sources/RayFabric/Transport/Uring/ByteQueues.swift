// Bytes on their way out of and into one connection.

internal import CLinux
internal import RayCore

/// Bytes that wait to be sent: appended at the end, taken from the front, contiguous.
@safe
struct OutputQueue: ~Copyable {
    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    private var head = 0
    private var tail = 0

    private static let smallestCapacity = 4 << 10
    /// An empty queue keeps its memory up to this size.
    private static let keptCapacity = 128 << 10

    deinit { unsafe base?.deallocate() }

    /// Bytes that were not sent yet.
    var count: Int { tail - head }

    /// Lends the bytes to a system call.
    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeRawBufferPointer(start: base.map { unsafe $0 + head }, count: count))
    }

    mutating func remove(_ count: Int) {
        assert(count <= self.count)
        head += count
        guard head == tail else { return }
        head = 0
        tail = 0
        if capacity > Self.keptCapacity { release() }
    }

    private mutating func release() {
        unsafe base?.deallocate()
        unsafe base = nil
        capacity = 0
    }

    /// Room for exactly `count` bytes at the end, which the caller fills at once.
    private mutating func reserve(_ count: Int) -> UnsafeMutableRawPointer {
        if tail + count > capacity { makeRoom(count) }
        guard let base = unsafe base else { preconditionFailure("room was just made") }
        let place = unsafe base + tail
        tail += count
        return unsafe place
    }

    private mutating func makeRoom(_ count: Int) {
        let used = self.count
        var wanted = max(capacity, Self.smallestCapacity)
        while wanted < used + count { wanted *= 2 }
        // Moving to the front is enough when that frees at least half: the cost per byte stays bounded.
        if wanted == capacity, head < capacity / 2 { wanted *= 2 }
        if wanted == capacity {
            if let base = unsafe base { unsafe base.copyMemory(from: base + head, byteCount: used) }
        } else {
            let larger = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 64)
            if let base = unsafe base {
                unsafe larger.copyMemory(from: base + head, byteCount: used)
                unsafe base.deallocate()
            }
            unsafe base = larger
            capacity = wanted
        }
        head = 0
        tail = used
    }

    /// A message with its prefix.
    mutating func append(message: RawSpan) {
        let prefix = FramePrefix.message(byteCount: message.byteCount).word
        let place = unsafe reserve(FramePrefix.byteCount + message.byteCount)
        // SAFETY: `place` has room for both; the message lies outside of this queue.
        unsafe place.storeBytes(of: prefix.littleEndian, as: UInt64.self)
        unsafe message.withUnsafeBytes { bytes in
            if let start = bytes.baseAddress {
                unsafe (place + FramePrefix.byteCount).copyMemory(from: start, byteCount: bytes.count)
            }
        }
    }

    /// A frame without payload.
    mutating func append(_ frame: Frame) {
        unsafe encodeFrame(frame, payload: 0, at: reserve(frame.headerByteCount))
    }

    /// A frame and its payload.
    mutating func append(_ frame: Frame, payload: UnsafeRawBufferPointer) {
        let header = frame.headerByteCount
        let place = unsafe reserve(header + payload.count)
        // SAFETY: `place` has room for header and payload.
        unsafe encodeFrame(frame, payload: payload.count, at: place)
        if let start = payload.baseAddress {
            unsafe (place + header).copyMemory(from: start, byteCount: payload.count)
        }
    }
}

/// Writes a frame's header.
///
/// SAFETY: `place` must have room for `frame.headerByteCount` bytes.
func encodeFrame(_ frame: Frame, payload: Int, at place: UnsafeMutableRawPointer) {
    var span = unsafe MutableRawSpan(_unsafeStart: place, byteCount: frame.headerByteCount)
    var writer = WireWriter(span._mutatingExtracting(0..<frame.headerByteCount))
    frame.encode(payload: payload, into: &writer)
}

/// A buffer into which a message lane is read and in which its frames are parsed in place.
@safe
final class InputBuffer {
    /// Holds the largest frame of lane 0 and room to read on behind it.
    static let capacity = WireLimits.messageBytes + (64 << 10)
    private static let leastRoom = 32 << 10

    private let base: UnsafeMutableRawPointer
    private var head = 0
    private var tail = 0

    init() { unsafe base = .allocate(byteCount: Self.capacity, alignment: 64) }

    deinit { unsafe base.deallocate() }

    /// Bytes received and not consumed.
    var count: Int { tail - head }

    /// The first byte not consumed; valid until the next `receive`.
    var start: UnsafeMutableRawPointer { unsafe base + head }

    func consume(_ count: Int) {
        assert(count <= self.count)
        head += count
        if head == tail {
            head = 0
            tail = 0
        }
    }

    func clear() {
        head = 0
        tail = 0
    }

    /// Reads what the socket has, as far as there is room, without waiting.
    /// - Returns: the result of `recv`; nil when there is no room, which is not the end of the stream.
    func receive(from descriptor: Int32) -> Int? {
        if Self.capacity - tail < Self.leastRoom || (head > 0 && count < 4096) {
            unsafe base.copyMemory(from: base + head, byteCount: count)
            tail = count
            head = 0
        }
        let room = Self.capacity - tail
        guard room > 0 else { return nil }
        // SAFETY: the range lies behind the bytes in use and within the buffer.
        let result = unsafe rf_receive(descriptor, base + tail, room)
        if result > 0 { tail += result }
        return result
    }
}
