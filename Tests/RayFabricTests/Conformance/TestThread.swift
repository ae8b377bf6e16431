// A thread for tests, without Foundation.

import CLinux
import RayCore

/// Runs `body` on a thread of its own; `join` waits for its end.
final class TestThread {
    private var thread: pthread_t = 0
    private var isJoined = false

    init(_ body: @escaping @Sendable () -> Void) {
        final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        let box = unsafe Unmanaged.passRetained(Box(body))
        let result = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, box.toOpaque())
        precondition(result == 0, "pthread_create")
    }

    func join() {
        guard !isJoined else { return }
        isJoined = true
        _ = pthread_join(thread, nil)
    }
}

/// Sleeps; only to leave the CPU to others while a condition is awaited.
func pause(_ time: Duration) {
    var request = timespec(tv_sec: 0, tv_nsec: Int(time.saturatedNanoseconds))
    unsafe _ = nanosleep(&request, nil)
}
