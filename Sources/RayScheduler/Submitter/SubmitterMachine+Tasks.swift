// Tasks at the submitter: submitted, resolved, put into lanes, cancelled, ended.

public import RayCore

extension SubmitterMachine {
    /// Classes kept though no task of theirs is left, for what is known of them.
    private static let classLimit = 1024

    mutating func submit(_ task: TaskSubmission, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        precondition(taskOfID[task.id] == nil, "\(task.id) is submitted while it has not ended")
        let classIndex = classIndex(of: task.schedulingClass)
        classes[classIndex].uses += 1
        let slot = taskSlots.take()
        let record = TaskRecord(
            id: task.id, execution: task.execution, stage: .resolving, classIndex: Int32(classIndex),
            unresolved: Int32(task.dependencies.count))
        if slot == tasks.count { tasks.append(record) } else { tasks[slot] = record }
        taskOfID.insert(task.id, slot)
        awaitDependencies(task.dependencies, of: slot, &directives)
        if task.dependencies.isEmpty { ready(slot, &directives) }
    }

    private mutating func classIndex(of schedulingClass: SchedulingClass) -> Int {
        if let known = indexOfClass[schedulingClass] { return known }
        let index = classSlots.take()
        let made = SubmittedClass(schedulingClass: schedulingClass)
        if index == classes.count { classes.append(made) } else { classes[index] = made }
        indexOfClass.insert(schedulingClass, index)
        return index
    }

    private mutating func endUse(ofClass index: Int) {
        classes[index].uses -= 1
        guard classes[index].uses == 0, classSlots.used > Self.classLimit else { return }
        indexOfClass.remove(classes[index].schedulingClass)
        classSlots.give(index)
    }

    // MARK: Dependencies

    private mutating func awaitDependencies(
        _ objects: [ObjectID], of slot: Int, _ directives: inout [SubmitterDirective]
    ) {
        for object in objects {
            if dependents[object] == nil { directives.append(.resolve(object)) }
            dependents[object, default: []].append(Int32(slot))
        }
    }

    /// An object is nowhere any more. The first task of the lane that takes it leaves: its stored arguments are
    /// resolved again, so that it finds its first node anew. If there is none, the task has got another's lease.
    mutating func awaitAnew(_ object: ObjectID, in lane: Int, _ directives: inout [SubmitterDirective]) {
        var next = lanes[lane].queue.first
        while let slot = next, !tasks[slot].arguments.contains(where: { $0.object == object }) {
            next = taskLinks.next(after: slot)
        }
        guard let slot = next else { return }
        taskLinks.remove(slot, from: &lanes[lane].queue)
        let objects = tasks[slot].arguments.map(\.object)
        tasks[slot].stage = .resolving
        tasks[slot].lane = -1
        tasks[slot].arguments = []
        tasks[slot].unresolved = Int32(objects.count)
        awaitDependencies(objects, of: slot, &directives)
    }

    mutating func resolved(
        _ object: ObjectID, _ resolution: Resolution, _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        guard let waiting = dependents.removeValue(forKey: object) else { return }
        for slot in waiting.map(Int.init) {
            tasks[slot].unresolved -= 1
            guard tasks[slot].stage == .resolving else {
                // It has ended already; nothing refers to it after the last of its dependencies.
                if tasks[slot].unresolved == 0 { taskSlots.give(slot) }
                continue
            }
            switch resolution {
            case .inline: break
            case .stored(let bytes, let nodes): weigh(slot, TaskArgument(object: object, bytes: bytes), nodes)
            case .failed:
                end(slot, .dependencyFailed(object), &directives)
                continue
            }
            if tasks[slot].unresolved == 0 { ready(slot, &directives) }
        }
    }

    private mutating func weigh(_ slot: Int, _ argument: TaskArgument, _ nodes: [NodeID]) {
        guard !tasks[slot].arguments.contains(where: { $0.object == argument.object }) else { return }
        tasks[slot].arguments.append(argument)
        for node in nodes where !deadNodes.contains(node) {
            if let known = tasks[slot].weights.firstIndex(where: { $0.node == node }) {
                tasks[slot].weights[known].bytes &+= argument.bytes
            } else {
                tasks[slot].weights.append((node, argument.bytes))
            }
        }
    }

    /// The node with most bytes of a task's arguments; the near node wins a tie, then the one named first.
    private func heaviestNode(_ slot: Int) -> NodeID? {
        var best: (node: NodeID, bytes: UInt64)?
        for weight in tasks[slot].weights {
            guard let known = best else {
                best = weight
                continue
            }
            if weight.bytes > known.bytes || (weight.bytes == known.bytes && weight.node == id.node) { best = weight }
        }
        return best?.node
    }

    // MARK: Lanes

    /// All that a task depends on is there: it goes into its lane.
    private mutating func ready(_ slot: Int, _ directives: inout [SubmitterDirective]) {
        let classIndex = Int(tasks[slot].classIndex)
        var node: NodeID?
        switch classes[classIndex].schedulingClass.constraint {
        case .hybrid: node = heaviestNode(slot)
        case .spread: node = nil
        case .node(let wanted), .preferredNode(let wanted): node = deadNodes.contains(wanted) ? nil : wanted
        case .group(let group, let bundle):
            guard let placed = bundleNode(group, bundle, classIndex) else {
                tasks[slot].stage = .grouping
                if grouping[group] == nil { directives.append(.locate(group)) }
                grouping[group, default: []].append(Int32(slot))
                return
            }
            node = placed
        }
        tasks[slot].weights = []
        let lane = laneIndex(of: Lane.Key(classIndex: Int32(classIndex), node: node))
        tasks[slot].stage = .queued
        tasks[slot].lane = Int32(lane)
        taskLinks.append(slot, to: &lanes[lane].queue)
        stir(lane)
    }

    private mutating func bundleNode(_ group: GroupID, _ bundle: UInt32?, _ classIndex: Int) -> NodeID? {
        guard let nodes = groups[group] else { return nil }
        var index = classes[classIndex].nextBundle
        if let bundle { index = Int(bundle) } else { classes[classIndex].nextBundle += 1 }
        // A bundle that the group does not have: its node says so.
        let node = nodes[index % nodes.count]
        return deadNodes.contains(node) ? nil : node
    }

    private mutating func laneIndex(of key: Lane.Key) -> Int {
        let classIndex = Int(key.classIndex)
        if key.node == nil, classes[classIndex].plainLane >= 0 { return Int(classes[classIndex].plainLane) }
        if key.node != nil, let known = laneOfKey[key] { return known }
        let index = laneSlots.take()
        let made = Lane(key: key)
        if index == lanes.count { lanes.append(made) } else { lanes[index] = made }
        if key.node == nil { classes[classIndex].plainLane = Int32(index) } else { laneOfKey[key] = index }
        classes[classIndex].uses += 1
        return index
    }

    mutating func dropLaneIfUnused(_ index: Int) {
        guard lanes[index].isUnused else { return }
        let key = lanes[index].key
        lanes[index].reason = nil
        if key.node == nil {
            classes[Int(key.classIndex)].plainLane = -1
        } else {
            laneOfKey[key] = nil
        }
        laneSlots.give(index)
        endUse(ofClass: Int(key.classIndex))
    }

    /// Looks at a lane at the end of the event.
    mutating func stir(_ lane: Int) {
        guard !lanes[lane].isStirred else { return }
        lanes[lane].isStirred = true
        stirred.append(lane)
    }

    // MARK: Groups

    mutating func groupPlaced(
        _ group: GroupID, _ nodes: [NodeID], _ now: Timestamp, _ directives: inout [SubmitterDirective]
    ) {
        guard !nodes.isEmpty else { return }
        groups[group] = nodes
        for slot in grouping.removeValue(forKey: group) ?? [] where tasks[Int(slot)].stage == .grouping {
            ready(Int(slot), &directives)
        }
    }

    mutating func groupRemoved(_ group: GroupID, _ directives: inout [SubmitterDirective]) {
        groups[group] = nil
        for slot in grouping.removeValue(forKey: group) ?? [] where tasks[Int(slot)].stage == .grouping {
            end(Int(slot), .unschedulable(.groupGone(group)), &directives)
        }
        // Without tasks the lane may be one that was given up: there is nothing to do in it.
        for lane in lanes.indices
        where !lanes[lane].queue.isEmpty
            && classes[Int(lanes[lane].key.classIndex)].schedulingClass.constraint.groupID == group
        {
            failQueue(lane, .groupGone(group), &directives)
        }
    }

    /// Tasks of a lane that have no lease fail.
    mutating func failQueue(_ lane: Int, _ failure: LeaseFailure, _ directives: inout [SubmitterDirective]) {
        while let slot = lanes[lane].queue.first { end(slot, .unschedulable(failure), &directives) }
        stir(lane)
    }

    /// The first node of a lane is dead: its tasks find another.
    mutating func moveQueue(_ lane: Int, _ directives: inout [SubmitterDirective]) {
        while let slot = taskLinks.popFirst(&lanes[lane].queue) { ready(slot, &directives) }
        stir(lane)
    }

    // MARK: Ends

    mutating func cancel(_ task: TaskID, _ now: Timestamp, _ directives: inout [SubmitterDirective]) {
        guard let slot = taskOfID[task] else { return }
        switch tasks[slot].stage {
        case .none: preconditionFailure("\(task) has ended and is known")
        case .resolving, .queued: end(slot, .cancelled, &directives)
        case .grouping:
            if let group = classes[Int(tasks[slot].classIndex)].schedulingClass.constraint.groupID {
                grouping[group]?.removeAll { $0 == Int32(slot) }
            }
            end(slot, .cancelled, &directives)
        case .pushed:
            tasks[slot].isCancelled = true
            sendCancel(slot, &directives)
            let lease = Int(tasks[slot].lease)
            leases[lease].backoff = configuration.retransmission
            leases[lease].lastNews = now
            leaseTimers.set(lease, to: min(leaseTimers[lease], now + configuration.retransmission))
        }
    }

    /// The last that is heard of a task.
    mutating func end(_ slot: Int, _ end: TaskEnd, _ directives: inout [SubmitterDirective]) {
        switch tasks[slot].stage {
        case .none: preconditionFailure("\(tasks[slot].id) ends twice")
        case .resolving, .grouping: break
        case .queued:
            let lane = Int(tasks[slot].lane)
            taskLinks.remove(slot, from: &lanes[lane].queue)
            stir(lane)
        case .pushed: taskLinks.remove(slot, from: &leases[Int(tasks[slot].lease)].tasks)
        }
        directives.append(.ended(tasks[slot].id, end))
        taskOfID.remove(tasks[slot].id)
        tasks[slot].stage = .none
        tasks[slot].arguments = []
        tasks[slot].weights = []
        endUse(ofClass: Int(tasks[slot].classIndex))
        if tasks[slot].unresolved == 0 { taskSlots.give(slot) }
    }

    // MARK: Reasons

    /// Why a task has not started; nil if there is no such task.
    public func wait(of task: TaskID) -> TaskWait? {
        guard let slot = taskOfID[task] else { return nil }
        switch tasks[slot].stage {
        case .none: return nil
        case .resolving: return .dependencies(Int(tasks[slot].unresolved))
        case .grouping:
            return classes[Int(tasks[slot].classIndex)].schedulingClass.constraint.groupID.map { .group($0) }
        case .queued:
            return lanes[Int(tasks[slot].lane)].reason.map { .lease($0.reason, at: $0.party) } ?? .asking
        case .pushed: return .pushed(leases[Int(tasks[slot].lease)].worker)
        }
    }
}
