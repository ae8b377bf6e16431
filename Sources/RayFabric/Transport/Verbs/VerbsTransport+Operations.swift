// One-sided operations: by RDMA where both ends know the memory, else by sockets.

#if Verbs
    internal import CVerbs
    public import RayCore

    extension VerbsTransport {
        /// The longest slice; devices have limits of their own beside it.
        private static var longestSlice: UInt64 { 1 << 20 }

        // MARK: Memory

        public mutating func register(
            _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
        ) throws(FabricError) -> RegionKey {
            let key = try unsafe sockets.register(memory, access: access)
            registered[key] = Registration(access: access)
            for index in devices.indices { announce(key, access, on: index) }
            return key
        }

        public mutating func memoryCame(to key: RegionKey, range: Range<UInt64>) {
            guard let access = registered[key]?.access else { return }
            registered[key]?.parts.insert(range)
            for index in devices.indices { announce(key, access, range: range, on: index) }
        }

        public mutating func deregister(_ key: RegionKey) {
            registered[key] = nil
            for index in memory.indices { memory[index].remove(key) }
            for rail in rails.all where rail.state == .open {
                say(.regionGone(key), rail)
            }
            sockets.deregister(key)
        }

        /// Shows memory to a device and tells the peers. What the device does not take, parts without
        /// memory for instance, is moved by sockets.
        mutating func announce(
            _ key: RegionKey, _ access: RemoteAccess, range: Range<UInt64>? = nil, on index: Int
        ) {
            guard let bytes = unsafe sockets.regions.whole(key), unsafe !bytes.isEmpty else { return }
            let range = range ?? 0..<UInt64(bytes.count)
            guard range.upperBound <= UInt64(bytes.count) else { return }
            let part = unsafe UnsafeMutableRawBufferPointer(
                rebasing: bytes[Int(range.lowerBound)..<Int(range.upperBound)])
            guard
                let region = try? unsafe VerbsRegion(part, access, on: devices[index])
            else { return }
            let local = LocalPart(
                key: key, offset: range.lowerBound, length: UInt64(range.count),
                address: UInt64(UInt(bitPattern: part.baseAddress)), access: access, region: region)
            memory[index].insert(local)
            guard !access.isEmpty else { return }
            for rail in rails.all where rail.device === devices[index] && rail.isConnected {
                say(local.announcement, rail)
            }
        }

        // MARK: Starting

        public mutating func read(
            _ remote: RegionLocation, into local: RegionLocation, length: Int,
            on id: Connection, token: UInt64, deadline: Timestamp
        ) throws(FabricError) -> Bool {
            if let isStarted = try start(true, local, remote, length, nil, id, token, deadline) { return isStarted }
            return try sockets.read(remote, into: local, length: length, on: id, token: token, deadline: deadline)
        }

        public mutating func write(
            _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
            on id: Connection, token: UInt64, deadline: Timestamp
        ) throws(FabricError) -> Bool {
            if let isStarted = try start(false, local, remote, length, notification, id, token, deadline) {
                return isStarted
            }
            return try sockets.write(
                local, to: remote, length: length, notification: notification, on: id, token: token, deadline: deadline)
        }

        /// - Returns: nil when the operation is one for the sockets.
        private mutating func start(
            _ isRead: Bool, _ local: RegionLocation, _ remote: RegionLocation, _ length: Int,
            _ notification: UInt64?, _ id: Connection, _ token: UInt64, _ deadline: Timestamp
        ) throws(FabricError) -> Bool? {
            try checkNotFinishing(id)
            guard let rail = rails[id], rail.state == .open, length > 0,
                let index = devices.firstIndex(where: { $0 === rail.device }),
                unsafe sockets.regions.local(local, length: length) != nil
            else { return nil }
            _ = try sockets.usable(id)
            let longest = min(Self.longestSlice, UInt64(devices[index].portAttributes.max_msg_sz))
            guard
                let slices = cut(local, memory[index], remote, rail.remote, length: UInt64(length), longest: longest),
                slices.allSatisfy({ $0.remote.access.contains(isRead ? .read : .write) })
            else { return nil }
            guard rail.operations < sockets.configuration.maximumOperations, rail.lane?.hasLongBacklog == false else {
                rail.owesWritable = true
                return false
            }
            let operation = RailOperation(
                rail: rail, token: token, isRead: isRead, local: local, remote: remote, length: length,
                notification: notification, deadline: deadline,
                slices: slices.map { slice in
                    RailSlice(
                        local: slice.local.address + slice.localOffset, localKey: slice.local.region.localKey,
                        remote: slice.remote.address + slice.remoteOffset, remoteKey: slice.remote.remoteKey,
                        length: UInt32(slice.length))
                })
            let slot = freeOperations.popLast() ?? operations.count
            if slot == operations.count { operations.append(operation) } else { operations[slot] = operation }
            rail.operations += 1
            earliestDeadline = min(earliestDeadline, deadline)
            rail.machine.start(slot, slices: operation.slices.count, into: &directives)
            runDirectives(of: rail)
            return true
        }

        // MARK: Directives

        mutating func runDirectives(of rail: Rail) {
            let work = directives
            directives.removeAll(keepingCapacity: true)
            for directive in work {
                switch directive {
                case .post(let slot, let slice, let group, let isSignalled):
                    guard let operation = operations[slot] else { preconditionFailure("a slice of no operation") }
                    rail.pair?.stage(
                        operation.slices[slice], isRead: operation.isRead,
                        name: CompletionName(
                            rail: rail.number, kind: .operation, value: group << 1 | (isSignalled ? 1 : 0)
                        ).rawValue, isSignalled: isSignalled)
                case .finished(let slot): complete(slot, nil)
                case .flush: rail.pair?.flush()
                case .retreat(let slot): retreat(slot)
                case .destroy:
                    rail.pair = nil
                    endIfEmpty(rail)
                }
            }
            if let pair = rail.pair, !pair.post() {
                // Some slices were not taken and will never come back: the queue pair goes at once.
                beginEnd(rail)
                rail.pair = nil
                rail.machine.abandon(into: &directives)
                runDirectives(of: rail)
            }
        }

        mutating func takeCompletions() {
            for device in devices {
                while true {
                    let count = device.poll(&completions)
                    for index in 0..<count { handle(completions[index]) }
                    if count < completions.count { break }
                }
            }
        }

        private mutating func handle(_ completion: ibv_wc) {
            guard let name = CompletionName(completion.wr_id), let rail = rails[name.rail] else { return }
            let isGood = completion.status == IBV_WC_SUCCESS
            if !isGood, rail.state == .open { breakDown(rail) }
            switch name.kind {
            case .operation: operationCame(rail, group: name.value >> 1, isSignalled: name.value & 1 == 1, isGood)
            case .packet:
                if isGood, rail.lane?.pair != nil { packetSent(rail, isSignalled: name.value == 1) }
            case .receive:
                guard let lane = rail.lane, lane.pair != nil else { return }
                if isGood { return packetCame(rail, Int(name.value), completion) }
                lane.window.receiveFlushed()
                endIfEmpty(rail)
            }
        }

        private mutating func operationCame(_ rail: Rail, group: UInt64, isSignalled: Bool, _ isGood: Bool) {
            guard rail.pair != nil else { return }
            if isGood {
                rail.machine.completed(group: group, into: &directives)
            } else if isSignalled {
                rail.machine.failed(group: group, isSignalled: true, into: &directives)
            } else {
                rail.machine.flushedUnsignalled(into: &directives)
            }
            runDirectives(of: rail)
        }

        // MARK: Ending

        mutating func complete(_ slot: Int, _ failure: TransportFailure?) {
            guard let operation = take(slot) else { return }
            if failure == nil {
                railOperations += 1
                // Behind its completion all bytes are in the peer's memory.
                if let notification = operation.notification { say(.notification(notification), operation.rail) }
                if operation.isRead {
                    carried.bytesReceived += UInt64(operation.length)
                } else {
                    carried.bytesSent += UInt64(operation.length)
                }
            }
            report(operation, failure)
        }

        private mutating func take(_ slot: Int) -> RailOperation? {
            guard let operation = operations[slot] else { return nil }
            operations[slot] = nil
            freeOperations.append(slot)
            operation.rail.operations -= 1
            return operation
        }

        private mutating func report(_ operation: RailOperation, _ failure: TransportFailure?) {
            emit(.completed(operation.rail.connection, token: operation.token, failure: failure))
            madeRoom(operation.rail)
        }

        /// An operation is not the rail's any more: who waits for room, or for the end, is told.
        private mutating func madeRoom(_ rail: Rail) {
            if rail.owesWritable {
                rail.owesWritable = false
                emit(.writable(rail.connection))
            }
            finishIfDone(rail)
        }

        /// Does an operation by sockets that its rail could not do.
        private mutating func retreat(_ slot: Int) {
            guard let operation = take(slot) else { return }
            if policy == .required || operation.deadline <= .now {
                let code: FabricError.Code = policy == .required ? .connectionLost : .deadlineExceeded
                return report(operation, TransportFailure(code))
            }
            let rail = operation.rail
            do throws(FabricError) {
                let isStarted =
                    operation.isRead
                    ? try sockets.read(
                        operation.remote, into: operation.local, length: operation.length, on: rail.connection,
                        token: operation.token, deadline: operation.deadline)
                    : try sockets.write(
                        operation.local, to: operation.remote, length: operation.length,
                        notification: operation.notification, on: rail.connection, token: operation.token,
                        deadline: operation.deadline)
                if isStarted { madeRoom(rail) } else { report(operation, TransportFailure(.busy)) }
            } catch {
                report(operation, TransportFailure(error.code, errno: error.errno))
            }
        }

        /// A device can not be told to stop one operation: its completion comes by itself, or the
        /// deadline ends the rail.
        public mutating func cancel(token: UInt64, on id: Connection) {
            let isOnRail = operations.contains { $0?.token == token && $0?.rail.connection == id }
            if !isOnRail { sockets.cancel(token: token, on: id) }
        }

        mutating func checkDeadlines(_ now: Timestamp) {
            guard now >= earliestDeadline else { return }
            earliestDeadline = .never
            for index in operations.indices {
                guard let operation = operations[index] else { continue }
                if operation.deadline <= now {
                    breakDown(operation.rail)
                } else {
                    earliestDeadline = min(earliestDeadline, operation.deadline)
                }
            }
        }
    }
#endif
