// Ray's published scenarios of calls to actors (actor_task_submitter_test.cc, out_of_order_actor_submit_queue_test.cc).

import RayCore
import RayScheduler
import Testing

private let actor = ObjectID(owner: driver, sequence: 1_000)

private func place(_ incarnation: UInt32) -> ActorPlace {
    ActorPlace(actor: actor, incarnation: incarnation, worker: WorkerID(node: here, number: 100 + incarnation))
}

/// An end of an execution of a call.
private struct End: Equatable {
    var task: TaskID
    var execution: UInt32
    var end: ActorCallEnd

    init(_ sequence: UInt64, _ execution: UInt32, _ end: ActorCallEnd) {
        (task, self.execution, self.end) = (RaySchedulerTests.task(sequence), execution, end)
    }
}

/// A caller and what it said.
private struct CallerBed {
    var caller = ActorCallerMachine()
    var now = Timestamp(nanoseconds: 1_000_000)
    var calls: [(call: ActorCall, worker: WorkerID)] = []
    var ends: [End] = []
    var assigned: [TaskID] = []

    mutating func feed(_ events: ActorCallerEvent...) {
        for event in events {
            var directives: [ActorCallerDirective] = []
            caller.handle(event, now: now, into: &directives)
            take(directives)
        }
    }

    mutating func advance(_ duration: Duration) {
        now = now + duration
        var directives: [ActorCallerDirective] = []
        caller.tick(now: now, into: &directives)
        take(directives)
    }

    private mutating func take(_ directives: [ActorCallerDirective]) {
        for directive in directives {
            switch directive {
            case .assigned(let task, _, _): assigned.append(task)
            case .send(.call(let call), let worker): calls.append((call, worker))
            case .send(.report, _): break
            case .ended(let task, let execution, let end):
                var ended = End(0, execution, end)
                ended.task = task
                ends.append(ended)
            }
        }
    }

    mutating func submit(_ sequences: ClosedRange<UInt64>) {
        for sequence in sequences { feed(.submit(task(sequence), to: actor)) }
    }

    mutating func ready(_ sequences: [UInt64], execution: UInt32 = 1) {
        for sequence in sequences { feed(.ready(task(sequence), execution: execution)) }
    }

    mutating func report(_ number: UInt64, incarnation: UInt32 = 1, isCancelled: Bool = false) {
        feed(
            .received(
                .report(
                    ActorReport(actor: actor, incarnation: incarnation, number: number, isCancelled: isCancelled))))
    }

    var sent: [UInt64] { calls.map(\.call.task.sequence) }
}

/// An actor and what it did.
private struct ActorBed {
    var machine = ActorMachine(place: place(1))
    var runs: [TaskID] = []
    var interrupts: [TaskID] = []
    var reports: [ActorReport] = []

    mutating func feed(_ event: ActorEvent) {
        var directives: [ActorDirective] = []
        machine.handle(event, into: &directives)
        for directive in directives {
            switch directive {
            case .run(let task, _): runs.append(task)
            case .interrupt(let task): interrupts.append(task)
            case .send(.report(let report), _): reports.append(report)
            case .send(.call, _): break
            }
        }
    }

    mutating func call(
        _ number: UInt64, by caller: WorkerID = driver, settledBelow: UInt64 = 1, isCancelled: Bool = false,
        incarnation: UInt32 = 1
    ) {
        var call = ActorCall(
            actor: actor, incarnation: incarnation, number: number, task: TaskID(owner: caller, sequence: number),
            execution: 1, settledBelow: settledBelow)
        call.isCancelled = isCancelled
        feed(.received(.call(call)))
    }

    mutating func finish() { if let last = runs.last { feed(.finished(last, isCancelled: false)) } }
}

@Suite struct ActorCallerTests {
    @Test func callsWaitUntilTheActorRuns_thenLeaveInOrder() {
        var bed = CallerBed()
        bed.submit(1...3)
        bed.ready([1, 2, 3])
        #expect(bed.calls.isEmpty)
        bed.feed(.placed(place(1)))
        #expect(bed.sent == [1, 2, 3])
        #expect(bed.calls.map(\.call.number) == [1, 2, 3])
        #expect(bed.calls.allSatisfy { $0.worker == place(1).worker })
        #expect(bed.assigned == [task(1), task(2), task(3)])
    }

    @Test func argumentsResolvedOutOfOrder_callsLeaveInOrder() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...3)
        bed.ready([3, 2])
        #expect(bed.calls.isEmpty)
        bed.ready([1])
        #expect(bed.sent == [1, 2, 3])
    }

    @Test func aCallThatFailsBeforeItLeaves_holdsUpNobody() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...2)
        bed.ready([2])
        bed.feed(.withdraw(task(1)))
        #expect(bed.sent == [2])
        #expect(bed.calls.map(\.call.number) == [1])
        #expect(bed.ends == [])
    }

    @Test func restart_resubmitsInOrder() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...4)
        bed.ready([1, 2, 3])
        bed.report(1)
        bed.feed(.workerDied(place(1).worker))
        #expect(bed.ends == [End(1, 1, .finished), End(2, 1, .died), End(3, 1, .died)])
        // The owner wants both again, the later one first; the fourth was never sent, and stays behind them.
        bed.ready([4])
        bed.ready([3], execution: 2)
        bed.calls = []
        bed.feed(.placed(place(2)))
        #expect(bed.calls.isEmpty)
        bed.ready([2], execution: 2)
        #expect(bed.sent == [2, 3, 4])
        #expect(bed.calls.map(\.call.number) == [1, 2, 3], "numbers begin anew")
        #expect(bed.calls.map(\.call.execution) == [2, 2, 1])
        #expect(bed.calls.allSatisfy { $0.call.incarnation == 2 && $0.worker == place(2).worker })
    }

    @Test func restart_withoutRetries_goesOnWithTheNext() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...2)
        bed.ready([1])
        bed.feed(.placed(place(2)))
        #expect(bed.ends == [], "what the first run has done is known when its death is")
        bed.feed(.workerDied(place(1).worker))
        #expect(bed.ends == [End(1, 1, .died)])
        bed.ready([2])
        #expect(bed.sent == [1])
        bed.feed(.withdraw(task(1)))
        #expect(bed.sent == [1, 2])
        #expect(bed.ends.count == 1)
    }

    @Test func aRunThatDiesBeforeItsTurn_isPassedOver() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)), .placed(place(2)), .workerDied(place(2).worker))
        bed.submit(1...1)
        bed.feed(.workerDied(place(1).worker))
        bed.ready([1])
        #expect(bed.calls.isEmpty)
        bed.feed(.placed(place(3)), .placed(place(4)))
        #expect(bed.calls.map(\.call.incarnation) == [3])
        bed.feed(.nodeDied(here))
        bed.ready([1], execution: 2)
        #expect(bed.calls.count == 1, "both were on the node")
    }

    @Test func lateNewsOfAnEarlierIncarnation_isIgnored() {
        var bed = CallerBed()
        bed.feed(.placed(place(2)))
        bed.submit(1...1)
        bed.ready([1])
        bed.report(1, incarnation: 1)
        bed.feed(.placed(place(1)))
        #expect(bed.ends == [])
        bed.report(1, incarnation: 2)
        bed.report(1, incarnation: 2)
        #expect(bed.ends == [End(1, 1, .finished)])
        #expect(bed.caller.callCount == 0)
    }

    @Test func aNodesDeath_takesTheActorsOnIt() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...2)
        bed.ready([1])
        bed.feed(.nodeDied(nodeID(2)), .workerDied(WorkerID(node: here, number: 7)))
        #expect(bed.ends == [])
        bed.feed(.nodeDied(here))
        #expect(bed.ends == [End(1, 1, .died)])
        bed.ready([2])
        #expect(bed.sent == [1])
        bed.report(1)
        #expect(bed.caller.callCount == 2, "a late report of a lost run changes nothing")
    }

    /// Calls that end out of order, before and behind what was sent, and in a number that needs the queue cut off.
    @Test func gapsInTheQueue_holdUpNobody() {
        var configuration = ActorCallerConfiguration()
        configuration.window = 8
        var bed = CallerBed(caller: ActorCallerMachine(configuration: configuration))
        bed.feed(.placed(place(1)))
        bed.submit(1...200)
        for sequence in stride(from: 3, through: 200, by: 3) as StrideThrough<UInt64> {
            bed.feed(.withdraw(task(sequence)))
        }
        bed.ready((1...200).filter { $0 % 3 != 0 })
        var next = 0
        while next < bed.calls.count {
            let numbers = bed.calls[next...].map(\.call.number)
            next = bed.calls.count
            for number in numbers.reversed() { bed.report(number) }
        }
        #expect(bed.sent == (1...200).filter { $0 % 3 != 0 })
        #expect(bed.calls.map(\.call.number) == Array(1...UInt64(bed.sent.count)))
        #expect(bed.ends.count == bed.sent.count && bed.ends.allSatisfy { $0.end == .finished })
        #expect(bed.caller.callCount == 0 && bed.caller.nextDeadline == .never)
    }

    @Test func deadActor_failsAll() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...4)
        bed.ready([1, 3])
        bed.feed(.dead(actor))
        #expect(bed.ends == [End(3, 1, .actorDead)], "the first may still end well")
        bed.feed(.workerDied(place(1).worker))
        #expect(bed.ends.last == End(1, 1, .died))
        bed.ready([2, 4])
        bed.ready([1], execution: 2)
        bed.submit(5...5)
        bed.ready([5])
        #expect(bed.ends.dropFirst(2).map(\.end) == [.actorDead, .actorDead, .actorDead, .actorDead])
        bed.feed(.placed(place(2)))
        #expect(bed.caller.callCount == 0 && bed.calls.count == 1, "it does not come back")
    }

    @Test func unansweredCallsAreRepeated_answeredOnesAreNot() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...2)
        bed.ready([1, 2])
        bed.report(1)
        bed.advance(.milliseconds(200))
        bed.advance(.milliseconds(400))
        #expect(bed.sent == [1, 2, 2, 2])
        #expect(bed.calls.map(\.call.settledBelow) == [1, 1, 2, 2])
        bed.report(2)
        #expect(bed.caller.nextDeadline == .never)
    }

    @Test func callsUnderWayAreBounded() {
        var configuration = ActorCallerConfiguration()
        configuration.window = 2
        var bed = CallerBed(caller: ActorCallerMachine(configuration: configuration))
        bed.feed(.placed(place(1)))
        bed.submit(1...4)
        bed.ready([1, 2, 3, 4])
        #expect(bed.sent == [1, 2])
        bed.report(2)
        #expect(bed.sent == [1, 2, 3])
    }

    @Test func aCallUnderWay_isCancelledAtTheActor() {
        var bed = CallerBed()
        bed.feed(.placed(place(1)))
        bed.submit(1...1)
        bed.ready([1])
        bed.feed(.withdraw(task(1)))
        #expect(bed.calls.map(\.call.isCancelled) == [false, true])
        #expect(bed.ends == [])
        bed.report(1, isCancelled: true)
        #expect(bed.ends == [End(1, 1, .cancelled)])
    }
}

@Suite struct ActorMachineTests {
    @Test func callsRunInOrder_howeverTheyArrive() {
        var bed = ActorBed()
        for number in [3, 2, 1] as [UInt64] { bed.call(number) }
        #expect(bed.runs.map(\.sequence) == [1])
        bed.finish()
        bed.finish()
        #expect(bed.runs.map(\.sequence) == [1, 2, 3])
        #expect(bed.reports.map(\.number) == [1, 2])
    }

    @Test func aRepeatedCallRunsOnce_andItsEndIsSaidAgain() {
        var bed = ActorBed()
        for _ in 0..<2 { bed.call(1) }
        bed.finish()
        bed.call(1)
        #expect(bed.runs.count == 1)
        #expect(bed.reports.map(\.number) == [1, 1])
        bed.call(2, settledBelow: 2)
        bed.call(1)
        #expect(bed.reports.count == 2, "the caller knows: it is a straggler")
    }

    @Test func callersDoNotHoldUpEachOther() {
        var bed = ActorBed()
        bed.call(2)
        bed.call(1, by: otherDriver)
        #expect(bed.runs.map(\.owner) == [otherDriver])
    }

    @Test func callsAreCancelled_earlyQueuedOrRunning() {
        var bed = ActorBed()
        for number in 1...2 as ClosedRange<UInt64> { bed.call(number) }
        bed.call(4, isCancelled: true)
        bed.call(4)
        for number in [2, 1, 1] as [UInt64] { bed.call(number, isCancelled: true) }
        #expect(bed.interrupts.map(\.sequence) == [1])
        bed.feed(.finished(bed.runs[0], isCancelled: true))
        bed.call(3)
        bed.finish()
        #expect(bed.runs.map(\.sequence) == [1, 3])
        #expect(bed.reports.map(\.number) == [1, 2, 3, 4])
        #expect(bed.reports.map(\.isCancelled) == [true, true, false, true])
    }

    @Test func callsToAnotherIncarnation_areIgnored() {
        var bed = ActorBed()
        bed.call(1, incarnation: 2)
        #expect(bed.runs.isEmpty && bed.reports.isEmpty)
    }

    @Test func aDeadCallersCallsEnd() {
        var bed = ActorBed()
        bed.call(1)
        bed.call(2)
        bed.call(1, by: otherDriver)
        bed.feed(.callerDied(driver))
        #expect(bed.interrupts.map(\.owner) == [driver])
        bed.feed(.finished(bed.runs[0], isCancelled: true))
        #expect(bed.runs.map(\.owner) == [driver, otherDriver])
        #expect(bed.reports.isEmpty)
        bed.call(3)
        bed.finish()
        #expect(bed.runs.count == 2)
    }

    @Test func aDeadNodesCallersEnd() {
        var bed = ActorBed()
        let other = WorkerID(node: nodeID(2), number: 1)
        bed.call(1)
        bed.call(2)
        bed.call(1, by: other)
        bed.feed(.nodeDied(here))
        #expect(bed.interrupts.map(\.owner) == [driver])
        bed.feed(.finished(bed.runs[0], isCancelled: true))
        #expect(bed.runs.map(\.owner) == [driver, other])
    }

    /// Callers on a network that loses, repeats and reorders, and an actor that dies now and then: within an
    /// incarnation each call runs once and in order, and each ends.
    @Test(arguments: 1...20)
    func orderHoldsUnderFaults(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bed = CallerBed()
        var machine = ActorBed()
        var incarnation: UInt32 = 1
        var executions: [UInt64: UInt32] = [:]
        var network: [ActorMessage] = []
        var seen = (calls: 0, ends: 0, reports: 0, runs: 0)
        let count: UInt64 = 40
        bed.submit(1...count)
        for sequence in (1...count).shuffled(using: &random) { bed.ready([sequence]) }
        bed.feed(.placed(place(1)))
        for _ in 0..<20_000 where bed.caller.callCount > 0 {
            for (call, _) in bed.calls[seen.calls...] { network.append(.call(call)) }
            for report in machine.reports[seen.reports...] { network.append(.report(report)) }
            (seen.calls, seen.reports) = (bed.calls.count, machine.reports.count)
            for end in bed.ends[seen.ends...] where end.end == .died {
                executions[end.task.sequence] = end.execution + 1
            }
            seen.ends = bed.ends.count
            switch Int.random(in: 0..<1000, using: &random) {
            case 0..<700:
                guard !network.isEmpty else { continue }
                let message = network.remove(at: Int.random(in: network.indices, using: &random))
                if random.chance(0.2) { network.append(message) }
                if random.chance(0.2) { continue }
                if case .call = message { machine.feed(.received(message)) } else { bed.feed(.received(message)) }
            case 700..<950:
                guard machine.runs.count > seen.runs else { continue }
                seen.runs += 1
                machine.finish()
            case 950..<965: bed.advance(.seconds(2))
            case 965..<998:
                for (sequence, execution) in executions.sorted(by: { $0.key < $1.key }) {
                    bed.ready([sequence], execution: execution)
                }
                executions = [:]
            default:
                let ran = machine.runs.map(\.sequence)
                #expect(ran == ran.sorted() && Set(ran).count == ran.count)
                incarnation += 1
                machine = ActorBed(machine: ActorMachine(place: place(incarnation)))
                (seen.reports, seen.runs) = (0, 0)
                let news: [ActorCallerEvent] = [
                    .placed(place(incarnation)), .workerDied(place(incarnation - 1).worker),
                ]
                for event in news.shuffled(using: &random) { bed.feed(event) }
            }
        }
        #expect(bed.caller.callCount == 0)
        #expect(bed.ends.filter { $0.end == .finished }.count == Int(count))
    }
}
