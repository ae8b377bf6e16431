// Times and limits of the machines.

public import RayCore

/// How messages between two processes are repeated.
public struct LinkConfiguration: Sendable {
    /// A message that is not acknowledged after this is sent again; the time doubles up to `retransmitAtMost`.
    public var retransmitAfter: Duration = .milliseconds(200)
    public var retransmitAtMost: Duration = .seconds(5)
    /// How long an acknowledgement waits for a message that takes it along.
    public var acknowledgeWithin: Duration = .milliseconds(20)
    /// A peer that acknowledges nothing for this long is inquired about at the control store, again and again.
    public var unreachableAfter: Duration = .seconds(2)
    /// Messages under way to one peer; later ones wait. As many are kept that came before an earlier one.
    public var window = 256

    public init() {}
}

/// What a `WorkerMachine` is told at its start.
public struct WorkerConfiguration: Sendable {
    /// The control store.
    public var controlStore: WorkerID
    /// The owner of detached objects.
    public var detachedOwner: WorkerID
    /// Who hands deaths on to this worker: its raylet; for the owner of detached objects, the control store.
    public var relay: WorkerID
    public var links = LinkConfiguration()
    /// Bytes of specifications of finished tasks that are kept so that they can run again.
    public var lineageBytes = 1 << 30
    /// How long changes of an object's locations are gathered before followers are told.
    public var statusDelay: Duration = .milliseconds(10)
    /// Dead members that are remembered. The control store is asked about others.
    public var rememberedDeaths = 4096

    public init(controlStore: WorkerID, detachedOwner: WorkerID, relay: WorkerID) {
        self.controlStore = controlStore
        self.detachedOwner = detachedOwner
        self.relay = relay
    }
}

/// What a `HolderMachine` is told at its start.
public struct HolderConfiguration: Sendable {
    public var controlStore: WorkerID
    public var links = LinkConfiguration()
    /// How long changes of copies are gathered before their owners are told.
    public var reportDelay: Duration = .milliseconds(10)
    /// Entries of one `copies` or `reconcile` message at most.
    public var reportBatch = 1000
    /// How often a batch of held copies is reconciled with an owner, owners in turn.
    public var sweepInterval: Duration = .seconds(1)
    public var rememberedDeaths = 4096

    public init(controlStore: WorkerID) { self.controlStore = controlStore }
}

/// What a `ControlStoreMachine` is told at its start.
public struct ControlStoreConfiguration: Sendable {
    public var links = LinkConfiguration()
    /// Dead members that are remembered; those not known alive count as dead.
    public var rememberedDeaths = 100_000
    /// Deaths that are told to who joins.
    public var deathsInWelcome = 4096

    public init() {}
}
