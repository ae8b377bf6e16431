// A client is killed at each named point, and leaves nothing behind.

import RayCore
import RayFabric
import Testing

extension ProcessTests {
    @Suite(.serialized) struct KilledClient {
        @Test func idle() throws {
            let stage = try KillStage()
            try stage.expectNothingLeft(since: try stage.client().kill())
        }

        /// The memory that it asked for is being made ready.
        @Test func inCreateWhileMemoryIsMade() throws {
            let stage = try KillStage()
            let client = try stage.client()
            _ = try client.begin("create \(40 << 20)")
            try stage.expectNothingLeft(since: client.kill())
        }

        /// It has asked and the host has not seen it.
        @Test func inCreateWhileTheHostIsAway() throws {
            let stage = try KillStage()
            let client = try stage.client()
            stage.host.stop()
            let create = try client.begin("create \(40 << 20)")
            try waitUntil("create sleeps") { client.isAsleep(create) }
            client.kill()
            stage.host.resume()
            try stage.expectNothingLeft(since: .now)
        }

        @Test(arguments: [1000, 3 << 20, 40 << 20])
        func whileWriting(size: Int) throws {
            let stage = try KillStage()
            let client = try stage.client()
            _ = try client.ask("create \(size)")
            try stage.expectNothingLeft(since: client.kill())
        }

        /// The draft is written and the host was not told.
        @Test(arguments: [1000, 3 << 20, 40 << 20])
        func beforeThePublish(size: Int) throws {
            let stage = try KillStage()
            let client = try stage.client()
            let id = try client.ask("create \(size)")
            _ = try client.ask("fill \(id)")
            try stage.expectNothingLeft(since: client.kill())
        }

        /// The command is in the ring and the host has not looked: the object is sealed and stays.
        @Test(arguments: [1000, 3 << 20])
        func rightAfterThePublish(size: Int) throws {
            let stage = try KillStage()
            let client = try stage.client()
            let id = try client.ask("create \(size)")
            _ = try client.ask("fill \(id)")
            stage.host.stop()
            #expect(try client.ask("seal \(id)") == id)
            client.kill()
            stage.host.resume()
            #expect(try stage.host.ask("get \(id) 2000") == "\(size) bytes, whole")
            try stage.expectNothingLeft(since: .now, objects: 1)
        }

        @Test func holdingPins() throws {
            let stage = try KillStage()
            let (client, other) = (try stage.client(), try stage.client())
            let deleted = try other.ask("put 100000")
            let kept = try client.ask("put 100000")
            for id in [deleted, kept, kept] {
                #expect(try client.ask("hold \(id) 2000") == "100000 bytes, whole")
            }
            _ = try other.ask("delete \(deleted)")
            other.kill()
            #expect(try HostReport(of: stage.host)["pins"] == 3)
            #expect(try HostReport(of: stage.host)["deleted"] == 1)
            try stage.expectNothingLeft(since: client.kill(), objects: 1)
        }

        @Test(arguments: ["get", "getAsynchronously"])
        func insideGet(get: String) throws {
            let stage = try KillStage()
            let (client, other) = (try stage.client(), try stage.client())
            let id = try other.ask("create 1000")
            _ = try other.ask("fill \(id)")
            let blocked = try client.begin("\(get) \(id) 60000")
            if get == "get" { try waitUntil("get sleeps") { client.isAsleep(blocked) } }
            let death = client.kill()
            // Nobody waits any more: the seal wakes nobody, and nothing is pinned.
            _ = try other.ask("seal \(id)")
            other.kill()
            try stage.expectNothingLeft(since: death, objects: 1)
        }

        /// What several objects share with the dead client's memory: the living keep theirs.
        @Test func sealedObjectsStay() throws {
            let stage = try KillStage()
            let client = try stage.client()
            let ids = try [0, 1, 1000, 3 << 20].map { try client.ask("put \($0)") }
            let unsealed = try client.ask("create 5000")
            let death = client.kill()
            let other = try stage.client()
            for (id, size) in zip(ids, [0, 1, 1000, 3 << 20]) {
                #expect(try other.ask("get \(id) 2000") == "\(size) bytes, whole")
            }
            #expect(try other.failure(of: "get \(unsealed) 1") == "deadlineExceeded")
            other.kill()
            try stage.expectNothingLeft(since: death, objects: ids.count)
        }

        /// Clients under load, killed at an instant that the seed chooses.
        @Test func atRandomInstants() throws {
            let stage = try KillStage()
            var random = SeededRandom(seed: 20)
            for round in 0..<50 {
                let clients = [try stage.client(), try stage.client()]
                for (index, client) in clients.enumerated() { _ = try client.ask("load \(round * 2 + index) 2") }
                let instant = Timestamp.now + .microseconds(Int.random(in: 0...40_000, using: &random))
                while Timestamp.now < instant {}
                let death = clients.map { $0.kill() }.max() ?? .now
                let objects = try HostReport(of: stage.host)
                try stage.expectNothingLeft(since: death, objects: objects["objects"] - objects["deleted"])
            }
        }
    }
}
