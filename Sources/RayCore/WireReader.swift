// Bounded decoding of bytes that came from somebody else.

/// Why bytes could not be decoded.
public enum WireError: Error, Hashable, Sendable {
    /// The input ends before the value does.
    case truncated
    /// A length says more than its limit allows.
    case tooLong
    /// A value that the protocol does not know.
    case malformed
}

/// Reads fixed-width little-endian integers, identifiers and counted byte strings from a span.
///
/// It never reads past its input, and a hostile length never makes it allocate: byte strings are
/// handed out as parts of the input. Identifiers are big-endian, see `ObjectID`.
@frozen
public struct WireReader: ~Copyable, ~Escapable {
    @usableFromInline let bytes: RawSpan
    @usableFromInline var position: Int

    @inlinable
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan) {
        self.bytes = bytes
        position = 0
    }

    /// Bytes not read yet.
    @inlinable
    public var remaining: Int { bytes.byteCount - position }

    @inlinable
    public mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ type: Value.Type = Value.self
    ) throws(WireError) -> Value {
        let size = MemoryLayout<Value>.size
        guard remaining >= size else { throw .truncated }
        // SAFETY: any bit pattern is a valid integer, and the range was checked above.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: Value.self)
        position += size
        return Value(littleEndian: value)
    }

    @inlinable
    public mutating func uint8() throws(WireError) -> UInt8 { try integer() }
    @inlinable
    public mutating func uint16() throws(WireError) -> UInt16 { try integer() }
    @inlinable
    public mutating func uint32() throws(WireError) -> UInt32 { try integer() }
    @inlinable
    public mutating func uint64() throws(WireError) -> UInt64 { try integer() }

    public mutating func nodeID() throws(WireError) -> NodeID {
        let value = UInt64(bigEndian: try integer())
        return NodeID(value: UInt64(littleEndian: value), incarnation: UInt32(bigEndian: try integer()))
    }

    public mutating func workerID() throws(WireError) -> WorkerID {
        let node = try nodeID()
        return WorkerID(node: node, number: UInt32(bigEndian: try integer()))
    }

    public mutating func objectID() throws(WireError) -> ObjectID {
        let owner = try workerID()
        return ObjectID(owner: owner, sequence: UInt64(bigEndian: try integer()))
    }

    /// The next `count` bytes, in place.
    @inlinable
    @_lifetime(copy self)
    public mutating func take(_ count: Int) throws(WireError) -> RawSpan {
        guard count >= 0, count <= remaining else { throw .truncated }
        let part = bytes.extracting(position..<(position + count))
        position += count
        return part
    }

    /// A 32-bit length of at most `limit`, then that many bytes, in place.
    @inlinable
    @_lifetime(copy self)
    public mutating func countedBytes(limit: Int) throws(WireError) -> RawSpan {
        let count = Int(try uint32())
        guard count <= limit else { throw .tooLong }
        return try take(count)
    }

    /// A counted UTF-8 string of at most `limit` bytes; bytes that are not UTF-8 are malformed.
    public mutating func string(limit: Int) throws(WireError) -> String {
        let part = try countedBytes(limit: limit)
        var copy: [UInt8] = []
        copy.reserveCapacity(part.byteCount)
        for index in 0..<part.byteCount {
            copy.append(unsafe part.unsafeLoadUnaligned(fromByteOffset: index, as: UInt8.self))
        }
        guard let text = String(validating: copy, as: UTF8.self) else { throw .malformed }
        return text
    }

    /// Fails unless everything was read: trailing bytes are a protocol error.
    @inlinable
    public func finish() throws(WireError) {
        guard remaining == 0 else { throw .malformed }
    }
}
