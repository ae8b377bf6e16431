// Memory windows of scripted devices.

#if Verbs
    import CLinux
    import CVerbs

    @testable import RayFabric

    /// A window of type 1. What it opens changes when its binding is done, which is after it was posted.
    @safe
    final class ScriptedWindow {
        // SAFETY: valid from init to deinit, which `dealloc_mw` brings about.
        let pointer: UnsafeMutablePointer<ibv_mw>
        let number: UInt32
        let domain: UInt32
        private(set) var key: UInt32
        private(set) var region: ScriptedRegion?
        private(set) var address: UInt64 = 0
        private(set) var length = 0
        private(set) var access: Int32 = 0

        init(_ number: UInt32, _ domain: UnsafeMutablePointer<ibv_pd>) {
            self.number = number
            self.domain = unsafe domain.pointee.handle
            key = number << 8
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_mw())
            unsafe pointer.pointee.context = domain.pointee.context
            unsafe pointer.pointee.pd = domain
            unsafe pointer.pointee.rkey = key
            unsafe pointer.pointee.handle = number
            unsafe pointer.pointee.type = IBV_MW_TYPE_1
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// What a binding that was posted is to do.
        struct Binding {
            let window: ScriptedWindow
            let region: ScriptedRegion
            let key: UInt32
            let address: UInt64
            let length: Int
            let access: Int32
        }

        var isOpen: Bool { length > 0 }

        func bind(_ binding: Binding) {
            key = binding.key
            (region, address) = (binding.length > 0 ? binding.region : nil, binding.address)
            (length, access) = (binding.length, binding.access)
        }

        /// The bytes of a range; nil unless all of it is open.
        func bytes(_ start: UInt64, _ count: Int) -> UnsafeMutableRawBufferPointer? {
            guard start >= address, start - address <= UInt64(length),
                UInt64(count) <= UInt64(length) - (start - address)
            else { return nil }
            return unsafe region?.bytes(start, count)
        }
    }

    extension ScriptedQueuePair {
        /// Takes the binding of a window.
        func post(_ window: ScriptedWindow, _ bind: ibv_mw_bind) -> Int32 {
            let info = unsafe bind.bind_info
            guard let region = unsafe fabric.regions[info.mr?.pointee.handle ?? 0], window.domain == domain,
                region.domain == domain, region.access & RF_VERBS_BIND_WINDOW != 0,
                unsafe info.length == 0 || region.bytes(info.addr, Int(info.length)) != nil
            else { return refuse("a binding to what is not a region of its domain") }
            guard !fabric.refusesWindows else { return ENOMEM }
            let key = unsafe window.number << 8 | (window.pointer.pointee.rkey + 1) & 0xff
            unsafe window.pointer.pointee.rkey = key
            let binding = unsafe ScriptedWindow.Binding(
                window: window, region: region, key: key, address: info.addr, length: Int(info.length),
                access: Int32(info.mw_access_flags))
            var work = unsafe ibv_send_wr()
            unsafe work.wr_id = bind.wr_id
            unsafe work.opcode = IBV_WR_BIND_MW
            unsafe work.send_flags = bind.send_flags
            return unsafe accept(work, binding)
        }
    }

    /// The functions of the device's table.
    func addWindows(_ operations: inout ibv_context_ops) {
        unsafe operations.alloc_mw = { domain, type in
            guard let domain = unsafe domain, type == IBV_MW_TYPE_1 else { return nil }
            let context = unsafe ScriptedContext.of(domain.pointee.context)
            return unsafe context.fabric.locked {
                guard !context.device.isLost else { return nil }
                let window = unsafe ScriptedWindow(context.fabric.freshNumber(), domain)
                context.fabric.windows[window.number] = window
                context.fabric.resources.windows += 1
                return unsafe window.pointer
            }
        }
        unsafe operations.dealloc_mw = { pointer in
            guard let pointer = unsafe pointer else { return EINVAL }
            let context = unsafe ScriptedContext.of(pointer.pointee.context)
            context.fabric.locked {
                context.fabric.windows[unsafe pointer.pointee.handle] = nil
                context.fabric.resources.windows -= 1
            }
            return 0
        }
        unsafe operations.bind_mw = { pair, window, bind in
            guard let pair = unsafe pair, let window = unsafe window, let bind = unsafe bind else { return EINVAL }
            let context = unsafe ScriptedContext.of(pair.pointee.context)
            return context.fabric.locked {
                guard let found = context.fabric.pairs.first(where: { unsafe $0.number == pair.pointee.qp_num }),
                    let window = context.fabric.windows[unsafe window.pointee.handle]
                else { preconditionFailure("a queue pair or window that is gone") }
                let status = unsafe found.post(window, bind.pointee)
                context.fabric.passAtOnce()
                return status
            }
        }
    }
#endif
