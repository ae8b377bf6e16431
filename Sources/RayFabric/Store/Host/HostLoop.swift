// The host's thread: drains the clients' rings, runs directives, serves control requests.

internal import CLinux
internal import RayCore

/// Belongs to one thread from `run` on.
final class HostLoop {
    private struct Client: ~Copyable {
        let socket: UnixSocket
        let isTrusted: Bool
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
    private let listener: HostListener
    private let pulls: (any PullService)?
    private let filler: SegmentFiller
    private let directoryFile: MemoryFile
    private var segmentFiles: [SegmentFile?]
    private var clients: [Int: ClientBox] = [:]
    private var workers: UInt32 = 0
    private let waker: Waker
    private let doorbell: Waker
    private let takeEvents: () -> [StoreHost.Event]
    private let eventPoll: EventPoll
    private var isStopping = false

    private enum Tag {
        static let listener: UInt64 = 0
        static let waker: UInt64 = 1
        static let doorbell: UInt64 = 2
        static let clients: UInt64 = 16
    }

    init(
        _ configuration: StoreConfiguration, geometry: StoreGeometry, node: NodeID,
        listener: consuming HostListener, pulls: (any PullService)?, wakers: (events: Waker, doorbell: Waker),
        post: @escaping @Sendable (StoreHost.Event) -> Void, takeEvents: @escaping () -> [StoreHost.Event]
    ) throws(FabricError) {
        self.configuration = configuration
        self.node = node
        self.listener = listener
        self.pulls = pulls
        self.takeEvents = takeEvents
        (waker, doorbell) = (wakers.events, wakers.doorbell)
        segmentFiles = Array(repeating: nil, count: geometry.segmentCount)
        let file = try MemoryFile(name: "fabric-directory", byteCount: geometry.directoryBytes)
        let mapping = try Mapping(file.descriptor.number, byteCount: geometry.directoryBytes, writable: true)
        geometry.write(to: mapping)
        directoryFile = file
        var limits = StoreCore.Limits()
        limits.maximumClients = configuration.maximumClients
        limits.segmentsAhead = max(1, configuration.prefault.bytes >> Int(geometry.segmentShift))
        core = StoreCore(directory: Directory(memory: mapping, geometry: geometry), limits: limits)
        filler = try SegmentFiller(segmentBytes: geometry.segmentBytes) { segment, result in
            switch result {
            case .success(let file): post(.filled(segment: segment, file))
            case .failure(let error): post(.fillFailed(segment: segment, error))
            }
        }
        eventPoll = try EventPoll()
        try eventPoll.add(waker.descriptor, tag: Tag.waker)
        try eventPoll.add(doorbell.descriptor, tag: Tag.doorbell)
        if let descriptor = self.listener.descriptor { try eventPoll.add(descriptor, tag: Tag.listener) }
    }

    /// Takes a connected client socket.
    func adopt(_ socket: consuming UnixSocket, isTrusted: Bool) {
        guard let index = (0..<configuration.maximumClients).first(where: { clients[$0] == nil }) else {
            let refusal = ControlReply.refused(
                .tooManyClients, "the store allows \(configuration.maximumClients) clients")
            try? socket.send(refusal.encoded())
            return
        }
        _ = rf_set_nonblocking(socket.descriptor.number)
        guard (try? eventPoll.add(socket.descriptor.number, tag: Tag.clients + UInt64(index))) != nil else { return }
        clients[index] = ClientBox(Client(socket: socket, isTrusted: isTrusted, notification: nil))
    }

    // MARK: The loop

    func run() {
        core.start()
        runDirectives()
        var lastWork = Timestamp.now
        var spin = AdaptiveSpin(longest: configuration.spin.unlessOnOneProcessor)
        var rounds = 0
        while !isStopping {
            if takeCommands() > 0 {
                lastWork = .now
                rounds = 0
                pollDescriptors(timeout: 0)
                continue
            }
            rounds += 1
            if rounds % 16 == 0 {
                pollDescriptors(timeout: 0)
                let now = Timestamp.now
                if now - lastWork > spin.limit, !isStopping {
                    sleep()
                    lastWork = .now
                    spin.slept(lastWork - now)
                }
            }
            rf_cpu_pause()
        }
        shutDown()
    }

    private func takeCommands() -> Int {
        let taken = core.takeCommands(now: .now)
        runDirectives()
        return taken
    }

    /// Sleeps until a doorbell, an event or a control request. Clients that write an urgent command
    /// after the flag is set ring; one written before it is seen by the last look at the rings.
    private func sleep() {
        core.table.setHostSleeping(true)
        if takeCommands() == 0 { pollDescriptors(timeout: -1) }
        core.table.setHostSleeping(false)
    }

    private func pollDescriptors(timeout: Int32) {
        var tags = InlineArray<64, UInt64>(repeating: 0)
        for index in 0..<eventPoll.wait(timeout: timeout, tags: &tags) {
            switch tags[index] {
            case Tag.listener:
                while let client = listener.accept() { adopt(client, isTrusted: false) }
            case Tag.waker:
                waker.clear()
                for event in takeEvents() { handle(event) }
            case Tag.doorbell:
                doorbell.clear()
            case let tag:
                serve(Int(tag - Tag.clients))
            }
        }
        runDirectives()
    }

    private func handle(_ event: StoreHost.Event) {
        switch event {
        case .filled(let segment, let file):
            segmentFiles[segment] = file
            core.segmentFilled(segment, generation: file.generation)
        case .fillFailed(let segment, let error):
            configuration.log?("segment \(segment) could not be filled: \(error)")
            core.segmentFailed(segment)
        case .pullFailed(let id, let client, let token, let code):
            core.pullFailed(id, client: client, token: token, code)
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
        case .pull(let id, let client, let token, let deadline):
            // Without a network the object may still be sealed here.
            pulls?.pull(id, client: client, token: token, deadline: deadline)
        case .cancelPull(let id, let client, let token):
            pulls?.cancelPull(id, client: client, token: token)
        case .cutOff(let client):
            configuration.log?("client \(client) broke the protocol and was cut off")
            end(client)
        }
    }

    private func shutDown() {
        core.table.setClosed()
        for session in core.clients() {
            session.countWake()
            session.wakeSleepers()
        }
        clients.removeAll()
        filler.stop()
    }

    // MARK: Clients

    private func end(_ index: Int) {
        // Closing the socket takes it out of epoll.
        clients[index] = nil
        core.detach(index, now: .now)
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
                    return end(index)
                }
                try answer(request, from: index, box)
            }
        } catch {
            end(index)
        }
    }

    private func answer(_ request: ControlRequest, from index: Int, _ box: ClientBox) throws(FabricError) {
        if case .hello(let name) = request, !box.client.isAttached { return try attach(index, box, name: name) }
        guard box.client.isAttached else { throw FabricError(.protocolViolation) }
        switch request {
        case .hello: throw FabricError(.protocolViolation)
        case .map(let segment, let writable): try map(segment, writable: writable, for: index, box)
        case .synchronise:
            while takeCommands() > 0 {}
            try box.client.socket.send(ControlReply.done.encoded())
        case .holders: try box.client.socket.send(ControlReply.text(core.holders()).encoded())
        case .usage:
            while takeCommands() > 0 {}
            try box.client.socket.send(ControlReply.usage(core.usage).encoded())
        case .inspect(let from):
            while takeCommands() > 0 {}
            let now = Timestamp.now
            let (found, next) = core.inspect(from: from, limit: ControlReply.objectsPerPage)
            let objects = found.map { ObjectDescription(entry: $0.object, pins: $0.pins, now: now) }
            try box.client.socket.send(ControlReply.objects(objects, next: next).encoded())
        }
    }

    private func attach(_ index: Int, _ box: ClientBox, name: String) throws(FabricError) {
        let geometry = core.geometry
        let ledger = try MemoryFile(name: "fabric-ledger", byteCount: geometry.ledgerBytes)
        let mailbox = try MemoryFile(name: "fabric-mailbox", byteCount: geometry.mailboxBytes)
        let session = ClientSession(
            index: index, name: name, isTrusted: box.client.isTrusted, geometry: geometry,
            ledger: try Mapping(ledger.descriptor.number, byteCount: geometry.ledgerBytes, writable: false),
            mailbox: try Mapping(mailbox.descriptor.number, byteCount: geometry.mailboxBytes, writable: true))
        let notification = try Waker()
        let readOnlyDirectory = try directoryFile.readOnlyDescriptor()
        let readOnlyMailbox = try mailbox.readOnlyDescriptor()
        workers += 1
        let welcome = ControlReply.welcome(client: index, worker: WorkerID(node: node, number: workers))
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
            !writable || core.isLessee(client, ofSegment: segment)
        else {
            let refusal = ControlReply.refused(.invalidArgument, "segment \(segment) is not there to be mapped")
            return try box.client.socket.send(refusal.encoded())
        }
        let reply = ControlReply.mapped(generation: memory.generation).encoded()
        if writable {
            try box.client.socket.send(reply, descriptors: [memory.file.descriptor.number])
        } else {
            let readOnly = try memory.file.readOnlyDescriptor()
            try box.client.socket.send(reply, descriptors: [readOnly.number])
        }
    }
}
