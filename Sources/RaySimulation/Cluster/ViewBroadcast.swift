// A broadcast of the states of nodes on its way to all of them.

internal import RayScheduler

/// Nodes whose views were alike before a broadcast have views that are alike after it: the first of them takes it
/// over, the others copy what came out. A cluster then keeps one view for all nodes that decide nothing by theirs.
final class ViewBroadcast {
    let batch: ViewBatch
    /// Of its own for each broadcast.
    private let serial: UInt64
    /// Views after the broadcast, by what they were before.
    private var after: [ViewOrigin: ClusterView] = [:]

    init(_ batch: ViewBatch, serial: UInt64) { (self.batch, self.serial) = (batch, serial) }

    /// Whether a batch says what this one does.
    func isSame(as other: ViewBatch) -> Bool {
        batch.incarnation == other.incarnation && batch.from == other.from && batch.to == other.to
            && batch.reports == other.reports
    }

    /// Takes the broadcast over into a view. Whoever gets it again then knows all of it.
    func apply(to view: inout ClusterView, of origin: inout ViewOrigin) {
        guard origin.changes == view.changes, view.isInOrder(batch) else { return }
        if let shared = after[origin] {
            view = shared
        } else {
            _ = view.apply(batch)
            after[origin] = view
        }
        origin = ViewOrigin(broadcast: serial, changes: view.changes)
    }
}

/// What a view was made by. Two views of one origin are alike as long as neither has changed since.
struct ViewOrigin: Hashable {
    /// The broadcast that was taken over last; 0 is a view that knows nothing.
    var broadcast: UInt64 = 0
    /// What the view had counted then.
    var changes: UInt64 = 0
}
