// Objects that move by RDMA between two fabrics, on scripted devices: with the threads, the waiting and
// the memory of the real store.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    @Suite struct ScriptedPullTests {
        private func node(_ choice: TransportChoice, on devices: ScriptedFabric) throws -> Fabric {
            var configuration = FabricConfiguration(capacity: .mebibytes(64), listen: "127.0.0.2:0")
            var choice = choice
            choice.provider = devices.provider
            configuration.network?.transport = choice
            return try Fabric(configuration)
        }

        private static let bytes = {
            var random = SeededRandom(seed: 1)
            let block = (0..<4099).map { _ in UInt8.random(in: 0...255, using: &random) }
            return (0..<1024).flatMap { [UInt8(truncatingIfNeeded: $0)] + block }
        }()

        private func content(_ size: Int, _ number: Int) -> [UInt8] { Array(Self.bytes[number..<(number + size)]) }

        /// Gets an object of the other node and compares it.
        private func expectSame(_ id: ObjectID, _ content: [UInt8], at asker: Fabric) throws {
            let object = try asker.get(id, within: .seconds(20))
            let isSame = object.withBytes { $0.elementsEqual(content) }
            #expect(isSame, "an object of \(content.count) bytes")
        }

        @Test func largeObjectsGoByRDMA() throws {
            let devices = ScriptedFabric(devices: 2, pace: .late(seed: 1))
            do {
                let near = try node(.verbs, on: devices)
                let far = try node(.verbs, on: devices)
                try near.connect(to: #require(far.address).description)
                for (number, size) in [0, 1000, 200_000, 1 << 20, (3 << 20) + 5].enumerated() {
                    for (asker, owner) in [(near, far), (far, near)] {
                        let content = content(size, number)
                        try expectSame(owner.put(content, metadata: [1, 2, 3]), content, at: asker)
                    }
                }
                for fabric in [near, far] {
                    let wire = try #require(try fabric.transferStatistics()).wire
                    // One read for each MiB, and one for the three bytes of metadata behind a whole one.
                    #expect(wire.railOperations == 1 + 2 + 4 && wire.railsLost == 0)
                }
                // Of neither store can anything be read any more.
                let end = Timestamp.now + .seconds(20)
                while !devices.openWindows.isEmpty, .now < end { pause(.milliseconds(1)) }
                #expect(devices.openWindows.isEmpty && devices.openRegions == 0 && devices.existing.windows > 0)
                for fabric in [near, far] { fabric.close() }
            }
            devices.expectClean()
        }

        /// Segments are shown to the devices when they get memory, not when an object is asked for.
        @Test func noPullWaitsForRegistration() throws {
            let devices = ScriptedFabric(devices: 2)
            do {
                let near = try node(.verbs, on: devices)
                let far = try node(.verbs, on: devices)
                try near.connect(to: #require(far.address).description)
                // 64 segments, and the messages' buffers on the first path.
                let all = 2 * (2 * 64 + 1)
                let end = Timestamp.now + .seconds(20)
                while devices.existing.regions != all, .now < end { pause(.milliseconds(1)) }
                #expect(devices.existing.regions == all)
                let before = devices.registrations
                for (asker, owner) in [(near, far), (far, near)] {
                    let content = content(3 << 20, 0)
                    for _ in 0..<4 { try expectSame(owner.put(content), content, at: asker) }
                }
                #expect(devices.registrations == before)
                for fabric in [near, far] { fabric.close() }
            }
            devices.expectClean()
        }

        /// Queue pairs, devices and links fail while many objects are on their way. Not a lost flush: between
        /// two reads nobody hears of it until the deadline of the next one.
        @Test(arguments: ScriptedFault.allCases.filter { $0 != .lostFlush })
        func everyObjectArrives(_ fault: ScriptedFault) throws {
            let devices = ScriptedFabric(devices: 2, pace: .late(seed: 2))
            do {
                let near = try node(.verbsOrUring, on: devices)
                let far = try node(.verbsOrUring, on: devices)
                try near.connect(to: #require(far.address).description)
                let contents = (0..<12).map { content(300_000 + $0 * 100_000, $0) }
                let objects = try contents.map { try far.put($0) }
                try expectSame(objects[0], contents[0], at: near)
                let before = devices.requests
                let asker = TestThread { for id in objects { _ = try? near.get(id, within: .seconds(20)) } }
                // In the middle of them.
                let end = Timestamp.now + .seconds(20)
                while devices.requests < before + 4, .now < end { pause(.microseconds(100)) }
                fault.happen(on: devices)
                for (id, content) in zip(objects, contents) { try expectSame(id, content, at: near) }
                asker.join()
                let wire = try #require(try near.transferStatistics()).wire
                // Both of its paths at most.
                #expect(wire.railsLost <= 2)
                for fabric in [near, far] { fabric.close() }
            }
            devices.expectClean()
        }
    }
#endif
