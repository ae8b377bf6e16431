// The workloads: which functions there are, and what each driver does with them.

package import RayCore

/// Kinds of programs that run on a simulated cluster.
package enum WorkloadKind: String, CaseIterable, Sendable {
    /// Many tasks, then all their results.
    case fanOut = "fan-out"
    /// Each task takes the result of the one before.
    case chain
    /// Tasks that submit tasks, and wait for them.
    case tree
    /// Every reducer takes a part of the output of every mapper.
    case shuffle
    /// Actors that are called in order, keep references and hand them out.
    case actors
    /// Tasks that block on children while all CPUs are taken.
    case nested
    /// References inside of values, passed on by borrowers, several levels deep.
    case borrowed
    /// One large object that every node reads.
    case broadcast
    /// Objects made and dropped at once, many never read.
    case churn
    /// Objects that are owned by the control store's side, and outlive their creators.
    case detached

    /// Kinds that a run draws from; the others are drawn apart.
    static let drawnFirst = allCases.filter { $0 != .detached }
}

/// Functions, and one program for each driver.
package struct Workload: Sendable {
    package private(set) var recipes: [Recipe] = []
    /// Indices of the recipes that drivers run.
    package private(set) var drivers: [Int] = []

    /// Sizes of values. Those up to the limit of inline values travel in messages.
    enum Size {
        static let small = 100
        static let large = 1 << 20
    }

    /// The workload of `kind` with about `tasks` tasks for all `drivers` together.
    package init(_ kind: WorkloadKind, tasks: Int, drivers count: Int, random: inout SeededRandom) {
        let share = max(1, tasks / count)
        switch kind {
        case .fanOut: fanOut(share, &random)
        case .chain: chain(share, &random)
        case .tree: tree(share, &random)
        case .shuffle: shuffle(share, &random)
        case .actors: actors(share, &random)
        case .nested: nested(share, &random)
        case .borrowed: borrowed(share, &random)
        case .broadcast: broadcast(share, &random)
        case .churn: churn(share, &random)
        case .detached: detached(share, &random)
        }
        let driver = recipes.count - 1
        drivers = Array(repeating: driver, count: count)
    }

    mutating func add(_ build: (inout Recipe) -> Void) -> Int {
        var recipe = Recipe()
        build(&recipe)
        recipes.append(recipe)
        return recipes.count - 1
    }

    static func size(_ random: inout SeededRandom) -> Int { random.chance(0.5) ? Size.small : Size.large }

    /// Nanoseconds of work of a task: 10 us to 5 ms, short ones more often.
    static func work(_ random: inout SeededRandom) -> UInt64 {
        min(10_000 + random.exponential(mean: 500_000), 5_000_000)
    }

    /// A task that takes `arguments` values, works, and returns one value.
    mutating func leaf(arguments: Int, _ random: inout SeededRandom) -> Int {
        let (work, bytes) = (Self.work(&random), Self.size(&random))
        let retries = [0, 1, 3, 3][random.below(4)]
        return add {
            _ = $0.variables(arguments)
            $0.steps = [.compute(work)]
            $0.returns = [Result(bytes: bytes)]
            $0.retries = retries
        }
    }

    private mutating func fanOut(_ tasks: Int, _ random: inout SeededRandom) {
        let kinds = (0..<3).map { _ in leaf(arguments: 1, &random) }
        let size = Self.size(&random)
        let choices = (0..<tasks).map { _ in kinds[random.below(kinds.count)] }
        _ = add {
            let input = $0.variable()
            $0.steps.append(.put(into: input, bytes: size, holding: []))
            let results = $0.variables(tasks)
            for (result, kind) in zip(results, choices) {
                $0.steps.append(.submit(recipe: kind, arguments: [.value(input)], into: [result]))
            }
            $0.steps.append(.drop(input))
            for result in results { $0.steps += [.get([result]), .drop(result)] }
        }
    }

    private mutating func chain(_ tasks: Int, _ random: inout SeededRandom) {
        let kinds = (0..<3).map { _ in leaf(arguments: 1, &random) }
        let choices = (0..<tasks).map { _ in kinds[random.below(kinds.count)] }
        let size = Self.size(&random)
        _ = add {
            var last = $0.variable()
            $0.steps.append(.put(into: last, bytes: size, holding: []))
            for kind in choices {
                let next = $0.variable()
                // The link before is let go at once: only its use as an argument keeps it.
                $0.steps += [.submit(recipe: kind, arguments: [.value(last)], into: [next]), .drop(last)]
                last = next
            }
            $0.steps += [.get([last]), .drop(last)]
        }
    }

    private mutating func tree(_ tasks: Int, _ random: inout SeededRandom) {
        var level = leaf(arguments: 0, &random)
        var below = 1
        while below * 2 + 1 <= max(3, tasks) {
            let (work, size, child) = (Self.work(&random), Self.size(&random), level)
            level = add {
                let children = $0.variables(2)
                $0.steps = children.map { .submit(recipe: child, arguments: [], into: [$0]) }
                $0.steps += [.get(children), .compute(work)]
                $0.returns = [Result(bytes: size)]
            }
            below = below * 2 + 1
        }
        let root = level
        _ = add {
            let result = $0.variable()
            $0.steps = [.submit(recipe: root, arguments: [], into: [result]), .get([result]), .drop(result)]
        }
    }

    private mutating func shuffle(_ tasks: Int, _ random: inout SeededRandom) {
        var side = 1
        while (side + 1) * 2 <= tasks, side < 12 { side += 1 }
        let (work, size) = (Self.work(&random), Self.size(&random))
        let mapper = add {
            $0.steps = [.compute(work)]
            $0.returns = Array(repeating: Result(bytes: size), count: side)
        }
        let reducer = leaf(arguments: side, &random)
        _ = add { recipe in
            let parts = (0..<side).map { _ in recipe.variables(side) }
            for part in parts { recipe.steps.append(.submit(recipe: mapper, arguments: [], into: part)) }
            let results = recipe.variables(side)
            for (index, result) in results.enumerated() {
                recipe.steps.append(
                    .submit(recipe: reducer, arguments: parts.map { .value($0[index]) }, into: [result]))
            }
            for part in parts { recipe.steps += part.map { .drop($0) } }
            recipe.steps.append(.get(results))
            recipe.steps += results.map { .drop($0) }
        }
    }

    private mutating func nested(_ tasks: Int, _ random: inout SeededRandom) {
        let child = leaf(arguments: 1, &random)
        let width = 1 + random.below(3)
        let (work, size) = (Self.work(&random), Self.size(&random))
        let parent = add {
            let argument = $0.variable()
            let children = $0.variables(width)
            $0.steps = children.map { .submit(recipe: child, arguments: [.value(argument)], into: [$0]) }
            // One child after another: the CPU is given back and taken again each time.
            for variable in children { $0.steps += [.get([variable]), .compute(work / 4)] }
            $0.returns = [Result(bytes: size, holding: [children[0]])]
        }
        _ = add {
            let input = $0.variable()
            $0.steps = [.put(into: input, bytes: size, holding: [])]
            let results = $0.variables(max(1, tasks / (width + 1)))
            for result in results {
                $0.steps.append(.submit(recipe: parent, arguments: [.value(input)], into: [result]))
            }
            let inner = $0.variable()
            for result in results {
                // The child's result is owned by the parent's worker: it may be gone when we ask.
                $0.steps += [
                    .get([result]), .take(from: result, index: 0, into: inner), .drop(result), .get([inner]),
                    .drop(inner),
                ]
            }
            $0.steps.append(.drop(input))
        }
    }

    private mutating func borrowed(_ tasks: Int, _ random: inout SeededRandom) {
        let (work, size) = (Self.work(&random), Self.size(&random))
        let reader = add {
            let reference = $0.variable()
            $0.steps = [.get([reference]), .compute(work)]
            $0.returns = [Result(bytes: Size.small)]
        }
        // Passes the borrowed reference on, in a value of its own and as it is, and does not wait.
        let lender = add {
            let reference = $0.variable()
            let box = $0.variable()
            let result = $0.variable()
            $0.steps = [
                .compute(work), .put(into: box, bytes: size, holding: [reference]),
                .submit(recipe: reader, arguments: [.reference(reference)], into: [result]),
            ]
            $0.returns = [Result(bytes: Size.small, holding: [box, result])]
        }
        let rounds = max(1, tasks / 2)
        let early = (0..<rounds).map { _ in random.chance(0.5) }
        _ = add {
            let (inner, outer, result) = ($0.variable(), $0.variable(), $0.variable())
            let (box, taken, read) = ($0.variable(), $0.variable(), $0.variable())
            for early in early {
                $0.steps += [
                    .put(into: inner, bytes: size, holding: []), .put(into: outer, bytes: Size.small, holding: [inner]),
                    .submit(recipe: lender, arguments: [.reference(inner)], into: [result]), .drop(inner),
                    .get([result]),
                ]
                if early { $0.steps.append(.drop(outer)) }
                $0.steps += [
                    .take(from: result, index: 0, into: box), .take(from: result, index: 1, into: read), .drop(result),
                    .get([box]), .take(from: box, index: 0, into: taken), .drop(box), .get([taken]), .drop(taken),
                    .get([read]), .drop(read),
                ]
                if !early {
                    $0.steps += [
                        .get([outer]), .take(from: outer, index: 0, into: taken), .drop(outer), .get([taken]),
                        .drop(taken),
                    ]
                }
            }
        }
    }

    private mutating func broadcast(_ tasks: Int, _ random: inout SeededRandom) {
        let reader = leaf(arguments: 1, &random)
        let rounds = 1 + random.below(2)
        _ = add {
            let input = $0.variable()
            for _ in 0..<rounds {
                $0.steps.append(.put(into: input, bytes: Size.large, holding: []))
                let results = $0.variables(max(1, tasks / rounds))
                for result in results {
                    $0.steps.append(.submit(recipe: reader, arguments: [.value(input)], into: [result]))
                }
                $0.steps.append(.drop(input))
                $0.steps += results.flatMap { [.get([$0]), .drop($0)] }
            }
        }
    }

    private mutating func detached(_ tasks: Int, _ random: inout SeededRandom) {
        let (work, size) = (Self.work(&random), Self.size(&random))
        let reader = add {
            let (reference, inner) = ($0.variable(), $0.variable())
            $0.steps = [
                .get([reference]), .compute(work), .take(from: reference, index: 0, into: inner), .get([inner]),
            ]
            $0.returns = [Result(bytes: Size.small, holding: [inner])]
        }
        let early = (0..<tasks).map { _ in random.chance(0.5) }
        _ = add {
            let (inner, object, result, taken) = ($0.variable(), $0.variable(), $0.variable(), $0.variable())
            for early in early {
                $0.steps += [
                    .put(into: inner, bytes: size, holding: []),
                    .putDetached(into: object, bytes: size, holding: [inner]), .drop(inner),
                    .submit(recipe: reader, arguments: [.reference(object)], into: [result]),
                ]
                // The task holds it, and the object what is inside.
                if early { $0.steps += [.disown(object), .drop(object)] }
                $0.steps += [.get([result]), .take(from: result, index: 0, into: taken), .drop(result)]
                if !early { $0.steps += [.get([object]), .disown(object), .drop(object)] }
                $0.steps += [.get([taken]), .drop(taken)]
            }
        }
    }

    private mutating func churn(_ tasks: Int, _ random: inout SeededRandom) {
        let maker = leaf(arguments: 0, &random)
        let taker = leaf(arguments: 1, &random)
        let choices = (0..<tasks).map { _ in random.below(6) }
        let size = Self.size(&random)
        _ = add {
            let (first, second) = ($0.variable(), $0.variable())
            for choice in choices {
                $0.steps.append(.put(into: first, bytes: size, holding: []))
                switch choice {
                case 0: $0.steps += [.submit(recipe: maker, arguments: [], into: [second]), .drop(second)]
                case 1: $0.steps += [.submit(recipe: taker, arguments: [.value(first)], into: [second]), .drop(second)]
                case 2:
                    $0.steps += [
                        .submit(recipe: taker, arguments: [.value(first)], into: [second]), .get([second]),
                        .drop(second),
                    ]
                case 3:
                    $0.steps += [
                        .submit(recipe: taker, arguments: [.value(first)], into: [second]), .cancel(second),
                        .get([second]), .drop(second),
                    ]
                case 4: $0.steps.append(.get([first]))
                default: break
                }
                $0.steps.append(.drop(first))
            }
        }
    }
}
