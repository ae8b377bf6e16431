// How other threads talk to the host's thread.

internal import RayCore
internal import Synchronization

/// Events for the host's thread. Threads that post hold this alone, never the host: what ends a host
/// waits for these threads.
final class HostInbox: Sendable {
    enum Event: Sendable {
        case filled(segment: Int, SegmentFile)
        case fillFailed(segment: Int, FabricError)
        case pullFailed(ObjectID, session: UInt32, token: UInt32, FabricError.Code)
        case stop
    }

    private let events = Mutex<[Event]>([])
    /// Wakes the host's thread.
    let waker: Waker

    init() throws(FabricError) { waker = try Waker() }

    func post(_ event: Event) {
        events.withLock { $0.append(event) }
        waker.signal()
    }

    func takeEvents() -> [Event] {
        events.withLock { events in
            defer { events.removeAll() }
            return events
        }
    }
}
