// A thread of the operating system for the loops that own rings, sockets and mappings.

internal import CLinux
package import RayCore

/// Runs a closure on its own thread; `join` or the end of its life waits for it to return.
@safe
package final class SystemThread: @unchecked Sendable {
    // SAFETY: written once in init, read by join under the lock of whoever owns the thread.
    private var handle: pthread_t = 0
    private var isJoined = false

    /// - Throws: `system` when the system has no thread left.
    package init(name: String, _ body: sending @escaping @Sendable () -> Void) throws(FabricError) {
        let box = unsafe Unmanaged.passRetained(ThreadBody(name: name, run: body))
        let result = unsafe pthread_create(
            &handle, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                // SAFETY: exactly the retain of init.
                let body = unsafe Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue()
                rf_block_signals()
                unsafe _ = rf_name_thread(body.name)
                body.run()
                return nil
            }, unsafe box.toOpaque())
        guard result == 0 else {
            unsafe box.release()
            isJoined = true
            throw systemError(result, "start a thread")
        }
    }

    /// Waits until the closure has returned.
    package func join() {
        guard !isJoined else { return }
        isJoined = true
        _ = pthread_join(handle, nil)
    }

    /// Like `join`, but lets the thread end by itself when it is the one that calls.
    package func joinUnlessCurrent() {
        guard !isJoined else { return }
        if pthread_equal(pthread_self(), handle) != 0 {
            detach()
        } else {
            join()
        }
    }

    /// Lets the thread end by itself, whenever that is.
    package func detach() {
        guard !isJoined else { return }
        isJoined = true
        _ = pthread_detach(handle)
    }

    deinit { joinUnlessCurrent() }
}

private final class ThreadBody {
    let name: String
    let run: @Sendable () -> Void
    init(name: String, run: @escaping @Sendable () -> Void) {
        self.name = name
        self.run = run
    }
}
