// What a raylet's machine shows of itself: to people, to tests and to the simulator.

public import RayCore

extension HolderMachine {
    /// Copies at this node, complete or not.
    public var copyCount: Int { copies.count }
    public var peerCount: Int { links.count }

    public func holds(_ object: ObjectID) -> Bool {
        guard let slot = copyOfObject[object] else { return false }
        return copies[slot].state != .removed
    }

    /// Checks lists against tables. Linear in the state.
    /// - Returns: a text for each rule that is broken.
    public func violations() -> [String] {
        var broken: [String] = []
        if copies.count != copyOfObject.count { broken.append("copies without an index") }
        for slot in 0..<copies.end where copyOfObject[copies[slot].id.object] == slot {
            let copy = copies[slot]
            if copy.id.object.owner != links.peer(copy.owner) { broken.append("\(copy.id) is with another owner") }
            if copy.state == .removed, !copy.isChanged { broken.append("\(copy.id) was removed and nobody is told") }
            if deaths.death(of: copy.id.object.owner) != nil { broken.append("\(copy.id) has a dead owner") }
        }
        return broken
    }
}
