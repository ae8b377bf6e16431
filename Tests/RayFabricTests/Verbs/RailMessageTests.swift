// What rails tell each other, and the frames of their streams.

import RayCore
import Testing

@testable import RayFabric

@Suite struct RailMessageTests {
    private static let invitation = RailInvitation(port: RailPort(high: 1, low: 2), service: 3)
    private static let region = RailRegion(
        key: RegionKey(rawValue: 7), offset: 8, length: 9, access: [.read, .write], address: 10, remoteKey: 11)

    @Test func whatIsWrittenIsRead() throws {
        let messages: [RailMessage] = [
            .offer(operations: Self.invitation, messages: Self.invitation), .decline(.rdmaUnavailable), .ready,
            .region(path: 3, Self.region), .regionGone(RegionKey(rawValue: 12)), .broken, .received(13),
            .notification(14),
            .ports([]), .ports((1...3).map { RailPort(high: $0, low: 7) }),
            .path(15, to: RailPort(high: 16, low: 17)), .invited(path: 18, Self.invitation), .pathReady(19),
            .pathBroken(20), .refused(RegionKey(rawValue: 21), .lockedMemoryLimit), .registered(path: 22),
        ]
        for message in messages {
            let bytes = message.encoded()
            #expect(try RailMessage(decoding: unsafe bytes.span.bytes) == message)
            for count in 0..<bytes.count {
                let short = Array(bytes[..<count])
                #expect(throws: WireError.self) { try RailMessage(decoding: unsafe short.span.bytes) }
            }
        }
    }

    @Test(arguments: [0, 1, RailMessage.restBytes]) func restsHaveAnyLength(count: Int) throws {
        let message = RailMessage.rest(Array(repeating: 9, count: count))
        let bytes = message.encoded()
        #expect(bytes.count <= RailMessage.maximumBytes)
        #expect(try RailMessage(decoding: unsafe bytes.span.bytes) == message)
    }

    @Test func whatNobodySendsIsRefused() {
        var region = Self.region
        region.offset = .max
        var invitation = Self.invitation
        invitation.service = 0
        for message in [
            RailMessage.region(path: 0, region), .invited(path: 1, invitation),
            .offer(operations: invitation, messages: Self.invitation),
            .offer(operations: Self.invitation, messages: invitation),
        ] {
            let bytes = message.encoded()
            #expect(throws: WireError.self) { try RailMessage(decoding: unsafe bytes.span.bytes) }
        }
        let unknown: [UInt8] = [77]
        #expect(throws: WireError.self) { try RailMessage(decoding: unsafe unknown.span.bytes) }
    }
}

@Suite struct RailStreamTests {
    /// All frames of a stream that arrives in packets of these sizes, in turn.
    private func frames(_ stream: [UInt8], packets sizes: [Int]) throws -> [(RailFrameHead.Kind, [UInt8])] {
        var parser = RailStreamParser()
        var assembled: [UInt8] = []
        var found: [(RailFrameHead.Kind, [UInt8])] = []
        var (start, turn) = (0, 0)
        while start < stream.count {
            let packet = Array(stream[start..<min(start + sizes[turn % sizes.count], stream.count)])
            (start, turn) = (start + packet.count, turn + 1)
            var cursor = 0
            while let frame = try parser.next(in: unsafe packet.span.bytes, at: &cursor, into: &assembled) {
                switch frame {
                case .inPlace(let kind, let range): found.append((kind, Array(packet[range])))
                case .assembled(let kind): found.append((kind, Array(assembled[RailFrameHead.byteCount...])))
                }
            }
            #expect(cursor == packet.count)
        }
        return found
    }

    private func bytes(_ kind: RailFrameHead.Kind, _ payload: [UInt8]) -> [UInt8] {
        let head = RailFrameHead(kind, length: payload.count).rawValue
        return (0..<4).map { UInt8(truncatingIfNeeded: head >> ($0 * 8)) } + payload
    }

    @Test func framesAreFoundHoweverTheyAreCut() throws {
        let sent: [(RailFrameHead.Kind, [UInt8])] = [
            (.message, []), (.message, [1]), (.control, [2, 3]), (.message, Array(4...90)), (.finish, []),
        ]
        let stream = sent.flatMap { bytes($0.0, $0.1) }
        for sizes in [[1], [2], [3], [5], [7], [1, 30], [1000], [4], [60, 1]] {
            let found = try frames(stream, packets: sizes)
            #expect(found.map(\.0) == sent.map(\.0), "\(sizes)")
            #expect(found.map(\.1) == sent.map(\.1), "\(sizes)")
        }
    }

    @Test func aFrameThatIsTooLongIsRefusedBeforeItIsKept() {
        let tooLong = [
            RailFrameHead(.message, length: WireLimits.messageBytes + 1),
            RailFrameHead(.control, length: RailMessage.maximumBytes + 1), RailFrameHead(.finish, length: 1),
        ].map(\.rawValue)
        for head in tooLong + [3 << 30] {
            let stream = (0..<4).map { UInt8(truncatingIfNeeded: head >> ($0 * 8)) }
            for sizes in [[1], [4]] {
                #expect(throws: WireError.self) { _ = try frames(stream, packets: sizes) }
            }
        }
    }
}
