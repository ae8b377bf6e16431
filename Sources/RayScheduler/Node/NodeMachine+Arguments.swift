// Arguments of requests: made local and pinned before the grant, released when nothing needs them.

internal import RayCore

extension NodeMachine {
    /// Asks for the arguments of a request that waits here.
    mutating func addArguments(_ record: Int, _ directives: inout [NodeDirective]) {
        for needed in requests[record].arguments {
            let slot = argumentSlot(of: needed, &directives)
            arguments[slot].uses += 1
            arguments[slot].requests.append(Int32(record))
            if !arguments[slot].isLocal { requests[record].missing += 1 }
        }
    }

    private mutating func argumentSlot(of needed: TaskArgument, _ directives: inout [NodeDirective]) -> Int {
        if let known = argumentOfObject[needed.object] {
            // Leases have it still. It may have been made again.
            if arguments[known].isGone {
                arguments[known].isGone = false
                directives.append(.pull(needed.object))
            }
            return known
        }
        let slot = argumentSlots.take()
        // Bounded, so that no sum of what submitters say is too large for a word.
        let argument = Argument(object: needed.object, bytes: min(needed.bytes, 1 << 44))
        if slot == arguments.count { arguments.append(argument) } else { arguments[slot] = argument }
        argumentOfObject.insert(needed.object, slot)
        directives.append(.pull(needed.object))
        return slot
    }

    /// A request waits for room here no more: its leases, if any, hold the arguments from now on.
    mutating func dropArguments(of record: Int) {
        for needed in requests[record].arguments {
            guard let slot = argumentOfObject[needed.object],
                let position = arguments[slot].requests.firstIndex(of: Int32(record))
            else { continue }
            arguments[slot].requests.remove(at: position)
            arguments[slot].uses -= 1
            if arguments[slot].uses == 0 { unusedArguments.append(slot) }
        }
        requests[record].missing = 0
        requests[record].arguments = []
    }

    mutating func pinArguments(of lease: Int) {
        for needed in leases[lease].arguments {
            guard let slot = argumentOfObject[needed.object] else { continue }
            arguments[slot].uses += 1
            arguments[slot].leases += 1
            if arguments[slot].leases == 1 { pinnedBytes += arguments[slot].bytes }
        }
    }

    mutating func unpinArguments(of lease: Int) {
        for needed in leases[lease].arguments {
            guard let slot = argumentOfObject[needed.object] else { continue }
            arguments[slot].uses -= 1
            arguments[slot].leases -= 1
            if arguments[slot].leases == 0 { pinnedBytes -= arguments[slot].bytes }
            if arguments[slot].uses == 0 { unusedArguments.append(slot) }
        }
    }

    /// Releases what nothing needs any more.
    mutating func releaseArguments(_ directives: inout [NodeDirective]) {
        while let slot = unusedArguments.popLast() {
            let object = arguments[slot].object
            guard arguments[slot].uses == 0, argumentOfObject[object] == slot else { continue }
            argumentOfObject.remove(object)
            argumentSlots.give(slot)
            directives.append(.release(object))
        }
    }

    mutating func argumentLocal(_ object: ObjectID) {
        guard let slot = argumentOfObject[object], !arguments[slot].isLocal else { return }
        arguments[slot].isLocal = true
        arguments[slot].isGone = false
        for record in arguments[slot].requests.map(Int.init) {
            requests[record].missing -= 1
            guard requests[record].missing == 0, requests[record].place == .pulling else { continue }
            unlink(record)
            enqueueReady(record)
            requests.touch(record)
        }
    }

    /// An argument is nowhere. The task that makes it again may be one that needs the very slot that would wait for it:
    /// so no request waits, and the submitter waits for the object itself.
    mutating func argumentGone(_ object: ObjectID, _ directives: inout [NodeDirective]) {
        guard let slot = argumentOfObject[object], !arguments[slot].isLocal else { return }
        arguments[slot].isGone = true
        for record in arguments[slot].requests.map(Int.init) where requests[record].waiting > 0 {
            fail(record, .argumentGone(object), &directives)
        }
    }

    /// An argument was evicted: who waits for room with it waits for it again.
    mutating func argumentLost(_ object: ObjectID, _ directives: inout [NodeDirective]) {
        guard let slot = argumentOfObject[object], arguments[slot].isLocal else { return }
        arguments[slot].isLocal = false
        directives.append(.pull(object))
        for record in arguments[slot].requests.map(Int.init) {
            requests[record].missing += 1
            guard requests[record].place == .ready || requests[record].place == .settled else { continue }
            unlink(record)
            let classIndex = Int(requests[record].classIndex)
            requests[record].place = .pulling
            requestLinks.append(record, to: &classes[classIndex].pulling)
            noteIfUnused(classIndex)
            requests.touch(record)
        }
    }

    /// Whether the first request of a class may have its arguments pinned beside those that are.
    func hasArgumentRoom(_ classIndex: Int) -> Bool {
        guard let record = firstRequest(classIndex), !requests[record].arguments.isEmpty else { return true }
        let bytes = unpinnedBytes(of: requests[record])
        return bytes == 0 || pinnedBytes == 0 || pinnedBytes + bytes <= configuration.argumentBytes
    }

    /// Bytes that a lease for this request would pin beside those that are pinned.
    func unpinnedBytes(of record: RequestRecord) -> UInt64 {
        var bytes: UInt64 = 0
        for needed in record.arguments {
            guard let slot = argumentOfObject[needed.object], arguments[slot].leases == 0 else { continue }
            bytes += arguments[slot].bytes
        }
        return bytes
    }
}
