// What peers can reach by RDMA of memory that is granted to them in parts, and how that ends.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    @Suite struct ScriptedGrantTests {
        /// Two connected transports, and a region of the right one that is open by grants only.
        struct Bed: ~Copyable {
            let fixture: TransportFixture<VerbsTransport>
            var pair: Pair<VerbsTransport>
            private let mine: TestMemoryBox
            private let theirs: TestMemoryBox
            private let local: RegionKey
            let region: RegionKey

            /// - Parameter step: bytes that the right one's device is shown in a poll.
            init(_ fabric: ScriptedFabric, _ policy: RDMAPolicy, ports: Int = 1, step: UInt64 = .max) throws {
                let fixture = fabric.fixture(policy, host: ports > 1 ? "127.0.0.2" : "127.0.0.1", ports: ports)
                let (mine, theirs) = (TestMemoryBox(1 << 20), TestMemoryBox(1 << 20))
                theirs.memory.fill(1)
                var left = Station(try fixture.make(fixture.configuration(1)))
                var right = Station(try fixture.make(fixture.configuration(2)))
                right.endpoint.registrationStep = step
                let local = try unsafe left.endpoint.register(mine.memory.buffer, access: [])
                let region = try unsafe right.endpoint.register(theirs.memory.buffer, access: .byGrant)
                let address = try right.endpoint.listen(at: fixture.freshAddress())
                let (fromLeft, fromRight) = try fixture.connect(&left, to: &right, at: address)
                let pair = Pair(left: left, right: right, address: address, fromLeft: fromLeft, fromRight: fromRight)
                self.init(fixture, pair, mine: mine, theirs: theirs, local: local, region: region)
            }

            private init(
                _ fixture: TransportFixture<VerbsTransport>, _ pair: consuming Pair<VerbsTransport>,
                mine: TestMemoryBox, theirs: TestMemoryBox, local: RegionKey, region: RegionKey
            ) {
                (self.fixture, self.mine, self.theirs) = (fixture, mine, theirs)
                (self.local, self.region) = (local, region)
                self.pair = pair
            }

            /// Grants a range, and waits until the left one knows of it.
            mutating func grant(_ range: Range<Int>) throws -> RegionKey {
                let part = LocationOf(region, UInt64(range.lowerBound))
                let key = try pair.right.endpoint.grant(part, length: range.count, to: pair.fromRight)
                let count = pair.left.messages.count
                #expect(try pair.right.send([1], on: pair.fromRight))
                try fixture.drive(&pair.left, &pair.right, "a message") { left, _ in left.messages.count > count }
                return try #require(key)
            }

            /// Reads the first bytes of a grant, which begins at `start` of the region.
            mutating func read(_ key: RegionKey, _ count: Int, from start: Int, token: UInt64) throws {
                mine.memory.clear(1 << 20)
                #expect(
                    try pair.left.read(
                        LocationOf(key, 0), into: LocationOf(local, 0), count, on: pair.fromLeft, token: token))
                try fixture.drive(&pair.left, &pair.right, "a read") { left, _ in left.isCompleted(token) }
                #expect(pair.left.failure(token) == nil)
                #expect(mine.memory.differences(1, 0..<count, sourceOffset: start) == 0)
            }

            /// - Parameter isAtOnce: whether nobody can read by it any more when the call returns.
            mutating func revoke(_ key: RegionKey, isAtOnce: Bool) {
                let isDone = pair.right.endpoint.revoke(key)
                #expect(isDone == isAtOnce)
            }

            mutating func expectRevoked(_ keys: [RegionKey]) throws {
                try fixture.drive(&pair.left, &pair.right, "the end of a grant") { _, right in right.revoked == keys }
            }

            mutating func settle(_ purpose: String, until isDone: () -> Bool) throws {
                try fixture.drive(&pair.left, &pair.right, purpose) { _, _ in isDone() }
            }
        }

        @Test func aGrantOpensItsBytesAndNothingElse() throws {
            let fabric = ScriptedFabric()
            do {
                var bed = try Bed(fabric, .required)
                #expect(fabric.openRegions == 0 && fabric.openWindows.isEmpty)
                let key = try bed.grant(3..<500_001)
                #expect(fabric.openWindows.map(\.length) == [499_998])
                #expect(fabric.openWindows.map(\.isReadOnly) == [true])
                try bed.read(key, 400_000, from: 3, token: 1)
                #expect(bed.pair.left.endpoint.statistics.railOperations == 1)
                bed.revoke(key, isAtOnce: false)
                try bed.expectRevoked([key])
                #expect(fabric.openWindows.isEmpty && fabric.openRegions == 0)
                // The window is used again, with another key.
                try bed.read(bed.grant(0..<10), 10, from: 0, token: 2)
                #expect(fabric.existing.windows == 1)
                #expect(fabric.openWindows.map(\.length) == [10])
            }
            fabric.expectClean()
        }

        /// Memory that was registered in parts has a window for each.
        @Test func aGrantOverTwoPartsHasTwoWindows() throws {
            let fabric = ScriptedFabric()
            do {
                var bed = try Bed(fabric, .required)
                bed.pair.right.endpoint.memoryCame(to: bed.region, range: 0..<(1 << 19))
                bed.pair.right.endpoint.memoryCame(to: bed.region, range: (1 << 19)..<(1 << 20))
                let key = try bed.grant(1000..<600_000)
                #expect(fabric.openWindows.map(\.length).sorted() == [600_000 - (1 << 19), (1 << 19) - 1000])
                try bed.read(key, 599_000, from: 1000, token: 1)
                #expect(bed.pair.left.endpoint.statistics.railOperations == 1)
            }
            fabric.expectClean()
        }

        /// What is granted before the device was shown all memory is shown to it first.
        @Test func whatIsGrantedIsRegisteredAtOnce() throws {
            let fabric = ScriptedFabric()
            do {
                var bed = try Bed(fabric, .required, step: 0)
                let before = fabric.registrations
                for (token, range) in [1000..<300_000, 200_000..<900_000, 0..<1000].enumerated() {
                    let key = try bed.grant(range)
                    try bed.read(key, range.count, from: range.lowerBound, token: UInt64(token))
                }
                #expect(bed.pair.left.endpoint.statistics.railOperations == 3)
                #expect(fabric.registrations == before + 3)
                // The rest is what nobody has asked for.
                bed.pair.right.endpoint.registrationStep = .max
                let (left, right) = (bed.pair.fromLeft, bed.pair.fromRight)
                #expect(try bed.pair.right.send([1], on: right))
                #expect(try bed.pair.left.send([1], on: left))
                try bed.settle("the rest") { fabric.registrations == before + 4 }
            }
            fabric.expectClean()
        }

        /// Each path reaches the bytes by a window of its own device.
        @Test func eachPathHasItsWindow() throws {
            let fabric = ScriptedFabric(devices: 2, pace: .late(seed: 3))
            do {
                var bed = try Bed(fabric, .required, ports: 2)
                try bed.settle("the second path") { fabric.existing.pairs == 6 }
                var number = UInt64(0)
                let end = Timestamp.now + .seconds(20)
                while fabric.openWindows.count < 2, .now < end {
                    number += 1
                    let key = try bed.grant(0..<1000)
                    try bed.read(key, 1000, from: 0, token: number)
                    if fabric.openWindows.count < 2 { _ = bed.pair.right.endpoint.revoke(key) }
                }
                #expect(fabric.openWindows.map(\.length) == [1000, 1000])
            }
            fabric.expectClean()
        }

        /// Such devices open a whole region, or none of it could be pulled.
        @Test(arguments: [ConformanceTest.grants, .grantLimits]) func withoutWindows(_ test: ConformanceTest) throws {
            let fabric = ScriptedFabric(pace: .late(seed: 4), windows: false)
            try test.run(on: fabric.fixture(.required))
            fabric.expectClean()
        }

        @Test func withoutWindowsTheRegionIsOpen() throws {
            let fabric = ScriptedFabric(windows: false)
            var bed = try Bed(fabric, .required)
            let key = try bed.grant(3..<5000)
            try bed.read(key, 4000, from: 3, token: 1)
            #expect(fabric.openRegions == 1 && fabric.existing.windows == 0)
            #expect(bed.pair.left.endpoint.statistics.railOperations == 1)
        }

        /// What a queue pair can not close any more is closed when the queue pair is seen to be gone, and a
        /// revocation that waits for it ends.
        @Test(arguments: [false, true]) func windowsEndWithTheirQueuePair(_ isBeingRevoked: Bool) throws {
            let fabric = ScriptedFabric(pace: .late(seed: 5))
            do {
                var bed = try Bed(fabric, .automatic)
                let key = try bed.grant(0..<1000)
                try bed.settle("the window") { fabric.openWindows.count == 1 }
                fabric.hold()
                if isBeingRevoked { bed.revoke(key, isAtOnce: false) }
                fabric.breakPairs(ofDevice: 0)
                fabric.release()
                try bed.settle("the end of the window") { fabric.existing.windows == 0 }
                if isBeingRevoked {
                    try bed.expectRevoked([key])
                } else {
                    // Sockets have taken over, and know of the grant.
                    try bed.read(key, 1000, from: 0, token: 1)
                    bed.revoke(key, isAtOnce: true)
                }
            }
            fabric.expectClean()
        }

        @Test func grantsEndWithTheirConnection() throws {
            let fabric = ScriptedFabric(pace: .late(seed: 6))
            do {
                var bed = try Bed(fabric, .required)
                let keys = [try bed.grant(0..<1000), try bed.grant(0..<2000)]
                try bed.settle("the windows") { fabric.openWindows.count == 2 }
                fabric.hold()
                bed.revoke(keys[0], isAtOnce: false)
                bed.pair.right.endpoint.close(bed.pair.fromRight)
                try bed.settle("the end of the windows") { fabric.openWindows.isEmpty }
                #expect(bed.pair.right.revoked == [keys[0]])
                bed.revoke(keys[1], isAtOnce: true)
                fabric.release()
            }
            fabric.expectClean()
        }

        /// A device that is lost is let go of, windows and all.
        @Test func windowsOfALostDeviceGo() throws {
            let fabric = ScriptedFabric(pace: .late(seed: 7))
            do {
                var bed = try Bed(fabric, .automatic)
                let key = try bed.grant(0..<1000)
                fabric.loseDevice(0)
                try bed.settle("the end of the device") { fabric.existing.contexts == 0 }
                try bed.read(key, 1000, from: 0, token: 1)
            }
            fabric.expectClean()
        }

        /// A device that opens no window is done without.
        @Test func refusedWindowsEndRDMA() throws {
            let fabric = ScriptedFabric()
            do {
                var bed = try Bed(fabric, .automatic)
                fabric.refuseWindows()
                let key = try bed.grant(0..<1000)
                try bed.read(key, 1000, from: 0, token: 1)
                #expect(bed.pair.right.endpoint.statistics.railsLost == 1)
            }
            fabric.expectClean()
        }
    }
#endif
