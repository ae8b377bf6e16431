// The host's thread: drains the clients' rings, runs directives, serves control requests.

internal import CLinux
internal import RayCore

/// A descriptor of a process.
private final class ProcessFile {
    let descriptor: FileDescriptor
    init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
}

/// Belongs to one thread from `run` on.
final class HostLoop {
    private struct Client: ~Copyable {
        let socket: UnixSocket
        /// The client's process, nil for the host's own, which is trusted.
        let process: Int32?
        /// When a client that has not attached yet is sent away.
        let deadline: Timestamp
        /// Of the client's event descriptor, once attached.
        var notification: Waker?
        var isAttached: Bool { notification != nil }
    }
    private final class ClientBox {
        var client: Client
        init(_ client: consuming Client) { self.client = client }
    }

    private var core: StoreCore
    private let configuration: StoreConfiguration
    private let node: NodeID
    private var listener: HostListener
    private let pulls: (any PullService)?
    private let filler: SegmentFiller
    private let directoryFile: MemoryFile
    private var segmentFiles: [SegmentFile?]
    private var clients: [Int: ClientBox] = [:]
    private var workers: UInt32 = 0
    /// No client that has not attached yet must be sent away before this.
    private var nextDeadline = Timestamp.never
    /// Descriptors of processes whose death is awaited.
    private var processes: [Int32: ProcessFile] = [:]
    private let inbox: HostInbox
    private let doorbell: Waker
    private let eventPoll: EventPoll
    private var isStopping = false

    private enum Tag {
        static let listener: UInt64 = 0
        static let waker: UInt64 = 1
        static let doorbell: UInt64 = 2
        static let clients: UInt64 = 16
        static let processes: UInt64 = 1 << 32
    }

    init(
        _ configuration: StoreConfiguration, geometry: StoreGeometry, node: NodeID,
        listener: consuming HostListener, pulls: (any PullService)?, inbox: HostInbox
    ) throws(FabricError) {
        self.configuration = configuration
        self.node = node
        self.listener = listener
        self.pulls = pulls
        self.inbox = inbox
        doorbell = try Waker()
        segmentFiles = Array(repeating: nil, count: geometry.segmentCount)
        let file = try MemoryFile(
            name: "fabric-directory", byteCount: geometry.directoryBytes, hasOnlyWriter: true)
        let mapping = try file.mapAsOnlyWriter()
        geometry.write(to: mapping)
        directoryFile = file
        var limits = StoreCore.Limits()
        limits.maximumClients = configuration.maximumClients
        limits.segmentsAhead = max(1, configuration.prefault.bytes >> Int(geometry.segmentShift))
        core = StoreCore(directory: Directory(memory: mapping, geometry: geometry), limits: limits)
        eventPoll = try EventPoll()
        try eventPoll.add(inbox.waker.descriptor, tag: Tag.waker)
        try eventPoll.add(doorbell.descriptor, tag: Tag.doorbell)
        if let descriptor = self.listener.descriptor { try eventPoll.add(descriptor, tag: Tag.listener) }
        // Last, for it starts a thread.
        filler = try SegmentFiller(segmentBytes: geometry.segmentBytes) { segment, result in
            switch result {
            case .success(let file): inbox.post(.filled(segment: segment, file))
            case .failure(let error): inbox.post(.fillFailed(segment: segment, error))
            }
        }
    }

    deinit { filler.stop() }

    /// Takes a connected client socket.
    /// - Parameter process: the client's process; nil for the host's own, which is trusted.
    func adopt(_ socket: consuming UnixSocket, process: Int32?) {
        guard let index = (0..<configuration.maximumClients).first(where: { clients[$0] == nil }) else {
            let refusal = ControlReply.refused(
                .tooManyClients, "the store allows \(configuration.maximumClients) clients")
            try? socket.send(refusal.encoded())
            return
        }
        _ = rf_set_nonblocking(socket.descriptor.number)
        guard (try? eventPoll.add(socket.descriptor.number, tag: Tag.clients + UInt64(index))) != nil else { return }
        let deadline = process == nil ? .never : Timestamp.now + configuration.attachLimit
        nextDeadline = min(nextDeadline, deadline)
        clients[index] = ClientBox(Client(socket: socket, process: process, deadline: deadline, notification: nil))
    }

    // MARK: The loop

    func run() {
        core.start()
        runDirectives()
        var lastWork = Timestamp.now
        var spin = AdaptiveSpin(longest: configuration.spin.unlessOnOneProcessor)
        var sinceLook = 0
        while !isStopping {
            let taken = takeCommands()
            if taken > 0 { lastWork = .now } else { rf_cpu_pause() }
            // A look at the descriptors is a system call: not one for each command that comes alone.
            sinceLook += 1 + taken
            if sinceLook < Self.effortPerLook { continue }
            sinceLook = 0
            pollDescriptors(timeout: 0)
            let now = Timestamp.now
            if taken == 0, now - lastWork > spin.limit, !isStopping {
                sleep()
                lastWork = .now
                spin.slept(lastWork - now)
            }
        }
        shutDown()
    }

    /// Rounds and commands between two looks at the descriptors.
    private static let effortPerLook = 64

    private func takeCommands() -> Int {
        let taken = core.takeCommands(now: .now)
        runDirectives()
        return taken
    }

    private func takeAllCommands() {
        core.takeAllCommands(now: .now)
        runDirectives()
    }

    /// Sleeps until a doorbell, an event or a control request. Clients that write an urgent command
    /// after the flag is set ring; one written before it is seen by the last look at the rings.
    private func sleep() {
        core.table.setHostSleeping(true)
        if takeCommands() == 0 {
            let rest = nextDeadline == .never ? -1 : max(0, (nextDeadline - .now).wholeMilliseconds)
            pollDescriptors(timeout: Int32(clamping: rest))
        }
        core.table.setHostSleeping(false)
    }

    private func pollDescriptors(timeout: Int32) {
        var tags = InlineArray<64, UInt64>(repeating: 0)
        for index in 0..<eventPoll.wait(timeout: timeout, tags: &tags) {
            switch tags[index] {
            case Tag.listener:
                while let client = listener.accept() {
                    let process = try? client.peerCredentials().process
                    adopt(client, process: process ?? 0)
                }
            case Tag.waker:
                inbox.waker.clear()
                for event in inbox.takeEvents() { handle(event) }
            case Tag.doorbell:
                doorbell.clear()
            case let tag where tag < Tag.processes:
                serve(Int(tag - Tag.clients))
            case let tag:
                processes[Int32(tag - Tag.processes)] = nil
                core.processEnded(Int32(tag - Tag.processes))
            }
            runDirectives()
        }
        if nextDeadline != .never { sendStrangersAway() }
    }

    private func handle(_ event: HostInbox.Event) {
        switch event {
        case .filled(let segment, let file):
            segmentFiles[segment] = file
            core.segmentFilled(segment, generation: file.generation)
            pulls?.memoryCame(toSegment: segment)
        case .fillFailed(let segment, let error):
            configuration.log?("segment \(segment) could not be filled: \(error)")
            core.segmentFailed(segment, error.code)
        case .pullFailed(let id, let session, let token, let code):
            core.pullFailed(id, session: session, token: token, code)
        case .stop:
            isStopping = true
        }
    }

    private func runDirectives() {
        while true {
            let directives = core.takeDirectives()
            if directives.isEmpty { return }
            for directive in directives { run(directive) }
        }
    }

    private func run(_ directive: StoreDirective) {
        switch directive {
        case .wake(let client):
            core.session(client)?.wakeSleepers()
        case .notify(let client):
            clients[client]?.client.notification?.signal()
        case .fill(let segment, let replacing):
            if replacing {
                core.table.setGeneration(0, ofSegment: segment)
                segmentFiles[segment] = nil
            }
            filler.fill(segment)
        case .pull(let id, let session, let token, let deadline):
            // Without a network the object may still be sealed here.
            pulls?.pull(id, session: session, token: token, deadline: deadline)
        case .cancelPull(let id, let session, let token):
            pulls?.cancelPull(id, session: session, token: token)
        case .cutOff(let client):
            cutOff(client)
        case .watch(let process):
            watch(process)
        }
    }

    private func shutDown() {
        core.table.setClosed()
        for session in core.clients() {
            session.countWake()
            session.wakeSleepers()
        }
        clients.removeAll()
    }

    // MARK: Clients

    private func end(_ index: Int) {
        // Closing the socket takes it out of epoll.
        clients[index] = nil
        core.detach(index, now: .now)
    }

    private func cutOff(_ index: Int) {
        let name = core.session(index).map { " (\($0.name))" } ?? ""
        configuration.log?("client \(index)\(name) broke the protocol and was cut off")
        core.session(index)?.cutOff()
        end(index)
    }

    /// Ends the connections of processes that never attached.
    private func sendStrangersAway() {
        let now = Timestamp.now
        guard now >= nextDeadline else { return }
        nextDeadline = .never
        for (index, box) in clients where !box.client.isAttached {
            if box.client.deadline <= now {
                let refusal = ControlReply.refused(.deadlineExceeded, "attaching took too long")
                try? box.client.socket.send(refusal.encoded())
                end(index)
            } else {
                nextDeadline = min(nextDeadline, box.client.deadline)
            }
        }
    }

    /// Awaits the death of a process. If the system does not tell of it, what the process may write to
    /// gets new memory before anybody else has it.
    private func watch(_ process: Int32) {
        guard processes[process] == nil else { return }
        let number = rf_pidfd_open(process)
        if number < 0 {
            if rf_errno() == ESRCH { core.processEnded(process) }
            return
        }
        let file = ProcessFile(FileDescriptor(owning: number))
        guard (try? eventPoll.add(number, tag: Tag.processes + UInt64(process))) != nil else { return }
        processes[process] = file
    }

    private func serve(_ index: Int) {
        guard let box = clients[index] else { return }
        do throws(FabricError) {
            switch try box.client.socket.receive(limit: ControlRequest.maximumBytes, wait: false) {
            case .none: return
            case .end: end(index)
            case .message(let bytes, let descriptors):
                for descriptor in descriptors { _ = close(descriptor) }
                let request: ControlRequest
                do {
                    // SAFETY: any bytes are valid UInt8 values.
                    request = try ControlRequest(decoding: unsafe bytes.span.bytes)
                } catch {
                    return cutOff(index)
                }
                try answer(request, from: index, box)
            }
        } catch {
            end(index)
        }
    }

    private func answer(_ request: ControlRequest, from index: Int, _ box: ClientBox) throws(FabricError) {
        if case .hello(let name) = request, !box.client.isAttached {
            do throws(FabricError) {
                return try attach(index, box, name: name)
            } catch {
                try box.client.socket.send(ControlReply.refused(error.code, error.context).encoded())
                throw error
            }
        }
        guard box.client.isAttached else { return cutOff(index) }
        switch request {
        case .hello: cutOff(index)
        case .map(let segment, let writable): try map(segment, writable: writable, for: index, box)
        case .synchronise:
            takeAllCommands()
            try box.client.socket.send(ControlReply.done.encoded())
        case .holders: try box.client.socket.send(ControlReply.text(core.holders()).encoded())
        case .usage:
            takeAllCommands()
            try box.client.socket.send(ControlReply.usage(core.usage).encoded())
        case .inspect(let from):
            takeAllCommands()
            let now = Timestamp.now
            let (found, next) = core.inspect(from: from, limit: ControlReply.objectsPerPage)
            let objects = found.map { ObjectDescription(entry: $0.object, pins: $0.pins, now: now) }
            try box.client.socket.send(ControlReply.objects(objects, next: next).encoded())
        }
    }

    private func attach(_ index: Int, _ box: ClientBox, name: String) throws(FabricError) {
        let geometry = core.geometry
        let ledger = try MemoryFile(name: "fabric-ledger", byteCount: geometry.ledgerBytes)
        let mailbox = try MemoryFile(
            name: "fabric-mailbox", byteCount: geometry.mailboxBytes, hasOnlyWriter: true)
        workers += 1
        let worker = WorkerID(node: node, number: workers)
        let session = ClientSession(
            index: index, worker: worker, name: name, process: box.client.process, geometry: geometry,
            ledger: try Mapping(ledger.descriptor.number, byteCount: geometry.ledgerBytes, writable: false),
            mailbox: try mailbox.mapAsOnlyWriter())
        let notification = try Waker()
        let readOnlyDirectory = try directoryFile.readOnlyDescriptor()
        let readOnlyMailbox = try mailbox.readOnlyDescriptor()
        let welcome = ControlReply.welcome(client: index, worker: worker)
        try box.client.socket.send(
            welcome.encoded(),
            descriptors: [
                readOnlyDirectory.number, ledger.descriptor.number, readOnlyMailbox.number, doorbell.descriptor,
                notification.descriptor,
            ])
        box.client.notification = notification
        core.attach(session)
    }

    private func map(_ segment: Int, writable: Bool, for client: Int, _ box: ClientBox) throws(FabricError) {
        guard segmentFiles.indices.contains(segment), let memory = segmentFiles[segment],
            // The transfer shows memory to devices, which kernels before 6.3 take only if it is writable.
            !writable || core.session(client)?.isTrusted == true || core.isLessee(client, ofSegment: segment)
        else {
            let refusal = ControlReply.refused(.invalidArgument, "segment \(segment) is not there to be mapped")
            return try box.client.socket.send(refusal.encoded())
        }
        let reply = ControlReply.mapped(generation: memory.generation).encoded()
        if writable {
            try box.client.socket.send(reply, descriptors: [memory.file.descriptor.number])
        } else {
            let readOnly: FileDescriptor
            do throws(FabricError) {
                readOnly = try memory.file.readOnlyDescriptor()
            } catch {
                return try box.client.socket.send(ControlReply.refused(error.code, error.context).encoded())
            }
            try box.client.socket.send(reply, descriptors: [readOnly.number])
        }
    }
}
