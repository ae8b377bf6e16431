// A thread that sleeps until the host dies or an asynchronous wait may have come true.

internal import CLinux
internal import RayCore
internal import Synchronization

final class ClientWatcher: Sendable {
    private let socket: Int32
    private let notification: Waker
    private let waker: Waker
    private let isStopping = Atomic(false)
    private let thread = Mutex<SystemThread?>(nil)

    init(socket: Int32, notification: Waker) throws(FabricError) {
        self.socket = socket
        self.notification = notification
        waker = try Waker()
    }

    /// The thread keeps the client until `stop`, or until the host is lost. Not by a weak reference: objects count
    /// their references to the client, which costs three times as much where there is a weak one.
    func start(for client: StoreClient) throws(FabricError) {
        let started = try SystemThread(name: "fabric-watch") { [self] in
            while !isStopping.load(ordering: .acquiring) {
                switch wait(deadline: client.nextAsynchronousDeadline()) {
                case .hostLost: return client.end(.hostLost)
                case .notified: client.resumeAsynchronousWaits()
                }
            }
        }
        thread.withLock { $0 = started }
    }

    /// The set of deadlines has changed.
    func wake() { waker.signal() }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        waker.signal()
        // The last reference may be dropped on the watcher's own thread, which then ends by itself.
        thread.withLock { $0.take() }?.joinUnlessCurrent()
    }

    private enum Outcome { case notified, hostLost }

    private func wait(deadline: Timestamp) -> Outcome {
        let milliseconds: Int32
        if deadline == .never {
            milliseconds = -1
        } else {
            let rest = max(0, (deadline - .now).wholeMilliseconds)
            milliseconds = Int32(clamping: rest)
        }
        var items: InlineArray<3, pollfd> = [
            pollfd(fd: socket, events: Int16(RF_POLLRDHUP), revents: 0),
            pollfd(fd: notification.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: waker.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        var span = items.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { buffer in
            unsafe _ = poll(buffer.baseAddress, nfds_t(buffer.count), milliseconds)
        }
        if items[0].revents != 0 { return .hostLost }
        notification.clear()
        waker.clear()
        return .notified
    }
}
