// The uring transport with many peers, most of them idle.

import RayCore
import RayFabric
import Testing

private let peers = 64
private let connectionsPerPeer = 16

/// A listener and the peers connected to it, all driven by one thread.
private final class Crowd {
    var hub: Station<UringTransport>
    var stations: [Box] = []
    /// By peer, then in the order of connecting.
    var links: [[Connection]] = []

    final class Box {
        var station: Station<UringTransport>
        init(_ station: consuming Station<UringTransport>) { self.station = station }
    }

    init(_ hub: consuming Station<UringTransport>) { self.hub = hub }

    static func gather() throws -> Crowd {
        let crowd = Crowd(Station(try UringTransport(configuration: configuration(1))))
        let address = try crowd.hub.endpoint.listen(at: .tcp(host: "127.0.0.1", port: 0))
        for peer in 0..<peers { try crowd.add(peer, address) }
        return crowd
    }

    private func add(_ peer: Int, _ address: Address) throws {
        let box = Box(Station(try UringTransport(configuration: Self.configuration(UInt64(peer) + 2))))
        links.append([])
        for _ in 0..<connectionsPerPeer {
            links[peer].append(try box.station.endpoint.connect(to: address, deadline: .now + .seconds(20)))
        }
        stations.append(box)
        try drive("connections of peer \(peer)") { crowd in
            crowd.stations[peer].station.connected.count == connectionsPerPeer
                && crowd.hub.connected.count == (peer + 1) * connectionsPerPeer
        }
    }

    private static func configuration(_ value: UInt64) -> TransportConfiguration {
        var configuration = TransportConfiguration(identity: NodeID(value: value, incarnation: 1))
        configuration.spin = .zero
        configuration.heartbeatInterval = .seconds(60)
        configuration.livenessTimeout = .seconds(120)
        return configuration
    }

    /// Polls everybody in turn until `isDone`.
    func drive(_ purpose: String, until isDone: (Crowd) -> Bool) throws {
        let end = Timestamp.now + .seconds(30)
        while true {
            hub.drain()
            for box in stations { box.station.drain() }
            if isDone(self) { return }
            guard Timestamp.now < end else { throw Overdue(description: purpose) }
        }
    }
}

@Suite(.serialized) struct UringScaleTests {
    @Test func idleConnectionsCostNothing() throws {
        let crowd = try Crowd.gather()
        // One of each peer's connections is used, 960 are not.
        for peer in 0..<peers {
            #expect(try crowd.stations[peer].station.send([UInt8(peer)], on: crowd.links[peer][0]))
        }
        try crowd.drive("a message of each peer") { $0.hub.messages.count == peers }
        #expect(Set(crowd.hub.messages) == Set((0..<peers).map { [UInt8($0)] }))

        // Quiet: a sleep of the hub is a few system calls, whatever the number of connections.
        let quiet = Timestamp.now + .milliseconds(50)
        while Timestamp.now < quiet { crowd.hub.endpoint.wait(until: quiet) }
        let before = crowd.hub.endpoint.statistics.systemCalls
        crowd.hub.endpoint.wait(until: .now + .milliseconds(20))
        crowd.hub.drain()
        #expect(crowd.hub.endpoint.statistics.systemCalls - before < 10)

        // One busy connection among the idle ones costs what it would cost alone.
        let rounds = 200
        let start = crowd.hub.endpoint.statistics.systemCalls
        var polls = 0
        for round in 0..<rounds {
            #expect(try crowd.stations[0].station.send([1], on: crowd.links[0][0]))
            let box = crowd.stations[0]
            let end = Timestamp.now + .seconds(10)
            while crowd.hub.messages.count < peers + round + 1 {
                box.station.drain()
                crowd.hub.drain()
                polls += 1
                guard Timestamp.now < end else { throw Overdue(description: "message \(round)") }
            }
        }
        let calls = crowd.hub.endpoint.statistics.systemCalls - start
        #expect(calls < UInt64(polls) * 8, "\(calls) system calls in \(polls) rounds")
    }

    @Test func allConnectionsWorkAtOnce() throws {
        let crowd = try Crowd.gather()
        for peer in 0..<peers {
            for (index, link) in crowd.links[peer].enumerated() {
                for count in 0..<4 {
                    #expect(
                        try crowd.stations[peer].station.send([UInt8(peer), UInt8(index), UInt8(count)], on: link))
                }
            }
        }
        let expected = peers * connectionsPerPeer * 4
        try crowd.drive("all messages") { $0.hub.messages.count == expected }
        var next: [[UInt8]: UInt8] = [:]
        for message in crowd.hub.messages {
            #expect(message[2] == next[Array(message.prefix(2)), default: 0], "out of order")
            next[Array(message.prefix(2))] = message[2] + 1
        }
        // And they all end when the hub ends.
        for connection in crowd.hub.connected { crowd.hub.endpoint.close(connection) }
        try crowd.drive("all ends") { crowd in
            crowd.stations.allSatisfy { box in
                box.station.reports.count { if case .closed = $0 { true } else { false } } == connectionsPerPeer
            }
        }
    }
}
