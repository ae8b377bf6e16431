// What simulated functions do: short lists of steps over numbered variables, the same on every run of a task.

/// Where a function keeps a reference, an actor or nothing.
package typealias Variable = Int

/// One thing that a driver, a task or an actor call does.
package enum Step: Sendable {
    /// Works for so many nanoseconds.
    case compute(UInt64)
    /// Makes an object of `bytes` whose value holds the references in `holding`.
    case put(into: Variable, bytes: Int, holding: [Variable])
    /// Makes an object that outlives the driver; until `disown` it lives for itself.
    case putDetached(into: Variable, bytes: Int, holding: [Variable])
    case disown(Variable)
    /// Submits a task; what it returns is referred to by `into`.
    case submit(recipe: Int, arguments: [Argument], into: [Variable])
    /// Waits for values, while the CPU is given back. An error of any ends the function with an error, unless
    /// it is a driver: that goes on without the value.
    case get([Variable])
    /// Takes the reference at `index` out of a value that was got. The value is left as it is.
    case take(from: Variable, index: Int, into: Variable)
    /// Lets go of a reference.
    case drop(Variable)
    /// Starts an actor, which is started again so often when its process has died. It ends when its creator drops it.
    case createActor(into: Variable, milliCPU: Int, restarts: Int)
    /// Calls an actor; calls of one caller run in their order.
    case call(actor: Variable, recipe: Int, arguments: [Argument], into: [Variable])
    /// Gives up the task that makes a value.
    case cancel(Variable)
    /// In an actor call: keeps a reference in the actor, in place of the one that it kept before.
    case keep(Variable)
}

/// An argument of a task.
package enum Argument: Sendable {
    /// The value: the task starts only where and when it is there. The task's variable refers to the object.
    case value(Variable)
    /// The reference itself, inside of a value that the task gets with its arguments: the task borrows it.
    case reference(Variable)

    var variable: Variable {
        switch self {
        case .value(let variable), .reference(let variable): variable
        }
    }
}

/// What a function returns at one place: a value of `bytes` that holds references.
package struct Result: Sendable {
    package var bytes: Int
    package var holding: [Variable] = []
}

/// A function. Its arguments are its first variables.
package struct Recipe: Sendable {
    package var steps: [Step] = []
    package var returns: [Result] = []
    /// CPUs in thousandths.
    package var milliCPU = 1_000
    /// How often a task is tried again after its worker or node died.
    package var retries = 3
    /// How many variables it uses, arguments included.
    package var variables = 0

    package init() {}

    /// A variable that nothing else uses.
    mutating func variable() -> Variable {
        variables += 1
        return variables - 1
    }

    mutating func variables(_ count: Int) -> [Variable] { (0..<count).map { _ in variable() } }
}
