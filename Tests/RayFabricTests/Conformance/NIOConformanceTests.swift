// The conformance suite on the nio transport, alone and against uring on the same wire.

#if NIO
    import RayCore
    import RayFabric
    import Testing

    @Suite(.serialized) struct NIOConformanceTests {
        @Test(arguments: ConformanceTest.allCases) func nio(_ test: ConformanceTest) throws {
            try test.run(
                on: fixture(.nio) { configuration throws(FabricError) in try NIOTransport(configuration: configuration)
                })
        }

        /// Odd nodes, which connect in most tests, are uring, and even ones nio.
        @Test(arguments: ConformanceTest.allCases) func uringToNIO(_ test: ConformanceTest) throws {
            try test.run(
                on: fixture(.nio) { configuration throws(FabricError) in
                    try MixedTransport(configuration, isURing: configuration.identity.value % 2 == 1)
                })
        }

        @Test(arguments: ConformanceTest.allCases) func nioToURing(_ test: ConformanceTest) throws {
            try test.run(
                on: fixture(.uring) { configuration throws(FabricError) in
                    try MixedTransport(configuration, isURing: configuration.identity.value % 2 == 0)
                })
        }

        private func fixture<Endpoint: Transport & SendableMetatype & ~Copyable>(
            _ kind: TransportKind, make: @escaping @Sendable (TransportConfiguration) throws(FabricError) -> Endpoint
        ) -> TransportFixture<Endpoint> {
            TransportFixture(
                kind: kind, make: make,
                freshAddress: { .tcp(host: "127.0.0.1", port: 0) },
                // The discard port, where no test machine listens.
                deadAddress: { .tcp(host: "127.0.0.1", port: 9) },
                now: { .now })
        }
    }

    /// Either of the two transports that speak the TCP protocol. Exactly one of the two is there.
    private struct MixedTransport: ~Copyable, Transport {
        private var uring: UringTransport?
        private var nio: NIOTransport?
        private let isURing: Bool
        private let sharedWaker: Waker

        init(_ configuration: TransportConfiguration, isURing: Bool) throws(FabricError) {
            self.isURing = isURing
            if isURing {
                let made = try UringTransport(configuration: configuration)
                sharedWaker = made.waker
                uring = consume made
                nio = nil
            } else {
                let made = try NIOTransport(configuration: configuration)
                sharedWaker = made.waker
                nio = consume made
                uring = nil
            }
        }

        var maximumMessageBytes: Int {
            switch uring {
            case .some(let uring): uring.maximumMessageBytes
            case .none: WireLimits.messageBytes
            }
        }

        var waker: Waker { sharedWaker }

        var statistics: TransportStatistics {
            switch uring {
            case .some(let uring): return uring.statistics
            case .none: break
            }
            switch nio {
            case .some(let nio): return nio.statistics
            case .none: return TransportStatistics()
            }
        }

        var message: RawSpan {
            @_lifetime(borrow self) get {
                // SAFETY: the bytes belong to a part of self.
                switch uring {
                case .some(let uring): return unsafe _overrideLifetime(uring.message, borrowing: self)
                case .none: break
                }
                switch nio {
                case .some(let nio): return unsafe _overrideLifetime(nio.message, borrowing: self)
                case .none: return RawSpan()
                }
            }
        }

        func peer(of connection: Connection) -> NodeID? {
            switch uring {
            case .some(let uring): return uring.peer(of: connection)
            case .none: break
            }
            switch nio {
            case .some(let nio): return nio.peer(of: connection)
            case .none: return nil
            }
        }

        mutating func listen(at address: Address) throws(FabricError) -> Address {
            isURing ? try uring!.listen(at: address) : try nio!.listen(at: address)
        }

        mutating func connect(to address: Address, deadline: Timestamp) throws(FabricError) -> Connection {
            isURing
                ? try uring!.connect(to: address, deadline: deadline)
                : try nio!.connect(to: address, deadline: deadline)
        }

        mutating func register(
            _ memory: UnsafeMutableRawBufferPointer, access: RemoteAccess
        ) throws(FabricError) -> RegionKey {
            isURing
                ? try unsafe uring!.register(memory, access: access) : try unsafe nio!.register(memory, access: access)
        }

        mutating func deregister(_ key: RegionKey) {
            if isURing { uring!.deregister(key) } else { nio!.deregister(key) }
        }

        mutating func grant(
            _ part: RegionLocation, length: Int, to connection: Connection
        ) throws(FabricError) -> RegionKey? {
            isURing
                ? try uring!.grant(part, length: length, to: connection)
                : try nio!.grant(part, length: length, to: connection)
        }

        mutating func send(_ message: RawSpan, on connection: Connection) throws(FabricError) -> Bool {
            isURing ? try uring!.send(message, on: connection) : try nio!.send(message, on: connection)
        }

        mutating func read(
            _ remote: RegionLocation, into local: RegionLocation, length: Int, on connection: Connection, token: UInt64,
            deadline: Timestamp
        ) throws(FabricError) -> Bool {
            isURing
                ? try uring!.read(remote, into: local, length: length, on: connection, token: token, deadline: deadline)
                : try nio!.read(remote, into: local, length: length, on: connection, token: token, deadline: deadline)
        }

        mutating func write(
            _ local: RegionLocation, to remote: RegionLocation, length: Int, notification: UInt64?,
            on connection: Connection, token: UInt64, deadline: Timestamp
        ) throws(FabricError) -> Bool {
            isURing
                ? try uring!.write(
                    local, to: remote, length: length, notification: notification, on: connection, token: token,
                    deadline: deadline)
                : try nio!.write(
                    local, to: remote, length: length, notification: notification, on: connection, token: token,
                    deadline: deadline)
        }

        mutating func cancel(token: UInt64, on connection: Connection) {
            if isURing {
                uring!.cancel(token: token, on: connection)
            } else {
                nio!.cancel(token: token, on: connection)
            }
        }

        mutating func finish(_ connection: Connection) {
            if isURing { uring!.finish(connection) } else { nio!.finish(connection) }
        }

        mutating func close(_ connection: Connection) {
            if isURing { uring!.close(connection) } else { nio!.close(connection) }
        }

        mutating func poll() -> TransportEvent? { isURing ? uring!.poll() : nio!.poll() }

        mutating func wait(until deadline: Timestamp) {
            if isURing { uring!.wait(until: deadline) } else { nio!.wait(until: deadline) }
        }
    }
#endif
