// Which members are known to be dead.

internal import RayCore

/// The latest deaths that a machine was told of.
struct Deaths: Sendable {
    private var members: RecentMap<Death.Member, Death>

    init(capacity: Int) { members = RecentMap(capacity: capacity) }

    mutating func insert(_ death: Death) { members.insert(death.member, death) }

    func isKnown(_ member: Death.Member) -> Bool { members[member] != nil }

    /// The death of a process, by itself or with its node; nil if it is not known to be dead.
    func death(of worker: WorkerID) -> Death? { members[.node(worker.node)] ?? members[.worker(worker)] }

    /// The latest deaths, the oldest of them first.
    func latest(_ count: Int) -> [Death] { members.latest(count) }
}
