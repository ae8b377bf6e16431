// What identifiers and the wire codec cost. Each iteration does a thousand operations ("kilo").

import Benchmark
import RayCore

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock, .throughput], scalingFactor: .kilo, maxDuration: .seconds(2))
    identifierBenchmarks()
    codecBenchmarks()
}

private let node = NodeID(value: 0x0123_4567_89ab_cdef, incarnation: 3)

private func object(_ sequence: Int) -> ObjectID {
    ObjectID(owner: WorkerID(node: node, number: 7), sequence: UInt64(sequence))
}

private func identifierBenchmarks() {
    Benchmark("ObjectID in a set: look up") { benchmark in
        let known = Set((0..<1000).map(object))
        benchmark.startMeasurement()
        for sequence in benchmark.scaledIterations { blackHole(known.contains(object(sequence))) }
    }
    Benchmark("ObjectID: compare") { benchmark in
        let other = object(500)
        for sequence in benchmark.scaledIterations { blackHole(object(sequence) < other) }
    }
    Benchmark("ObjectID: text") { benchmark in
        for sequence in benchmark.scaledIterations { blackHole(object(sequence).description) }
    }
    Benchmark("ObjectID: parse") { benchmark in
        let text = object(1).description
        for _ in benchmark.scaledIterations { blackHole(ObjectID(text)) }
    }
}

private func codecBenchmarks() {
    Benchmark("Wire: write a small message") { benchmark in
        var buffer = [UInt8](repeating: 0, count: 64)
        for sequence in benchmark.scaledIterations {
            blackHole(writeMessage(sequence, into: &buffer))
        }
    }
    Benchmark("Wire: read a small message") { benchmark in
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = writeMessage(1, into: &buffer)
        for _ in benchmark.scaledIterations {
            blackHole(try readMessage(buffer.span.bytes.extracting(0..<count)))
        }
    }
}

/// An object, an offset, a length and 8 bytes of payload: what a request for a chunk may look like.
private func writeMessage(_ sequence: Int, into buffer: inout [UInt8]) -> Int {
    var span = buffer.mutableSpan
    var writer = WireWriter(span.mutableBytes)
    writer.objectID(object(sequence))
    writer.integer(UInt64(sequence))
    writer.integer(UInt32(8))
    writer.integer(UInt64.max)
    return writer.count
}

private func readMessage(_ bytes: RawSpan) throws(WireError) -> UInt64 {
    var reader = WireReader(bytes)
    let id = try reader.objectID()
    let offset = try reader.uint64()
    let payload = try reader.countedBytes(limit: 64)
    try reader.finish()
    return id.sequence &+ offset &+ UInt64(payload.byteCount)
}
