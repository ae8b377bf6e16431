// The workload of actors: calls that wait for their inputs, are cancelled, and come from several callers.

internal import RayCore

extension Workload {
    private struct Call {
        var isKeeper: Bool
        /// Its input is made by a task, and may come late.
        var isLate: Bool
        var isCancelled: Bool
        var isRead: Bool
    }

    mutating func actors(_ tasks: Int, _ random: inout SeededRandom) {
        let (work, size) = (Self.work(&random), Self.size(&random))
        // An actor that holds a CPU for as long as it lives leaves none to others where there is but one.
        let isHeavy = random.chance(0.3)
        let restarts = [0, 1, 3][random.below(3)]
        // Keeps a reference that it borrowed, and returns it: the caller borrows from a borrower.
        let keeper = add {
            let argument = $0.variable()
            $0.steps = [.compute(work), .keep(argument)]
            $0.returns = [Result(bytes: Size.small, holding: [argument])]
        }
        let plain = leaf(arguments: 1, &random)
        let maker = leaf(arguments: 0, &random)
        var batches: [[Call]] = []
        while batches.reduce(0, { $0 + $1.count }) < tasks {
            batches.append(
                (0...random.below(4)).map { _ in
                    Call(
                        isKeeper: random.chance(0.5), isLate: random.chance(0.3) && !isHeavy,
                        isCancelled: random.chance(0.08), isRead: random.chance(0.8))
                })
        }
        let visits = batches.map { _ in !isHeavy && random.chance(0.3) }
        let endsEarly = random.chance(0.3)
        let guest = visits.contains(true) ? guest(size, plain, keeper) : nil
        _ = add { recipe in
            let actor = recipe.variable()
            let input = recipe.variable()
            recipe.steps = [.createActor(into: actor, milliCPU: isHeavy ? 1_000 : 0, restarts: restarts)]
            for (place, batch) in batches.enumerated() {
                let results = recipe.variables(batch.count)
                let visit = visits[place] ? recipe.variable() : nil
                for (call, result) in zip(batch, results) {
                    recipe.steps.append(
                        call.isLate
                            ? .submit(recipe: maker, arguments: [], into: [input])
                            : .put(into: input, bytes: size, holding: []))
                    let argument: Argument = call.isKeeper ? .reference(input) : .value(input)
                    let callee = call.isKeeper ? keeper : plain
                    recipe.steps += [
                        .call(actor: actor, recipe: callee, arguments: [argument], into: [result]), .drop(input),
                    ]
                }
                if let visit, let guest {
                    recipe.steps.append(.submit(recipe: guest, arguments: [.reference(actor)], into: [visit]))
                }
                if endsEarly, place == batches.count - 1 { recipe.steps.append(.drop(actor)) }
                for (call, result) in zip(batch, results) {
                    recipe.steps += Self.end(of: call, result, input)
                }
                if let visit { recipe.steps += [.get([visit]), .drop(visit)] }
            }
            if !endsEarly { recipe.steps.append(.drop(actor)) }
        }
    }

    /// A task that calls the actor that it was given, twice.
    private mutating func guest(_ size: Int, _ plain: Int, _ keeper: Int) -> Int {
        add {
            let (actor, input) = ($0.variable(), $0.variable())
            let results = $0.variables(2)
            $0.steps = [
                .put(into: input, bytes: size, holding: []),
                .call(actor: actor, recipe: plain, arguments: [.value(input)], into: [results[0]]),
                .call(actor: actor, recipe: keeper, arguments: [.reference(input)], into: [results[1]]),
                .drop(input), .get(results),
            ]
            $0.returns = [Result(bytes: Size.small)]
        }
    }

    /// What a driver does with the result of a call.
    private static func end(of call: Call, _ result: Variable, _ input: Variable) -> [Step] {
        var steps: [Step] = call.isCancelled ? [.cancel(result)] : []
        guard call.isRead else { return steps + [.drop(result)] }
        steps.append(.get([result]))
        if call.isKeeper {
            steps += [.take(from: result, index: 0, into: input), .drop(result), .get([input]), .drop(input)]
        } else {
            steps.append(.drop(result))
        }
        return steps
    }
}
