// A socket and a connection of the nio transport, as the polling thread sees them.

#if NIO
    internal import NIOCore
    internal import RayCore

    /// A socket: first in its handshake, then the only one of a connection.
    final class NIOSocket {
        let number: UInt64
        /// Nil while connecting.
        var channel: (any Channel)?
        let credit: NIOCredit
        /// Nil once frames are spoken, and while connecting.
        var handshake: Handshake?
        /// When the handshake has to be over.
        var deadline: Timestamp
        /// The deadline is that of the handshake, not the caller's.
        var isHandshakeLimited = false
        /// Accepted and counted as half-open.
        var isHalfOpen = false
        /// Addresses not tried yet.
        var candidates: [SocketAddress] = []
        /// Nil while an accepted one has not proven itself.
        var connection: NIOConnection?

        /// Received and not parsed yet.
        var input = ByteBuffer()
        /// Nothing more will come, for this reason.
        var endOfInput: TransportFailure?
        /// To be sent with the next flush.
        var output = ByteBuffer()
        /// Given to the event loop and not yet to the system.
        var outstanding = 0

        init(number: UInt64, channel: (any Channel)?, credit: NIOCredit, deadline: Timestamp) {
            self.number = number
            self.channel = channel
            self.credit = credit
            self.deadline = deadline
        }

        func received(_ bytes: ByteBuffer) {
            if input.readableBytes == 0 {
                input = bytes
            } else {
                // What is left over is less than one frame.
                input.discardReadBytes()
                input.writeImmutableBuffer(bytes)
            }
        }

        /// Takes bytes off the input, and lets more be read.
        func take(_ count: Int) -> ByteBuffer {
            guard let bytes = input.readSlice(length: count) else {
                preconditionFailure("\(count) bytes are not there")
            }
            if credit.consume(count) { channel?.read() }
            return bytes
        }
    }

    /// A connection, from `connect` or from the proof of an accepted socket on.
    final class NIOConnection {
        enum State: Equatable {
            case connecting, open, ended
        }

        let id: Connection
        let isInitiator: Bool
        let socket: NIOSocket
        var state = State.connecting
        /// Proven; nil while connecting.
        var peer: NodeID?
        /// Counted in the peer directory.
        var isAdmitted = false

        var isDirty = false
        var isReadable = false
        /// A call returned false, so `writable` is due.
        var owesWritable = false

        // One-sided operations: ours, the bytes that we are to send, and the peer's writes to us.
        var operations = OperationTable()
        var transfers = FIFO<Transfer>()
        var servedReads = 0
        var incomingWrites: [UInt64: IncomingWrite] = [:]

        // Half-close.
        var finishSent = false
        var finishReceived = false
        var goodbyeSent = false
        var goodbyeReceived = false

        // Time.
        var lastReceived: Timestamp
        var lastSent: Timestamp

        init(id: Connection, isInitiator: Bool, socket: NIOSocket, now: Timestamp) {
            self.id = id
            self.isInitiator = isInitiator
            self.socket = socket
            lastReceived = now
            lastSent = now
        }

        var isOpen: Bool { state == .open }
    }
#endif
