// Why a request waits, in a form that a user can read.

public import RayCore

/// What keeps a request from being granted. Its description is for people.
public enum WaitReason: Hashable, Sendable, CustomStringConvertible {
    /// Arguments are being made local.
    case arguments(missing: UInt32, first: ObjectID)
    /// Arguments of running tasks hold as much memory as they may.
    case argumentMemory(needed: UInt64, pinned: UInt64, limit: UInt64)
    /// The node has the resource, and others use it.
    case resource(ResourceName, needed: ResourceAmount, available: ResourceAmount, total: ResourceAmount)
    /// A worker process is starting.
    case workerStart(starting: UInt32)
    /// The node has as many workers on leases as it may have.
    case workerLimit(UInt32)
    /// Room goes to a request that has waited longer and needs more.
    case olderRequest(LeaseRequestID)
    /// Other classes that wait have fewer leases here, and are served before it.
    case fairness(running: UInt32)
    /// No node that is known could ever run it: none has so much of the resource.
    case infeasibleResource(ResourceName, needed: ResourceAmount, largest: ResourceAmount)
    /// No node that is known has the labels and the resources together.
    case infeasibleLabels(LabelSelector)
    /// The only node that may run it is not known, or gone.
    case nodeAbsent(NodeID)
    /// The node takes no more work.
    case draining
    /// It is about to be placed.
    case placing

    public var description: String {
        switch self {
        case .arguments(let missing, let first):
            "waits for \(missing) argument\(missing == 1 ? "" : "s") to arrive, the first is \(first)"
        case .argumentMemory(let needed, let pinned, let limit):
            "its arguments need \(needed) B; those of running tasks hold \(pinned) of \(limit) B"
        case .resource(let name, let needed, let available, let total):
            "needs \(needed) \(name); \(available) of \(total) is free"
        case .workerStart(let starting): "waits for a worker; \(starting) \(starting == 1 ? "is" : "are") starting"
        case .workerLimit(let limit): "the node has \(limit) workers on leases, as many as it may have"
        case .olderRequest(let id): "\(id) has waited longer and gets the next room"
        case .fairness(let running):
            "other classes come first, for they have fewer leases; this one has \(running)"
        case .infeasibleResource(let name, let needed, let largest):
            "no node has \(needed) \(name); the most is \(largest)"
        case .infeasibleLabels(let selector): "no node with \(selector) has the resources"
        case .nodeAbsent(let node): "may run on \(node) only, which is not there"
        case .placing: "is about to be placed"
        case .draining: "the node is being drained, and no other has room"
        }
    }
}
