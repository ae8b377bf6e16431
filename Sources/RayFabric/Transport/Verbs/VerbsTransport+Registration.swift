// Memory is shown to a device that is opened in steps, with the rest of the work in between; and operations that name
// what is still to come are held where nothing else may do them.

#if Verbs
    internal import RayCore

    extension VerbsTransport {
        // MARK: In steps

        /// Lets a device that was opened be shown all memory, and begins.
        mutating func registerAll(on index: Int) {
            var queue = RegistrationQueue()
            for (key, registration) in registered.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                let parts = registration.parts.sorted { $0.lowerBound < $1.lowerBound }
                let whole = 0..<UInt64(unsafe sockets.regions.whole(key)?.count ?? 0)
                for range in parts.isEmpty ? [whole] : parts { queue.append(key, range) }
            }
            devices[index].unregistered = queue
            isRegistering = true
            registerStep(on: index)
        }

        /// One step for each device that is to be shown more memory.
        mutating func registerSome() {
            for index in devices.indices where devices[index].unregistered != nil {
                registerStep(on: index)
                guard devices[index].unregistered == nil else { continue }
                for rail in rails.all {
                    for path in rail.paths where path.device === devices[index] && path.isConnected {
                        say(.registered(path: path.number), rail)
                    }
                }
            }
            isRegistering = devices.contains { $0.unregistered != nil }
        }

        mutating func registerStep(on index: Int) {
            var left = registrationStep
            while left > 0, let piece = devices[index].unregistered?.next(most: left) {
                left -= piece.range.upperBound - piece.range.lowerBound
                guard let access = registered[piece.key]?.access else { continue }
                announce(piece.key, access, range: piece.range, on: index)
                // A region that has no memory, or more than may be locked.
                if refusals[piece.key] != nil { devices[index].unregistered?.dropRest(of: piece) }
            }
            if devices[index].unregistered?.isEmpty == true { devices[index].unregistered = nil }
        }

        /// Shows a device what it is not yet to be shown of a range, because it is needed.
        mutating func registerNow(_ key: RegionKey, _ range: Range<UInt64>, on index: Int) {
            guard devices[index].unregistered != nil, let access = registered[key]?.access else { return }
            devices[index].unregistered?.remove(key, range)
            for gap in memory[index].gaps(of: key, in: range) { announce(key, access, range: gap, on: index) }
        }

        // MARK: What waits for it

        /// Whether an operation of a connection that no path can do may have to wait for memory, here or at the peer.
        func mustWait(_ rail: Rail) -> Bool {
            policy == .required && rail.state == .open
                && rail.paths.contains { path in
                    path.isOpen && (!path.peerHasRegistered || path.device?.unregistered != nil)
                }
        }

        /// Keeps an operation until its memory is known.
        mutating func hold(_ operation: RailOperation) {
            var operation = operation
            (operation.path, operation.slices) = (nil, [])
            _ = store(operation)
            held += 1
        }

        /// Starts what was held and need not wait any more.
        mutating func resumeHeld() {
            let now = Timestamp.now
            for slot in operations.indices where held > 0 {
                guard let operation = operations[slot], operation.path == nil, operation.rail.state == .open else {
                    continue
                }
                let rail = operation.rail
                let choice = choosePath(
                    operation.isRead, rail, operation.local, operation.remote, operation.length, now)
                guard choice != nil || !mustWait(rail) else { continue }
                _ = take(slot)
                if let (path, slices) = choice {
                    begin(operation, path, slices, now)
                } else if let error = obstacle(operation.local, operation.remote, rail) {
                    report(operation, TransportFailure(error.code, errno: error.errno))
                } else {
                    passToSockets(operation)
                }
            }
        }
    }
#endif
