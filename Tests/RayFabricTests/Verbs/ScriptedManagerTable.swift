// The functions of librdmacm for scripted devices.

#if Verbs
    import CLinux
    import CVerbs
    import Glibc
    import Synchronization

    @testable import RayFabric

    /// Fabrics of event channels: `rdma_create_event_channel` is not told which machine it is on. It is the one whose
    /// library the thread has asked for last.
    let scriptedChannels = ScriptedChannels()

    @safe
    final class ScriptedChannels: Sendable {
        private struct State: Sendable {
            var fabrics: [UInt: ScriptedFabric] = [:]
            var channels: [UInt: ScriptedFabric] = [:]
        }

        private let state = Mutex(State())

        /// What a thread makes next is on this fabric.
        func expect(_ fabric: ScriptedFabric) {
            let thread = UInt(pthread_self())
            state.withLock { $0.fabrics[thread] = fabric }
        }

        func expected() -> ScriptedFabric? {
            let thread = UInt(pthread_self())
            return state.withLock { $0.fabrics.removeValue(forKey: thread) }
        }

        func add(_ channel: UInt, _ fabric: ScriptedFabric) { state.withLock { $0.channels[channel] = fabric } }
        func remove(_ channel: UInt) -> ScriptedFabric? { state.withLock { $0.channels.removeValue(forKey: channel) } }

        func fabric(_ channel: UnsafeMutablePointer<rdma_event_channel>?) -> ScriptedFabric {
            let key = UInt(bitPattern: channel)
            guard let found = state.withLock({ $0.channels[key] }) else {
                preconditionFailure("an event channel that is gone")
            }
            return found
        }
    }

    /// Does something to an identifier with the lock of its fabric held.
    /// - Returns: 0; or -1 with errno where the status is one.
    private func with(
        _ pointer: UnsafeMutablePointer<rdma_cm_id>?, _ body: (ScriptedFabric, ScriptedIdentifier) -> Int32
    ) -> Int32 {
        guard let pointer = unsafe pointer else { preconditionFailure("no identifier") }
        let fabric = unsafe scriptedChannels.fabric(pointer.pointee.channel)
        let status = fabric.locked { body(fabric, unsafe fabric.find(pointer)) }
        guard status != 0 else { return 0 }
        errno = status
        return -1
    }

    /// The address as a global identifier, and the port.
    private func place(_ address: UnsafeMutablePointer<sockaddr>?) -> (gid: [UInt8], service: UInt16)? {
        guard let address = unsafe address,
            let found = unsafe SocketAddress(address, length: socklen_t(MemoryLayout<sockaddr_in>.size))
        else { return nil }
        return ([UInt8](repeating: 0, count: 10) + [0xff, 0xff] + found.ipAddress, found.port)
    }

    private func offer(
        _ parameters: rdma_conn_param, _ identifier: ScriptedIdentifier, wrong: ScriptedJoinFault
    ) -> ScriptedOffer {
        var data = unsafe Array(
            UnsafeRawBufferPointer(start: parameters.private_data, count: Int(parameters.private_data_len)))
        if identifier.channel.fabric.hasFault(wrong), !data.isEmpty { data[0] ^= 1 }
        return unsafe ScriptedOffer(
            pair: parameters.qp_num, packet: identifier.packet, served: parameters.responder_resources,
            asked: parameters.initiator_depth, data: data)
    }

    /// What the run-time lookup fills otherwise.
    func scriptedManagerTable() -> rf_cm {
        var table = rf_cm()
        addChannels(&table)
        addListening(&table)
        addConnecting(&table)
        addEvents(&table)
        return table
    }

    private func addChannels(_ table: inout rf_cm) {
        unsafe table.create_event_channel = {
            guard let fabric = scriptedChannels.expected() else { preconditionFailure("on which machine?") }
            let channel: ScriptedEventChannel? = fabric.locked {
                if fabric.hasFault(.noChannel) { return nil }
                let channel = ScriptedEventChannel(fabric)
                fabric.eventChannels.append(channel)
                fabric.resources.eventChannels += 1
                return channel
            }
            guard let channel else {
                errno = ENODEV
                return nil
            }
            scriptedChannels.add(UInt(bitPattern: unsafe channel.pointer), fabric)
            return unsafe channel.pointer
        }
        unsafe table.destroy_event_channel = { pointer in
            guard let fabric = scriptedChannels.remove(UInt(bitPattern: pointer)) else {
                preconditionFailure("an event channel that is gone")
            }
            fabric.locked {
                if fabric.identifiers.contains(where: { unsafe $0.channel.pointer == pointer }) {
                    fabric.complain("an event channel that is used was to go")
                }
                fabric.eventChannels.removeAll { unsafe $0.pointer == pointer }
                fabric.resources.eventChannels -= 1
            }
        }
        unsafe table.create_id = { channel, made, context, _ in
            let fabric = unsafe scriptedChannels.fabric(channel)
            let identifier: ScriptedIdentifier? = fabric.locked {
                guard !fabric.hasFault(.noIdentifier),
                    let channel = fabric.eventChannels.first(where: { unsafe $0.pointer == channel })
                else { return nil }
                let identifier = unsafe ScriptedIdentifier(channel, context: context)
                fabric.add(identifier)
                return identifier
            }
            guard let identifier else {
                errno = ENOMEM
                return -1
            }
            unsafe made?.pointee = identifier.pointer
            return 0
        }
        unsafe table.destroy_id = { pointer in
            unsafe with(pointer) { fabric, identifier in
                fabric.end(identifier)
                return 0
            }
        }
        // All devices stay: who has one open is not what these devices look at.
        unsafe table.get_devices = { _ in nil }
        unsafe table.free_devices = { _ in }
    }

    private func addListening(_ table: inout rf_cm) {
        unsafe table.bind_addr = { pointer, address in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noBinding), let place = unsafe place(address),
                    let device = fabric.device(place.gid)
                else { return EADDRNOTAVAIL }
                identifier.attach(fabric.hasFault(.otherDevice) ? fabric.devices.last! : device)
                identifier.state = .bound
                return 0
            }
        }
        unsafe table.listen = { pointer, _ in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noListening), identifier.state == .bound else { return EADDRINUSE }
                identifier.service = UInt16(truncatingIfNeeded: 1000 + fabric.freshNumber())
                identifier.state = .listening
                return 0
            }
        }
        unsafe table.get_src_port = { pointer in
            var service: UInt16 = 0
            _ = unsafe with(pointer) { _, identifier in
                service = identifier.service
                return 0
            }
            return service.bigEndian
        }
        unsafe table.accept = { pointer, parameters in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noAccepting), identifier.state == .requested,
                    let parameters = unsafe parameters
                else { return EINVAL }
                fabric.accept(identifier, unsafe offer(parameters.pointee, identifier, wrong: .wrongAnswer))
                return 0
            }
        }
        unsafe table.reject = { pointer, _, _ in
            unsafe with(pointer) { fabric, identifier in
                guard identifier.state == .requested else { return EINVAL }
                fabric.reject(identifier)
                return 0
            }
        }
    }

    private func addConnecting(_ table: inout rf_cm) {
        unsafe table.resolve_addr = { pointer, source, destination, _ in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noAddressCall), let source = unsafe place(source),
                    let destination = unsafe place(destination)
                else { return EINVAL }
                (identifier.destination, identifier.service) = (destination.gid, destination.service)
                guard !fabric.hasFault(.address), let device = fabric.device(source.gid) else {
                    fabric.announce(RDMA_CM_EVENT_ADDR_ERROR, -ENODEV, to: identifier)
                    return 0
                }
                identifier.attach(fabric.hasFault(.otherDevice) ? fabric.devices.last! : device)
                identifier.state = .bound
                fabric.announce(RDMA_CM_EVENT_ADDR_RESOLVED, to: identifier)
                return 0
            }
        }
        unsafe table.resolve_route = { pointer, _ in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noRouteCall), identifier.state == .bound else { return EINVAL }
                let failed = fabric.hasFault(.route)
                fabric.announce(
                    failed ? RDMA_CM_EVENT_ROUTE_ERROR : RDMA_CM_EVENT_ROUTE_RESOLVED, failed ? -ETIMEDOUT : 0,
                    to: identifier)
                return 0
            }
        }
        unsafe table.connect = { pointer, parameters in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noConnecting), identifier.state == .bound,
                    let parameters = unsafe parameters
                else { return EINVAL }
                fabric.connect(identifier, unsafe offer(parameters.pointee, identifier, wrong: .wrongQuestion))
                return 0
            }
        }
        unsafe table.establish = { pointer in
            unsafe with(pointer) { fabric, identifier in
                guard !fabric.hasFault(.noEstablishing), identifier.state == .connecting, identifier.peers != nil
                else { return EINVAL }
                fabric.establish(identifier)
                return 0
            }
        }
        unsafe table.init_qp_attr = { pointer, attributes, mask in
            unsafe with(pointer) { fabric, identifier in
                guard let attributes = unsafe attributes, let mask = unsafe mask, !fabric.hasFault(.noAttributes),
                    let found = unsafe identifier.attributes(attributes.pointee.qp_state)
                else { return EINVAL }
                unsafe attributes.pointee = found.0
                unsafe mask.pointee = found.1.rawValue
                return 0
            }
        }
    }

    private func addEvents(_ table: inout rf_cm) {
        unsafe table.get_cm_event = { pointer, made in
            let fabric = unsafe scriptedChannels.fabric(pointer)
            let isTaken = fabric.locked {
                guard let channel = fabric.eventChannels.first(where: { unsafe $0.pointer == pointer }),
                    let news = channel.take()
                else { return false }
                unsafe made?.pointee = event(news)
                // A wish to connect is one of who listens, as to acknowledging it.
                (news.listener ?? news.identifier).unacknowledged += 1
                return true
            }
            if isTaken { return 0 }
            errno = EAGAIN
            return -1
        }
        unsafe table.ack_cm_event = { pointer in
            guard let event = unsafe pointer, let identifier = unsafe event.pointee.listen_id ?? event.pointee.id else {
                return EINVAL
            }
            _ = unsafe with(identifier) { _, identifier in
                identifier.unacknowledged -= 1
                return 0
            }
            unsafe event.pointee.param.conn.private_data?.deallocate()
            unsafe event.deallocate()
            return 0
        }
    }

    /// What a program is given; its data is longer than what was said, as with InfiniBand.
    private func event(_ news: ScriptedNews) -> UnsafeMutablePointer<rdma_cm_event> {
        let event = UnsafeMutablePointer<rdma_cm_event>.allocate(capacity: 1)
        unsafe event.initialize(to: rdma_cm_event())
        unsafe event.pointee.id = news.identifier.pointer
        unsafe event.pointee.listen_id = news.listener?.pointer
        unsafe event.pointee.event = news.type
        unsafe event.pointee.status = news.status
        guard let offer = news.offer else { return unsafe event }
        let data = UnsafeMutableRawBufferPointer.allocate(byteCount: 56, alignment: 1)
        unsafe data.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe data.copyBytes(from: offer.data)
        unsafe event.pointee.param.conn.private_data = UnsafeRawPointer(data.baseAddress)
        unsafe event.pointee.param.conn.private_data_len = UInt8(data.count)
        // As its reader sees it: what the peer asks is what it serves.
        unsafe event.pointee.param.conn.responder_resources = offer.asked
        unsafe event.pointee.param.conn.initiator_depth = offer.served
        unsafe event.pointee.param.conn.qp_num = offer.pair
        return unsafe event
    }
#endif
