// What the C interface costs over the Swift calls: the same work through both. Each iteration does a million
// gets, or a thousand puts, with a fabric that was used before: the first uses of memory cost more than all calls.

import Benchmark
import CRayFabric
import RayCore
import RayFabric
import RayFabricC

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration.metrics = [.wallClock, .throughput]
    getBenchmarks()
    putBenchmarks()
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
