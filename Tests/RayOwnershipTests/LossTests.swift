// Loss of each kind of message, of what follows from it, and repeats of it: the effect is there, once (after
// test_core_worker_fault_tolerance.py and test_raylet_fault_tolerance.py).

import RayCore
import RayOwnership
import Testing

/// A kind of message between processes.
enum MessageKind: String, CaseIterable, Sendable {
    case register, registered, refused, release, returned, completed, item, follow, unfollow, status, copies
    case reconcile, free, pin, verify, missing, join, welcome, died, applied, settled, inquire, exited, adopt, adopted
    case disown

    /// Nil for what is sent outside of links.
    init?(_ message: OwnershipMessage) {
        switch message {
        case .register: self = .register
        case .registered: self = .registered
        case .refused: self = .refused
        case .release: self = .release
        case .returned: self = .returned
        case .completed: self = .completed
        case .item: self = .item
        case .follow: self = .follow
        case .unfollow: self = .unfollow
        case .status: self = .status
        case .copies: self = .copies
        case .reconcile: self = .reconcile
        case .free: self = .free
        case .pin: self = .pin
        case .verify: self = .verify
        case .missing: self = .missing
        case .join: self = .join
        case .welcome: self = .welcome
        case .died: self = .died
        case .applied: self = .applied
        case .settled: self = .settled
        case .inquire: self = .inquire
        case .exited: self = .exited
        case .fenced: return nil
        case .adopt: self = .adopt
        case .adopted: self = .adopted
        case .disown: self = .disown
        }
    }
}

@Suite struct LossTests {
    enum Harm: CaseIterable, Sendable {
        /// The first three transmissions of each message of the kind are lost.
        case request
        /// It arrives, and nothing that its receiver says within a tenth of a second does.
        case response
        /// Each comes twice, the second time late.
        case repeated
    }

    /// A story in which each kind of message is said: borrowing, returns, a stream, loss and recovery, a detached
    /// object, a death. It has the same end whatever the network does.
    private func tell(_ cluster: Cluster) {
        let (near, far) = (cluster.node(1), cluster.node(2))
        let silent = cluster.node(3)
        let (owner, worker) = (cluster.worker(on: near), cluster.worker(on: far))
        let (helper, mortal) = (cluster.worker(on: near), cluster.worker(on: far))
        cluster.run(for: .seconds(20))

        // An argument that stays, a return with something inside, a stream.
        let argument = cluster.put(owner, stored: true)
        let task = cluster.submit(owner, [argument])
        cluster.start(task, on: worker, [argument])
        cluster.take(worker, argument, .task(task))
        let inner = cluster.put(worker)
        cluster.finish(task, on: worker, contents: [[inner]], stored: true)
        cluster.drop(worker, inner)
        let stream = cluster.submitStream(owner)
        cluster.start(stream, on: mortal)
        cluster.produce(stream, on: mortal, 1)
        cluster.endStream(stream, on: mortal, items: 1)
        cluster.run(for: .seconds(20))
        #expect(cluster.delivered[cluster.get(owner, stream.returnID(0))] == .inline([1, 0, 0, 0, 0, 0, 0, 0]))

        // A second copy, the loss of the first, and one that nobody can read.
        let result = task.returnID(0)
        cluster.pull(CopyID(object: result, attempt: 1), to: near)
        cluster.run(for: .seconds(20))
        cluster.evict(CopyID(object: result, attempt: 1), at: far)
        cluster.feed(worker, .copyMissing(CopyID(object: argument, attempt: 1), at: near))
        let waiter = cluster.get(worker, argument)
        cluster.run(for: .seconds(20))
        if case .located = cluster.delivered[waiter] {} else { Issue.record("the argument is not found") }
        #expect(cluster.summary(result, at: owner)?.locations == [near])
        #expect(cluster.workers[owner]?.machine.statistics.recoveredByPin == 1)

        // Out of band, too late; a detached object; a death that is seen, and one that is asked about.
        cluster.take(helper, ObjectID(owner: worker, sequence: 1000))
        cluster.feed(helper, .putDetached(request: 1))
        cluster.run(for: .seconds(20))
        if let detached = cluster.adoptions[1] {
            cluster.feed(helper, .taskFinished(detached, attempt: 1, .succeeded([ReturnedValue(.inline([7]))])))
            cluster.feed(helper, .disown(detached.returnID(0)))
            cluster.run(for: .seconds(20))
            cluster.drop(helper, detached.returnID(0))
        } else {
            Issue.record("nobody adopts")
        }
        cluster.drop(helper, ObjectID(owner: worker, sequence: 1000))
        cluster.kill(mortal)
        cluster.pull(CopyID(object: result, attempt: 1), to: silent)
        cluster.run(for: .seconds(20))

        for object in [argument, result, stream.returnID(0)] { cluster.drop(owner, object) }
        cluster.silence(silent)
        cluster.run(for: .seconds(20))
        cluster.declareDead(silent)
        cluster.drop(worker, argument)
        cluster.run(for: .seconds(60))
        #expect(cluster.controlStore.settledEpoch == cluster.controlStore.epoch)
        cluster.expectEmpty()
    }

    @Test(arguments: MessageKind.allCases, Harm.allCases)
    func eachKindOfMessage_isLostOrRepeated(kind: MessageKind, harm: Harm) {
        let cluster = Cluster()
        var struck = 0
        var quietUntil: [WorkerID: Timestamp] = [:]
        cluster.fate = { [unowned cluster] envelope in
            let isKind = envelope.message.flatMap(MessageKind.init) == kind
            switch harm {
            case .request:
                guard isKind, envelope.attempt <= 3 else { return .deliver }
                struck += 1
                return .lose
            case .response:
                if isKind, envelope.attempt == 1 {
                    struck += 1
                    quietUntil[envelope.receiver] = cluster.now + .milliseconds(100)
                }
                return quietUntil[envelope.sender, default: .zero] > cluster.now ? .lose : .deliver
            case .repeated:
                guard isKind else { return .deliver }
                struck += 1
                return .duplicate
            }
        }
        tell(cluster)
        #expect(struck > 0, "the story does not say \(kind)")
    }
}
