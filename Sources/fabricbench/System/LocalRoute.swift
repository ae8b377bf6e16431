// From which of its addresses this machine reaches another one.

internal import CLinux
internal import RayCore
internal import RayFabric

enum LocalRoute {
    /// The address that connections to `target` would have at this end. Sends nothing.
    static func address(towards target: Address) throws(FabricError) -> SocketAddress {
        var failure = FabricError(.addressInvalid, "\(target)")
        for candidate in try SocketAddress.resolve(target, toListen: false) {
            let number = socket(candidate.family, RF_SOCK_DGRAM | RF_SOCK_CLOEXEC, 0)
            guard number >= 0 else { throw systemError("make a socket") }
            let probe = FileDescriptor(owning: number)
            if unsafe candidate.withName({ unsafe rf_connect(probe.number, $0, $1) }) == 0,
                let local = SocketAddress(ofSocket: probe.number, peer: false)
            {
                return local
            }
            failure = systemError("find a route to \(target)")
        }
        throw failure
    }
}
