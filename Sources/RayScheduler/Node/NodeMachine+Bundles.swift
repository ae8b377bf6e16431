// Bundles of placement groups at the node: prepared, committed, given back.

internal import RayCore

extension NodeMachine {
    /// Groups that are gone, remembered so that a late step of theirs does nothing.
    private static let groupsGoneLimit = 4096

    mutating func received(_ request: BundleRequest, _ sender: Party, _ directives: inout [NodeDirective]) {
        guard sender == .controlStore else { return }
        let known = attemptOfGroup[request.group] ?? 0
        guard request.attempt >= known else {
            // What an older attempt reserved is given back already; any other old step does nothing.
            guard case .release = request.step else { return }
            return answer(request, .released, &directives)
        }
        if request.attempt > known {
            attemptOfGroup[request.group] = request.attempt
            // What an older attempt prepared and did not commit is nobody's any more.
            for slot in bundlesOfGroup[request.group] ?? [] where !bundles[slot].isCommitted { end(slot, &directives) }
        }
        let result: BundleResult
        switch request.step {
        case .prepare(let demands): result = prepare(demands, request)
        case .commit(let ids): result = commit(ids, &directives)
        case .release(let ids): result = release(ids, &directives)
        }
        forgetIfGone(request.group)
        answer(request, result, &directives)
    }

    private func answer(_ request: BundleRequest, _ result: BundleResult, _ directives: inout [NodeDirective]) {
        let answer = BundleAnswer(group: request.group, attempt: request.attempt, result: result)
        directives.append(.send(.bundlesAnswer(answer), to: .controlStore))
    }

    private func slot(of id: BundleID) -> Int? {
        bundlesOfGroup[id.group]?.first { bundles[$0].id == id && !bundles[$0].isEnding }
    }

    /// Reserves all of the bundles, or none.
    private mutating func prepare(_ demands: [BundleDemand], _ request: BundleRequest) -> BundleResult {
        guard demands.allSatisfy({ $0.id.group == request.group && $0.demand.isValidDemand }) else { return .refused }
        let isAllThere = demands.allSatisfy { slot(of: $0.id) != nil }
        guard own.condition == .alive else { return isAllThere ? .prepared : .refused }
        var made: [Int] = []
        for wanted in demands where slot(of: wanted.id) == nil {
            guard pool.covers(wanted.demand) else {
                for slot in made.reversed() { remove(slot) }
                return .refused
            }
            let shares = pool.take(wanted.demand)
            let bundle = Bundle(
                id: wanted.id, attempt: request.attempt, demand: wanted.demand, shares: shares,
                pool: ResourcePool(demand: wanted.demand, shares: shares))
            let slot = bundleSlots.take()
            if slot == bundles.count { bundles.append(bundle) } else { bundles[slot] = bundle }
            bundlesOfGroup[wanted.id.group, default: []].append(slot)
            made.append(slot)
        }
        hasChanged = true
        return .prepared
    }

    private mutating func commit(_ ids: [BundleID], _ directives: inout [NodeDirective]) -> BundleResult {
        for id in ids {
            guard let slot = slot(of: id) else { return .unknown }
            bundles[slot].isCommitted = true
        }
        mayGrant = true
        return .committed
    }

    private mutating func release(_ ids: [BundleID], _ directives: inout [NodeDirective]) -> BundleResult {
        for id in ids {
            if let slot = slot(of: id) { end(slot, &directives) }
        }
        return .released
    }

    /// Ends a bundle: its leases are taken back, requests for it fail, and its resources are free after the last lease.
    private mutating func end(_ slot: Int, _ directives: inout [NodeDirective]) {
        bundles[slot].isEnding = true
        // Held, so that the bundle outlives the loop.
        bundles[slot].leases += 1
        for lease in leases.indices where leases[lease].stage != .none && Int(leases[lease].pool) == slot + 1 {
            if leases[lease].stage == .starting {
                let record = Int(leases[lease].request)
                endLease(lease, &directives)
                requests.settle(record, .failed(slots: 1, .groupGone(bundles[slot].id.group)))
                unlinkIfPlaced(record)
            } else {
                revoke(lease, &directives)
            }
        }
        failRequests(bundles[slot].id, &directives)
        bundles[slot].leases -= 1
        endBundleIfDone(slot)
    }

    /// Requests that only this bundle could serve will never be granted.
    private mutating func failRequests(_ id: BundleID, _ directives: inout [NodeDirective]) {
        let hasOthers = bundlesOfGroup[id.group]?.contains { !bundles[$0].isEnding } ?? false
        for classIndex in classes.indices {
            guard case .group(id.group, let bundle) = classes[classIndex].schedulingClass.constraint,
                bundle == id.index || (bundle == nil && !hasOthers)
            else { continue }
            for list in [classes[classIndex].ready, classes[classIndex].settled, classes[classIndex].pulling] {
                for record in requestLinks.indices(of: list) { fail(record, .groupGone(id.group), &directives) }
            }
        }
    }

    mutating func endBundleIfDone(_ slot: Int) {
        guard bundles[slot].isEnding, bundles[slot].leases == 0 else { return }
        remove(slot)
    }

    private mutating func remove(_ slot: Int) {
        let bundle = bundles[slot]
        pool.giveBack(bundle.demand, bundle.shares)
        bundlesOfGroup[bundle.id.group]?.removeAll { $0 == slot }
        bundleSlots.give(slot)
        forgetIfGone(bundle.id.group)
        hasChanged = true
        mayGrant = true
    }

    private mutating func forgetIfGone(_ group: GroupID) {
        guard bundlesOfGroup[group]?.isEmpty ?? false else { return }
        bundlesOfGroup[group] = nil
        groupsGone.append(group)
        guard groupsGone.count > Self.groupsGoneLimit, let oldest = groupsGone.popFirst(), bundlesOfGroup[oldest] == nil
        else { return }
        attemptOfGroup[oldest] = nil
    }
}
