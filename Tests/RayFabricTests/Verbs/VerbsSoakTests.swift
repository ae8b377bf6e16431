// Objects of all sizes in both directions at once, with stores that have too little room for them: runs in the
// guest of `make test-rdma`.

#if Verbs
    import RayCore
    import RayFabric
    import Testing

    @Suite(.enabled(if: hasRDMADevice, "no RDMA device here: make test-rdma runs these in a guest"))
    struct VerbsSoakTests {
        private static let sizes = [0, 1, 1000, 100 << 10, (100 << 10) + 1, 1 << 20, (3 << 20) + 7, 16 << 20]
        private static let rounds = 60

        /// Copies of the other node's objects have to make room for each other all the time.
        @Test func mixedSizesUnderMemoryPressure() throws {
            let address = try RDMAPort.host() + ":0"
            let near = try rdmaNode(.verbs, address: address, mebibytes: 96)
            let far = try rdmaNode(.verbs, address: address, mebibytes: 96)
            try near.connect(to: #require(far.address).description, within: .seconds(60))
            let contents = Self.sizes.enumerated().map { numberedBlocks($1, UInt64($0)) }
            // 50 MB of each store are its own, for good.
            let ownOfNear =
                try (0..<16).map { try near.put(contents[$0 % 7]) } + [near.put(contents[7]), near.put(contents[7])]
            let ownOfFar =
                try (0..<16).map { try far.put(contents[$0 % 7]) } + [far.put(contents[7]), far.put(contents[7])]
            let pullers = [(near, ownOfFar, 1), (far, ownOfNear, 2)].flatMap { asker, objects, seed in
                (0..<2 as Range<UInt64>).map { number in
                    TestThread { Self.pull(objects, contents, at: asker, seed: UInt64(seed) << 8 | number) }
                }
            }
            for puller in pullers { puller.join() }
            for fabric in [near, far] {
                let wire = try #require(try fabric.transferStatistics()).wire
                #expect(wire.railsLost == 0)
                #expect(wire.rdmaPorts.reduce(0) { $0 + $1.bytes } > 50 << 20)
            }
        }

        private static func pull(_ objects: [ObjectID], _ contents: [[UInt8]], at asker: Fabric, seed: UInt64) {
            var random = SeededRandom(seed: seed)
            for round in 0..<rounds {
                let index = Int.random(in: 0..<objects.count, using: &random)
                let content = contents[index < 16 ? index % 7 : 7]
                do throws(FabricError) {
                    let object = try asker.get(objects[index], within: .seconds(60))
                    let isRight = object.withBytes { $0.byteCount == 0 || isNumbered($0, as: content) }
                    #expect(isRight && object.size == content.count, "seed \(seed), round \(round), object \(index)")
                    if random.chance(0.3) { try? asker.delete(objects[index]) }
                } catch {
                    Issue.record("seed \(seed), round \(round), object \(index): \(error)")
                    return
                }
            }
        }
    }
#endif
