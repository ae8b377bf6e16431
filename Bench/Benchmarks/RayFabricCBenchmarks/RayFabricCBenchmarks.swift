// What the C interface costs over the Swift calls: the same work through both. Each iteration does a million gets, or a
// thousand puts or pulls, with a fabric that was used before: the first uses of memory cost more than all calls.

import Benchmark
import CRayFabric
import RayCore
import RayFabric
import RayFabricC

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration.metrics = [.wallClock, .throughput]
    getBenchmarks()
    differenceBenchmark()
    putBenchmarks()
    pullBenchmarks()
}

private let capacity = 256 << 20
private let warmUp = 10_000
private let payload = [UInt8](repeating: 7, count: 64)

/// A fabric of the C interface.
private func openInC() -> OpaquePointer? {
    var options = rf_fabric_options()
    rf_fabric_options_init(&options)
    options.capacity = UInt64(capacity)
    var fabric: OpaquePointer?
    precondition(rf_fabric_open(&options, &fabric) == RF_OK)
    return fabric
}

private func putInC(_ fabric: OpaquePointer?) -> rf_object_id {
    var id = rf_object_id()
    precondition(rf_put(fabric, payload, payload.count, nil, 0, &id) == RF_OK)
    return id
}

@inline(__always)
private func getInC(_ fabric: OpaquePointer?, _ id: inout rf_object_id) {
    var object: OpaquePointer?
    precondition(rf_get(fabric, &id, 1_000_000_000, &object, nil) == RF_OK)
    precondition(rf_object_release(object) == RF_OK)
}

private func getBenchmarks() {
    Benchmark.defaultConfiguration.scalingFactor = .mega
    Benchmark.defaultConfiguration.maxDuration = .seconds(10)
    Benchmark("get and release: Swift") { benchmark in
        let fabric = try Fabric(FabricConfiguration(capacity: .bytes(capacity)))
        let id = try fabric.put(payload)
        for _ in 0..<warmUp { blackHole(try fabric.get(id, within: .seconds(1)).size) }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            let object = try fabric.get(id, within: .seconds(1))
            blackHole(object.size)
        }
        benchmark.stopMeasurement()
        fabric.close()
    }
    Benchmark("get and release: C") { benchmark in
        let fabric = openInC()
        var id = putInC(fabric)
        for _ in 0..<warmUp { getInC(fabric, &id) }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            getInC(fabric, &id)
        }
        benchmark.stopMeasurement()
        precondition(rf_fabric_close(fabric) == RF_OK)
    }
    Benchmark("get with its view and release: C") { benchmark in
        let fabric = openInC()
        var id = putInC(fabric)
        for _ in 0..<warmUp { getInC(fabric, &id) }
        var view = rf_view()
        rf_view_init(&view)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            var object: OpaquePointer?
            precondition(rf_get(fabric, &id, 1_000_000_000, &object, &view) == RF_OK)
            blackHole(view.size)
            precondition(rf_object_release(object) == RF_OK)
        }
        benchmark.stopMeasurement()
        precondition(rf_fabric_close(fabric) == RF_OK)
    }
}

/// What a get and release costs more through C, in batches of both by turns: medians of many batches leave out those
/// in which the machine did something else.
private func differenceBenchmark() {
    let metrics = ["Swift", "C", "C over Swift"].map { BenchmarkMetric.custom("\($0) (ns)") }
    let configuration = Benchmark.Configuration(
        metrics: metrics, scalingFactor: .one, maxDuration: .seconds(10), maxIterations: 1000)
    Benchmark("get and release, by turns", configuration: configuration) { benchmark in
        let (batch, turns) = (1000, 201)
        let fabric = try Fabric(FabricConfiguration(capacity: .bytes(capacity)))
        let object = try fabric.put(payload)
        let fabricOfC = openInC()
        var id = putInC(fabricOfC)
        var times = [[Int](), [Int]()]
        for turn in 0..<(turns + warmUp / batch) {
            let start = ContinuousClock.now
            for _ in 0..<batch { blackHole(try fabric.get(object, within: .seconds(1)).size) }
            let middle = ContinuousClock.now
            for _ in 0..<batch { getInC(fabricOfC, &id) }
            let end = ContinuousClock.now
            guard turn >= warmUp / batch else { continue }
            times[0].append(nanoseconds(middle - start) / batch)
            times[1].append(nanoseconds(end - middle) / batch)
        }
        let medians = times.map { $0.sorted()[turns / 2] }
        benchmark.measurement(metrics[0], medians[0])
        benchmark.measurement(metrics[1], medians[1])
        benchmark.measurement(metrics[2], medians[1] - medians[0])
        fabric.close()
        precondition(rf_fabric_close(fabricOfC) == RF_OK)
    }
}

private func nanoseconds(_ duration: Duration) -> Int { Int(duration / .nanoseconds(1)) }

private func putBenchmarks() {
    Benchmark.defaultConfiguration.scalingFactor = .kilo
    Benchmark("put and delete, 64 bytes: Swift") { benchmark in
        let fabric = try Fabric(FabricConfiguration(capacity: .bytes(capacity)))
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { try fabric.delete(try fabric.put(payload)) }
        benchmark.stopMeasurement()
        fabric.close()
    }
    Benchmark("put and delete, 64 bytes: C") { benchmark in
        let fabric = openInC()
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            var id = putInC(fabric)
            precondition(rf_delete(fabric, &id, 1) == RF_OK)
        }
        benchmark.stopMeasurement()
        precondition(rf_fabric_close(fabric) == RF_OK)
    }
}

/// Objects of 1 MiB that are put at one node, pulled by another, and deleted at both.
private func pullBenchmarks() {
    let large = [UInt8](repeating: 3, count: 1 << 20)
    Benchmark("put, pull and delete, 1 MiB: Swift") { benchmark in
        var configuration = FabricConfiguration(capacity: .bytes(capacity), listen: "127.0.0.1:0")
        let there = try Fabric(configuration)
        configuration.network?.listen = nil
        let here = try Fabric(configuration)
        guard let address = there.address else { preconditionFailure("it listens") }
        try here.connect(to: address.description)
        func pull() throws {
            let id = try there.put(large)
            blackHole(try here.get(id, within: .seconds(5)).size)
            try here.delete(id)
            try there.delete(id)
        }
        for _ in 0..<100 { try pull() }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { try pull() }
        benchmark.stopMeasurement()
        for fabric in [here, there] { fabric.close() }
    }
    Benchmark("put, pull and delete, 1 MiB: C") { benchmark in
        let (there, here) = (openNode(listen: "127.0.0.1:0"), openNode(listen: nil))
        var address = [CChar](repeating: 0, count: 64)
        precondition(rf_fabric_address(there, &address, address.count, nil) == RF_OK)
        precondition(rf_fabric_connect(here, address, 5_000_000_000, nil) == RF_OK)
        func pull() {
            var id = rf_object_id()
            var object: OpaquePointer?
            precondition(rf_put(there, large, large.count, nil, 0, &id) == RF_OK)
            precondition(rf_get(here, &id, 5_000_000_000, &object, nil) == RF_OK)
            precondition(rf_object_release(object) == RF_OK)
            for fabric in [here, there] { precondition(rf_delete(fabric, &id, 1) == RF_OK) }
        }
        for _ in 0..<100 { pull() }
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { pull() }
        benchmark.stopMeasurement()
        for fabric in [here, there] { precondition(rf_fabric_close(fabric) == RF_OK) }
    }
}

/// A node of the C interface.
private func openNode(listen: String?) -> OpaquePointer? {
    func open(_ listen: UnsafePointer<CChar>?) -> OpaquePointer? {
        var options = rf_fabric_options()
        rf_fabric_options_init(&options)
        options.capacity = UInt64(capacity)
        options.listen = listen
        options.flags = UInt32(RF_OPEN_NETWORK)
        var fabric: OpaquePointer?
        precondition(rf_fabric_open(&options, &fabric) == RF_OK)
        return fabric
    }
    return listen.map { $0.withCString { open($0) } } ?? open(nil)
}
