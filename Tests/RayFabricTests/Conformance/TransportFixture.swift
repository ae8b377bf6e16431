// What the conformance suite needs to know of a transport: how to make endpoints and where they meet.

import RayCore
import RayFabric

/// One transport under test. To put a transport under the suite, make one of these and run every
/// `ConformanceTest` on it, as `LoopbackConformanceTests` does.
struct TransportFixture<Endpoint: Transport & SendableMetatype & ~Copyable>: Sendable {
    let kind: TransportKind
    /// Makes an endpoint; called on the thread that will use it.
    let make: @Sendable (TransportConfiguration) throws(FabricError) -> Endpoint
    /// An address to listen at that no other test uses, or that lets the system choose.
    let freshAddress: @Sendable () -> Address
    /// An address of the right kind at which nobody listens.
    let deadAddress: @Sendable () -> Address
    /// The clock that deadlines are given in.
    let now: @Sendable () -> Timestamp
    /// False where time passes only for who waits, so that two threads can not share it.
    var usesRealTime = true
    /// Holds all traffic between two nodes back, where the transport can do that.
    var cut: (@Sendable (NodeID, NodeID) -> Void)?
    /// Undoes `cut`.
    var heal: (@Sendable (NodeID, NodeID) -> Void)?

    /// A configuration as the tests use it: node `value`, the common key, quick to notice silence.
    func configuration(_ value: UInt64, incarnation: UInt32 = 1) -> TransportConfiguration {
        var configuration = TransportConfiguration(
            identity: NodeID(value: value, incarnation: incarnation), clusterKey: Self.key(1))
        configuration.spin = .zero
        return configuration
    }

    static func key(_ byte: UInt8) -> ClusterKey {
        do {
            return try ClusterKey([UInt8](repeating: byte, count: 32))
        } catch {
            fatalError("a key of 32 bytes was refused: \(error)")
        }
    }
}
