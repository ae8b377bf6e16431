// Waiting without a thread.

package import RayCore
internal import Synchronization

/// A wait for an object, and what to call when it ends.
struct AsynchronousWait: Sendable {
    let id: ObjectID
    let deadline: Timestamp
    let end: @Sendable (Result<PinnedEntry, FabricError>) -> Void
}

extension StoreClient {
    /// The asynchronous twin of `get`: suspends the task instead of blocking the thread.
    package func getAsynchronously(
        _ id: ObjectID, within limit: Duration, pull: Bool = false
    ) async throws(FabricError) -> Object {
        try checkAlive()
        let deadline = Timestamp.now + limit
        try settleDeletions(by: deadline)
        if let pin = try pin(id, by: deadline) { return Object(client: self, id: id, pin: pin) }
        let token = makeToken()
        do {
            let pin = try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    begin(token, AsynchronousWait(id: id, deadline: deadline) { continuation.resume(with: $0) }, pull)
                    if Task.isCancelled { cancelWait(token) }
                }
            } onCancel: {
                cancelWait(token)
            }
            return Object(client: self, id: id, pin: pin)
        } catch let error as FabricError {
            throw error
        } catch {
            preconditionFailure("a wait ended with \(error)")
        }
    }

    /// The twin for those who have no task: calls `end` once, on this thread or on the watcher's.
    /// - Returns: what `cancelWait` takes.
    package func get(
        _ id: ObjectID, within limit: Duration, pull: Bool,
        then end: @escaping @Sendable (consuming Result<Object, FabricError>) -> Void
    ) -> UInt32 {
        let token = makeToken()
        let deadline = Timestamp.now + limit
        do throws(FabricError) {
            try checkAlive()
            try settleDeletions(by: deadline)
            if let pin = try pin(id, by: deadline) {
                end(.success(Object(client: self, id: id, pin: pin)))
                return token
            }
        } catch {
            end(.failure(error))
            return token
        }
        let wait = AsynchronousWait(id: id, deadline: deadline) { [self] result in
            switch result {
            case .success(let pin): end(.success(Object(client: self, id: id, pin: pin)))
            case .failure(let error): end(.failure(error))
            }
        }
        begin(token, wait, pull)
        return token
    }

    /// Ends a wait with `cancelled`, unless it has ended.
    package func cancelWait(_ token: UInt32) { finish(token) { FabricError(.cancelled, "\($0)") } }

    private func begin(_ token: UInt32, _ wait: AsynchronousWait, _ pull: Bool) {
        do throws(FabricError) {
            try expect([token], by: wait.deadline)
        } catch {
            return wait.end(.failure(error))
        }
        asynchronousWaits.withLock { $0[token] = wait }
        var flags: StoreCommand.Flags = [.asynchronous]
        if pull { flags.insert(.pull) }
        do throws(FabricError) {
            try pushUrgently(
                StoreCommand(
                    kind: .wait, flags: flags, id: wait.id, offset: wait.deadline.nanoseconds, token: token))
        } catch {
            finish(token) { _ in error }
        }
        if let code = endCode { finish(token) { _ in FabricError(code, "the store") } }
        watcher.withLock { $0?.wake() }
    }

    private func finish(_ token: UInt32, _ failure: (ObjectID) -> FabricError) {
        guard let wait = asynchronousWaits.withLock({ $0.removeValue(forKey: token) }) else { return }
        _ = try? push(StoreCommand(kind: .forget, id: wait.id, token: token))
        inbox.withLock { $0.forget(token) }
        wait.end(.failure(failure(wait.id)))
    }

    func failAsynchronousWaits(_ code: FabricError.Code) {
        let waits = asynchronousWaits.withLock { waits in
            defer { waits.removeAll() }
            return waits
        }
        for wait in waits.values { wait.end(.failure(FabricError(code, "\(wait.id)"))) }
    }

    /// The time at which the watcher must look again.
    func nextAsynchronousDeadline() -> Timestamp {
        asynchronousWaits.withLock { waits in waits.values.map(\.deadline).min() ?? .never }
    }

    /// Ends the waits that have come true, failed or run out of time. On the watcher's thread.
    func resumeAsynchronousWaits() {
        takeReplies()
        let now = Timestamp.now
        for (token, wait) in asynchronousWaits.withLock({ $0 }) {
            let failed = inbox.withLock { $0.failedWaits[token] }
            do throws(FabricError) {
                if let pin = try pin(wait.id, by: wait.deadline) {
                    guard asynchronousWaits.withLock({ $0.removeValue(forKey: token) }) != nil else {
                        unpin(pin)
                        continue
                    }
                    inbox.withLock { $0.forget(token) }
                    wait.end(.success(pin))
                } else if let failed {
                    finish(token) { FabricError(failed, "\($0)") }
                } else if wait.deadline <= now {
                    finish(token) { FabricError(.deadlineExceeded, "waiting for \($0)") }
                }
            } catch {
                finish(token) { _ in error }
            }
        }
    }
}
