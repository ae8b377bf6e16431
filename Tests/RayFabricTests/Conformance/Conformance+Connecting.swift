// Connecting: identity, keys, incarnations, limits.

import RayCore
import RayFabric
import Testing

extension TransportFixture where Endpoint: ~Copyable {
    func connects() throws {
        let pair = try pair()
        #expect(pair.left.endpoint.peer(of: pair.fromLeft) == NodeID(value: 2, incarnation: 1))
        #expect(pair.right.endpoint.peer(of: pair.fromRight) == NodeID(value: 1, incarnation: 1))
        #expect(pair.left.reports == [.connected(pair.fromLeft)])
        #expect(pair.right.reports == [.connected(pair.fromRight)])
    }

    func refused() throws {
        var left = Station(try make(configuration(1)))
        let connection = try left.endpoint.connect(to: deadAddress(), deadline: now() + .seconds(10))
        #expect(left.endpoint.peer(of: connection) == nil)
        try driveAlone(&left, "a refusal") { $0.closure(connection) != nil }
        #expect(left.reports.count == 1)
        #expect(left.closure(connection)?.code == .connectionRefused)
    }

    /// The other end exists and never answers: the deadline holds.
    func unanswered() throws {
        var left = Station(try make(configuration(1)))
        var silent = Station(try make(configuration(2)))
        let address = try silent.endpoint.listen(at: freshAddress())
        let connection = try left.endpoint.connect(to: address, deadline: now() + .milliseconds(50))
        try driveAlone(&left, "the deadline") { $0.closure(connection) != nil }
        #expect(left.reports == [.closed(connection, TransportFailure(.deadlineExceeded))])
        // What was given up in the middle of its handshake harms nobody.
        try settle(&left, &silent)
        #expect(silent.reports == [])
    }

    func wrongKey() throws { try refusesKey(Self.key(2)) }
    func missingKey() throws { try refusesKey(nil) }

    private func refusesKey(_ key: ClusterKey?) throws {
        var first = configuration(1)
        first.clusterKey = key
        var left = Station(try make(first))
        var right = Station(try make(configuration(2)))
        let address = try right.endpoint.listen(at: freshAddress())
        let connection = try left.endpoint.connect(to: address, deadline: now() + .seconds(10))
        try drive(&left, &right, "a refusal") { left, right in
            left.closure(connection) != nil && right.endpoint.statistics.rejected > 0
        }
        #expect(left.closure(connection)?.code == .authenticationFailed)
        #expect(left.connected == [])
        #expect(right.reports == [])
        #expect(right.endpoint.statistics.rejected == 1)
    }

    func invalidAddress() throws {
        var left = Station(try make(configuration(1)))
        let foreign: Address = kind == .loopback ? .unix(path: "/nowhere") : .loopback(name: "nowhere")
        #expect(code { try left.endpoint.listen(at: foreign) } == .addressInvalid)
        #expect(code { try left.endpoint.connect(to: foreign, deadline: .never) } == .addressInvalid)
    }

    func addressInUse() throws {
        var left = Station(try make(configuration(1)))
        var right = Station(try make(configuration(2)))
        let address = try right.endpoint.listen(at: freshAddress())
        #expect(code { try left.endpoint.listen(at: address) } == .addressInUse)
    }

    /// A restarted node takes the place of what it was before.
    func newIncarnation() throws {
        var pair = try pair()
        var restarted = Station(try make(configuration(1, incarnation: 2)))
        let new = try connect(&restarted, to: &pair.right, at: pair.address)
        try drive(&pair.left, &pair.right, "the end of the old connection") { left, right in
            right.closure(pair.fromRight) != nil && left.closure(pair.fromLeft) != nil
        }
        #expect(pair.right.closure(pair.fromRight)?.code == .staleIncarnation)
        #expect(pair.right.endpoint.peer(of: new.right) == NodeID(value: 1, incarnation: 2))
        #expect(pair.right.endpoint.peer(of: pair.fromRight) == nil)
        #expect(try restarted.send([1, 2, 3], on: new.left))
        try drive(&restarted, &pair.right, "a message of the new one") { _, right in right.messages == [[1, 2, 3]] }
    }

    /// A straggler of an older incarnation is refused, also when the newer one is gone.
    func oldIncarnation() throws {
        var right = Station(try make(configuration(2)))
        let address = try right.endpoint.listen(at: freshAddress())
        var newer = Station(try make(configuration(1, incarnation: 7)))
        let kept = try connect(&newer, to: &right, at: address)
        var older = Station(try make(configuration(1, incarnation: 6)))
        for isNewerGone in [false, true] {
            if isNewerGone {
                newer.endpoint.close(kept.left)
                try drive(&newer, &right, "the close") { _, right in right.closure(kept.right) != nil }
            }
            let connection = try older.endpoint.connect(to: address, deadline: now() + .seconds(10))
            try drive(&older, &right, "a refusal") { older, _ in older.closure(connection) != nil }
            #expect(older.closure(connection)?.code == .staleIncarnation)
            #expect(right.connected == [kept.right])
        }
        #expect(right.endpoint.statistics.rejected == 2)
    }

    func reconnect() throws {
        var pair = try pair()
        for round in 0..<5 {
            let last = pair.left.connected[round]
            pair.left.endpoint.close(last)
            try drive(&pair.left, &pair.right, "the close") { left, right in
                left.closure(last) != nil && right.closure(right.connected[round]) != nil
            }
            let next = try connect(&pair.left, to: &pair.right, at: pair.address)
            #expect(next.left != last)
            #expect(try pair.left.send([UInt8(round)], on: next.left))
            try drive(&pair.left, &pair.right, "a message") { $1.messages.last == [UInt8(round)] }
        }
    }

    // MARK: Limits

    func connectionLimit() throws {
        try refusesThird { $0.maximumConnections = 2 }
    }

    func peerLimit() throws {
        try refusesThird { $0.maximumConnectionsPerPeer = 2 }
    }

    /// The listener takes two connections, refuses the third, and takes it once there is room.
    private func refusesThird(_ adjust: (inout TransportConfiguration) -> Void) throws {
        var second = configuration(2)
        adjust(&second)
        var left = Station(try make(configuration(1)))
        var right = Station(try make(second))
        let address = try right.endpoint.listen(at: freshAddress())
        let first = try connect(&left, to: &right, at: address)
        _ = try connect(&left, to: &right, at: address)
        let third = try left.endpoint.connect(to: address, deadline: now() + .seconds(10))
        try drive(&left, &right, "a refusal") { left, _ in left.closure(third) != nil }
        #expect(left.closure(third)?.code == .connectionLimit)
        #expect(right.endpoint.statistics.rejected == 1)
        left.endpoint.close(first.left)
        try drive(&left, &right, "the close") { _, right in right.closure(first.right) != nil }
        let again = try connect(&left, to: &right, at: address)
        #expect(right.endpoint.peer(of: again.right) == NodeID(value: 1, incarnation: 1))
    }

    func ownLimit() throws {
        let address: Address
        var pair = try pair { $0.maximumConnections = 1 }
        address = pair.address
        #expect(code { try pair.left.endpoint.connect(to: address, deadline: .never) } == .connectionLimit)
    }

    /// Silent strangers take the room for half-open connections, but not for long.
    func halfOpenLimit() throws {
        var second = configuration(2)
        second.maximumHalfOpen = 2
        second.handshakeTimeout = .milliseconds(200)
        var right = Station(try make(second))
        let address = try right.endpoint.listen(at: freshAddress())
        var firstStranger = try Stranger(to: address, of: self)
        var secondStranger = try Stranger(to: address, of: self)
        var left = Station(try make(configuration(1)))
        let begun = now()
        try settle(&left, &right, for: .milliseconds(20))
        var connection: Connection?
        while connection.map({ left.connected.contains($0) }) != true {
            guard now() - begun < .seconds(20) else { throw Overdue(description: "\(kind): room for a connection") }
            let next = try left.endpoint.connect(to: address, deadline: now() + .milliseconds(500))
            try drive(&left, &right, "an answer") { left, _ in
                left.connected.contains(next) || left.closure(next) != nil
            }
            if left.closure(next) != nil { try settle(&left, &right, for: .milliseconds(10)) }
            connection = next
        }
        #expect(right.endpoint.statistics.rejected >= 2)
        #expect(right.connected.count == 1)
        firstStranger.leave()
        secondStranger.leave()
    }

    /// Whoever speaks another protocol is cut off, and the listener goes on.
    func garbage() throws {
        let hostile: [[UInt8]] = [
            Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8),
            [UInt8](repeating: 0xff, count: 4096),
            [UInt8](repeating: 0, count: 4096),
            [1],
        ]
        var right = Station(try make(configuration(2)))
        let address = try right.endpoint.listen(at: freshAddress())
        guard address.isSocket else { return }
        var left = Station(try make(configuration(1)))
        for (index, bytes) in hostile.enumerated() {
            var stranger = try Stranger(to: address, of: self)
            stranger.send(bytes)
            try settle(&left, &right, for: .milliseconds(20))
            stranger.leave()
            try drive(&left, &right, "a rejection") { _, right in
                right.endpoint.statistics.rejected == UInt64(index + 1)
            }
        }
        #expect(right.reports == [])
        _ = try connect(&left, to: &right, at: address)
    }
}

/// The code of the error that `body` throws; nil if it throws none.
func code<Value>(_ body: () throws -> Value) -> FabricError.Code? {
    do {
        _ = try body()
        return nil
    } catch {
        return (error as? FabricError)?.code
    }
}
