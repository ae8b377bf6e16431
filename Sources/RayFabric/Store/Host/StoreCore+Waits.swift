// Clients that wait for objects.

internal import RayCore

extension StoreCore {
    mutating func wait(_ command: StoreCommand, from session: ClientSession) throws(TransportFailure) {
        guard session.waits + session.unsentReplies < limits.waitsPerClient else {
            throw TransportFailure(.protocolViolation)
        }
        let waiter = Waiter(session: session, token: command.token, flags: command.flags)
        if table.directory.find(command.id) != nil {
            awaken(waiter)
        } else if let code = gravestones[command.id], !command.flags.contains(.pull) {
            fail(waiter, code)
        } else {
            session.waits += 1
            waits[command.id, default: []].append(waiter)
            setWaitCount(waitCount + 1)
            if command.flags.contains(.pull) {
                directives.append(
                    .pull(
                        command.id, session: session.number, token: command.token,
                        deadline: Timestamp(nanoseconds: command.offset)))
            }
        }
    }

    mutating func forget(_ command: StoreCommand, from session: ClientSession) {
        guard var list = waits[command.id],
            let index = list.firstIndex(where: { $0.session === session && $0.token == command.token })
        else { return }
        let waiter = list.remove(at: index)
        waits[command.id] = list.isEmpty ? nil : list
        ended(waiter, of: command.id)
    }

    private mutating func ended(_ waiter: Waiter, of id: ObjectID) {
        waiter.session.waits -= 1
        setWaitCount(waitCount - 1)
        if waiter.flags.contains(.pull) {
            directives.append(.cancelPull(id, session: waiter.session.number, token: waiter.token))
        }
    }

    mutating func forgetWaits(of session: ClientSession) {
        for (id, list) in waits {
            let mine = list.filter { $0.session === session }
            guard !mine.isEmpty else { continue }
            let others = list.filter { $0.session !== session }
            waits[id] = others.isEmpty ? nil : others
            for waiter in mine { ended(waiter, of: id) }
        }
    }

    mutating func satisfy(waitersOf id: ObjectID) {
        guard let list = waits.removeValue(forKey: id) else { return }
        for waiter in list {
            waiter.session.waits -= 1
            awaken(waiter)
        }
        setWaitCount(waitCount - list.count)
    }

    mutating func fail(waitersOf id: ObjectID, _ code: FabricError.Code) {
        guard let list = waits.removeValue(forKey: id) else { return }
        for waiter in list {
            waiter.session.waits -= 1
            fail(waiter, code)
        }
        setWaitCount(waitCount - list.count)
    }

    /// A pull for one waiter has failed. The session may be long gone.
    mutating func pullFailed(_ id: ObjectID, session number: UInt32, token: UInt32, _ code: FabricError.Code) {
        guard var list = waits[id],
            let index = list.firstIndex(where: { $0.session.number == number && $0.token == token })
        else { return }
        let waiter = list.remove(at: index)
        waits[id] = list.isEmpty ? nil : list
        waiter.session.waits -= 1
        setWaitCount(waitCount - 1)
        fail(waiter, code)
    }

    private mutating func awaken(_ waiter: Waiter) {
        wake(waiter.session, isAsynchronous: waiter.flags.contains(.asynchronous))
    }

    private mutating func fail(_ waiter: Waiter, _ code: FabricError.Code) {
        waiter.session.reply(.init(kind: .waitFailed, token: waiter.token, code: code))
        awaken(waiter)
    }

    mutating func wake(_ session: ClientSession, isAsynchronous: Bool) {
        session.countWake()
        directives.append(.wake(client: session.index))
        if isAsynchronous { directives.append(.notify(client: session.index)) }
    }

    /// Clients ring the doorbell after each seal while somebody waits.
    private mutating func setWaitCount(_ count: Int) {
        waitCount = count
        table.setWaiters(UInt32(clamping: count))
    }
}
