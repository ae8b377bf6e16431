// What the fuzzers of the object store and of the transfer call, see FuzzTargets.swift.

#if Fuzzing
    import RayCore

    extension FuzzTargets {
        /// Messages of the store's control socket: requests as the host reads them, replies as a client does.
        public static func control(_ input: RawSpan) {
            var reader = WireReader(input)
            guard let side = try? reader.uint8(), let message = try? reader.take(reader.remaining) else { return }
            // Names and texts may lose what is unfit to be shown, once.
            if side & 1 == 0 {
                guard let bytes = (try? ControlRequest(decoding: message))?.encoded() else { return }
                // SAFETY: any bytes are valid UInt8 values; so below.
                let again = (try? ControlRequest(decoding: unsafe bytes.span.bytes))?.encoded()
                precondition(again == bytes, "a request that was read is written as it was")
            } else {
                guard let bytes = (try? ControlReply(decoding: message))?.encoded() else { return }
                let again = (try? ControlReply(decoding: unsafe bytes.span.bytes))?.encoded()
                precondition(again == bytes, "a reply that was read is written as it was")
            }
        }

        /// A message of the transfer protocol, as both sides read it.
        public static func transfer(_ input: RawSpan) {
            var extents: [RemoteExtent] = []
            guard let message = try? TransferMessage.read(input, extents: &extents) else { return }
            var bytes = [UInt8](repeating: 0, count: TransferMessage.maximumByteCount)
            var span = bytes.mutableSpan
            var writer = unsafe WireWriter(span.mutableBytes)
            message.write(to: &writer, extents: extents)
            let written = writer.count
            precondition(written <= input.byteCount, "a message that was read is written as it was")
            for index in 0..<written {
                let byte = unsafe input.unsafeLoad(fromByteOffset: index, as: UInt8.self)
                precondition(byte == bytes[index], "a message that was read is written as it was")
            }
        }

        /// The rings of an attached client, and all else that it can write.
        public static func commands(_ input: RawSpan) {
            guard var store = try? FuzzedStore.make() else { preconditionFailure("no memory for the fuzzer") }
            var reader = WireReader(input)
            while (try? store.step(&reader)) != nil {}
            store.finish()
        }
    }

    /// A store without threads and sockets, with one honest object and one attacker.
    private struct FuzzedStore: ~Copyable {
        private static let node = NodeID(value: 7, incarnation: 1)
        private static let maximumClients = 3
        private let geometry: StoreGeometry
        private var core: StoreCore
        private let honest: FuzzedClient
        private var attacker: FuzzedClient
        private let kept: ObjectID
        private var keptAt: UInt64 = 0
        private var workers: UInt32 = 1
        private var generation: UInt64 = 0
        private var failsNextSegment = false

        static func make() throws(FabricError) -> FuzzedStore {
            let geometry = try StoreGeometry(capacity: 256 << 10, maximumObjects: 16)
            let file = try MemoryFile(name: "fuzz", byteCount: geometry.directoryBytes)
            let memory = try Mapping(file.descriptor.number, byteCount: file.byteCount, writable: true)
            geometry.write(to: memory)
            let honest = try FuzzedClient(index: 0, WorkerID(node: node, number: 1), process: 1, geometry)
            let attacker = try FuzzedClient(index: 1, WorkerID(node: node, number: 2), process: 2, geometry)
            return FuzzedStore(Directory(memory: memory, geometry: geometry), honest, attacker)
        }

        private init(_ directory: consuming Directory, _ honest: FuzzedClient, _ attacker: FuzzedClient) {
            geometry = directory.geometry
            var limits = StoreCore.Limits()
            limits.maximumClients = Self.maximumClients
            limits.waitsPerClient = 64
            limits.piecesPerClient = 64
            core = StoreCore(directory: directory, limits: limits)
            self.honest = honest
            self.attacker = attacker
            kept = ObjectID(owner: honest.worker, sequence: 1)
            workers = 2
            core.attach(honest.session)
            core.attach(attacker.session)
            core.start()
            runDirectives()
            _ = honest.ring.push(StoreCommand(kind: .grant, offset: 64, size: 64))
            turn()
            guard let grant = honest.ring.nextReply() else { preconditionFailure("no memory in an empty store") }
            keptAt = grant.offset
            _ = honest.ring.push(StoreCommand(kind: .publish, id: kept, offset: grant.offset, size: 64))
            turn()
        }

        /// Does what the next bytes say.
        mutating func step(_ reader: inout WireReader) throws(WireError) {
            let choice = try reader.uint8()
            switch choice & 7 {
            case 0, 1, 2: _ = attacker.ring.push(try command(&reader))
            case 3: try attacker.writeNextCommand(&reader)
            case 4: attacker.ledger.store(try reader.uint64(), at: geometry.pinOffset(Int(try reader.uint8()) & 15))
            case 5: attacker.ledger.store(try reader.uint64(), at: (Int(try reader.uint16()) & 511) * 8)
            case 6: replaceAttacker(processEnds: choice & 8 != 0)
            default:
                failsNextSegment = choice & 8 != 0
                turn()
                check()
            }
        }

        /// A command of which most is right, so that it gets far. Deleting is everybody's right: the
        /// honest object is out of its reach.
        private func command(_ reader: inout WireReader) throws(WireError) -> StoreCommand {
            let choice = try reader.uint8()
            let id = ObjectID(owner: attacker.worker, sequence: UInt64(try reader.uint8()))
            var command = StoreCommand(kind: .init(rawValue: UInt32(choice & 7)) ?? .grant, id: id)
            command.flags = .init(rawValue: UInt32(choice >> 3 & 3))
            command.offset = UInt64(try reader.uint16()) * 64
            command.size = UInt64(try reader.uint16()) << UInt64(choice >> 5 & 3)
            command.token = UInt32(choice)
            return command
        }

        private mutating func replaceAttacker(processEnds: Bool) {
            core.detach(attacker.session.index, now: .zero)
            if processEnds { core.processEnded(2) }
            runDirectives()
            workers += 1
            let worker = WorkerID(node: Self.node, number: workers)
            guard let next = try? FuzzedClient(index: 1, worker, process: 2, geometry) else {
                preconditionFailure("no memory for the fuzzer")
            }
            attacker = next
            core.attach(next.session)
        }

        private mutating func turn() {
            _ = core.takeCommands(now: Timestamp(nanoseconds: 1))
            runDirectives()
        }

        private mutating func runDirectives() {
            while true {
                let directives = core.takeDirectives()
                if directives.isEmpty { return }
                for directive in directives { run(directive) }
            }
        }

        private mutating func run(_ directive: StoreDirective) {
            switch directive {
            case .fill(let segment, _) where failsNextSegment:
                failsNextSegment = false
                core.segmentFailed(segment, .outOfMemory)
            case .fill(let segment, _):
                generation += 1
                core.segmentFilled(segment, generation: generation)
            case .cutOff(let client):
                precondition(client == attacker.session.index, "an honest client was cut off")
                if attacker.session.isCutOff { replaceAttacker(processEnds: false) }
            case .wake, .notify, .pull, .cancelPull, .watch: return
            }
        }

        private func check() {
            let listed = core.inspect(from: 0, limit: .max).objects
            precondition(listed.contains { $0.object.id == kept && $0.object.offset == keptAt }, "an object has moved")
            let used = listed.map(\.object.extent) + attacker.session.outstanding.ranges
            let extents = used.filter { !$0.isEmpty }.sorted { $0.lowerBound < $1.lowerBound }
            for (left, right) in zip(extents, extents.dropFirst()) {
                precondition(left.upperBound <= right.lowerBound, "memory was given out twice")
            }
            precondition(extents.allSatisfy { $0.upperBound * 64 <= UInt64(geometry.capacity) }, "out of the arena")
        }

        /// The attacker goes, and leaves no pins and waits.
        mutating func finish() {
            turn()
            check()
            core.detach(attacker.session.index, now: .zero)
            core.processEnded(2)
            runDirectives()
            precondition(core.waitCount == 0, "a wait of nobody")
            let dying = core.inspect(from: 0, limit: .max).objects.filter { $0.object.state == .dying }
            precondition(dying.isEmpty, "pinned by nobody")
        }
    }

    /// Both ends of a client's rings, and its ledger to write to.
    private final class FuzzedClient {
        let worker: WorkerID
        let session: ClientSession
        let ring: CommandRing
        let ledger: Mapping

        init(index: Int, _ worker: WorkerID, process: Int32, _ geometry: StoreGeometry) throws(FabricError) {
            self.worker = worker
            let ledgerFile = try MemoryFile(name: "fuzz", byteCount: geometry.ledgerBytes)
            let mailboxFile = try MemoryFile(name: "fuzz", byteCount: geometry.mailboxBytes)
            func map(_ file: borrowing MemoryFile, writable: Bool) throws(FabricError) -> Mapping {
                try Mapping(file.descriptor.number, byteCount: file.byteCount, writable: writable)
            }
            session = ClientSession(
                index: index, worker: worker, name: "fuzz", process: process, geometry: geometry,
                ledger: try map(ledgerFile, writable: false), mailbox: try map(mailboxFile, writable: true))
            ring = CommandRing(
                ledger: try map(ledgerFile, writable: true), mailbox: try map(mailboxFile, writable: false),
                geometry: geometry)
            ledger = try map(ledgerFile, writable: true)
        }

        /// Any words as the command that the host takes next, except for an honest id.
        func writeNextCommand(_ reader: inout WireReader) throws(WireError) {
            let position = ring.commandsTaken
            let place = RingLayout.Ledger.command(position)
            for word in 1..<8 { ledger.store(try reader.uint64(), at: place + word * 8) }
            ledger.store(ledger.load(place + 16) | 1 << 63, at: place + 16)
            ledger.storeReleasing(position &+ 1, at: place)
        }
    }
#endif
