// What a real driver does when its device or link goes away: runs in the guest of `make test-rdma`.

#if Verbs
    import CLinux
    import RayCore
    import RayFabric
    import Testing

    /// The guest says that its devices may be taken away.
    private let mayBreakDevices = unsafe hasRDMADevice && getenv("RAYFABRIC_BREAK_DEVICES") != nil

    @Suite(.serialized, .enabled(if: mayBreakDevices, "takes devices away: make test-rdma runs these in a guest"))
    struct VerbsFaultTests {
        private static let size = (6 << 20) + 5

        /// Runs a command on a thread of its own; it may have to wait until devices are closed.
        private func begin(_ command: String) throws -> TestThread {
            TestThread { #expect(unsafe system(command) == 0, "\(command)") }
        }

        /// Two nodes, and objects of the far one that were not asked for.
        private func nodes(_ transport: TransportChoice) throws -> (near: Fabric, far: Fabric, objects: [ObjectID]) {
            // A port that has just come back gets its identifiers a little later.
            let end = Timestamp.now + .seconds(20)
            while (try? RDMAPort.host()) == nil, Timestamp.now < end { sched_yield() }
            let address = try RDMAPort.host() + ":0"
            let near = try rdmaNode(transport, address: address)
            let far = try rdmaNode(transport, address: address)
            try near.connect(to: #require(far.address).description, within: .seconds(60))
            let objects = try (0..<6).map { try far.put(numberedBlocks(Self.size, UInt64($0))) }
            return (near, far, objects)
        }

        private func expectRight(_ near: Fabric, _ objects: [ObjectID], _ numbers: Range<Int>) throws {
            for number in numbers {
                let content = numberedBlocks(Self.size, UInt64(number))
                let isRight = try near.get(objects[number], within: .seconds(60)).withBytes {
                    isNumbered($0, as: content)
                }
                #expect(isRight, "object \(number)")
            }
        }

        /// Pulls go on by sockets, and nobody keeps the device from going.
        @Test func aDeviceIsRemoved() throws {
            let (near, far, objects) = try nodes(.verbsOrUring)
            try expectRight(near, objects, 0..<1)
            let removal = try begin("rdma link delete rxe0")
            try expectRight(near, objects, 1..<6)
            removal.join()
            for fabric in [near, far] {
                #expect(try #require(try fabric.transferStatistics()).wire.railsLost == 1)
            }
            try begin("make-devices").join()
        }

        /// Pulls go on when the link is back; a connection that is made then has RDMA.
        @Test func theLinkGoesDownAndComesBack() throws {
            let (near, far, objects) = try nodes(.verbsOrUring)
            try expectRight(near, objects, 0..<1)
            let cut = try begin("ip link set eth0 down && sleep 1 && ip link set eth0 up")
            try expectRight(near, objects, 1..<6)
            cut.join()
            #expect(try #require(try near.transferStatistics()).wire.railsLost == 1)
            far.close()
            let (again, source, others) = try nodes(.verbs)
            try expectRight(again, others, 0..<1)
            source.close()
        }

        /// Nothing goes by sockets in silence.
        @Test func whereRDMAIsRequiredItsEndIsTold() throws {
            let (near, far, objects) = try nodes(.verbs)
            try expectRight(near, objects, 0..<1)
            try begin("rdma link delete rxe0").join()
            let found = code { try near.get(objects[1], within: .seconds(20)).size }
            #expect(found == .rdmaUnavailable, "\(String(describing: found))")
            far.close()
            try begin("make-devices").join()
        }
    }
#endif
