// Ends a sleep from another thread.

internal import CLinux
public import RayCore

/// Wakes the thread that sleeps on it. Any thread may signal; signals before the sleep are kept.
public final class Waker: Sendable {
    private let eventDescriptor: FileDescriptor

    /// - Throws: `descriptorLimit` or `system`.
    public init() throws(FabricError) {
        let number = eventfd(0, RF_EVENTFD_FLAGS)
        guard number >= 0 else { throw systemError("eventfd") }
        eventDescriptor = FileDescriptor(owning: number)
    }

    /// Takes over an event descriptor that came from another process.
    package init(owning number: Int32) { eventDescriptor = FileDescriptor(owning: number) }

    /// Readable once signalled; for poll, epoll and io_uring.
    package var descriptor: Int32 { eventDescriptor.number }

    public func signal() {
        var one: UInt64 = 1
        // A full counter means that the sleeper is already woken.
        unsafe _ = write(eventDescriptor.number, &one, 8)
    }

    /// Sleeps until somebody signals or the monotonic clock reaches `deadline`, or not at all if it
    /// has. Forgets the signals.
    /// - Returns: whether there was a signal.
    package func wait(until deadline: Timestamp) -> Bool {
        let time = max(.zero, deadline - .now).saturatedNanoseconds
        guard rf_wait_readable(descriptor, time) > 0 else { return false }
        clear()
        return true
    }

    /// Forgets the signals so far; called by the thread that slept.
    package func clear() {
        var count: UInt64 = 0
        unsafe _ = read(eventDescriptor.number, &count, 8)
    }

    /// Sleeps until it is signalled, and forgets the signals.
    package func sleep() {
        var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        unsafe _ = poll(&item, 1, -1)
        clear()
    }
}
