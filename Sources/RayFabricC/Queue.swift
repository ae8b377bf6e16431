// Gets that end in a queue with a descriptor.

public import CRayFabric
internal import RayCore
internal import RayFabric
internal import Synchronization

/// Gets under way and gets that have ended, at most `capacity` together. Any thread may call anything.
final class CompletionQueue: Sendable {
    private let fabric: Fabric
    private let capacity: Int
    /// Readable while there are completions, and once closed.
    private let waker: Waker
    private let state = Mutex(State())

    private struct State: ~Copyable {
        /// In the order in which they ended.
        var ended: [Completion] = []
        /// Gets by their number; what cancels them, once that is known.
        var underWay: [UInt64: UInt32?] = [:]
        var lastNumber: UInt64 = 0
        var isClosed = false
    }

    struct Completion: Sendable {
        var tag: UInt64
        var result: Result<HeldObject, FabricError>
    }

    /// A box for what can not be in an array.
    final class HeldObject: Sendable {
        private let object: Mutex<Object?>
        init(_ object: consuming sending Object) { self.object = Mutex(object) }
        func take() -> Object? { object.withLock { $0.take() } }
    }

    init(_ fabric: Fabric, capacity: Int) throws(FabricError) {
        guard capacity > 0, capacity <= Int(RF_MAXIMUM_HANDLES) else {
            throw FabricError(.invalidArgument, "a queue of \(UInt(bitPattern: capacity)) completions")
        }
        self.fabric = fabric
        self.capacity = capacity
        waker = try Waker()
    }

    var descriptor: Int32 { waker.descriptor }

    /// Starts a get.
    func get(_ id: ObjectID, within limit: Duration, tag: UInt64) throws(FabricError) {
        let number = try state.withLock { state throws(FabricError) in
            guard !state.isClosed else { throw FabricError(.closed, "the queue") }
            guard state.underWay.count + state.ended.count < capacity else {
                throw FabricError(.busy, "\(capacity) gets are under way or not taken")
            }
            state.lastNumber += 1
            state.underWay[state.lastNumber] = .some(nil)
            return state.lastNumber
        }
        let token = fabric.get(id, within: limit) { [self] result in
            switch consume result {
            case .success(let object): end(number, Completion(tag: tag, result: .success(HeldObject(object))))
            case .failure(let error): end(number, Completion(tag: tag, result: .failure(error)))
            }
        }
        let isTooLate = state.withLock { state in
            if state.underWay[number] != nil { state.underWay[number] = token }
            return state.isClosed
        }
        if isTooLate { fabric.cancelGet(token) }
    }

    private func end(_ number: UInt64, _ completion: Completion) {
        state.withLock { state in
            state.underWay[number] = nil
            if state.isClosed { return }
            state.ended.append(completion)
            waker.signal()
        }
    }

    /// Takes completions, at least one.
    /// - Throws: `deadlineExceeded`, `closed`.
    func take(atMost count: Int, within limit: Duration) throws(FabricError) -> [Completion] {
        let deadline = Timestamp.now + limit
        while true {
            let taken = try state.withLock { state throws(FabricError) in
                let taken = Array(state.ended.prefix(count))
                state.ended.removeFirst(taken.count)
                // Who waits forgets the signals: others must see what is left.
                if state.isClosed || !state.ended.isEmpty { waker.signal() } else { waker.clear() }
                if state.isClosed { throw FabricError(.closed, "the queue") }
                return taken
            }
            if !taken.isEmpty { return taken }
            guard waker.wait(until: deadline) else { throw FabricError(.deadlineExceeded, "waiting for a completion") }
        }
    }

    /// Cancels what is under way, and lets go of what was not taken.
    func close() {
        let (tokens, dropped) = state.withLock { state in
            state.isClosed = true
            waker.signal()
            let dropped = state.ended
            state.ended = []
            return (state.underWay.values.compactMap(\.self), dropped)
        }
        for token in tokens { fabric.cancelGet(token) }
        _ = dropped
    }
}

@c @implementation
public func rf_queue_create(
    _ fabric: OpaquePointer?, _ capacity: Int, _ queue: UnsafeMutablePointer<OpaquePointer?>?
) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(queue, "queue")
        let made = try unsafe fabric.withFabric { fabric throws(FabricError) in
            try CompletionQueue(fabric, capacity: capacity)
        }
        guard let handle = unsafe Handles.queues.insert(QueueEntry(queue: made)) else { throw Handles.tooMany() }
        unsafe target.pointee = handle
    }
}

@c @implementation
public func rf_queue_descriptor(_ queue: OpaquePointer?, _ descriptor: UnsafeMutablePointer<Int32>?) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(descriptor, "descriptor")
        unsafe target.pointee = try unsafe queue.withQueue { queue in queue.descriptor }
    }
}

@c @implementation
public func rf_get_async(
    _ queue: OpaquePointer?, _ id: UnsafePointer<rf_object_id>?, _ limit_ns: Int64, _ tag: UInt64
) -> rf_status {
    answer { () throws(FabricError) in
        let id = unsafe try ObjectID(id)
        let limit = try duration(limit_ns)
        try unsafe queue.withQueue { queue throws(FabricError) in try queue.get(id, within: limit, tag: tag) }
    }
}

@c @implementation
public func rf_queue_take(
    _ queue: OpaquePointer?, _ completions: UnsafeMutablePointer<rf_completion>?, _ capacity: Int,
    _ limit_ns: Int64, _ count: UnsafeMutablePointer<Int>?
) -> rf_status {
    answer { () throws(FabricError) in
        let (target, countTarget) = unsafe (try present(completions, "completions"), try present(count, "count"))
        let limit = try duration(limit_ns)
        guard capacity > 0 else {
            throw FabricError(.invalidArgument, "room for \(UInt(bitPattern: capacity)) completions")
        }
        let taken = try unsafe queue.withQueue { queue throws(FabricError) in
            try queue.take(atMost: capacity, within: limit)
        }
        for (index, completion) in taken.enumerated() { unsafe target[index] = completion.forC() }
        unsafe countTarget.pointee = taken.count
    }
}

extension CompletionQueue.Completion {
    func forC() -> rf_completion {
        do throws(FabricError) {
            guard let object = try result.get().take() else { preconditionFailure("a completion taken twice") }
            let handle = unsafe try Handles.open(object)
            return unsafe rf_completion(tag: tag, object: handle, status: rf_status(RF_OK), reserved: 0)
        } catch {
            return unsafe rf_completion(tag: tag, object: nil, status: note(error), reserved: 0)
        }
    }
}

@c @implementation
public func rf_queue_close(_ queue: OpaquePointer?) -> rf_status {
    answer { () throws(FabricError) in
        let ending = try unsafe queue.withQueue { queue in queue }
        guard unsafe Handles.queues.close(queue) else { throw Handles.invalid("queue") }
        ending.close()
    }
}
