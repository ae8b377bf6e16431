// What a queue pair is given to do, as a machine without I/O.

internal import RayCore

/// What the shell has to do, in this order.
enum RailDirective: Hashable, Sendable {
    /// Post slice `slice` of an operation. `group` comes back with its completion, of which there is
    /// one if `isSignalled`, or if it fails.
    case post(operation: Int, slice: Int, group: UInt64, isSignalled: Bool)
    /// All slices of an operation are done.
    case finished(operation: Int)
    /// Move the queue pair to its error state: what was posted comes back flushed.
    case flush
    /// An operation has to be done again by other means. Nothing of it is posted any more.
    case retreat(operation: Int)
    /// The queue pair may go: the device has let go of all that was posted.
    case destroy
}

/// The send queue of one reliable connection: which slices are posted, which completions are asked
/// for, and how it ends.
///
/// Slices complete in the order in which they were posted. Only the last one of an operation asks for
/// a completion, and one in each quarter of the queue, so that a long operation can not fill it with
/// slices nobody hears of. The end has two phases: first everything that was posted comes back, then
/// the queue pair goes. Until then no operation is told to be over, since the device may still write.
struct RailMachine: Sendable {
    enum State: Hashable, Sendable {
        case open
        /// In the error state; waits for what is posted to come back.
        case flushing
        case gone
    }

    private struct Pending: Sendable {
        var operation: Int
        var slices: Int
        /// Slices posted so far.
        var posted = 0
    }

    /// Slices up to one that asks for a completion.
    private struct Group: Sendable {
        var number: UInt64
        var operation: Int
        var slices: Int
        var isLast: Bool
    }

    /// Places in the send queue.
    let depth: Int
    private(set) var state = State.open
    private var waiting = FIFO<Pending>()
    /// The front of `waiting`, of which some slices are posted.
    private var current: Pending?
    private var groups = FIFO<Group>()
    private var firstGroup: UInt64 = 0
    private var nextGroup: UInt64 = 0
    /// Slices posted since the last that asked for a completion.
    private var unsignalled = 0
    private(set) var occupied = 0
    /// Operations that are neither finished nor given back.
    private(set) var operations: [Int] = []

    init(depth: Int) {
        precondition(depth >= 4)
        self.depth = depth
    }

    /// Begins an operation of at least one slice.
    mutating func start(_ operation: Int, slices: Int, into directives: inout [RailDirective]) {
        precondition(slices > 0)
        guard state == .open else { return directives.append(.retreat(operation: operation)) }
        operations.append(operation)
        waiting.append(Pending(operation: operation, slices: slices))
        post(&directives)
    }

    private mutating func post(_ directives: inout [RailDirective]) {
        while occupied < depth {
            guard var pending = current ?? waiting.popFirst() else { return }
            current = nil
            pending.posted += 1
            occupied += 1
            unsignalled += 1
            let isLast = pending.posted == pending.slices
            let isSignalled = isLast || unsignalled >= depth / 4
            directives.append(
                .post(
                    operation: pending.operation, slice: pending.posted - 1, group: nextGroup,
                    isSignalled: isSignalled))
            if isSignalled {
                groups.append(
                    Group(number: nextGroup, operation: pending.operation, slices: unsignalled, isLast: isLast))
                nextGroup += 1
                unsignalled = 0
            }
            if !isLast { current = pending }
        }
    }

    /// A completion that was asked for has come.
    mutating func completed(group: UInt64, into directives: inout [RailDirective]) {
        guard let done = groups.popFirst() else { preconditionFailure("a completion that nobody asked for") }
        precondition(done.number == group, "completions out of order")
        occupied -= done.slices
        if done.isLast { finish(done.operation, &directives) }
        if state == .open { post(&directives) }
        if state == .flushing { endIfEmpty(&directives) }
    }

    /// A slice has failed or was flushed. Only the completion that was asked for counts a group.
    mutating func failed(group: UInt64, isSignalled: Bool, into directives: inout [RailDirective]) {
        breakDown(into: &directives)
        guard isSignalled, let done = groups.popFirst() else { return }
        precondition(done.number == group, "completions out of order")
        occupied -= done.slices
        endIfEmpty(&directives)
    }

    /// The rail is not to be used any more: by this side's wish, the peer's, or because a device is gone.
    mutating func breakDown(into directives: inout [RailDirective]) {
        guard state == .open else { return }
        state = .flushing
        directives.append(.flush)
        endIfEmpty(&directives)
    }

    /// The device is gone: nothing that was posted will come back, and nothing will write any more.
    mutating func abandon(into directives: inout [RailDirective]) {
        guard state != .gone else { return }
        state = .flushing
        groups = FIFO()
        unsignalled = 0
        endIfEmpty(&directives)
    }

    private mutating func finish(_ operation: Int, _ directives: inout [RailDirective]) {
        operations.removeAll { $0 == operation }
        directives.append(.finished(operation: operation))
    }

    /// Slices behind the last signalled one come back with an error of their own; they are the front
    /// of an operation of which more was to be posted.
    private mutating func endIfEmpty(_ directives: inout [RailDirective]) {
        guard state == .flushing, groups.isEmpty, unsignalled == 0 else { return }
        state = .gone
        for operation in operations { directives.append(.retreat(operation: operation)) }
        operations = []
        waiting = FIFO()
        current = nil
        directives.append(.destroy)
    }

    /// An unsignalled slice behind the last signalled one was flushed.
    mutating func flushedUnsignalled(into directives: inout [RailDirective]) {
        guard state == .flushing, groups.isEmpty, unsignalled > 0 else { return }
        unsignalled -= 1
        occupied -= 1
        endIfEmpty(&directives)
    }
}
