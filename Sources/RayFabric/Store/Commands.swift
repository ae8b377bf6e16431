// What clients tell the host through their command ring, and what the host answers.

internal import CSharedLayout
internal import RayCore

/// One command, copied out of shared memory before it is looked at.
struct StoreCommand: Equatable, Sendable {
    enum Kind: UInt32 {
        /// A sealed object: id, offset, size, metadata size; flag: secondary copy.
        case publish = 1
        /// Granted memory that will not be used: offset, size.
        case giveBack = 2
        case delete = 3
        /// Asks for memory: size is the least, offset the preferred number of bytes.
        case grant = 4
        /// Tell me when this object appears: id, token, flags; offset is the deadline.
        case wait = 5
        /// Forget a wait: id, token.
        case forget = 6
        /// The last pin of a dying entry is gone: offset is the entry.
        case unpinned = 7
    }

    struct Flags: OptionSet, Sendable {
        let rawValue: UInt32
        /// publish: may be evicted.
        static let secondary = Flags(rawValue: UInt32(RF_OBJECT_SECONDARY))
        /// wait: fetch it from another node.
        static let pull = Flags(rawValue: UInt32(RF_WAIT_PULL))
        /// wait: signal the event descriptor too.
        static let asynchronous = Flags(rawValue: UInt32(RF_WAIT_ASYNC))
    }

    var kind: Kind
    var flags: Flags = []
    var id = ObjectID(words: (0, 0, 0))
    var offset: UInt64 = 0
    var size: UInt64 = 0
    var metadataSize: UInt32 = 0
    var token: UInt32 = 0
}

/// An answer in a mailbox.
struct StoreReply: Equatable, Sendable {
    enum Kind: UInt32 {
        /// Memory: offset and size in bytes.
        case grant = 1
        /// No memory: code.
        case denied = 2
        /// A wait will not come true: token, code.
        case waitFailed = 3
    }
    var kind: Kind
    var token: UInt32 = 0
    var offset: UInt64 = 0
    var size: UInt64 = 0
    var code = FabricError.Code(rawValue: 0)
}

/// Places of words in ledgers and mailboxes.
enum RingLayout {
    static let commandCount = UInt64(RF_COMMAND_COUNT)
    static let replyCount = UInt64(RF_REPLY_COUNT)

    enum Ledger {
        static let tail = 0
        static let repliesTaken = 128
        @inline(__always)
        static func command(_ position: UInt64) -> Int {
            Int(RF_LEDGER_COMMANDS) + Int(position & (commandCount - 1)) * 64
        }
    }

    enum Mailbox {
        static let commandsTaken = 0
        static let wake = 128
        static let evicted = 132
        static let unsent = 136
        static let repliesWritten = 256
        @inline(__always)
        static func reply(_ position: UInt64) -> Int {
            Int(RF_MAILBOX_REPLIES) + Int(position & (replyCount - 1)) * 32
        }
    }
}
