// How a queue pair is connected: what each end does in which order, and what makes it give up.

import Testing

@testable import RayFabric

@Suite struct JoinMachineTests {
    /// What is expected to happen, one after the other.
    private func run(_ machine: inout JoinMachine, _ steps: [(JoinEvent, JoinDirective?)]) {
        for (event, directive) in steps { #expect(machine.handle(event) == directive, "\(event)") }
    }

    private static let toConnect: [(event: JoinEvent, directive: JoinDirective?)] = [
        (.addressResolved(isOwnPort: true), .resolveRoute), (.routeResolved, .connect),
        (.answered(isRight: true), .establish),
    ]
    private static let toAccept: [(event: JoinEvent, directive: JoinDirective?)] = [
        (.requested, .accept), (.established, nil),
    ]

    @Test func oneEndConnects() {
        var machine = JoinMachine()
        machine.begin()
        run(&machine, Self.toConnect.dropLast().map { ($0.event, $0.directive) })
        #expect(!machine.isJoined)
        run(&machine, [(.answered(isRight: true), .establish)])
        #expect(machine.isJoined && machine.state == .established)
    }

    @Test func theOtherOneIsInvited() {
        var machine = JoinMachine()
        machine.invite()
        run(&machine, [(.requested, .accept)])
        #expect(machine.isJoined && machine.state == .accepted)
        run(&machine, [(.requested, .reject), (.established, nil)])
        #expect(machine.state == .established)
        run(&machine, [(.requested, .reject)])
    }

    @Test func nobodyIsAcceptedUninvited() {
        var idle = JoinMachine()
        #expect(idle.handle(.requested) == .reject)
        var connecting = JoinMachine()
        connecting.begin()
        #expect(connecting.handle(.requested) == .reject)
        #expect(connecting.state == .resolvingAddress)
    }

    @Test func wrongAnswersEndIt() {
        var machine = JoinMachine()
        machine.begin()
        run(&machine, Self.toConnect.dropLast().map { ($0.event, $0.directive) })
        run(&machine, [(.answered(isRight: false), .giveUp("who answers at the peer's port does not know the token"))])
        #expect(machine.state == .ended && !machine.isJoined)
    }

    @Test func anotherPortEndsIt() {
        var machine = JoinMachine()
        machine.begin()
        let reason = "the peer is reached by another port than that of the connection"
        run(&machine, [(.addressResolved(isOwnPort: false), .giveUp(reason)), (.routeResolved, nil)])
    }

    /// After each step, at both ends: a failure is told once, and nothing follows.
    @Test(arguments: [true, false], 0...3 as ClosedRange<Int>) func failuresAreToldOnce(
        isInvited: Bool, after count: Int
    ) {
        let changed = JoinDirective.giveUp("an address of the way to the peer has changed")
        for (event, directive) in [
            (JoinEvent.failed("it fell"), JoinDirective.giveUp("it fell")), (.addressChanged, changed),
            (.deviceRemoved, .deviceRemoved),
        ] {
            var machine = JoinMachine()
            if isInvited { machine.invite() } else { machine.begin() }
            let steps = isInvited ? Self.toAccept : Self.toConnect
            run(&machine, steps.prefix(count).map { ($0.event, $0.directive) })
            run(&machine, [(event, directive), (.failed("again"), nil), (.disconnected, nil), (.addressChanged, nil)])
            run(&machine, steps.filter { $0.event != .requested }.map { ($0.event, nil) })
            #expect(!machine.isJoined)
        }
    }

    @Test func aPeerThatDisconnectsIsDoubtedOnce() {
        var machine = JoinMachine()
        machine.invite()
        run(&machine, [(.disconnected, nil), (.requested, .accept), (.disconnected, .doubt), (.disconnected, nil)])
        var other = JoinMachine()
        other.begin()
        run(&other, Self.toConnect.dropLast().map { ($0.event, $0.directive) })
        run(&other, [(.disconnected, .giveUp("the peer has disconnected"))])
    }

    @Test func whatComesOutOfTurnIsIgnored() {
        var idle = JoinMachine()
        run(&idle, [(.failed("early"), nil), (.addressChanged, nil)])
        #expect(idle.state == .idle)
        var machine = JoinMachine()
        machine.begin()
        run(&machine, [(.routeResolved, nil), (.answered(isRight: true), nil), (.established, nil)])
        #expect(machine.state == .resolvingAddress)
    }
}
