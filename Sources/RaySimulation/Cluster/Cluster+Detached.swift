// Detached objects: made by drivers, owned by a process beside the control store.

internal import RayCore
internal import RayOwnership

extension Cluster {
    /// The driver goes on when the object has been adopted.
    func putDetached(_ worker: Int, _ variable: Variable, bytes: Int, holding: [Variable]) {
        workers[worker].adoption = (variable, bytes, holding.compactMap { object(worker, $0) })
        owner(worker, .putDetached(request: 1))
    }

    func adopted(_ worker: Int, _ task: TaskID) {
        guard let adoption = workers[worker].adoption, let frame = workers[worker].frame else {
            return judge.violate(.unexpected, "nobody asked for a detached object")
        }
        coverage.reach(.detachedPut)
        workers[worker].adoption = nil
        let object = task.returnID(0)
        let value = Value(word: mixed(frame.word, UInt64(frame.counter)), contents: adoption.contents)
        judge.acquire(object, by: workers[worker].id)
        judge.detached(object, by: Self.address(1))
        judge.produced(object, value)
        let isInline = adoption.bytes <= Self.inlineLimit
        if !isInline {
            seal(workers[worker].node, CopyID(object: object, attempt: 1), value, size: UInt64(adoption.bytes))
        }
        let returned = ReturnedValue(
            isInline ? .inline(value.bytes) : .stored(size: UInt64(adoption.bytes)), contents: value.contents)
        owner(worker, .taskFinished(task, attempt: 1, .succeeded([returned])))
        guard workers[worker].isAlive else { return }
        assign(worker, adoption.variable, object)
        if settings.bug == .disownedEarly { owner(worker, .disown(object)) }
        resumeSoon(worker)
    }

    func disown(_ worker: Int, _ variable: Variable) {
        guard let object = object(worker, variable) else { return }
        judge.disowned(object, by: Self.address(1))
        owner(worker, .disown(object))
    }

    /// All programs have ended: what creators have left, who died, has outlived them, and is disowned by somebody else.
    func cleanUpDetached() {
        guard !control.hasCleanedUp else { return }
        judge.expectDetached { control.owner.knows($0) }
        guard control.owner.objectCount > 0 else { return }
        control.hasCleanedUp = true
        var left: [ObjectID] = []
        control.owner.forEachObject { left.append($0) }
        let cleaner = addWorker(node: 0, isDriver: true)
        for object in left {
            if judge.isDetached(object) { coverage.reach(.detachedOutlived) }
            judge.disowned(object, by: Self.address(1))
            owner(cleaner, .disown(object))
        }
    }
}
