// The clock of the shells.

internal import CLinux
package import RayCore

extension Timestamp {
    /// The monotonic clock of this machine, the same for all its processes. About 20 ns.
    package static var now: Timestamp { Timestamp(nanoseconds: rf_monotonic_ns()) }
}
