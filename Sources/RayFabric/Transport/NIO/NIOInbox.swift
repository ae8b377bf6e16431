// Where the event loop's thread puts what happened, for the thread that polls.

#if NIO
    internal import NIOCore
    internal import RayCore
    internal import Synchronization

    /// What happened to a socket. Sockets are named by numbers that are never used twice.
    enum NIOArrival: Sendable {
        case accepted(socket: UInt64, any Channel, NIOCredit)
        case connected(socket: UInt64, any Channel)
        case connectFailed(socket: UInt64, TransportFailure)
        case bytes(socket: UInt64, ByteBuffer)
        /// So many bytes were handed to the system.
        case written(socket: UInt64, Int)
        /// Nothing more will come.
        case ended(socket: UInt64, TransportFailure)
    }

    /// The only thing that both threads touch. Bounded: a socket stops being read when its bytes are
    /// not taken (`NIOCredit`), writes are limited by the sender, and half-open sockets by the limit.
    final class NIOInbox: Sendable {
        private struct State {
            var arrivals: [NIOArrival] = []
            var isSleeping = false
            var nextSocket: UInt64 = 0
            var halfOpen = 0
            var rejected: UInt64 = 0
        }

        private let state = Mutex(State())
        private let waker: Waker
        private let maximumHalfOpen: Int

        init(waker: Waker, maximumHalfOpen: Int) {
            self.waker = waker
            self.maximumHalfOpen = maximumHalfOpen
        }

        func put(_ arrival: NIOArrival) {
            let wakes = state.withLock { state in
                state.arrivals.append(arrival)
                return state.isSleeping
            }
            if wakes { waker.signal() }
        }

        /// Takes an accepted channel in, unless too many have not proven themselves yet.
        func accept(_ channel: any Channel, _ credit: NIOCredit) -> UInt64? {
            let number: UInt64? = state.withLock { state in
                guard state.halfOpen < maximumHalfOpen else {
                    state.rejected += 1
                    return nil
                }
                state.halfOpen += 1
                state.nextSocket += 1
                return state.nextSocket
            }
            if let number { put(.accepted(socket: number, channel, credit)) }
            return number
        }

        /// A number for a socket that this side opens.
        func newSocket() -> UInt64 {
            state.withLock { state in
                state.nextSocket += 1
                return state.nextSocket
            }
        }

        /// An accepted socket has proven itself, or is gone.
        func settleHalfOpen() { state.withLock { $0.halfOpen -= 1 } }

        /// Accepted sockets that were turned away for want of room.
        var rejected: UInt64 { state.withLock { $0.rejected } }

        /// Everything that has happened since the last call.
        func takeAll() -> [NIOArrival] {
            state.withLock { state in
                guard !state.arrivals.isEmpty else { return [] }
                let arrivals = state.arrivals
                state.arrivals = []
                return arrivals
            }
        }

        /// From now on arrivals signal the waker.
        /// - Returns: false when there are some already.
        func startSleep() -> Bool {
            state.withLock { state in
                state.isSleeping = state.arrivals.isEmpty
                return state.isSleeping
            }
        }

        func endSleep() { state.withLock { $0.isSleeping = false } }
    }

    /// Bytes of one socket that were read and not used yet. Reading pauses at the limit.
    final class NIOCredit: Sendable {
        private let pending = Mutex((bytes: 0, isPaused: false))

        /// More than the largest frame, or it could never be read whole.
        static let limit = 1 << 20

        /// Counts bytes that were read.
        func add(_ count: Int) { pending.withLock { $0.bytes += count } }

        /// - Returns: whether more should be read now; if not, `consume` will say when.
        func mayRead() -> Bool {
            pending.withLock { pending in
                pending.isPaused = pending.bytes >= Self.limit
                return !pending.isPaused
            }
        }

        /// Counts bytes that were used.
        /// - Returns: whether reading has to be started again.
        func consume(_ count: Int) -> Bool {
            pending.withLock { pending in
                pending.bytes -= count
                guard pending.isPaused, pending.bytes <= Self.limit / 2 else { return false }
                pending.isPaused = false
                return true
            }
        }
    }
#endif
