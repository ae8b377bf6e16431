// The tables of handles, one a kind, and how calls use them.

internal import CRayFabric
internal import RayCore
internal import RayFabric

/// What a `rf_fabric` stands for.
struct FabricEntry: ~Copyable {
    let fabric: Fabric
}

/// What a `rf_queue` stands for.
struct QueueEntry: ~Copyable {
    let queue: CompletionQueue
}

enum Handles {
    static let fabrics = HandleTable<FabricEntry>(kind: 1)
    static let objects = HandleTable<Object>(kind: 2)
    static let drafts = HandleTable<Draft>(kind: 3)
    static let queues = HandleTable<QueueEntry>(kind: 4)

    static func invalid(_ what: StaticString) -> FabricError {
        FabricError(.handleInvalid, "the \(what) is NULL, was closed or released, or is a handle of another kind")
    }

    static func tooMany() -> FabricError {
        FabricError(.tooManyHandles, "\(RF_MAXIMUM_HANDLES) are open; release some")
    }

    /// Gives an object its handle.
    @inline(__always)
    static func open(_ object: consuming Object) throws(FabricError) -> OpaquePointer {
        guard let handle = unsafe objects.insert(object) else { throw tooMany() }
        return unsafe handle
    }
}

extension Optional where Wrapped == OpaquePointer {
    /// Calls `body` with the fabric that this is the handle of.
    @inline(__always)
    func withFabric<Result: ~Copyable>(
        _ body: (Fabric) throws(FabricError) -> Result
    ) throws(FabricError) -> Result {
        try unsafe Handles.fabrics.useAnnounced(self, else: Handles.invalid("fabric")) { entry throws(FabricError) in
            try body(entry.fabric)
        }
    }

    func withQueue<Result>(_ body: (CompletionQueue) throws(FabricError) -> Result) throws(FabricError) -> Result {
        try unsafe Handles.queues.use(self, else: Handles.invalid("queue")) { entry throws(FabricError) in
            try body(entry.queue)
        }
    }
}
