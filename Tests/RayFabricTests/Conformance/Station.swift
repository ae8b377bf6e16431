// An endpoint under test with all that it has reported, and the loops that drive two of them.

import RayCore
import RayFabric
import Testing

/// What an endpoint reported; a message with its bytes.
enum Report: Equatable {
    case connected(Connection)
    case message(Connection, [UInt8])
    case completed(Connection, token: UInt64, failure: TransportFailure?)
    case notified(Connection, UInt64)
    case writable(Connection)
    case finished(Connection)
    case closed(Connection, TransportFailure)
}

/// A test waited longer than it may; says for what.
struct Overdue: Error, CustomStringConvertible {
    let description: String
}

/// Owns an endpoint and writes down what it reports.
struct Station<Endpoint: Transport & ~Copyable>: ~Copyable {
    var endpoint: Endpoint
    var reports: [Report] = []
    var revoked: [RegionKey] = []
    /// While true, messages are counted and checked for order instead of being kept.
    var countsMessages = false
    var messageCount = 0
    var outOfOrder = 0

    init(_ endpoint: consuming Endpoint) { self.endpoint = endpoint }

    /// Polls until there is nothing more, at most `limit` events.
    /// - Returns: whether there was any event.
    @discardableResult
    mutating func drain(limit: Int = 4096) -> Bool {
        for count in 0..<limit {
            guard let event = endpoint.poll() else { return count > 0 }
            record(event)
        }
        return true
    }

    private mutating func record(_ event: TransportEvent) {
        switch event {
        case .connected(let connection): reports.append(.connected(connection))
        case .message(let connection): recordMessage(connection)
        case .completed(let connection, let token, let failure):
            reports.append(.completed(connection, token: token, failure: failure))
        case .notified(let connection, let value): reports.append(.notified(connection, value))
        case .revoked(let key): revoked.append(key)
        case .writable(let connection): reports.append(.writable(connection))
        case .finished(let connection): reports.append(.finished(connection))
        case .closed(let connection, let failure): reports.append(.closed(connection, failure))
        }
    }

    private mutating func recordMessage(_ connection: Connection) {
        let message = endpoint.message
        if countsMessages {
            // A counted message begins with its number.
            var reader = WireReader(message)
            if (try? reader.uint64()) != UInt64(messageCount) { outOfOrder += 1 }
            messageCount += 1
        } else {
            reports.append(.message(connection, unsafe message.withUnsafeBytes { unsafe [UInt8]($0) }))
        }
    }

    // MARK: What was reported

    var connected: [Connection] {
        reports.compactMap { if case .connected(let connection) = $0 { connection } else { nil } }
    }

    var messages: [[UInt8]] {
        reports.compactMap { if case .message(_, let bytes) = $0 { bytes } else { nil } }
    }

    var notifications: [UInt64] {
        reports.compactMap { if case .notified(_, let value) = $0 { value } else { nil } }
    }

    var completions: [(token: UInt64, failure: TransportFailure?)] {
        reports.compactMap { if case .completed(_, let token, let failure) = $0 { (token, failure) } else { nil } }
    }

    func isCompleted(_ token: UInt64) -> Bool { completions.contains { $0.token == token } }
    /// Why an operation failed; nil if it did not, or has not ended.
    func failure(_ token: UInt64) -> FabricError.Code? {
        completions.first { $0.token == token }.flatMap(\.failure)?.code
    }

    func isWritable(_ connection: Connection) -> Bool { reports.contains(.writable(connection)) }
    func isFinished(_ connection: Connection) -> Bool { reports.contains(.finished(connection)) }

    /// Why a connection ended: nil while it has not.
    func closure(_ connection: Connection) -> TransportFailure? {
        for case .closed(connection, let failure) in reports { return failure }
        return nil
    }

    /// How many of the reports are the `closed` of this connection.
    func closureCount(_ connection: Connection) -> Int {
        reports.count { if case .closed(connection, _) = $0 { true } else { false } }
    }

    // MARK: Short forms of calls

    mutating func send(_ bytes: [UInt8], on connection: Connection) throws -> Bool {
        // SAFETY: bytes have no padding.
        try endpoint.send(unsafe bytes.span.bytes, on: connection)
    }

    mutating func read(
        _ remote: RegionLocation, into local: RegionLocation, _ length: Int, on connection: Connection,
        token: UInt64, deadline: Timestamp = .never
    ) throws -> Bool {
        try endpoint.read(remote, into: local, length: length, on: connection, token: token, deadline: deadline)
    }

    mutating func write(
        _ local: RegionLocation, to remote: RegionLocation, _ length: Int, notification: UInt64? = nil,
        on connection: Connection, token: UInt64, deadline: Timestamp = .never
    ) throws -> Bool {
        try endpoint.write(
            local, to: remote, length: length, notification: notification, on: connection, token: token,
            deadline: deadline)
    }
}

extension TransportFixture where Endpoint: ~Copyable {
    typealias Peer = Station<Endpoint>

    /// Polls two endpoints in turn until `isDone`.
    /// - Throws: `Overdue` when that takes longer than `limit`.
    func drive(
        _ left: inout Peer, _ right: inout Peer, _ purpose: String, within limit: Duration = .seconds(20),
        until isDone: (borrowing Peer, borrowing Peer) -> Bool
    ) throws {
        let end = now() + limit
        while true {
            let leftMoved = left.drain()
            let rightMoved = right.drain()
            if isDone(left, right) { return }
            guard now() < end else { throw Overdue(description: "\(kind): \(purpose)") }
            // A short wait, by turns, lets time pass without holding up the other one for long.
            if !leftMoved, !rightMoved {
                left.endpoint.wait(until: now() + .microseconds(50))
                right.endpoint.wait(until: now() + .microseconds(50))
            }
        }
    }

    /// Polls one endpoint until `isDone`; the others get no turn.
    func driveAlone(
        _ station: inout Peer, _ purpose: String, within limit: Duration = .seconds(20),
        until isDone: (borrowing Peer) -> Bool
    ) throws {
        let end = now() + limit
        while true {
            let moved = station.drain()
            if isDone(station) { return }
            guard now() < end else { throw Overdue(description: "\(kind): \(purpose)") }
            if !moved { station.endpoint.wait(until: min(end, now() + .milliseconds(5))) }
        }
    }

    /// Polls two endpoints for a while, whatever they report.
    func settle(_ left: inout Peer, _ right: inout Peer, for time: Duration = .milliseconds(30)) throws {
        let end = now() + time
        try drive(&left, &right, "settle") { _, _ in now() >= end }
    }

    /// Connects `left` to `right`, which listens at `address`.
    /// - Returns: the connection as each of them names it.
    func connect(
        _ left: inout Peer, to right: inout Peer, at address: Address
    ) throws -> (left: Connection, right: Connection) {
        let before = right.connected.count
        let connection = try left.endpoint.connect(to: address, deadline: now() + .seconds(10))
        try drive(&left, &right, "connect") { left, right in
            (left.connected.contains(connection) && right.connected.count > before)
                || left.closure(connection) != nil
        }
        if let failure = left.closure(connection) { throw Overdue(description: "\(kind): not connected: \(failure)") }
        return (connection, right.connected[before])
    }

    /// Two endpoints, node 1 connected to node 2.
    func pair(
        _ adjust: (inout TransportConfiguration) -> Void = { _ in }
    ) throws -> Pair<Endpoint> {
        var first = configuration(1)
        var second = configuration(2)
        adjust(&first)
        adjust(&second)
        var left = Station(try make(first))
        var right = Station(try make(second))
        let address = try right.endpoint.listen(at: freshAddress())
        let connections = try connect(&left, to: &right, at: address)
        return Pair(
            left: left, right: right, address: address, fromLeft: connections.left, fromRight: connections.right)
    }
}

/// Two connected stations; the right one listens.
struct Pair<Endpoint: Transport & ~Copyable>: ~Copyable {
    var left: Station<Endpoint>
    var right: Station<Endpoint>
    let address: Address
    /// The connection as the left one names it.
    let fromLeft: Connection
    let fromRight: Connection

    init(
        left: consuming Station<Endpoint>, right: consuming Station<Endpoint>, address: Address,
        fromLeft: Connection, fromRight: Connection
    ) {
        self.left = left
        self.right = right
        self.address = address
        self.fromLeft = fromLeft
        self.fromRight = fromRight
    }
}
