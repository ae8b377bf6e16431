// Runs the transfer simulation with many seeds.
//
// A failing run prints its seed; `RAYFABRIC_SEED=n swift test --filter TransferSimulation` runs that
// one again and prints all that happens in it.

import CLinux
import Glibc
import RayCore
import Testing

@testable import RayFabric

@Suite struct TransferSimulationTests {
    /// Seeds that once failed.
    static let corpus: [UInt64] = []

    @Test func randomFaults() {
        if let seed = environment("RAYFABRIC_SEED").flatMap(UInt64.init) {
            _ = run(seed, isTraced: true)
            return
        }
        var coverage = SimulationCoverage()
        let count = environment("RAYFABRIC_SEEDS").flatMap(UInt64.init) ?? 1500
        for seed in Self.corpus + Array(1...count) {
            guard let reached = run(seed) else { return }
            coverage.add(reached)
        }
        // The runs would prove little if they did not get to these.
        let outcomes: [FabricError.Code] = [
            .objectNotFound, .objectDeleted, .sourceUnavailable, .deadlineExceeded, .cancelled, .storeFull,
            .objectTooLarge, .connectionLost, .busy, .protocolViolation, .connectionRefused, .staleIncarnation,
        ]
        for code in outcomes { #expect(coverage.outcomes[code, default: 0] > 0, "no pull ended with \(code)") }
        #expect(coverage.successes > Int(count))
        print("transfer simulation: \(coverage.successes) objects pulled", coverage.outcomes, coverage.reached)
    }

    @Test func sameSeedGivesTheSameRun() throws {
        for seed: UInt64 in 1...20 {
            let runs = [run(seed), run(seed)]
            #expect(runs[0] != nil && runs[0] == runs[1])
        }
    }

    private func run(_ seed: UInt64, isTraced: Bool = false) -> SimulationCoverage? {
        var simulation = TransferSimulation(seed: seed)
        simulation.isTraced = isTraced
        do throws(SimulationFailure) {
            try simulation.run()
            return simulation.coverage
        } catch {
            Issue.record("RAYFABRIC_SEED=\(seed): \(error)")
            return nil
        }
    }

    private func environment(_ name: String) -> String? {
        // SAFETY: getenv gives a C string or nil; nothing here changes the environment.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}
