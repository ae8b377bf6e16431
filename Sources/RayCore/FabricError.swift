// The error type: what happened, where, what the system said, and what to do about it.

/// An error of the fabric. Programs branch on `code`; people read `description`.
public struct FabricError: Error, Sendable, CustomStringConvertible {
    /// What went wrong. A struct, so that codes can be added.
    @frozen
    public struct Code: Hashable, Sendable, RawRepresentable {
        public let rawValue: UInt16
        @inlinable
        public init(rawValue: UInt16) { self.rawValue = rawValue }
    }

    public let code: Code
    /// The system's error number, where a system call failed; else 0.
    public let errno: Int32
    /// The operation and the object, peer or path it was about.
    public let context: String

    public init(_ code: Code, errno: Int32 = 0, _ context: @autoclosure () -> String = "") {
        self.code = code
        self.errno = errno
        self.context = context()
    }

    public var description: String {
        var text = code.name
        if !context.isEmpty { text += ": " + context }
        if errno != 0 { text += " (errno \(errno)" + (Self.errnoNames[errno].map { " " + $0 } ?? "") + ")" }
        return text + "; " + code.advice
    }

    private static let errnoNames: [Int32: String] = [
        1: "EPERM", 2: "ENOENT", 4: "EINTR", 5: "EIO", 9: "EBADF", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES",
        14: "EFAULT", 17: "EEXIST", 22: "EINVAL", 23: "ENFILE", 24: "EMFILE", 28: "ENOSPC", 32: "EPIPE",
        36: "ENAMETOOLONG", 38: "ENOSYS", 71: "EPROTO", 97: "EAFNOSUPPORT", 98: "EADDRINUSE", 99: "EADDRNOTAVAIL",
        100: "ENETDOWN", 101: "ENETUNREACH", 104: "ECONNRESET", 105: "ENOBUFS", 107: "ENOTCONN",
        110: "ETIMEDOUT", 111: "ECONNREFUSED", 113: "EHOSTUNREACH", 125: "ECANCELED",
    ]
}

extension FabricError.Code: CustomStringConvertible {
    // Usage.
    public static let invalidArgument = Self(rawValue: 1)
    public static let invalidState = Self(rawValue: 2)
    public static let closed = Self(rawValue: 3)
    public static let cancelled = Self(rawValue: 4)
    public static let deadlineExceeded = Self(rawValue: 5)
    public static let unsupported = Self(rawValue: 6)
    // Store.
    public static let storeFull = Self(rawValue: 20)
    public static let objectTooLarge = Self(rawValue: 21)
    public static let objectNotFound = Self(rawValue: 22)
    public static let objectDeleted = Self(rawValue: 23)
    public static let objectExists = Self(rawValue: 24)
    public static let hostLost = Self(rawValue: 25)
    public static let hostExists = Self(rawValue: 26)
    public static let attachRefused = Self(rawValue: 27)
    public static let tooManyObjects = Self(rawValue: 28)
    public static let tooManyClients = Self(rawValue: 29)
    public static let protocolViolation = Self(rawValue: 30)
    public static let tooManyWaits = Self(rawValue: 31)
    // System.
    public static let outOfMemory = Self(rawValue: 40)
    public static let descriptorLimit = Self(rawValue: 41)
    public static let permissionDenied = Self(rawValue: 42)
    public static let system = Self(rawValue: 43)
    public static let ioUringForbidden = Self(rawValue: 44)
    public static let lockedMemoryLimit = Self(rawValue: 45)
    public static let rdmaUnavailable = Self(rawValue: 46)
    // Network.
    public static let addressInvalid = Self(rawValue: 60)
    public static let addressInUse = Self(rawValue: 61)
    public static let hostNotFound = Self(rawValue: 62)
    public static let connectionRefused = Self(rawValue: 63)
    public static let connectionLost = Self(rawValue: 64)
    public static let peerUnresponsive = Self(rawValue: 65)
    public static let authenticationFailed = Self(rawValue: 66)
    public static let versionMismatch = Self(rawValue: 67)
    public static let notOurProtocol = Self(rawValue: 68)
    public static let staleIncarnation = Self(rawValue: 69)
    public static let connectionLimit = Self(rawValue: 70)
    public static let keyRequired = Self(rawValue: 71)
    public static let unreachable = Self(rawValue: 72)
    // Transfer and one-sided operations.
    public static let messageTooLarge = Self(rawValue: 80)
    public static let remoteAccessDenied = Self(rawValue: 81)
    public static let sourceUnavailable = Self(rawValue: 82)
    public static let busy = Self(rawValue: 83)

    /// The stable name, as programs and scripts may print it.
    public var name: String { Self.table[rawValue]?.name ?? "unknown(\(rawValue))" }
    /// What a user can do about it.
    public var advice: String { Self.table[rawValue]?.advice ?? "see the documentation of this version" }
    public var description: String { name }

    /// Every code that this version knows, in numeric order.
    public static var all: [Self] { table.keys.sorted().map { Self(rawValue: $0) } }

    private static let table: [UInt16: (name: String, advice: String)] = [
        1: ("invalidArgument", "correct the argument"),
        2: ("invalidState", "the call does not fit what was done before it"),
        3: ("closed", "open it again before use"),
        4: ("cancelled", "the caller gave up; retry if it still matters"),
        5: ("deadlineExceeded", "allow more time, or find out what it waited for with inspect()"),
        6: ("unsupported", "this build or system cannot do it; see fabricbench explain"),
        20: ("storeFull", "release or delete objects, or give the store more capacity"),
        21: ("objectTooLarge", "split the object, or give the store more capacity"),
        22: ("objectNotFound", "check the identifier; wait for it with a deadline if it may still come"),
        23: ("objectDeleted", "the object was deleted; make it again"),
        24: ("objectExists", "objects are immutable; use a new identifier"),
        25: ("hostLost", "the process that hosts the store ended; attach again when it is back"),
        26: ("hostExists", "attach to the host that lives, or use another path"),
        27: ("attachRefused", "run as the host's user, or name a common group in its configuration"),
        28: ("tooManyObjects", "delete objects, or raise maximumObjects"),
        29: ("tooManyClients", "detach clients, or raise maximumClients"),
        30: ("protocolViolation", "the other side broke the protocol and was cut off; check versions"),
        31: ("tooManyWaits", "wait for fewer objects at a time"),
        40: ("outOfMemory", "free memory on the machine, or lower the capacity"),
        41: ("descriptorLimit", "raise the limit of open files (ulimit -n)"),
        42: ("permissionDenied", "check the owner and mode of the path"),
        43: ("system", "see the system's error number"),
        44: ("ioUringForbidden", "allow io_uring (kernel.io_uring_disabled, seccomp), or allow the nio fallback"),
        45: ("lockedMemoryLimit", "raise the limit of locked memory (ulimit -l unlimited, or LimitMEMLOCK=infinity)"),
        46: ("rdmaUnavailable", "see fabricbench list for the RDMA devices, or allow sockets"),
        60: ("addressInvalid", "give HOST:PORT, [IPv6]:PORT or a path for local transports"),
        61: ("addressInUse", "choose another port, or port 0 for any"),
        62: ("hostNotFound", "check the name"),
        63: ("connectionRefused", "start the other end, or check the port"),
        64: ("connectionLost", "the peer ended or reset the connection; connect again"),
        65: ("peerUnresponsive", "the peer is silent: stopped, overloaded or cut off; it may be alive"),
        66: ("authenticationFailed", "give both ends the same cluster key"),
        67: ("versionMismatch", "run versions that share a protocol version"),
        68: ("notOurProtocol", "the other end is not RayFabric; check host and port"),
        69: ("staleIncarnation", "the node restarted; connect to its new incarnation"),
        70: ("connectionLimit", "raise the limit, or close connections"),
        71: ("keyRequired", "configure a cluster key, or listen on a loopback address"),
        72: ("unreachable", "check routes and firewalls; the peer may be alive"),
        80: ("messageTooLarge", "send large data as an object or a one-sided write"),
        81: ("remoteAccessDenied", "the region is not registered for this access, or the range is outside of it"),
        82: ("sourceUnavailable", "no source has the object now; look it up again"),
        83: ("busy", "take events first, then try again"),
    ]
}
