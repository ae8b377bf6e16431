// The functions of libibverbs for scripted devices: each finds the object it was given and asks it.

#if Verbs
    import CLinux
    import CVerbs
    import Glibc

    @testable import RayFabric

    private func context(_ pointer: UnsafeMutablePointer<ibv_context>?) -> ScriptedContext {
        guard let pointer = unsafe pointer else { preconditionFailure("no context") }
        return unsafe ScriptedContext.of(pointer)
    }

    extension ScriptedContext {
        /// Does something with the lock of the fabric held; nothing on a device that is gone.
        fileprivate func locked<Value>(_ body: () -> Value) -> Value { fabric.locked(body) }

        fileprivate func queue(_ pointer: UnsafeMutablePointer<ibv_cq>?) -> ScriptedQueue {
            guard let handle = unsafe pointer?.pointee.handle, let queue = fabric.queues[handle] else {
                preconditionFailure("a completion queue that is gone")
            }
            return queue
        }

        fileprivate func pair(_ pointer: UnsafeMutablePointer<ibv_qp>?) -> ScriptedQueuePair {
            guard let number = unsafe pointer?.pointee.qp_num,
                let pair = fabric.pairs.first(where: { $0.number == number })
            else { preconditionFailure("a queue pair that is gone") }
            return pair
        }

        fileprivate func refuse(_ what: String) -> Int32 {
            fabric.complain(what)
            return EBUSY
        }
    }

    /// What goes through the table of the device.
    func scriptedOperations() -> ibv_context_ops {
        var operations = ibv_context_ops()
        unsafe operations.poll_cq = { queue, count, completions in
            guard let completions = unsafe completions else { return -1 }
            let context = unsafe context(queue?.pointee.context)
            return context.locked {
                if context.device.isLost { return context.device.pollsWhenLost }
                context.fabric.passSome()
                return Int32(unsafe context.queue(queue).poll(Int(count), completions))
            }
        }
        unsafe operations.req_notify_cq = { queue, _ in
            let context = unsafe context(queue?.pointee.context)
            return context.locked {
                unsafe context.queue(queue).arm()
                // Who asks for an event goes to sleep next, and time passes.
                context.fabric.pass(.max)
                return 0
            }
        }
        unsafe operations.post_send = { pair, first, refused in
            guard let first = unsafe first else { return EINVAL }
            let context = unsafe context(pair?.pointee.context)
            return context.locked {
                let status = unsafe context.pair(pair).post(first, refused)
                context.fabric.passAtOnce()
                return status
            }
        }
        unsafe operations.post_recv = { pair, first, refused in
            guard let first = unsafe first else { return EINVAL }
            let context = unsafe context(pair?.pointee.context)
            return context.locked {
                let status = unsafe context.pair(pair).post(receives: first, refused)
                context.fabric.passAtOnce()
                return status
            }
        }
        addWindows(&operations)
        return operations
    }

    /// What the run-time lookup fills otherwise.
    func scriptedTable() -> rf_verbs {
        var table = rf_verbs()
        addDevices(&table)
        addMemory(&table)
        addQueues(&table)
        addPairs(&table)
        return table
    }

    private func addDevices(_ table: inout rf_verbs) {
        unsafe table.get_device_list = { unsafe scriptedMachine.deviceList($0) }
        unsafe table.free_device_list = { list in
            if let list = unsafe list { unsafe scriptedMachine.freeList(list) }
        }
        unsafe table.get_device_name = { device in
            guard let device = unsafe device else { return nil }
            // SAFETY: the name is within the device, which its list keeps.
            return unsafe UnsafeRawPointer(device).advanced(by: MemoryLayout<ibv_device>.offset(of: \.name)!)
                .assumingMemoryBound(to: CChar.self)
        }
        unsafe table.open_device = { pointer in
            guard let pointer = unsafe pointer, let (fabric, device) = unsafe scriptedMachine.find(pointer) else {
                return nil
            }
            let context: ScriptedContext? = fabric.locked {
                guard !device.isLost else { return nil }
                let context = ScriptedContext(device, fabric)
                device.contexts.append(context)
                fabric.resources.contexts += 1
                return context
            }
            if context == nil { errno = ENODEV }
            return unsafe context?.pointer
        }
        unsafe table.close_device = { pointer in
            let context = unsafe context(pointer)
            context.locked {
                context.device.contexts.removeAll { $0 === context }
                context.fabric.resources.contexts -= 1
                context.forget()
            }
            return 0
        }
        unsafe table.query_device = { pointer, attributes in
            guard let attributes = unsafe attributes else { return EINVAL }
            let context = unsafe context(pointer)
            context.locked {
                unsafe context.device.describe(&attributes.pointee, hasWindows: context.fabric.hasWindows)
            }
            return 0
        }
        unsafe table.query_port = { pointer, _, attributes in
            guard let attributes = unsafe attributes else { return EINVAL }
            let context = unsafe context(pointer)
            context.locked { unsafe context.device.describe(&attributes.pointee) }
            return 0
        }
        unsafe table.query_gid = { pointer, _, index, gid in
            guard let gid = unsafe gid, index == ScriptedAdapter.gidIndex else { return EINVAL }
            unsafe withUnsafeMutableBytes(of: &gid.pointee) { unsafe $0.copyBytes(from: context(pointer).device.gid) }
            return 0
        }
        unsafe table.get_async_event = { pointer, event in
            let context = unsafe context(pointer)
            guard let event = unsafe event, unsafe ScriptedSignal.take(context.pointer.pointee.async_fd) else {
                return -1
            }
            context.locked { unsafe event.pointee = context.takeEvent() }
            return 0
        }
        unsafe table.ack_async_event = { _ in }
    }

    private func addMemory(_ table: inout rf_verbs) {
        unsafe table.alloc_pd = { pointer in
            let context = unsafe context(pointer)
            return unsafe context.locked {
                let domain = UnsafeMutablePointer<ibv_pd>.allocate(capacity: 1)
                unsafe domain.initialize(to: ibv_pd(context: pointer, handle: context.fabric.freshNumber()))
                context.fabric.resources.domains += 1
                return unsafe domain
            }
        }
        unsafe table.dealloc_pd = { domain in
            guard let domain = unsafe domain else { return EINVAL }
            let context = unsafe context(domain.pointee.context)
            return context.locked {
                let handle = unsafe domain.pointee.handle
                guard !context.fabric.regions.values.contains(where: { $0.domain == handle }),
                    !context.fabric.windows.values.contains(where: { $0.domain == handle }),
                    !context.fabric.pairs.contains(where: { $0.domain == handle })
                else { return context.refuse("a protection domain that is used was to go") }
                context.fabric.resources.domains -= 1
                unsafe domain.deinitialize(count: 1)
                unsafe domain.deallocate()
                return 0
            }
        }
        unsafe table.reg_mr = { domain, start, count, access in
            guard let domain = unsafe domain else { return nil }
            let context = unsafe context(domain.pointee.context)
            let memory = unsafe UnsafeMutableRawBufferPointer(start: start, count: count)
            var region: ScriptedRegion?
            let status: Int32 = context.locked {
                if context.device.isLost { return EIO }
                if unsafe !ScriptedRegion.isThere(memory) { return EFAULT }
                if context.fabric.lockedMemory + count > context.fabric.lockedMemoryLimit {
                    context.fabric.registrationsRefused += 1
                    return ENOMEM
                }
                let number = context.fabric.freshNumber()
                region = unsafe ScriptedRegion(number, domain, memory, access: access)
                context.fabric.regions[number] = region
                context.fabric.lockedMemory += count
                context.fabric.registrationsMade += 1
                context.fabric.resources.regions += 1
                return 0
            }
            if status != 0 { errno = status }
            return unsafe region?.pointer
        }
        unsafe table.dereg_mr = { region in
            guard let region = unsafe region else { return EINVAL }
            let context = unsafe context(region.pointee.context)
            return context.locked {
                let number = unsafe region.pointee.handle
                guard !context.fabric.windows.values.contains(where: { $0.region?.number == number }) else {
                    return context.refuse("a region that windows open was to go")
                }
                context.fabric.lockedMemory -= unsafe region.pointee.length
                context.fabric.resources.regions -= 1
                context.fabric.regions[number] = nil
                return 0
            }
        }
    }

    private func addQueues(_ table: inout rf_verbs) {
        unsafe table.create_comp_channel = { pointer in
            let context = unsafe context(pointer)
            return unsafe context.locked {
                let channel = unsafe ScriptedChannel(context.pointer)
                context.fabric.channels[unsafe channel.pointer.pointee.fd] = channel
                context.fabric.resources.channels += 1
                return unsafe channel.pointer
            }
        }
        unsafe table.destroy_comp_channel = { pointer in
            guard let pointer = unsafe pointer else { return EINVAL }
            let context = unsafe context(pointer.pointee.context)
            return context.locked {
                let descriptor = unsafe pointer.pointee.fd
                guard context.fabric.channels[descriptor]?.users == 0 else {
                    return context.refuse("a completion channel that is used was to go")
                }
                context.fabric.channels[descriptor] = nil
                context.fabric.resources.channels -= 1
                return 0
            }
        }
        unsafe table.create_cq = { pointer, entries, user, channel, _ in
            let context = unsafe context(pointer)
            guard entries > 0, entries <= ScriptedAdapter.mostCompletions else {
                errno = EINVAL
                return nil
            }
            return unsafe context.locked {
                let channel = unsafe channel.flatMap { unsafe context.fabric.channels[$0.pointee.fd] }
                let queue = unsafe ScriptedQueue(context, capacity: Int(entries), user: user, channel: channel)
                context.fabric.queues[unsafe queue.pointer.pointee.handle] = queue
                context.fabric.resources.queues += 1
                return unsafe queue.pointer
            }
        }
        unsafe table.destroy_cq = { pointer in
            let context = unsafe context(pointer?.pointee.context)
            return context.locked {
                let queue = unsafe context.queue(pointer)
                guard queue.users == 0, queue.unacknowledged == 0 else {
                    return context.refuse("a completion queue that is used was to go")
                }
                queue.end()
                context.fabric.queues[unsafe queue.pointer.pointee.handle] = nil
                context.fabric.resources.queues -= 1
                return 0
            }
        }
        unsafe table.get_cq_event = { channel, queue, user in
            guard let channel = unsafe channel, unsafe ScriptedSignal.take(channel.pointee.fd) else { return -1 }
            let context = unsafe context(channel.pointee.context)
            context.locked {
                guard let source = unsafe context.fabric.channels[channel.pointee.fd]?.takeEvent() else { return }
                unsafe queue?.pointee = source.pointer
                unsafe user?.pointee = source.pointer.pointee.cq_context
            }
            return 0
        }
        unsafe table.ack_cq_events = { queue, count in
            let context = unsafe context(queue?.pointee.context)
            context.locked { unsafe context.queue(queue).unacknowledged -= Int(count) }
        }
    }

    private func addPairs(_ table: inout rf_verbs) {
        unsafe table.create_qp = { domain, attributes in
            guard let domain = unsafe domain, let attributes = unsafe attributes else { return nil }
            let context = unsafe context(domain.pointee.context)
            var pair: ScriptedQueuePair?
            context.locked {
                if let objection = unsafe ScriptedQueuePair.objection(to: attributes.pointee) {
                    return context.fabric.complain("a queue pair of \(objection)")
                }
                guard !context.device.isLost else { return }
                let made = unsafe ScriptedQueuePair(
                    domain, attributes.pointee, context, sendQueue: context.queue(attributes.pointee.send_cq),
                    receiveQueue: context.queue(attributes.pointee.recv_cq))
                made.sendQueue.users += 1
                made.receiveQueue.users += 1
                context.fabric.pairs.append(made)
                context.fabric.resources.pairs += 1
                pair = made
            }
            if pair == nil { errno = EINVAL }
            return unsafe pair?.pointer
        }
        unsafe table.modify_qp = { pointer, attributes, mask in
            guard let attributes = unsafe attributes else { return EINVAL }
            let context = unsafe context(pointer?.pointee.context)
            return context.locked {
                let status = unsafe context.pair(pointer).modify(attributes.pointee, mask)
                context.fabric.passAtOnce()
                return status
            }
        }
        unsafe table.destroy_qp = { pointer in
            let context = unsafe context(pointer?.pointee.context)
            context.locked {
                let pair = unsafe context.pair(pointer)
                pair.sendQueue.users -= 1
                pair.receiveQueue.users -= 1
                context.fabric.pairs.removeAll { $0 === pair }
                context.fabric.resources.pairs -= 1
                context.fabric.passAtOnce()
            }
            return 0
        }
    }
#endif
