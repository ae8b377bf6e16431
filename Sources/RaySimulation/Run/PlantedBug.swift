// Bugs that are planted on purpose, between a machine and the network: a sweep that misses one is blind.

/// A bug. Its name is what `--bug` takes.
package enum PlantedBug: String, CaseIterable, Sendable {
    case placeholder
}
