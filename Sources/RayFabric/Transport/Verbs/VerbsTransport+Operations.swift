// One-sided operations: by RDMA where both ends know the memory, else by sockets.

#if Verbs
    internal import CVerbs
    public import RayCore

    extension VerbsTransport {
        /// The longest slice; devices have limits of their own beside it.
        static var longestSlice: UInt64 { 1 << 20 }

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
            for index in devices.indices {
                devices[index].unregistered?.remove(key, range)
                announce(key, access, range: range, on: index)
            }
        }

        public mutating func deregister(_ key: RegionKey) {
            registered[key] = nil
            refusals[key] = nil
            for index in devices.indices {
                devices[index].unregistered?.remove(key)
                memory[index].remove(key)
            }
            for rail in rails.all where rail.isConnected { say(.regionGone(key), rail) }
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
            // Whatever comes of this: the device may not reach memory that was here before. A peer that still names it
            // is refused by the device.
            memory[index].remove(key, overlapping: range)
            let region: VerbsRegion
            do throws(FabricError) {
                region = try unsafe VerbsRegion(part, access, on: devices[index])
            } catch {
                return refused(key, access, error, by: devices[index])
            }
            // Of a region without memory, as the store's is at first, only parts are taken.
            refusals[key] = nil
            let local = LocalPart(
                key: key, offset: range.lowerBound, length: UInt64(range.count),
                address: UInt64(UInt(bitPattern: part.baseAddress)), access: access, region: region)
            memory[index].insert(local)
            guard access.isGeneral else { return }
            for rail in rails.all {
                for path in rail.paths where path.device === devices[index] && path.isConnected {
                    say(local.announcement(path: path.number), rail)
                }
            }
        }

        private mutating func refused(
            _ key: RegionKey, _ access: RemoteAccess, _ error: FabricError, by device: VerbsDevice
        ) {
            refusals[key] = error
            guard access.isGeneral else { return }
            for rail in rails.all where rail.device === device && rail.isConnected {
                say(.refused(key, error.code), rail)
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
            guard let rail = rails[id], length > 0, unsafe sockets.regions.local(local, length: length) != nil else {
                return nil
            }
            _ = try sockets.usable(id)
            let now = Timestamp.now
            let choice = choosePath(isRead, rail, local, remote, length, now)
            guard choice != nil || mustWait(rail) else {
                if policy == .required, let error = obstacle(local, remote, rail) { throw error }
                return nil
            }
            guard rail.operations < sockets.configuration.maximumOperations, rail.lane?.hasLongBacklog != true else {
                rail.owesWritable = true
                return false
            }
            let operation = RailOperation(
                rail: rail, path: nil, token: token, isRead: isRead, local: local, remote: remote, length: length,
                notification: notification, deadline: deadline)
            if let (path, slices) = choice { begin(operation, path, slices, now) } else { hold(operation) }
            return true
        }

        /// Why an operation can not go by RDMA; nil when sockets say better what is wrong with it.
        func obstacle(_ local: RegionLocation, _ remote: RegionLocation, _ rail: Rail) -> FabricError? {
            if let error = refusals[local.key] { return error }
            if let code = rail.refusals[remote.key] {
                return FabricError(code, "at the peer: its RDMA device does not take the memory of the object")
            }
            return rail.paths.contains { $0.remote.count >= Self.mostRegions }
                ? FabricError(.rdmaUnavailable, "the peer has more registered memory than is remembered") : nil
        }

        mutating func begin(_ operation: RailOperation, _ path: RailPath, _ slices: [RailSlice], _ now: Timestamp) {
            var operation = operation
            (operation.path, operation.slices) = (path, slices)
            let slot = store(operation)
            path.speed.started(operation.length, now: now)
            path.machine.start(slot, slices: slices.count, into: &directives)
            runDirectives(of: path)
        }

        /// - Returns: what the operation is found by.
        mutating func store(_ operation: RailOperation) -> Int {
            let slot = freeOperations.popLast() ?? operations.count
            if slot == operations.count { operations.append(operation) } else { operations[slot] = operation }
            operation.rail.operations += 1
            earliestDeadline = min(earliestDeadline, operation.deadline)
            return slot
        }

        // MARK: Directives

        mutating func runDirectives(of path: RailPath) {
            let work = directives
            directives.removeAll(keepingCapacity: true)
            for directive in work {
                switch directive {
                case .post(let slot, let slice, let group, let isSignalled):
                    guard let operation = operations[slot] else { preconditionFailure("a slice of no operation") }
                    path.pair?.stage(
                        operation.slices[slice], isRead: operation.isRead,
                        name: CompletionName.operation(
                            rail: path.rail.number, path: path.number, group: group, isSignalled: isSignalled
                        ).rawValue, isSignalled: isSignalled)
                case .finished(let slot):
                    if let operation = operations[slot] { count(operation, on: path) }
                    complete(slot, nil)
                case .flush: path.pair?.flush()
                case .retreat(let slot): retreat(slot)
                case .destroy: leave(path)
                }
            }
            if let pair = path.pair, !pair.post() { refused(path) }
        }

        private mutating func count(_ operation: RailOperation, on path: RailPath) {
            path.speed.finished(operation.length, now: .now)
            guard let index = path.device?.trafficIndex else { return }
            carried.rdmaPorts[index].operations += 1
            carried.rdmaPorts[index].bytes += UInt64(operation.length)
        }

        /// Some slices were not taken and will never come back: the queue pair goes at once.
        private mutating func refused(_ path: RailPath) {
            let reason = "\(path.device?.port.device ?? "its device") takes no requests"
            if path.number == 0 {
                if path.rail.state == .open { beginEnd(path.rail, because: reason) }
            } else if path.state == .open {
                lost(path.rail, "a path of RDMA", reason)
                say(.pathBroken(path.number), path.rail)
            }
            path.state = .closing
            abandon(path)
        }

        mutating func takeCompletions() {
            for place in devices.indices {
                while true {
                    let count = devices[place].poll(&completions)
                    for index in 0..<count { handle(completions[index]) }
                    if count < completions.count { break }
                }
            }
        }

        private mutating func handle(_ completion: ibv_wc) {
            guard let name = CompletionName(completion.wr_id), let rail = rails[name.rail] else { return }
            let isGood = completion.status == IBV_WC_SUCCESS
            if !isGood { failed(rail, name, completion.status) }
            switch name.kind {
            case .operation:
                if let path = rail.path(name.path) { operationCame(path, name, isGood) }
            case .packet:
                if isGood, rail.lane?.pair != nil { packetSent(rail, isSignalled: name.value == 1) }
            case .window: windowChanged(rail, name, isGood)
            case .receive:
                guard let lane = rail.lane, lane.pair != nil else { return }
                if isGood { return packetCame(rail, Int(name.value), completion) }
                lane.window.receiveFlushed()
                endIfEmpty(rail)
            }
        }

        /// What has failed belongs to a path, or to the messages.
        private mutating func failed(_ rail: Rail, _ name: CompletionName, _ status: ibv_wc_status) {
            let reason = "a request ended with status \(status.rawValue) of libibverbs"
            let isOfPath = name.kind == .operation || name.kind == .window && name.path > 0
            guard isOfPath else { return breakDownIfOpen(rail, reason) }
            if let path = rail.path(name.path) {
                if path.number == 0 { breakDownIfOpen(rail, reason) } else { breakDown(path, because: reason) }
            }
        }

        private mutating func breakDownIfOpen(_ rail: Rail, _ reason: String) {
            if rail.state == .open { breakDown(rail, because: reason) }
        }

        private mutating func operationCame(_ path: RailPath, _ name: CompletionName, _ isGood: Bool) {
            guard path.pair != nil else { return }
            if isGood {
                path.machine.completed(group: name.group, into: &directives)
            } else if name.isSignalled {
                path.machine.failed(group: name.group, isSignalled: true, into: &directives)
            } else {
                path.machine.flushedUnsignalled(into: &directives)
            }
            runDirectives(of: path)
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

        mutating func take(_ slot: Int) -> RailOperation? {
            guard let operation = operations[slot] else { return nil }
            operations[slot] = nil
            if operation.path == nil { held -= 1 }
            freeOperations.append(slot)
            operation.rail.operations -= 1
            return operation
        }

        mutating func report(_ operation: RailOperation, _ failure: TransportFailure?) {
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

        /// Does an operation by another path, or by sockets, that its path could not do.
        private mutating func retreat(_ slot: Int) {
            guard let operation = take(slot) else { return }
            operation.path?.speed.withdrawn(operation.length)
            let rail = operation.rail
            // The connection ends, with all that is under way.
            let isEnding = policy == .required && rail.state != .open
            let now = Timestamp.now
            if isEnding || operation.deadline <= now {
                return report(operation, TransportFailure(isEnding ? .connectionLost : .deadlineExceeded))
            }
            if let (path, slices) = choosePath(
                operation.isRead, rail, operation.local, operation.remote, operation.length, now)
            {
                return begin(operation, path, slices, now)
            }
            if mustWait(rail) { return hold(operation) }
            guard policy == .automatic else { return report(operation, TransportFailure(.connectionLost)) }
            passToSockets(operation)
        }

        mutating func passToSockets(_ operation: RailOperation) {
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
        /// deadline ends the rail. One that is held was not given to a device.
        public mutating func cancel(token: UInt64, on id: Connection) {
            let slot = operations.firstIndex { $0?.token == token && $0?.rail.connection == id }
            guard let slot else { return sockets.cancel(token: token, on: id) }
            if operations[slot]?.path == nil { complete(slot, TransportFailure(.cancelled)) }
        }

        mutating func checkDeadlines(_ now: Timestamp) {
            guard now >= earliestDeadline else { return }
            earliestDeadline = .never
            for index in operations.indices {
                guard let operation = operations[index] else { continue }
                if operation.deadline > now {
                    earliestDeadline = min(earliestDeadline, operation.deadline)
                } else if let path = operation.path {
                    breakDown(path, because: "the device did not finish an operation by its deadline")
                } else {
                    complete(index, TransportFailure(.deadlineExceeded))
                }
            }
        }
    }
#endif
