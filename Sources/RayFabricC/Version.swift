// The version of the library, and whether it serves a program.

public import CRayFabric
internal import RayCore

/// As `RF_VERSION_MAJOR`, `_MINOR` and `_PATCH` say; a test compares them.
private let versionText: StaticString = "0.1.0"

@c @implementation
public func rf_version() -> Int32 {
    (Int32(RF_VERSION_MAJOR) * 1000 + Int32(RF_VERSION_MINOR)) * 1000 + Int32(RF_VERSION_PATCH)
}

@c @implementation
public func rf_version_text() -> UnsafePointer<CChar>? { unsafe cString(versionText) }

@c @implementation
public func rf_check_abi(_ abi: Int32, _ version: Int32) -> rf_status {
    guard abi == Int32(RF_ABI), version <= rf_version() else {
        return note(
            FabricError(
                .abiMismatch,
                "the program wants ABI \(abi), version \(version); the library is ABI \(RF_ABI), "
                    + "version \(rf_version()); compile and run with the same installation"))
    }
    return rf_status(RF_OK)
}
