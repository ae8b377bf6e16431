// A machine where a copy would be needed: machines themselves can not be copied.

/// Keeps a machine in a place that many may name.
final class Held<Machine: ~Copyable> {
    var machine: Machine

    init(_ machine: consuming Machine) { self.machine = machine }
}
