// Random use of a store.

import CLinux
import Glibc
import RayCore
import RayFabric

/// Puts, gets, holds, deletes, creates and drops at random. Errors that a full store and other
/// clients cause are part of it.
struct Load: Sendable {
    let fabric: Fabric
    let seed: UInt64

    func run() {
        var random = SeededRandom(seed: seed)
        var ids: [ObjectID] = []
        var held: [Kept<Object>] = []
        var drafts: [Kept<Draft>] = []
        while true {
            let size = Int.random(in: 0...9, using: &random) == 0 ? 1 << 20 : Int.random(in: 0...5000, using: &random)
            do throws(FabricError) {
                switch Int.random(in: 0..<100, using: &random) {
                case 0..<40:
                    var draft = try fabric.create(size: size)
                    try Pattern.fill(&draft)
                    ids.append(try draft.seal())
                case 40..<50:
                    var draft = try fabric.create(size: size)
                    try Pattern.fill(&draft)
                    drafts.append(Kept(draft))
                case 50..<75:
                    guard let id = ids.randomElement(using: &random) else { continue }
                    held.append(Kept(try fabric.get(id, within: .milliseconds(1))))
                case 75..<78:
                    _ = try fabric.inspect()
                default:
                    guard !ids.isEmpty else { continue }
                    try fabric.delete(ids.remove(at: Int.random(in: ids.indices, using: &random)))
                }
            } catch {
                // A full store: let go of something below.
            }
            if held.count > 20 { held.removeFirst(10) }
            if drafts.count > 8 { drafts.removeFirst(4) }
        }
    }
}
