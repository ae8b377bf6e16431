// swift-tools-version: 6.3
import PackageDescription

// Micro-benchmarks. A package of its own, so that its heavy dependency stays out of the builds and
// tests of the fabric. Run with `swift package --package-path Bench benchmark`.
let package = Package(
    name: "rayfabric-benchmarks",
    dependencies: [
        // Without its transport over SwiftNIO, which is as large as all the rest.
        .package(name: "rayfabric", path: "..", traits: ["Verbs"]),
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
    ],
    targets: [
        .executableTarget(
            name: "RayCoreBenchmarks",
            dependencies: [
                .product(name: "RayCore", package: "rayfabric"),
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/RayCoreBenchmarks",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
        .executableTarget(
            name: "RayFabricCBenchmarks",
            dependencies: [
                .product(name: "RayCore", package: "rayfabric"),
                .product(name: "RayFabric", package: "rayfabric"),
                .product(name: "RayFabricC", package: "rayfabric"),
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/RayFabricCBenchmarks",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
        .executableTarget(
            name: "RaySchedulerBenchmarks",
            dependencies: [
                .product(name: "RayCore", package: "rayfabric"),
                .product(name: "RayScheduler", package: "rayfabric"),
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/RaySchedulerBenchmarks",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
        .executableTarget(
            name: "RayOwnershipBenchmarks",
            dependencies: [
                .product(name: "RayCore", package: "rayfabric"),
                .product(name: "RayOwnership", package: "rayfabric"),
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/RayOwnershipBenchmarks",
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
    ],
    swiftLanguageModes: [.v6]
)
