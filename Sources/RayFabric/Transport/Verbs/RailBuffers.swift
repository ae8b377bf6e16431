// The memory of a rail's messages: what is to be sent, and places for what comes.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// A ring of the stream that is sent and one place for each receive, registered as a whole; peers can
    /// not reach it.
    @safe
    final class RailBuffers {
        // SAFETY: valid from init to deinit. The ring comes first, then the places. The device writes to a
        // place from when it is posted until its completion; nobody reads it in between.
        private let memory: UnsafeMutableRawBufferPointer
        private var region: VerbsRegion?
        private let localKey: UInt32
        private let shape: PacketWindow.Shape

        /// - Throws: `lockedMemoryLimit`, `rdmaUnavailable`.
        init(_ shape: PacketWindow.Shape, on device: VerbsDevice) throws(FabricError) {
            let count = shape.ringBytes + shape.receives * shape.packetBytes
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
            unsafe self.memory = memory
            self.shape = shape
            let region = try unsafe VerbsRegion(memory, [], on: device)
            self.region = region
            localKey = region.localKey
        }

        /// The device forgets the memory; what is in it stays.
        func unregister() { region = nil }

        deinit {
            // Before somebody else gets the memory.
            unregister()
            unsafe memory.deallocate()
        }

        /// Copies bytes into the ring, from this offset of the stream on.
        func write(_ bytes: RawSpan, at offset: UInt64) {
            let start = Int(offset % UInt64(shape.ringBytes))
            let first = min(bytes.byteCount, shape.ringBytes - start)
            copy(bytes.extracting(first: first), to: start)
            copy(bytes.extracting(droppingFirst: first), to: 0)
        }

        private func copy(_ bytes: RawSpan, to start: Int) {
            guard bytes.byteCount > 0 else { return }
            precondition(start + bytes.byteCount <= shape.ringBytes)
            unsafe bytes.withUnsafeBytes { source in
                unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + source.count])
                    .copyMemory(from: source)
            }
        }

        /// Bytes of the stream, copied.
        func bytes(_ range: Range<UInt64>) -> [UInt8] {
            range.map { unsafe memory[Int($0 % UInt64(shape.ringBytes))] }
        }

        /// What the device is told of a packet; it must not cross the end of the ring.
        func element(_ packet: PacketWindow.Packet) -> ibv_sge {
            let start = Int(packet.offset % UInt64(shape.ringBytes))
            precondition(start + packet.length <= shape.ringBytes)
            return element(start, packet.length)
        }

        /// What the device is told of a place.
        func element(ofPlace index: Int) -> ibv_sge { element(start(index), shape.packetBytes) }

        private func element(_ start: Int, _ count: Int) -> ibv_sge {
            ibv_sge(
                addr: UInt64(UInt(bitPattern: unsafe memory.baseAddress)) + UInt64(start), length: UInt32(count),
                lkey: localKey)
        }

        private func start(_ index: Int) -> Int {
            precondition((0..<shape.receives).contains(index))
            return shape.ringBytes + index * shape.packetBytes
        }

        /// A packet that has arrived. Valid until its place is posted again, and while this object is there.
        func packet(_ index: Int, count: Int) -> UnsafeRawBufferPointer {
            precondition(count <= shape.packetBytes)
            let start = start(index)
            return unsafe UnsafeRawBufferPointer(rebasing: memory[start..<start + count])
        }
    }
#endif
