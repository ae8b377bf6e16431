// swift-tools-version: 6.3
import PackageDescription

// One settings array for every Swift target: the house rules that the compiler can check.
var settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
    .treatWarning("StrictMemorySafety", as: .error),
]
// In CI every warning of ours is an error; those of dependencies are not ours.
if Context.environment["WARNINGS_AS_ERRORS"] == "1" { settings.append(.treatAllWarnings(as: .error)) }

let package = Package(
    name: "rayfabric",
    products: [
        .library(name: "RayCore", targets: ["RayCore"]),
        .library(name: "RayFabric", targets: ["RayFabric"]),
        .library(name: "RayScheduler", targets: ["RayScheduler"]),
        .library(name: "RayOwnership", targets: ["RayOwnership"]),
        // The C interface. scripts/link-library makes librayfabric.so and librayfabric.a of it.
        .library(name: "RayFabricC", type: .static, targets: ["RayFabricC"]),
        .executable(name: "fabricbench", targets: ["fabricbench"]),
    ],
    traits: [
        .trait(name: "NIO", description: "The SwiftNIO TCP transport, for systems that forbid io_uring."),
        .trait(
            name: "Verbs",
            description: "The RDMA transport. Needs the headers of libibverbs and librdmacm to build, nothing to run."),
        .trait(name: "Fuzzing", description: "Entry points for the fuzzers in Fuzz/."),
        .default(enabledTraits: ["NIO", "Verbs"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // C shims: headers that Swift can not import by itself. They hold no logic.
        .target(name: "CLinux"),
        .target(name: "CLiburing", linkerSettings: [.linkedLibrary("uring")]),
        .target(name: "CSharedLayout"),
        .target(name: "CSodium", linkerSettings: [.linkedLibrary("sodium")]),
        // Addresses of sockets are those of CLinux.
        .target(name: "CVerbs", dependencies: ["CLinux"]),

        .target(name: "RayCore", swiftSettings: settings),
        // Whole clusters under virtual time and faults.
        .target(name: "RayOwnership", dependencies: ["RayCore"], swiftSettings: settings),
        .target(name: "RayScheduler", dependencies: ["RayCore"], swiftSettings: settings),
        // Whole clusters of the two under virtual time and faults.
        .target(
            name: "RaySimulation", dependencies: ["RayCore", "RayOwnership", "RayScheduler"],
            swiftSettings: settings),
        .target(
            name: "RayFabric",
            dependencies: [
                "RayCore", "CLinux", "CLiburing", "CSharedLayout", "CSodium",
                .target(name: "CVerbs", condition: .when(traits: ["Verbs"])),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ],
            swiftSettings: settings),
        // The header of the C interface, and its implementation in Swift, which the compiler holds to it.
        .target(name: "CRayFabric", exclude: ["rayfabric.map"]),
        .target(name: "RayFabricC", dependencies: ["CRayFabric", "RayCore", "RayFabric"], swiftSettings: settings),
        .executableTarget(
            name: "fabricbench",
            dependencies: [
                "RayCore", "RayFabric", "RayScheduler", "RaySimulation", "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: settings),

        // The first program of the README and one for two nodes, as users would write them.
        .executableTarget(
            name: "FirstProgram", dependencies: ["RayFabric"], path: "Examples/FirstProgram",
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .executableTarget(
            name: "TwoNodes", dependencies: ["RayFabric", "RayCore"], path: "Examples/TwoNodes",
            swiftSettings: [.swiftLanguageMode(.v6)]),

        // The rules of the project itself: layers, house rules, linkage, documents.
        .testTarget(name: "ProjectTests", swiftSettings: settings),
        .testTarget(name: "RayCoreTests", dependencies: ["RayCore"], swiftSettings: settings),
        .testTarget(
            name: "RaySimulationTests", dependencies: ["RaySimulation", "RayScheduler", "RayOwnership", "RayCore"],
            swiftSettings: settings),
        .testTarget(name: "RaySchedulerTests", dependencies: ["RayScheduler", "RayCore"], swiftSettings: settings),
        .testTarget(
            name: "RayOwnershipTests", dependencies: ["RayOwnership", "RayCore"], swiftSettings: settings),
        .target(name: "CThreadSanitizer", path: "Tests/CThreadSanitizer"),
        .target(name: "CSeccomp", path: "Tests/CSeccomp"),
        .testTarget(
            name: "RayFabricTests",
            dependencies: [
                "RayFabric", "RayCore", "CLinux", "CThreadSanitizer",
                .target(name: "CVerbs", condition: .when(traits: ["Verbs"])),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "RayFabricCTests", dependencies: ["RayFabricC", "RayFabric", "CRayFabric", "RayCore"],
            swiftSettings: settings),
        .testTarget(
            name: "FabricBenchTests", dependencies: ["fabricbench", "RayFabric", "RayCore"], swiftSettings: settings),
        // Real processes that the tests kill, stop and starve.
        .target(name: "CProcessCosts", path: "Tests/CProcessCosts"),
        .executableTarget(
            name: "FabricProbe", dependencies: ["RayFabric", "RayCore", "CLinux", "CSeccomp", "CProcessCosts"],
            path: "Tests/FabricProbe",
            swiftSettings: settings),
        .testTarget(
            name: "ProcessTests", dependencies: ["RayFabric", "RayCore", "CLinux", "FabricProbe"],
            swiftSettings: settings),
    ]
)

// Only those who build the documentation pay for its tool: DOCUMENTATION=1, see scripts/documentation.
if Context.environment["DOCUMENTATION"] == "1" {
    package.dependencies.append(.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"))
}
