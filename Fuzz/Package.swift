// swift-tools-version: 6.3
import PackageDescription

// The fuzzers: a package of their own, since all that they link is built with the sanitizers.
// Fuzz/run builds and runs them. To add one: a function in Sources/RayFabric/Fuzzing/FuzzTargets.swift,
// a target here that calls it, and a folder of the same name in Corpus with a few small inputs.
let targets = ["FuzzCommands", "FuzzControl", "FuzzFrames", "FuzzHandshake", "FuzzTransfer"]

let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "rayfabric", path: "..", traits: ["Fuzzing"])],
    targets: targets.map { name in
        .executableTarget(
            name: name,
            dependencies: [
                .product(name: "RayCore", package: "rayfabric"), .product(name: "RayFabric", package: "rayfabric"),
            ],
            swiftSettings: [.swiftLanguageMode(.v6), .unsafeFlags(["-parse-as-library"])])
    }
)
