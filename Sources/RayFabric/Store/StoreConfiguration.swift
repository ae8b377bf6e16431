// Settings of an object store.

/// What the host of a store is given. Clients learn all they need when they attach.
public struct StoreConfiguration: Sendable {
    /// Bytes of objects the store holds, at least 64 KiB; rounded up to whole segments.
    public var capacity: ByteCount
    /// Unix socket at which other processes attach; nil keeps the store to this process.
    public var path: String?
    /// Most live objects. Each costs 88 bytes of index, when it exists.
    public var maximumObjects = 1 << 20
    /// Most attached processes, this one included.
    public var maximumClients = 256
    /// How long a process that has connected may take to attach.
    public var attachLimit: Duration = .seconds(2)
    /// Processes of this group may attach too; nil allows the same user only.
    public var groupID: UInt32?
    /// How long the host's thread looks for work before it sleeps, at most; it adapts.
    public var spin: Duration = .microseconds(100)
    /// Memory made ready ahead of demand, in the background.
    public var prefault: ByteCount = .mebibytes(128)

    /// Told of what an operator should know: clients cut off, memory refused. Called on the host's
    /// thread; must not block.
    public var log: (@Sendable (String) -> Void)?

    static let mostClients = 1 << 15

    public init(capacity: ByteCount, path: String? = nil) {
        self.capacity = capacity
        self.path = path
    }
}

/// A number of bytes, written with its unit: `.gibibytes(4)`.
public struct ByteCount: Hashable, Comparable, Sendable {
    public let bytes: Int
    public static func bytes(_ count: Int) -> ByteCount { ByteCount(bytes: count) }
    public static func kibibytes(_ count: Int) -> ByteCount { scaled(count, 10) }
    public static func mebibytes(_ count: Int) -> ByteCount { scaled(count, 20) }
    public static func gibibytes(_ count: Int) -> ByteCount { scaled(count, 30) }

    /// Too large a number becomes the largest one, which no store accepts.
    private static func scaled(_ count: Int, _ shift: Int) -> ByteCount {
        let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << shift)
        return ByteCount(bytes: overflow ? .max : bytes)
    }

    public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}
