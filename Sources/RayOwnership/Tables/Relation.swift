// Pairs of an object and a party, such as a borrower, each with a little data; found from either side.

/// Which parties (peers or nodes) have to do with which objects.
///
/// The pairs of an object are a list, those of a party another: whoever dies costs as much as it had. A pair is found
/// by walking the object's list, and by hashing once that list has been long.
struct Relation<Payload: Sendable>: Sendable {
    struct Pair: Sendable {
        var object: Slot
        var party: Slot
        var payload: Payload
    }

    /// Lists as long as this are walked.
    private static var walkedLength: Int { 8 }

    private var pairs: SlotTable<Pair>
    private var ofObject = SlotLists()
    private var ofParty = SlotLists()
    /// The first pair of each party.
    private var parties = ChunkedArray(blank: Slot.absent)
    /// Pairs by object and party; and, with `absent` for the party, the objects whose pairs are in here.
    private var index: [UInt64: Slot] = [:]

    init(blank: Payload) { pairs = SlotTable(blank: Pair(object: .absent, party: .absent, payload: blank)) }

    var count: Int { pairs.count }

    subscript(pair: Slot) -> Pair {
        _read { yield pairs[pair] }
        _modify { yield &pairs[pair] }
    }

    private func key(_ object: Slot, _ party: Slot) -> UInt64 { UInt64(object) << 32 | UInt64(party) }

    private func isIndexed(_ object: Slot) -> Bool { !index.isEmpty && index[key(object, .absent)] != nil }

    /// The pair of an object, whose list is `first`, and a party.
    func find(_ object: Slot, _ party: Slot, in first: Slot) -> Slot? {
        if isIndexed(object) { return index[key(object, party)] }
        var pair = first
        while pair != .absent {
            if pairs[pair].party == party { return pair }
            pair = ofObject.next(after: pair, in: first)
        }
        return nil
    }

    /// - Precondition: there is no such pair yet.
    mutating func insert(_ object: Slot, _ party: Slot, _ payload: Payload, in first: inout Slot) {
        let pair = pairs.insert(Pair(object: object, party: party, payload: payload))
        ofObject.append(pair, to: &first)
        parties.grow(toInclude: party)
        ofParty.append(pair, to: &parties[party])
        if isIndexed(object) {
            index[key(object, party)] = pair
        } else if isLong(first) {
            index[key(object, .absent)] = .absent
            ofObject.forEach(in: first) { index[key(object, pairs[$0].party)] = $0 }
        }
    }

    private func isLong(_ first: Slot) -> Bool {
        var pair = first
        for _ in 0..<Self.walkedLength where pair != .absent { pair = ofObject.next(after: pair, in: first) }
        return pair != .absent
    }

    mutating func remove(_ pair: Slot, in first: inout Slot) {
        let object = pairs[pair].object
        let party = pairs[pair].party
        ofObject.remove(pair, from: &first)
        ofParty.remove(pair, from: &parties[party])
        if isIndexed(object) {
            index[key(object, party)] = nil
            if first == .absent { index[key(object, .absent)] = nil }
        }
        pairs.remove(pair)
    }

    /// The first pair of a party, or `absent`.
    func first(of party: Slot) -> Slot { party < parties.capacity ? parties[party] : .absent }

    func next(after pair: Slot, ofParty party: Slot) -> Slot { ofParty.next(after: pair, in: first(of: party)) }

    func next(after pair: Slot, in first: Slot) -> Slot { ofObject.next(after: pair, in: first) }
}
