// In which pieces memory is registered.

import RayCore
import Testing

@testable import RayFabric

@Suite struct RegistrationQueueTests {
    private static let (first, second) = (RegionKey(rawValue: 1), RegionKey(rawValue: 2))

    private typealias Piece = RegistrationQueue.Piece

    /// All pieces that come out.
    private func pieces(_ queue: RegistrationQueue, most count: UInt64 = .max) -> [Piece] {
        var queue = queue
        var pieces: [Piece] = []
        while let piece = queue.next(most: count) { pieces.append(piece) }
        #expect(queue.isEmpty)
        return pieces
    }

    @Test func longRangesAreCut() {
        var queue = RegistrationQueue()
        queue.append(Self.first, 10..<35)
        queue.append(Self.first, 7..<7)
        queue.append(Self.second, 0..<10)
        #expect(!queue.isEmpty)
        #expect(
            pieces(queue, most: 10) == [
                Piece(key: Self.first, range: 10..<20, isCut: true),
                Piece(key: Self.first, range: 20..<30, isCut: true),
                Piece(key: Self.first, range: 30..<35, isCut: false),
                Piece(key: Self.second, range: 0..<10, isCut: false),
            ])
    }

    /// Only what was cut off, not what was appended next.
    @Test func theRestOfARangeIsDropped() throws {
        var queue = RegistrationQueue()
        queue.append(Self.first, 0..<30)
        queue.append(Self.first, 30..<40)
        queue.append(Self.first, 40..<50)
        for _ in 1...2 {
            let piece = queue.next(most: 10)
            queue.dropRest(of: try #require(piece))
        }
        #expect(pieces(queue) == [Piece(key: Self.first, range: 40..<50, isCut: false)])
    }

    @Test func regionsAreTakenOut() {
        var queue = RegistrationQueue()
        queue.append(Self.first, 0..<10)
        queue.append(Self.second, 0..<10)
        queue.append(Self.first, 20..<30)
        queue.remove(Self.first)
        #expect(pieces(queue) == [Piece(key: Self.second, range: 0..<10, isCut: false)])
    }

    private static let parts: [(part: Range<UInt64>, rest: [Range<UInt64>])] = [
        (5..<8, [0..<5, 8..<10, 20..<30]), (0..<10, [20..<30]), (8..<22, [0..<8, 22..<30]),
        (10..<20, [0..<10, 20..<30]), (0..<40, []),
    ]

    @Test(arguments: parts)
    func partsAreTakenOut(_ part: Range<UInt64>, _ rest: [Range<UInt64>]) {
        var queue = RegistrationQueue()
        queue.append(Self.first, 0..<10)
        queue.append(Self.first, 20..<30)
        queue.append(Self.second, 0..<30)
        queue.remove(Self.first, part)
        let left = pieces(queue)
        #expect(left.filter { $0.key == Self.first }.map(\.range).sorted { $0.lowerBound < $1.lowerBound } == rest)
        #expect(left.filter { $0.key == Self.second }.map(\.range) == [0..<30])
    }
}
