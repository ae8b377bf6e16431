// What carries the messages of a connection by RDMA: a queue pair, its buffers and its flow control.

#if Verbs
    internal import CVerbs
    internal import RayCore

    /// The message side of a rail.
    final class MessageLane {
        var pair: VerbsQueuePair?
        let buffers: RailBuffers
        var window: PacketWindow
        var parser = RailStreamParser()
        /// Control messages for which the ring had no room, or that come before the rail is open; their number is kept
        /// beside them, because it is asked for with each message.
        private var backlog = FIFO<[UInt8]>()
        private(set) var backlogCount = 0
        /// The frame that `append` refused: `writable` comes once it fits; 0 when there is none.
        var wantedBytes = 0
        /// Packets that came before the rail was open.
        var early = FIFO<(place: Int, count: Int)>()
        /// Something is to be posted, and the transport knows of it.
        var isDirty = false

        /// - Throws: `rdmaUnavailable`, `lockedMemoryLimit`.
        init(_ shape: PacketWindow.Shape, on device: VerbsDevice) throws(FabricError) {
            let pair = try VerbsQueuePair(on: device, depth: shape.depth, receives: shape.receives)
            buffers = try RailBuffers(shape, on: device)
            var shape = shape
            shape.depth = pair.depth
            window = PacketWindow(shape)
            self.pair = pair
        }

        // Without its queue pair the device does not touch the buffers.
        deinit { pair = nil }

        /// Gives the device all places.
        func postReceives(rail: UInt16) -> Bool {
            (0..<window.shape.receives).allSatisfy { postReceive($0, rail: rail) }
        }

        func postReceive(_ place: Int, rail: UInt16) -> Bool {
            let name = CompletionName(rail: rail, kind: .receive, value: UInt64(place))
            return pair?.postReceive(buffers.element(ofPlace: place), name: name.rawValue) ?? false
        }

        /// Appends a frame to the stream.
        /// - Returns: false when it does not fit; four bytes are always left for the end of the stream.
        func append(_ kind: RailFrameHead.Kind, _ bytes: RawSpan) -> Bool {
            let head = RailFrameHead(kind, length: bytes.byteCount).rawValue.littleEndian
            let count = RailFrameHead.byteCount + bytes.byteCount
            guard count + (kind == .finish ? 0 : RailFrameHead.byteCount) <= window.room else { return false }
            // SAFETY: four bytes of a local value, which are copied.
            unsafe withUnsafeBytes(of: head) { head in
                buffers.write(unsafe head.bytes, at: window.written)
            }
            buffers.write(bytes, at: window.written + UInt64(RailFrameHead.byteCount))
            window.write(count)
            return true
        }

        /// The peer does not take out what it is sent: nothing more that it has to be told of is begun.
        var hasLongBacklog: Bool { backlogCount >= 1024 }

        func putOff(_ control: [UInt8]) {
            backlog.append(control)
            backlogCount += 1
        }

        func takePutOff() -> [UInt8]? {
            guard let control = backlog.popFirst() else { return nil }
            backlogCount -= 1
            return control
        }

        /// Appends what was put off, as far as there is room.
        func appendBacklog() {
            while backlogCount > 0, let bytes = takePutOff() {
                // SAFETY: any bytes are valid UInt8 values, here and in other places that say `span.bytes`.
                if append(.control, unsafe bytes.span.bytes) { continue }
                backlog.appendFirst(bytes)
                backlogCount += 1
                return
            }
        }

        /// Stages what may be sent now and hands it over.
        /// - Returns: false when the device refused it.
        func post(rail: UInt16) -> Bool {
            appendBacklog()
            guard let pair else { return true }
            while let packet = window.next() {
                let name = CompletionName(rail: rail, kind: .packet, value: packet.isSignalled ? 1 : 0)
                pair.stage(
                    packet: buffers.element(packet), number: packet.taken, name: name.rawValue,
                    isSignalled: packet.isSignalled)
            }
            return pair.post()
        }
    }

    /// What completions are named by: whose they are and what they end.
    struct CompletionName: Hashable, Sendable {
        enum Kind: UInt64, Sendable {
            /// The slices of a group; the value is that of `operation(path:group:isSignalled:)`.
            case operation
            /// A packet that was sent; the value is 1 if its completion was asked for.
            case packet
            /// A place for a packet of the peer.
            case receive
            /// The opening or closing of a window; the value is that of `window(path:slot:closes:)`.
            case window
        }

        var rail: UInt16
        var kind: Kind
        /// 46 bits.
        var value: UInt64

        var rawValue: UInt64 { UInt64(rail) << 48 | kind.rawValue << 46 | value & 0x3fff_ffff_ffff }
    }

    extension CompletionName {
        private static let groupBits: UInt64 = 41

        /// The name of the slices of a group on a path.
        static func operation(rail: UInt16, path: UInt8, group: UInt64, isSignalled: Bool) -> CompletionName {
            let group = group & (1 << groupBits - 1)
            return CompletionName(
                rail: rail, kind: .operation,
                value: UInt64(path) << (groupBits + 1) | group << 1 | (isSignalled ? 1 : 0))
        }

        /// The name of what happens to a window by the queue pair of a path, or for 0 by that of the messages.
        static func window(rail: UInt16, path: UInt8, slot: Int, closes: Bool) -> CompletionName {
            CompletionName(
                rail: rail, kind: .window,
                value: UInt64(path) << (groupBits + 1) | UInt64(slot) << 1 | (closes ? 1 : 0))
        }

        var path: UInt8 { UInt8(truncatingIfNeeded: value >> (Self.groupBits + 1)) }
        var group: UInt64 { value >> 1 & (1 << Self.groupBits - 1) }
        var isSignalled: Bool { value & 1 == 1 }
        var windowSlot: Int { Int(value >> 1 & (1 << Self.groupBits - 1)) }
        var closesWindow: Bool { value & 1 == 1 }

        /// nil for a name that nobody gives.
        init?(_ rawValue: UInt64) {
            guard let kind = Kind(rawValue: rawValue >> 46 & 3) else { return nil }
            self.init(rail: UInt16(rawValue >> 48), kind: kind, value: rawValue & 0x3fff_ffff_ffff)
        }
    }
#endif
