// Bounded encoding into memory that the caller owns.

/// Writes what `WireReader` reads into a span. Running out of room is the caller's bug, since every
/// message has a known largest size: it traps.
@frozen
public struct WireWriter: ~Copyable, ~Escapable {
    @usableFromInline var bytes: MutableRawSpan
    /// Bytes written so far.
    public private(set) var count: Int

    @_lifetime(copy bytes)
    public init(_ bytes: consuming MutableRawSpan) {
        self.bytes = bytes
        count = 0
    }

    /// Bytes of room left.
    public var remaining: Int { bytes.byteCount - count }

    @_lifetime(self: copy self)
    public mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
        let size = MemoryLayout<Value>.size
        precondition(remaining >= size, "message larger than its buffer")
        bytes.storeBytes(of: value.littleEndian, toByteOffset: count, as: Value.self)
        count += size
    }

    @_lifetime(self: copy self)
    public mutating func nodeID(_ id: NodeID) {
        integer(id.value.byteSwapped)
        integer(id.incarnation.byteSwapped)
    }

    @_lifetime(self: copy self)
    public mutating func workerID(_ id: WorkerID) {
        nodeID(id.node)
        integer(id.number.byteSwapped)
    }

    @_lifetime(self: copy self)
    public mutating func objectID(_ id: ObjectID) {
        workerID(id.owner)
        integer(id.sequence.byteSwapped)
    }

    /// Raw bytes without a length.
    @_lifetime(self: copy self)
    public mutating func raw(_ source: RawSpan) {
        precondition(remaining >= source.byteCount, "message larger than its buffer")
        // SAFETY: the room was checked above; source and destination are distinct spans.
        unsafe bytes.withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { from in
                if let base = target.baseAddress, let start = from.baseAddress {
                    unsafe (base + count).copyMemory(from: start, byteCount: from.count)
                }
            }
        }
        count += source.byteCount
    }

    /// A 32-bit length, then the bytes.
    @_lifetime(self: copy self)
    public mutating func countedBytes(_ source: RawSpan) {
        integer(UInt32(source.byteCount))
        raw(source)
    }

    /// A counted UTF-8 string.
    @_lifetime(self: copy self)
    public mutating func string(_ text: String) {
        var copy = text
        copy.makeContiguousUTF8()
        // SAFETY: every byte of a contiguous UTF-8 string is initialised.
        unsafe countedBytes(copy.utf8Span.span.bytes)
    }
}
