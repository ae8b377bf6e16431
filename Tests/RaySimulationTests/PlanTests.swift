// What is drawn before a run starts: the workload and the faults.

import RayCore
import RaySimulation
import Testing

@Suite struct WorkloadTests {
    /// Every variable that a step names is one of the recipe's, holds something when it is used, and every
    /// function that is submitted exists and gets the number of arguments that it takes.
    @Test(arguments: WorkloadKind.allCases)
    func programsAreWellFormed(kind: WorkloadKind) {
        for seed in 0..<20 as Range<UInt64> {
            var random = SeededRandom(seed: seed, concern: .workload)
            let workload = Workload(kind, tasks: 40, drivers: 2, random: &random)
            #expect(workload.drivers.count == 2)
            for (index, recipe) in workload.recipes.enumerated() {
                let parameters = workload.parameters(of: index)
                var held = Set(0..<parameters)
                for step in recipe.steps {
                    #expect(held.isSuperset(of: step.used), "\(kind) \(index) \(step)")
                    if case .drop(let variable) = step { held.remove(variable) }
                    held.formUnion(step.made)
                    #expect(step.made.allSatisfy { $0 < recipe.variables })
                    if let (callee, count) = step.callee {
                        #expect(workload.recipes[callee].variables >= count)
                    }
                }
                #expect(held.isSuperset(of: recipe.returns.flatMap(\.holding)))
                if workload.drivers.contains(index) { #expect(held.isEmpty, "\(kind) leaves \(held)") }
            }
        }
    }

    @Test func theSameSeedIsTheSameWorkload() {
        func text(_ seed: UInt64) -> String {
            var random = SeededRandom(seed: seed, concern: .workload)
            return "\(Workload(.churn, tasks: 30, drivers: 1, random: &random))"
        }
        #expect(text(1) == text(1))
        #expect(text(1) != text(2))
    }
}

extension Workload {
    /// How many arguments the callers of a recipe give.
    func parameters(of recipe: Int) -> Int {
        recipes.lazy.flatMap(\.steps).compactMap(\.callee).first { $0.recipe == recipe }?.arguments ?? 0
    }
}

extension Step {
    var used: [Variable] {
        switch self {
        case .compute: []
        case .put(_, _, let holding), .putDetached(_, _, let holding): holding
        case .submit(_, let arguments, _): arguments.map(\.subject)
        case .get(let variables): variables
        case .take(let source, _, _): [source]
        case .drop(let variable), .keep(let variable), .cancel(let variable), .disown(let variable): [variable]
        case .createActor: []
        case .call(let actor, _, let arguments, _): [actor] + arguments.map(\.subject)
        }
    }

    var made: [Variable] {
        switch self {
        case .put(let variable, _, _), .putDetached(let variable, _, _), .take(_, _, let variable),
            .createActor(let variable, _, _):
            [variable]
        case .submit(_, _, let variables), .call(_, _, _, let variables): variables
        case .compute, .get, .drop, .keep, .cancel, .disown: []
        }
    }

    var callee: (recipe: Int, arguments: Int)? {
        switch self {
        case .submit(let recipe, let arguments, _), .call(_, let recipe, let arguments, _): (recipe, arguments.count)
        case .compute, .put, .putDetached, .get, .take, .drop, .keep, .createActor, .cancel, .disown: nil
        }
    }
}

extension Argument {
    var subject: Variable {
        switch self {
        case .value(let variable), .reference(let variable): variable
        }
    }
}

@Suite struct FaultPlanTests {
    @Test func namesAreParsedAndPrinted() {
        #expect(FaultKinds("none") == [])
        #expect(FaultKinds("all") == .all)
        #expect(FaultKinds("loss,nodes") == [.loss, .nodes])
        #expect(FaultKinds("loss,nodes")?.text == "loss,nodes")
        #expect(FaultKinds([]).text == "none")
        for wrong in ["", "los", "loss,", "loss nodes", "All"] { #expect(FaultKinds(wrong) == nil, "\(wrong)") }
    }

    @Test func everyKindIsDrawnAndTheFirstNodeLives() {
        var kinds: Set<String> = []
        for seed in 0..<50 as Range<UInt64> {
            var random = SeededRandom(seed: seed, concern: .faults)
            let plan = FaultPlan(.all, count: 10, nodes: 4, duration: 1_000_000, random: &random)
            #expect(plan.faults.count == 10)
            #expect(plan.faults.map(\.time) == plan.faults.map(\.time).sorted())
            for fault in plan.faults {
                kinds.insert("\(fault.kind)".prefix { $0 != "(" }.description)
                if case .killNode(let node, _) = fault.kind { #expect((1...3).contains(node)) }
            }
        }
        #expect(kinds == ["cut", "clog", "slow", "killWorker", "killNode", "loseCopy"])
    }

    @Test func whatWasAddedLaterIsDrawnApart() {
        var kinds: Set<String> = []
        for seed in 0..<50 as Range<UInt64> {
            var random = SeededRandom(seed: seed, concern: .faults)
            let first = FaultPlan(.all, count: 10, nodes: 4, duration: 1_000_000, random: &random)
            var plan = first
            var additions = SeededRandom(seed: seed, concern: .additions)
            plan.add(.all, nodes: 4, duration: 1_000_000, random: &additions)
            #expect(plan.faults.map(\.time) == plan.faults.map(\.time).sorted())
            #expect((1...4).contains(plan.faults.count - 10))
            for fault in plan.faults where !first.faults.contains(where: { "\($0)" == "\(fault)" }) {
                kinds.insert("\(fault.kind)".prefix { $0 != "(" }.description)
                if case .drain(let node) = fault.kind { #expect((1...3).contains(node)) }
            }
            var none = FaultPlan()
            none.add([.nodes, .drains], nodes: 1, duration: 1_000, random: &additions)
            #expect(none.faults.isEmpty, "the only node stays")
        }
        #expect(kinds == ["drain", "restartControlStore"])
    }

    @Test func onlyWhatWasAskedForIsDrawn() {
        var random = SeededRandom(seed: 1, concern: .faults)
        #expect(FaultPlan([.loss, .skew], count: 5, nodes: 3, duration: 1_000, random: &random).faults.isEmpty)
        let plan = FaultPlan([.workers, .nodes], count: 9, nodes: 1, duration: 1_000, random: &random)
        #expect(plan.faults.allSatisfy { if case .killWorker = $0.kind { true } else { false } })
    }
}
