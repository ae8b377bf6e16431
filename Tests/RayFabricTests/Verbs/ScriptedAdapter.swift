// A scripted device: what it is, who has opened it, the memory it knows, and what it says of itself.

#if Verbs
    import CLinux
    import CVerbs
    import RayCore

    @testable import RayFabric

    /// A device with one port.
    @safe
    final class ScriptedAdapter {
        // SAFETY: valid from init to deinit; lists of devices and contexts hold this object.
        let pointer: UnsafeMutablePointer<ibv_device>
        let name: String
        var port: RDMAPort
        let gid: [UInt8]
        /// The entry of the port's table that has `gid`.
        static let gidIndex = 1
        static let mostInline: UInt32 = 256
        static let mostRequests: Int32 = 1024
        static let mostCompletions: Int32 = 65_536
        var contexts: [ScriptedContext] = []
        /// The device as the connection manager has opened it: good for its name.
        let managerContext: UnsafeMutablePointer<ibv_context>
        var isLost = false
        /// Requests posted to it that have moved.
        var requestsMoved = 0
        var pollsWhenLost: Int32 = 0

        var isUp: Bool { !isLost && port.isActive }

        init(_ name: String, address: [UInt8]) {
            self.name = name
            gid = [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + address
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_device())
            unsafe managerContext = .allocate(capacity: 1)
            unsafe managerContext.initialize(to: ibv_context())
            unsafe managerContext.pointee.device = pointer
            unsafe withUnsafeMutableBytes(of: &pointer.pointee.name) { unsafe $0.copyBytes(from: name.utf8) }
            let text = Self.text(gid)
            port = RDMAPort(
                device: name, number: 1, state: "ACTIVE", linkLayer: "Ethernet",
                identifiers: [
                    .init(index: 0, text: text, type: "IB/RoCE v1", interface: "lo"),
                    .init(index: Self.gidIndex, text: text, type: "RoCE v2", interface: "lo"),
                ])
        }

        deinit {
            unsafe managerContext.deinitialize(count: 1)
            unsafe managerContext.deallocate()
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// Eight groups of hexadecimal digits.
        private static func text(_ gid: [UInt8]) -> String {
            let groups = stride(from: 0, to: 16, by: 2).map { index in
                let digits = String(UInt16(gid[index]) << 8 | UInt16(gid[index + 1]), radix: 16)
                return String(repeating: "0", count: 4 - digits.count) + digits
            }
            return groups.joined(separator: ":")
        }

        /// Tells all who have opened the device.
        func raise(_ type: ibv_event_type) {
            var event = unsafe ibv_async_event()
            unsafe event.event_type = type
            unsafe event.element.port_num = 1
            for context in contexts { unsafe context.raise(event) }
        }

        func describe(_ attributes: inout ibv_device_attr, hasWindows: Bool) {
            attributes = ibv_device_attr()
            attributes.device_cap_flags = hasWindows ? RF_VERBS_HAS_WINDOWS : 0
            attributes.max_mw = hasWindows ? 65_536 : 0
            attributes.max_mr_size = .max
            attributes.max_qp = 1024
            attributes.max_qp_wr = Self.mostRequests
            attributes.max_sge = 4
            attributes.max_sge_rd = 4
            attributes.max_cq = 1024
            attributes.max_cqe = Self.mostCompletions
            attributes.max_mr = 65_536
            attributes.max_pd = 1024
            attributes.max_qp_rd_atom = 16
            attributes.max_qp_init_rd_atom = 16
            attributes.max_res_rd_atom = 1024
            attributes.phys_port_cnt = 1
        }

        func describe(_ attributes: inout ibv_port_attr) {
            attributes = ibv_port_attr()
            attributes.state = port.isActive ? IBV_PORT_ACTIVE : IBV_PORT_DOWN
            attributes.max_mtu = IBV_MTU_4096
            attributes.active_mtu = IBV_MTU_1024
            attributes.gid_tbl_len = Int32(port.identifiers.count)
            attributes.max_msg_sz = 1 << 30
            attributes.link_layer = UInt8(IBV_LINK_LAYER_ETHERNET)
        }
    }

    /// Descriptors of a device count: readable while there is something to take.
    struct ScriptedSignal: ~Copyable {
        let descriptor: Int32

        init() {
            descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_SEMAPHORE))
            precondition(descriptor >= 0, "eventfd")
        }

        deinit { _ = CLinux.close(descriptor) }

        func raise() {
            var one: UInt64 = 1
            unsafe _ = CLinux.write(descriptor, &one, 8)
        }

        /// Takes one, or waits for it, as the descriptor's user has set it.
        static func take(_ descriptor: Int32) -> Bool {
            var count: UInt64 = 0
            return unsafe CLinux.read(descriptor, &count, 8) == 8
        }
    }

    /// A device as one program has opened it.
    @safe
    final class ScriptedContext {
        let fabric: ScriptedFabric
        let device: ScriptedAdapter
        // SAFETY: valid from init to deinit, which `close_device` brings about.
        let pointer: UnsafeMutablePointer<ibv_context>
        private let signal = ScriptedSignal()
        private var events: [ibv_async_event] = unsafe []

        init(_ device: ScriptedAdapter, _ fabric: ScriptedFabric) {
            self.device = device
            self.fabric = fabric
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_context())
            unsafe pointer.pointee.device = device.pointer
            unsafe pointer.pointee.ops = scriptedOperations()
            unsafe pointer.pointee.async_fd = signal.descriptor
            unsafe pointer.pointee.num_comp_vectors = 1
            unsafe pointer.pointee.abi_compat = Unmanaged.passRetained(self).toOpaque()
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// The context that a function of the library was given.
        static func of(_ pointer: UnsafeMutablePointer<ibv_context>) -> ScriptedContext {
            // SAFETY: the field was written by init, and holds the object until `forget`.
            unsafe Unmanaged<ScriptedContext>.fromOpaque(pointer.pointee.abi_compat).takeUnretainedValue()
        }

        /// The C object lets go of this one.
        func forget() { unsafe Unmanaged<ScriptedContext>.fromOpaque(pointer.pointee.abi_compat).release() }

        func raise(_ event: ibv_async_event) {
            unsafe events.append(event)
            signal.raise()
        }

        func takeEvent() -> ibv_async_event { unsafe events.removeFirst() }
    }

    /// Memory that a device knows.
    @safe
    final class ScriptedRegion {
        // SAFETY: valid from init to deinit, which `dereg_mr` brings about.
        let pointer: UnsafeMutablePointer<ibv_mr>
        let number: UInt32
        let domain: UInt32
        let access: Int32

        /// The two keys of a region differ, so that one taken for the other is noticed.
        static func localKey(_ number: UInt32) -> UInt32 { number << 8 | 0x11 }
        static func remoteKey(_ number: UInt32) -> UInt32 { number << 8 | 0x22 }

        init(
            _ number: UInt32, _ domain: UnsafeMutablePointer<ibv_pd>, _ memory: UnsafeMutableRawBufferPointer,
            access: Int32
        ) {
            self.number = number
            self.access = access
            self.domain = unsafe domain.pointee.handle
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_mr())
            unsafe pointer.pointee.context = domain.pointee.context
            unsafe pointer.pointee.pd = domain
            unsafe pointer.pointee.addr = memory.baseAddress
            unsafe pointer.pointee.length = memory.count
            unsafe pointer.pointee.handle = number
            unsafe pointer.pointee.lkey = Self.localKey(number)
            unsafe pointer.pointee.rkey = Self.remoteKey(number)
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// The bytes of a range; nil unless all of it is in the region.
        func bytes(_ address: UInt64, _ length: Int) -> UnsafeMutableRawBufferPointer? {
            let first = UInt64(UInt(bitPattern: unsafe pointer.pointee.addr))
            guard address >= first, address - first <= UInt64(unsafe pointer.pointee.length),
                UInt64(length) <= UInt64(unsafe pointer.pointee.length) - (address - first)
            else { return nil }
            // SAFETY: registered memory stays mapped until it is deregistered.
            return unsafe UnsafeMutableRawBufferPointer(
                start: pointer.pointee.addr + Int(address - first), count: length)
        }

        /// Whether memory is there and can be written to, at both ends: a real device would hold it in place.
        static func isThere(_ memory: UnsafeMutableRawBufferPointer) -> Bool {
            guard let start = memory.baseAddress, memory.count > 0 else { return false }
            let page = UInt(4096)
            return [UInt(bitPattern: start), UInt(bitPattern: start) + UInt(memory.count) - 1].allSatisfy {
                unsafe madvise(UnsafeMutableRawPointer(bitPattern: $0 / page * page), Int(page), RF_MADV_POPULATE_WRITE)
                    == 0
            }
        }
    }
#endif
