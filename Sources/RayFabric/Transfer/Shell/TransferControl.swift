// How other threads talk to the transfer thread.

internal import RayCore
internal import Synchronization

/// The inbox of a transfer loop. Any thread may use it.
final class TransferControl: PullService, Sendable {
    enum Request: Sendable {
        case memoryCame(segment: Int)
        case pull(ObjectID, waiter: UInt64, deadline: Timestamp)
        case cancel(waiter: UInt64)
        case connect(Address, deadline: Timestamp, Promise<NodeID>)
        case statistics(Promise<TransferStatistics>)
        case stop
    }

    /// Nil once the transfer thread takes no more.
    private let inbox = Mutex<[Request]?>([])
    /// Wakes the transfer thread; known once its transport exists.
    private let waker = Mutex<Waker?>(nil)

    func connectWaker(_ waker: Waker) { self.waker.withLock { $0 = waker } }

    func post(_ request: Request) {
        let isTaken = inbox.withLock { requests in
            requests?.append(request)
            return requests != nil
        }
        if isTaken { waker.withLock { $0?.signal() } } else { Self.refuse(request) }
    }

    func takeRequests() -> [Request] {
        inbox.withLock { requests in
            guard let taken = requests, !taken.isEmpty else { return [] }
            requests = []
            return taken
        }
    }

    /// The transfer thread ends: nobody waits for it any more.
    func close() {
        let rest = inbox.withLock { requests in
            defer { requests = nil }
            return requests ?? []
        }
        for request in rest { Self.refuse(request) }
    }

    private static func refuse(_ request: Request) {
        let failure = FabricError(.closed, "the fabric")
        switch request {
        case .connect(_, _, let promise): promise.fulfil(.failure(failure))
        case .statistics(let promise): promise.fulfil(.failure(failure))
        // Waits end with the store.
        case .memoryCame, .pull, .cancel, .stop: break
        }
    }

    // MARK: PullService

    func memoryCame(toSegment segment: Int) { post(.memoryCame(segment: segment)) }

    func pull(_ id: ObjectID, session: UInt32, token: UInt32, deadline: Timestamp) {
        post(.pull(id, waiter: Self.waiter(session, token), deadline: deadline))
    }

    func cancelPull(_ id: ObjectID, session: UInt32, token: UInt32) {
        post(.cancel(waiter: Self.waiter(session, token)))
    }

    /// Waiters of the store, as the pull machine names them.
    static func waiter(_ session: UInt32, _ token: UInt32) -> UInt64 { UInt64(session) << 32 | UInt64(token) }
    static func session(ofWaiter waiter: UInt64) -> UInt32 { UInt32(waiter >> 32) }
    static func token(ofWaiter waiter: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: waiter) }
}

/// A value that another thread will provide, once.
final class Promise<Value: Sendable>: Sendable {
    private let result = Mutex<Result<Value, FabricError>?>(nil)
    private let waker: Waker

    init() throws(FabricError) { waker = try Waker() }

    func fulfil(_ value: Result<Value, FabricError>) {
        let isFirst = result.withLock { result in
            guard result == nil else { return false }
            result = value
            return true
        }
        if isFirst { waker.signal() }
    }

    /// Blocks until the value is there; nil when it is not by `deadline`.
    func wait(until deadline: Timestamp) throws(FabricError) -> Value? {
        while true {
            if let result = result.withLock({ $0 }) { return try result.get() }
            guard Timestamp.now < deadline else { return nil }
            _ = waker.wait(until: deadline)
        }
    }

    /// Blocks until the value is there.
    func wait() throws(FabricError) -> Value {
        while true {
            if let value = try wait(until: .never) { return value }
        }
    }
}

/// What a node has fetched from others and given to them.
public struct TransferStatistics: Sendable {
    /// Which transport moves the bytes.
    public var transport: TransportKind
    /// Nodes connected now.
    public var peers: Int
    public var objectsPulled: UInt64
    /// Bytes pulled, in reads and inside replies.
    public var bytesPulled: UInt64
    /// Requests repeated for want of an answer.
    public var requestsRepeated: UInt64
    /// Reads that failed and were done again.
    public var readsRepeated: UInt64
    /// Objects pinned here for other nodes now.
    public var pinsForPeers: Int
    public var wire: TransportStatistics
}
