// The calls of a process to one actor, in their order, with a cursor between what was sent and what was not.

internal import RayCore

/// A call from its submission until it has ended for good.
struct QueuedCall: Sendable {
    enum State: Equatable, Sendable {
        /// For its inputs, or for its owner's word that it runs again.
        case waiting
        case ready
        case sent(isCancelled: Bool)
        /// It has ended: a gap, until those before it have ended too.
        case over
    }

    let task: TaskID
    /// Of the execution that may run; 0 before the first.
    var execution: UInt32 = 0
    var state = State.waiting
    /// Under which it was sent. Never falls from one call to the next, up to the cursor.
    var number: UInt64 = 0

    var isSent: Bool { if case .sent = state { true } else { false } }
}

/// Calls keep their place for ever; what ends leaves a gap, and the front is cut off now and then.
///
/// - Complexity: constant time to append and to end, amortised; logarithmic to find a number.
struct CallQueue: Sendable {
    private var calls: [QueuedCall] = []
    /// The place of `calls[0]`.
    private var start = 0
    /// The first call that is not over.
    private(set) var first = 0
    /// Calls before the cursor were sent, or are over.
    private(set) var cursor = 0
    /// Behind the last call.
    var end: Int { start + calls.count }

    subscript(place: Int) -> QueuedCall {
        get { calls[place - start] }
        set { calls[place - start] = newValue }
    }

    /// - Returns: its place.
    mutating func append(_ task: TaskID) -> Int {
        calls.append(QueuedCall(task: task))
        return end - 1
    }

    /// Moves the cursor over a call that is sent, or over, under this number.
    mutating func pass(number: UInt64) {
        calls[cursor - start].number = number
        cursor += 1
    }

    /// All calls are before the cursor once more.
    mutating func rewind() { cursor = first }

    mutating func close(_ place: Int) {
        calls[place - start].state = .over
        while first < end, calls[first - start].state == .over { first += 1 }
        cursor = max(cursor, first)
        guard first - start >= 32, (first - start) * 2 >= calls.count else { return }
        calls.removeFirst(first - start)
        start = first
    }

    /// The call that was sent under this number; nil if it has ended.
    func place(of number: UInt64) -> Int? {
        var (low, high) = (first, cursor)
        while low < high {
            let middle = (low + high) / 2
            if calls[middle - start].number < number { low = middle + 1 } else { high = middle }
        }
        guard low < cursor, calls[low - start].number == number, calls[low - start].isSent else { return nil }
        return low
    }
}
