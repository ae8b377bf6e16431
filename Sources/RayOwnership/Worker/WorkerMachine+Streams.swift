// Streams: tasks that return items one after the other, as many as they like.

internal import RayCore

extension WorkerMachine {
    /// Identifiers of a stream begin at a multiple of this mask plus one, and all up to the next one are its items'.
    static var streamMask: UInt64 { 1 << 20 - 1 }
    /// Items may be told, and waited for, so far ahead of the last one that is known.
    private static var itemsAhead: UInt64 { 1 << 16 }

    // MARK: Where the stream runs

    /// What is inside of an item is held here until the caller is known to the owners, as with other returns.
    mutating func produce(_ task: TaskID, _ attempt: UInt32, _ index: UInt32, _ value: ReturnedValue) {
        guard let execution = executionOfTask[task], executions[execution].attempt == attempt else { return }
        let caller = executions[execution].caller
        guard caller != .absent else { return }
        let sent = lendContents(of: value, to: caller)
        send(.item(StreamItem(task: task, attempt: attempt, index: index, value: sent)), to: caller)
    }

    // MARK: At the owner

    /// The stream that an own object is an item of; nil for other objects, and once the stream is let go.
    private func stream(of object: ObjectID) -> Slot? {
        guard object.owner == id, object.sequence & Self.streamMask != 0,
            let slot = ownObjects[object.sequence & ~Self.streamMask], objects[slot].flags.contains(.isStream)
        else { return nil }
        return slot
    }

    /// The record of an item, made with those of all items before it if it is the first that is heard of it. Nil for
    /// what was there and is gone, and when the stream is let go.
    private mutating func openItem(_ object: ObjectID, of stream: Slot) -> Slot? {
        if let slot = ownObjects[object.sequence] { return slot }
        let index = object.sequence & Self.streamMask
        let task = objects[stream].task
        guard task != .absent, objects[stream].inline == nil else { return endedItem(object, of: stream) }
        let known = UInt64(tasks[task].returns)
        guard index >= known, index - known < Self.itemsAhead else { return nil }
        for next in known...index {
            let slot = makeOwnRecord(tasks[task].id.returnID(Int(next)))
            objects[slot].task = task
            objects[slot].flags.insert(.isUnread)
            ofKeeper.append(slot, to: &objects[stream].kept)
            tasks[task].returns += 1
            tasks[task].liveReturns += 1
        }
        return ownObjects[object.sequence]
    }

    /// An item that nobody has heard of, of a stream that makes no more: it has the stream's error, or is beyond its
    /// end.
    private mutating func endedItem(_ object: ObjectID, of stream: Slot) -> Slot? {
        let error = errors[stream] ?? ObjectError(object, .endOfStream)
        guard objects[stream].value == .failed || beyondEnd(object, of: stream) else { return nil }
        let slot = makeOwnRecord(object)
        fail(slot, error)
        return slot
    }

    private func beyondEnd(_ object: ObjectID, of stream: Slot) -> Bool {
        guard let bytes = objects[stream].inline else { return false }
        return object.sequence & Self.streamMask > bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// A handle of an item is made: who reads an item has it from now on, and the stream holds it no longer.
    mutating func readItem(_ object: ObjectID) -> Slot? {
        guard let stream = stream(of: object), let slot = openItem(object, of: stream) else { return nil }
        if objects[slot].flags.contains(.isUnread) {
            objects[slot].flags.remove(.isUnread)
            ofKeeper.remove(slot, from: &objects[stream].kept)
        }
        return slot
    }

    /// The stream is let go: nobody can read what was not read.
    mutating func releaseUnread(of stream: Slot) {
        while let slot = ofKeeper.removeFirst(of: &objects[stream].kept) {
            objects[slot].flags.remove(.isUnread)
            touch(slot)
        }
    }

    /// An item has come. One that is there already, or that nobody can read any more, is declined as other returns are.
    mutating func arrived(_ item: StreamItem, _ peer: Slot) {
        let object = item.task.returnID(Int(item.index))
        guard item.task.owner == id, UInt64(item.index) & Self.streamMask == UInt64(item.index), item.index > 0 else {
            return declineContents(item.value.contents, from: peer)
        }
        if let task = find(item.task, item.attempt), tasks[task].isStream, tasks[task].state == .running,
            tasks[task].executor == peer
        {
            if let stream = stream(of: object) { _ = openItem(object, of: stream) }
            accept(item.value, as: object, item.attempt, from: peer)
        } else {
            let copy = CopyID(object: object, attempt: item.attempt)
            decline(item.value, copy, at: peers[peer].node, from: peer)
        }
    }

    /// The value of a stream is the number of its items. What waits for more is told that there are none; an item that
    /// was lost since this attempt has told it is made again.
    mutating func endStream(_ task: Slot, _ items: UInt32) {
        if let stream = find(tasks[task].id.returnID(0)), objects[stream].value == .pending {
            let bytes = (0..<8).map { UInt8(truncatingIfNeeded: UInt64(items) >> (8 * UInt64($0))) }
            seal(stream, .inline(bytes), contents: [], attempt: tasks[task].attempt, at: id.node)
        }
        for index in 1..<max(1, tasks[task].returns) {
            let object = tasks[task].id.returnID(Int(index))
            guard let slot = find(object), objects[slot].value == .pending || objects[slot].value == .recovering else {
                continue
            }
            if index > items {
                fail(slot, ObjectError(object, .endOfStream))
            } else {
                objects[slot].value = .lost
                recoverSoon(slot)
            }
        }
        succeed(task)
    }

    /// A copy of an item that its worker has yet to tell of.
    func isItemUnderWay(_ copy: CopyID) -> Bool {
        guard copy.object.owner == id, let slot = taskOfSequence[copy.object.sequence & ~Self.streamMask],
            tasks[slot].isStream, tasks[slot].state == .running, tasks[slot].attempt == copy.attempt
        else { return false }
        return copy.object.sequence & Self.streamMask != 0
    }
}
