// Messages by RDMA: the stream of frames in packets, and what becomes of it when a queue pair fails.

#if Verbs
    internal import CVerbs
    public import RayCore

    /// What `poll` gives out next.
    enum News {
        case event(TransportEvent)
        /// Frames of a peer.
        case packet(Packet)
    }

    /// A part of a peer's stream.
    struct Packet {
        enum Bytes {
            /// In a place of the lane's buffers.
            case place(Int, count: Int)
            /// Sent again, by sockets.
            case rest([UInt8])
        }

        var rail: Rail
        var bytes: Bytes
    }

    /// Where the bytes of a message are.
    enum MessagePlace {
        case sockets
        case packet(Range<Int>)
        case assembled(Range<Int>)

        /// Of a message that is not in the sockets.
        var byteCount: Int {
            switch self {
            case .sockets: 0
            case .packet(let range), .assembled(let range): range.count
            }
        }
    }

    extension VerbsTransport {
        // MARK: Sending

        public mutating func send(_ message: RawSpan, on id: Connection) throws(FabricError) -> Bool {
            guard let rail = rails[id] else { return try sockets.send(message, on: id) }
            guard rail.finish == .none, !rail.isClosed else { throw FabricError(.closed, "connection \(id.index)") }
            guard let lane = rail.outgoing else { return try sockets.send(message, on: id) }
            guard message.byteCount <= maximumMessageBytes else {
                throw FabricError(
                    .messageTooLarge, "\(message.byteCount) bytes, at most \(maximumMessageBytes)")
            }
            lane.appendBacklog()
            guard lane.backlogCount == 0, lane.append(.message, message) else {
                lane.wantedBytes = message.byteCount + 2 * RailFrameHead.byteCount
                return false
            }
            carried.messagesSent += 1
            carried.bytesSent += UInt64(message.byteCount)
            markDirty(rail)
            return true
        }

        func checkNotFinishing(_ id: Connection) throws(FabricError) {
            if let rail = rails[id], rail.finish != .none { throw FabricError(.closed, "connection \(id.index)") }
        }

        /// Tells the peer of something in the order of the messages.
        mutating func say(_ message: RailMessage, _ rail: Rail) {
            guard let lane = rail.outgoing else {
                return sockets.sendControl(message.encoded(), on: rail.connection)
            }
            lane.putOff(message.encoded())
            if rail.state == .open { markDirty(rail) }
        }

        mutating func markDirty(_ rail: Rail) {
            guard let lane = rail.lane, !lane.isDirty else { return }
            lane.isDirty = true
            dirty.append(rail)
        }

        /// Hands over to the devices what is to be sent.
        mutating func postMessages() {
            while let rail = dirty.popLast() {
                guard let lane = rail.lane else { continue }
                lane.isDirty = false
                guard rail.state == .open, !lane.post(rail: rail.number) else { continue }
                breakDown(rail, because: "its device takes no messages")
            }
        }

        /// Queued operations are done and messages taken out by the peer before it hears of the end.
        public mutating func finish(_ id: Connection) {
            guard let rail = rails[id], rail.finish == .none else { return sockets.finish(id) }
            rail.finish = .waiting
            finishIfDone(rail)
        }

        mutating func finishIfDone(_ rail: Rail) {
            if rail.finish == .waiting, rail.operations == 0 {
                if let lane = rail.outgoing {
                    lane.appendBacklog()
                    guard lane.backlogCount == 0 else { return }
                    guard lane.append(.finish, RawSpan()) else { preconditionFailure("no room for the end") }
                    markDirty(rail)
                }
                rail.finish = .ending
            }
            guard rail.finish == .ending, rail.lane?.window.isAcknowledged != false else { return }
            rail.finish = .done
            sockets.finish(rail.connection)
        }

        // MARK: Completions

        mutating func packetSent(_ rail: Rail, isSignalled: Bool) {
            guard isSignalled, let lane = rail.lane else { return }
            lane.window.completed()
            if lane.window.hasNext { markDirty(rail) }
        }

        /// A packet of the peer is in a place of the lane.
        mutating func packetCame(_ rail: Rail, _ place: Int, _ completion: ibv_wc) {
            guard let lane = rail.lane else { return }
            let count = Int(completion.byte_len)
            do throws(WireError) {
                try lane.window.received(count, taken: UInt32(bigEndian: completion.imm_data))
            } catch {
                return sockets.close(rail.connection, TransportFailure(.protocolViolation))
            }
            let packet = Packet(rail: rail, bytes: .place(place, count: count))
            if rail.state == .negotiating {
                lane.early.append((place, count))
            } else if current == nil, news.isEmpty {
                (current, cursor) = (packet, 0)
            } else {
                news.append(.packet(packet))
            }
            wentOn(rail, lane)
        }

        /// The peer has taken packets out: there is room.
        private mutating func wentOn(_ rail: Rail, _ lane: MessageLane) {
            if lane.wantedBytes > 0, lane.wantedBytes <= lane.window.room {
                lane.wantedBytes = 0
                emit(.writable(rail.connection))
            }
            lane.appendBacklog()
            if rail.owesWritable, !lane.hasLongBacklog, rail.operations < sockets.configuration.maximumOperations {
                rail.owesWritable = false
                emit(.writable(rail.connection))
            }
            if lane.window.hasNext { markDirty(rail) }
            if rail.finish != .none { finishIfDone(rail) }
        }

        // MARK: Receiving

        /// The next message of the current packet; nil when it has no more, and it is done with.
        mutating func nextMessage() -> TransportEvent? {
            while let packet = current {
                let rail = packet.rail
                guard let lane = rail.lane, !rail.isClosed, let frame = nextFrame(packet, lane) else {
                    done(packet)
                    return nil
                }
                let kind: RailFrameHead.Kind
                switch frame {
                case .inPlace(let found, let range):
                    kind = found
                    place = .packet(range)
                    if case .rest(let bytes) = packet.bytes {
                        assembled = Array(bytes[range])
                        place = .assembled(0..<range.count)
                    }
                case .assembled(let found):
                    kind = found
                    place = .assembled(RailFrameHead.byteCount..<assembled.count)
                }
                switch kind {
                case .message:
                    carried.messagesReceived += 1
                    carried.bytesReceived += UInt64(place.byteCount)
                    return .message(rail.connection)
                case .control: takeMessageAsControl(rail)
                case .finish:
                    lane.window.ask()
                    markDirty(rail)
                }
            }
            return nil
        }

        private mutating func nextFrame(_ packet: Packet, _ lane: MessageLane) -> RailStreamParser.Frame? {
            do throws(WireError) {
                switch packet.bytes {
                case .place(let index, let count):
                    guard cursor < count else { return nil }
                    // SAFETY: the place is not posted before `done`.
                    let bytes = unsafe RawSpan(_unsafeBytes: lane.buffers.packet(index, count: count))
                    return try lane.parser.next(in: bytes, at: &cursor, into: &assembled)
                case .rest(let bytes):
                    // SAFETY: any bytes are valid UInt8 values.
                    return try lane.parser.next(in: unsafe bytes.span.bytes, at: &cursor, into: &assembled)
                }
            } catch {
                sockets.close(packet.rail.connection, TransportFailure(.protocolViolation))
                packet.rail.isClosed = true
                return nil
            }
        }

        private mutating func takeMessageAsControl(_ rail: Rail) {
            do throws(WireError) {
                let control = try RailMessage(decoding: message)
                take(control, rail)
            } catch {
                sockets.close(rail.connection, TransportFailure(.protocolViolation))
                rail.isClosed = true
            }
        }

        /// The user is done with a packet: its place takes another one.
        private mutating func done(_ packet: Packet) {
            current = nil
            guard case .place(let index, _) = packet.bytes, let lane = packet.rail.lane, lane.window.takeOut() else {
                return
            }
            if lane.window.hasNext { markDirty(packet.rail) }
            if !lane.postReceive(index, rail: packet.rail.number) {
                breakDown(packet.rail, because: "its device takes no receives")
            }
        }

        // MARK: After a failure

        /// Sends what the peer has not received by sockets, once both queue pairs are gone at both ends.
        /// Everything after it goes by sockets.
        mutating func handOver(_ rail: Rail) {
            guard rail.state == .absent, let lane = rail.lane, let count = rail.peerReceived else { return }
            do throws(WireError) {
                let rest = try lane.window.handOver(from: count)
                for start in stride(from: rest.lowerBound, to: rest.upperBound, by: RailMessage.restBytes) {
                    let end = min(start + UInt64(RailMessage.restBytes), rest.upperBound)
                    sockets.sendControl(
                        RailMessage.rest(lane.buffers.bytes(start..<end)).encoded(), on: rail.connection)
                }
            } catch {
                return sockets.close(rail.connection, TransportFailure(.protocolViolation))
            }
            while let bytes = lane.takePutOff() { sockets.sendControl(bytes, on: rail.connection) }
            rail.hasHandedOver = true
            rail.deadline = .never
            if lane.wantedBytes > 0 {
                lane.wantedBytes = 0
                emit(.writable(rail.connection))
            }
            finishIfDone(rail)
        }
    }
#endif
