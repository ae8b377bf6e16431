// Parts of the uring transport that need no socket.

import CLinux
import RayCore
import Testing

@testable import RayFabric

@Suite struct UringPartsTests {
    @Test func availabilityNamesTheKernel() throws {
        let text = try UringTransport.availability()
        #expect(text.hasPrefix("Linux ") && text.contains("io_uring with"))
    }

    @Test(arguments: [EPERM, EACCES, ENOSYS])
    func aForbiddenRingIsToldApart(error: Int32) {
        #expect(Ring.error(ofSetup: error).code == .ioUringForbidden)
        #expect(Ring.error(ofSetup: error).errno == error)
        #expect(Ring.error(ofSetup: EMFILE).code == .descriptorLimit)
        #expect(Ring.error(ofSetup: ENOMEM).code == .outOfMemory)
    }

    @Test func aFIFOKeepsItsOrder() {
        var random = SeededRandom(seed: 3)
        var fifo = FIFO<Int>()
        var model: [Int] = []
        for step in 0..<20_000 {
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<9:
                fifo.append(step)
                model.append(step)
            case 9:
                fifo.appendFirst(step)
                model.insert(step, at: 0)
            case 10:
                let removed = fifo.removeAll { $0 % 3 == 0 }
                #expect(removed == model.filter { $0 % 3 == 0 })
                model.removeAll { $0 % 3 == 0 }
            case 11: while let last = fifo.popFirst() { #expect(last == model.removeFirst()) }
            case 12..<20: #expect(fifo.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            case let other: Issue.record("\(other)")
            }
            #expect(fifo.count == model.count && fifo.isEmpty == model.isEmpty)
        }
    }

    @Test func outputKeepsItsBytes() {
        var random = SeededRandom(seed: 4)
        var queue = OutputQueue()
        var model: [UInt8] = []
        for _ in 0..<3_000 {
            if random.chance(0.6) {
                let message = [UInt8](
                    repeating: .random(in: 0...255, using: &random), count: .random(in: 0...3_000, using: &random))
                // SAFETY: bytes have no padding.
                unsafe queue.append(message: message.span.bytes)
                let count = UInt32(message.count)
                model +=
                    [UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8), 0, 0, 1, 0, 0, 0]
                    + message
            } else {
                let count = Int.random(in: 0...model.count, using: &random)
                queue.remove(count)
                model.removeFirst(count)
            }
            let held = unsafe queue.withBytes { unsafe [UInt8]($0) }
            #expect(held == model)
        }
    }

    /// A full buffer is not the end of the stream, as zero bytes from the system would be.
    @Test func aFullInputBufferReadsNothing() throws {
        var numbers: [Int32] = [-1, -1]
        #expect(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &numbers) == 0)
        defer { for number in numbers { close(number) } }
        let buffer = InputBuffer()
        let bytes = [UInt8](repeating: 7, count: 1 << 14)
        while buffer.count < InputBuffer.capacity {
            #expect(unsafe write(numbers[0], bytes, bytes.count) == bytes.count)
            while let count = buffer.receive(from: numbers[1]), count > 0 {}
        }
        #expect(buffer.receive(from: numbers[1]) == nil)
        buffer.consume(100)
        #expect(unsafe write(numbers[0], bytes, 1) == 1)
        #expect(buffer.receive(from: numbers[1]).map { $0 > 0 } == true)
    }

    @Test func lateRepliesToEarlierOperationsAreRecognised() {
        var table = OperationTable()
        let location = RegionLocation(key: RegionKey(rawValue: 1), offset: 0)
        func operation(_ token: UInt64) -> RayFabric.Operation {
            Operation(kind: .read, token: token, local: location, length: 8, deadline: .never)
        }
        let first = table.insert(operation(1))
        table.remove(first)
        let second = table.insert(operation(2))
        #expect(second != first)
        #expect(table[first] == nil)
        table.move(8, of: first)
        table.remove(first)
        #expect(table[second]?.token == 2 && table[second]?.moved == 0)
        table.abandon(second)
        #expect(table.waiting == 0 && table.count == 1 && table.all.isEmpty)
        table.remove(second)
        #expect(table.count == 0 && table.waiting == 0)
    }
}
