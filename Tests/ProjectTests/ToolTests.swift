// What scripts rely on when they call fabricbench: exit statuses, and one line for what is wrong.

import Foundation
import Testing

/// Runs fabricbench.
/// - Returns: its exit status, and what it wrote to standard output and to standard error.
private func fabricbench(_ arguments: [String]) throws -> (status: Int32, output: String, error: String) {
    let process = Process()
    process.executableURL = product("fabricbench")
    process.arguments = arguments
    let (output, error) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = error
    try process.run()
    // Both stay far below the size of a pipe.
    process.waitUntilExit()
    let texts = try [output, error].map {
        String(decoding: try $0.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    }
    return (process.terminationStatus, texts[0], texts[1])
}

@Suite struct ToolTests {
    static let quick = ["--duration", "0.01", "--warmup", "0", "--repeat", "1", "--no-roof"]

    @Test(arguments: [
        "lat --size 0", "lat --size 8x", "lat --transport tcp", "lat --wait never", "lat --duration 0",
        "lat --repeat x", "lat --cpu 0", "lat --connect nowhere", "object --op foo", "object --objects 0",
        "object --clients -1", "pull --transport shm", "bw --lanes 99", "idle --connections 1000", "compare --only x",
        "explain --to nowhere", "serve", "serve nowhere", "sim --nodes 0", "sim --faults all,los", "sim --policy best",
        "sim --workload x", "sim --bug x", "sim --without 1,", "sim load --nodes 0", "sim table --nodes x", "frobnicate",
        "--frob",
    ])
    func badArgumentsAreAUsageError(line: String) throws {
        let (status, output, error) = try fabricbench(line.split(separator: " ").map(String.init))
        #expect(status == 2)
        #expect(output == "")
        #expect(error.hasPrefix("fabricbench: ") && error.hasSuffix("\n"))
        #expect(error.split(separator: "\n").count == 1, "\(error)")
    }

    @Test func helpIsNoError() throws {
        for line in ["--help", "lat --help", "--version", "list", "explain", "explain --to 127.0.0.1:7"] {
            let (status, output, error) = try fabricbench(line.split(separator: " ").map(String.init))
            #expect(status == 0 && !output.isEmpty && error.isEmpty)
        }
    }

    @Test func aPeerThatIsNotThereIsAFailure() throws {
        // Nobody listens at port 1.
        let (status, _, error) = try fabricbench(["lat", "--connect", "127.0.0.1:1"])
        #expect(status == 1)
        #expect(error.hasPrefix("fabricbench: connectionRefused"))
    }

    @Test func wrongBytesAreAFailure() throws {
        let line = ["bw", "--transport", "loopback", "--size", "64", "--verify"] + Self.quick
        #expect(try fabricbench(line).status == 0)
        let (status, _, error) = try fabricbench(line + ["--inject-corruption"])
        #expect(status == 1)
        #expect(error.contains("wrong bytes"))
    }

    /// One seed is one run in every process: hashing differs between them, the digest does not.
    @Test func aSimulationIsTheSameInEveryProcess() throws {
        func digest(_ seed: Int) throws -> Substring? {
            let (status, output, _) = try fabricbench(["sim", "--seed", "\(seed)", "--faults", "all"])
            #expect(status == 0)
            return output.firstMatch(of: #/digest (?<digest>[0-9a-f]+)/#)?.digest
        }
        for seed in 1...3 {
            let (first, second) = (try digest(seed), try digest(seed))
            #expect(first != nil && first == second)
        }
        let (one, other) = (try digest(1), try digest(2))
        #expect(one != other)
    }

    @Test func aSimulationThatFailsSaysHowToReplayIt() throws {
        let (status, _, error) = try fabricbench(["sim", "--seeds", "50", "--bug", "pull-corrupted"])
        #expect(status == 1)
        #expect(error.contains("replay: fabricbench sim --seed "))
        #expect(error.contains("smaller: fabricbench sim --seed "))
    }

    @Test func jsonGoesToStandardOutput() throws {
        let (status, output, _) = try fabricbench(["lat", "--transport", "shm", "--json", "-"] + Self.quick)
        #expect(status == 0)
        let parsed = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]
        #expect(parsed?["schema"] as? Int == 1)
        #expect((parsed?["results"] as? [Any])?.count == 1)
    }
}
