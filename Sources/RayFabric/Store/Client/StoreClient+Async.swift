// Waiting without a thread.

package import RayCore
internal import Synchronization

/// A task that waits for an object.
struct AsynchronousWait: Sendable {
    let id: ObjectID
    let deadline: Timestamp
    let continuation: CheckedContinuation<PinnedEntry, any Error>
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
                    begin(token, AsynchronousWait(id: id, deadline: deadline, continuation: continuation), pull: pull)
                }
            } onCancel: {
                finish(token, failure: FabricError(.cancelled, "\(id)"))
            }
            return Object(client: self, id: id, pin: pin)
        } catch let error as FabricError {
            throw error
        } catch {
            preconditionFailure("a wait ended with \(error)")
        }
    }

    private func begin(_ token: UInt32, _ wait: AsynchronousWait, pull: Bool) {
        do throws(FabricError) {
            try expect([token], by: wait.deadline)
        } catch {
            return wait.continuation.resume(throwing: error)
        }
        asynchronousWaits.withLock { $0[token] = wait }
        var flags: StoreCommand.Flags = [.asynchronous]
        if pull { flags.insert(.pull) }
        do throws(FabricError) {
            try pushUrgently(
                StoreCommand(
                    kind: .wait, flags: flags, id: wait.id, offset: wait.deadline.nanoseconds, token: token))
        } catch {
            finish(token, failure: error)
        }
        if Task.isCancelled { finish(token, failure: FabricError(.cancelled, "\(wait.id)")) }
        if let code = endCode { finish(token, failure: FabricError(code, "the store")) }
        watcher.withLock { $0?.wake() }
    }

    private func finish(_ token: UInt32, failure: FabricError) {
        guard let wait = asynchronousWaits.withLock({ $0.removeValue(forKey: token) }) else { return }
        _ = try? push(StoreCommand(kind: .forget, id: wait.id, token: token))
        inbox.withLock { $0.forget(token) }
        wait.continuation.resume(throwing: failure)
    }

    func failAsynchronousWaits(_ code: FabricError.Code) {
        let waits = asynchronousWaits.withLock { waits in
            defer { waits.removeAll() }
            return waits
        }
        for wait in waits.values { wait.continuation.resume(throwing: FabricError(code, "\(wait.id)")) }
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
                    wait.continuation.resume(returning: pin)
                } else if let failed {
                    finish(token, failure: FabricError(failed, "\(wait.id)"))
                } else if wait.deadline <= now {
                    finish(token, failure: FabricError(.deadlineExceeded, "waiting for \(wait.id)"))
                }
            } catch {
                finish(token, failure: error)
            }
        }
    }
}
