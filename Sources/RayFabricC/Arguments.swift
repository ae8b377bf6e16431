// What C passes in and gets out, checked and turned into Swift values and back.

public import CRayFabric
internal import RayCore

/// A structure that begins with `struct_size`, so that it can grow.
protocol SizedStructure {
    var struct_size: Int { get set }
    init()
    /// Its size when it was first published: callers have at least that much.
    static var firstSize: Int { get }
}

extension rf_fabric_options: SizedStructure { static var firstSize: Int { 104 } }
extension rf_view: SizedStructure { static var firstSize: Int { 40 } }
extension rf_usage: SizedStructure { static var firstSize: Int { 72 } }
extension rf_transfers: SizedStructure { static var firstSize: Int { 80 } }

extension SizedStructure {
    /// Larger than any of them will ever be: what is beyond that is no size.
    private static var mostBytes: Int { 4096 }

    /// The size that the caller says a structure has.
    @inline(__always)
    static func callersSize(_ structure: UnsafeRawPointer) throws(FabricError) -> Int {
        let size = unsafe structure.loadUnaligned(as: Int.self)
        guard size >= firstSize, size <= mostBytes else {
            throw FabricError(.structSize, "struct_size is \(size); set it to the size of the structure")
        }
        return size
    }

    /// Reads a caller's structure: what it does not have is zero, what this library does not have must be zero.
    static func read(_ pointer: UnsafePointer<Self>?, _ name: StaticString) throws(FabricError) -> Self {
        let bytes = unsafe UnsafeRawPointer(try present(pointer, name))
        let size = try unsafe callersSize(bytes)
        for offset in stride(from: MemoryLayout<Self>.size, to: size, by: 1)
        where unsafe bytes.load(fromByteOffset: offset, as: UInt8.self) != 0 {
            throw FabricError(.structSize, "\(name) sets a member that this version of the library does not know")
        }
        var value = Self()
        // SAFETY: both have that many bytes, and any are valid.
        unsafe withUnsafeMutableBytes(of: &value) { target in
            unsafe target.copyMemory(
                from: UnsafeRawBufferPointer(start: bytes, count: Swift.min(size, MemoryLayout<Self>.size)))
        }
        return value
    }

    /// Writes as much of this as the caller's structure has room for.
    @inline(__always)
    func write(to pointer: UnsafeMutablePointer<Self>) throws(FabricError) {
        unsafe write(to: pointer, callersSize: try Self.callersSize(pointer))
    }

    /// Likewise, where the size was read and checked before.
    @inline(__always)
    func write(to pointer: UnsafeMutablePointer<Self>, callersSize size: Int) {
        var value = self
        value.struct_size = size
        if size == MemoryLayout<Self>.size {
            unsafe pointer.pointee = value
            return
        }
        // SAFETY: both have that many bytes.
        unsafe withUnsafeBytes(of: value) { source in
            guard let start = source.baseAddress else { return }
            unsafe UnsafeMutableRawPointer(pointer).copyMemory(from: start, byteCount: Swift.min(size, source.count))
        }
    }
}

@inline(__always)
func present<Pointer>(_ pointer: Pointer?, _ name: StaticString) throws(FabricError) -> Pointer {
    guard let pointer else { throw FabricError(.invalidArgument, "\(name) is NULL") }
    return pointer
}

/// A limit of a wait.
@inline(__always)
func duration(_ nanoseconds: Int64) throws(FabricError) -> Duration {
    guard nanoseconds >= 0 else {
        throw FabricError(.invalidArgument, "a limit of \(nanoseconds) ns; 0 does not wait")
    }
    return .nanoseconds(nanoseconds)
}

/// Bytes of the caller; NULL is none.
func bytes(
    _ start: UnsafeRawPointer?, _ count: Int, _ name: StaticString
) throws(FabricError) -> UnsafeRawBufferPointer {
    // The signed twin of size_t: what is negative was more than half of all addresses.
    guard count >= 0 else { throw FabricError(.objectTooLarge, "\(UInt(bitPattern: count)) bytes of \(name)") }
    guard count > 0 else { return unsafe UnsafeRawBufferPointer(start: nil, count: 0) }
    return unsafe UnsafeRawBufferPointer(start: try present(start, name), count: count)
}

/// A text of the caller; nil for NULL.
func string(_ text: UnsafePointer<CChar>?, _ name: StaticString) throws(FabricError) -> String? {
    guard let text = unsafe text else { return nil }
    // A path that was mended would be another one.
    guard let string = unsafe String(validatingCString: text) else {
        throw FabricError(.invalidArgument, "\(name) is not UTF-8")
    }
    return string
}

func presentString(_ text: UnsafePointer<CChar>?, _ name: StaticString) throws(FabricError) -> String {
    guard let string = try unsafe string(text, name) else { throw FabricError(.invalidArgument, "\(name) is NULL") }
    return string
}

/// Writes a text for `rf_fabric_address` and others.
func deliver(
    _ text: String, _ target: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ length: UnsafeMutablePointer<Int>?
) throws(FabricError) {
    let count = text.utf8.count
    unsafe length?.pointee = count
    // A capacity that is negative here is more than half of all addresses.
    guard capacity < 0 || capacity > count else {
        throw FabricError(.bufferTooSmall, "\(count + 1) bytes with the final zero, and there are \(capacity)")
    }
    unsafe copy(text, to: try present(target, "text"), capacity: count + 1)
}

extension ObjectID {
    @inline(__always)
    init(_ pointer: UnsafePointer<rf_object_id>?) throws(FabricError) {
        unsafe self.init(at: UnsafeRawPointer(try present(pointer, "id")))
    }

    /// From the bytes of a `rf_object_id`, which are big-endian.
    @inline(__always)
    init(at bytes: UnsafeRawPointer) {
        let first = unsafe bytes.loadUnaligned(as: UInt64.self)
        let second = unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let third = unsafe bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        self.init(words: (UInt64(bigEndian: first), UInt64(bigEndian: second), UInt64(bigEndian: third)))
    }

    @inline(__always)
    func write(to target: UnsafeMutablePointer<rf_object_id>) {
        let words = self.words
        let bytes = UnsafeMutableRawPointer(target)
        unsafe bytes.storeBytes(of: words.0.bigEndian, as: UInt64.self)
        unsafe bytes.storeBytes(of: words.1.bigEndian, toByteOffset: 8, as: UInt64.self)
        unsafe bytes.storeBytes(of: words.2.bigEndian, toByteOffset: 16, as: UInt64.self)
    }

    /// The identifiers of a caller's array.
    static func array(
        _ start: UnsafePointer<rf_object_id>?, _ count: Int
    ) throws(FabricError) -> [ObjectID] {
        guard (0...Int(RF_MAXIMUM_HANDLES)).contains(count) else {
            throw FabricError(
                .invalidArgument, "\(UInt(bitPattern: count)) identifiers, at most \(RF_MAXIMUM_HANDLES) at a time")
        }
        guard count > 0 else { return [] }
        let start = unsafe UnsafeRawPointer(try present(start, "ids"))
        return (0..<count).map { unsafe ObjectID(at: start + $0 * MemoryLayout<rf_object_id>.stride) }
    }
}

@c @implementation
public func rf_object_id_format(
    _ id: UnsafePointer<rf_object_id>?, _ text: UnsafeMutablePointer<CChar>?, _ capacity: Int
) -> rf_status {
    answer { () throws(FabricError) in
        try unsafe deliver(ObjectID(id).description, text, capacity, nil)
    }
}

@c @implementation
public func rf_object_id_parse(
    _ text: UnsafePointer<CChar>?, _ id: UnsafeMutablePointer<rf_object_id>?
) -> rf_status {
    answer { () throws(FabricError) in
        let text = try unsafe presentString(text, "text")
        let target = unsafe try present(id, "id")
        guard let parsed = ObjectID(text) else { throw FabricError(.invalidArgument, "the text is no identifier") }
        unsafe parsed.write(to: target)
    }
}
