// Objects that move by RDMA: runs where there is a device, in the guest of `make test-rdma`.

#if Verbs
    import RayCore
    import RayFabric
    import Testing

    @Suite(.serialized, .enabled(if: hasRDMADevice, "no RDMA device here: make test-rdma runs these in a guest"))
    struct VerbsPullTests {
        @Test func largeObjectsGoByRDMA() throws {
            let address = try RDMAPort.host() + ":0"
            let near = try rdmaNode(.verbs, address: address)
            let far = try rdmaNode(.verbs, address: address)
            try near.connect(to: #require(far.address).description, within: .seconds(60))
            for (number, size) in [200_000, 1 << 20, (9 << 20) + 5].enumerated() {
                for (asker, owner) in [(near, far), (far, near)] {
                    let content = numberedBlocks(size, UInt64(number))
                    let id = try owner.put(content, metadata: [1, 2, 3])
                    let object = try asker.get(id, within: .seconds(30))
                    let isRight = object.withBytes { isNumbered($0, as: content) }
                    #expect(isRight)
                }
            }
            for fabric in [near, far] {
                let wire = try #require(try fabric.transferStatistics()).wire
                // One read for each MiB, and one for the three bytes of metadata behind a whole one.
                #expect(wire.railOperations == 1 + 2 + 10 && wire.railsLost == 0)
            }
        }

        /// The guest has two devices in networks of their own: each carries a part of many objects.
        @Test(.enabled(if: RDMAPort.all().count { $0.isActive } > 1, "one RDMA port here"))
        func bulkIsSpreadOverTheDevices() throws {
            let address = try RDMAPort.host() + ":0"
            let near = try rdmaNode(.verbs, address: address)
            let far = try rdmaNode(.verbs, address: address)
            try near.connect(to: #require(far.address).description, within: .seconds(60))
            var wire = TransportStatistics()
            var number: UInt64 = 0
            // They are equally fast, but for what else this machine does: more objects come until both have carried
            // some.
            while number < 4 || (number < 16 && wire.rdmaPorts.contains(where: { $0.bytes < 8 << 20 })) {
                let content = numberedBlocks(16 << 20, number)
                let id = try far.put(content)
                let isRight = try near.get(id, within: .seconds(60)).withBytes { isNumbered($0, as: content) }
                #expect(isRight)
                for fabric in [near, far] { try fabric.delete(id) }
                number += 1
                wire = try #require(try near.transferStatistics()).wire
            }
            #expect(wire.rdmaPorts.count == 2)
            #expect(wire.rdmaPorts.reduce(0) { $0 + $1.bytes } == number * 16 << 20)
            #expect(wire.rdmaPorts.allSatisfy { $0.bytes >= 8 << 20 }, "\(wire)")
        }

        /// In both directions; fabricbench pulls half a gigabyte, which takes minutes here without optimisation.
        @Test(arguments: [0, 1, 100 << 10, (100 << 10) + 1, 64 << 20]) func everySize(_ size: Int) throws {
            let address = try RDMAPort.host() + ":0"
            let near = try rdmaNode(.verbs, address: address)
            let far = try rdmaNode(.verbs, address: address)
            try near.connect(to: #require(far.address).description, within: .seconds(60))
            let content = numberedBlocks(size, 3)
            for (asker, owner) in [(near, far), (far, near)] {
                let id = try owner.put(content)
                let isRight = try asker.get(id, within: .seconds(200)).withBytes { bytes in
                    size == 0 ? bytes.byteCount == 0 : isNumbered(bytes, as: content)
                }
                #expect(isRight)
                try owner.delete(id)
                try asker.delete(id)
            }
        }

        /// A peer without RDMA is reached by sockets only where that is allowed.
        @Test func thePolicyDecides() throws {
            let address = try RDMAPort.host() + ":0"
            let plain = try rdmaNode(.uring, address: address)
            let id = try plain.put(numberedBlocks(300_000, 9))
            let forced = try rdmaNode(.verbs, address: address)
            do {
                try forced.connect(to: #require(plain.address).description)
                Issue.record("connected without RDMA")
            } catch let error as FabricError {
                #expect(error.code == .rdmaUnavailable)
            }
            let free = try rdmaNode(.verbsOrUring, address: address)
            try free.connect(to: #require(plain.address).description)
            #expect(try free.get(id, within: .seconds(30)).size == 300_000)
            #expect(try #require(try free.transferStatistics()).wire.railOperations == 0)
        }
    }

    func rdmaNode(_ transport: TransportChoice, address: String, mebibytes: Int = 160) throws -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(mebibytes))
        var network = NetworkConfiguration(
            listen: address, clusterKey: try ClusterKey(Array(repeating: 7, count: 32)))
        network.transport = transport
        // The guest is emulated: showing memory to a device takes seconds.
        network.settings.livenessTimeout = .seconds(60)
        network.settings.handshakeTimeout = .seconds(30)
        configuration.network = network
        return try Fabric(configuration)
    }

    /// Blocks that begin with their number. Cheap: the guest is emulated.
    func numberedBlocks(_ count: Int, _ seed: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: UInt8(seed), count: 4099)
        for number in 0...(count / block.count) {
            block[0] = UInt8(truncatingIfNeeded: number)
            bytes += block
        }
        return Array(bytes[..<count])
    }

    func isNumbered(_ bytes: RawSpan, as content: [UInt8]) -> Bool {
        bytes.byteCount == content.count
            && stride(from: 0, to: content.count, by: 4099).allSatisfy { bytes.byte(at: $0) == content[$0] }
            && bytes.byte(at: content.count - 1) == content[content.count - 1]
    }
#endif
