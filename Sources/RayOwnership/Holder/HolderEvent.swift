// What goes into the machine of a holder of copies and of the control store, and what comes out.

public import RayCore

/// What happened in or to a raylet.
public enum HolderEvent: Sendable {
    // Its store.
    /// A local process made an object. The copy is pinned until the owner frees it.
    case sealed(CopyID, size: UInt64)
    /// Some chunks of a copy are here, and can be served.
    case partial(CopyID, size: UInt64, ChunkBitmap)
    /// A copy from another node is complete. It may be evicted.
    case pulled(CopyID, size: UInt64)
    /// A copy is gone, or a pull was given up.
    case removed(ObjectID)

    // What it pulls.
    /// `statusChanged` follows now and at each change. Follows of one object are counted.
    case follow(ObjectID)
    case unfollow(ObjectID)

    // Its processes.
    case workerStarted(WorkerID)
    case workerExited(WorkerID, DeathCause)

    // From outside.
    /// The raylet starts: it joins the control store.
    case start
    case received(Envelope)
    case timer
}

/// What a holder's machine wants done. Directives are run in order.
public enum HolderDirective: Sendable {
    case send(Envelope)
    /// Drop this copy or give up pulling it, pinned by readers or not.
    case free(CopyID)
    /// Do not evict this copy.
    case pin(CopyID)
    /// News of a followed object.
    case statusChanged(ObjectID, ObjectStatus)
    case died(Death)
    /// This node was declared dead. End its processes.
    case terminate(DeathCause)
}

/// What happened in or to the control store.
public enum ControlStoreEvent: Sendable {
    /// Whoever watches members has decided that this one is dead. Ignored if it is.
    case declareDead(Death.Member, DeathCause)
    case received(Envelope)
    /// Something else came from this process, for another service of the control store. If it was declared dead, it is
    /// told so.
    case heard(WorkerID)
    case timer
}

/// What the control store's machine wants done. Directives are run in order.
public enum ControlStoreDirective: Sendable {
    case send(Envelope)
    case joined(WorkerID)
    /// Somebody gets no answer from this process. Watch it, and declare it dead if it is.
    case suspected(WorkerID, by: WorkerID)
    case died(Death)
}
