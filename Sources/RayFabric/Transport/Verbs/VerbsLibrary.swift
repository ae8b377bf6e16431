// libibverbs and librdmacm, found at run time: programs start on machines that do not have them.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// The functions of libibverbs and of the connection manager, librdmacm. Loaded once, never unloaded.
    struct VerbsLibrary: @unchecked Sendable {
        // SAFETY: the tables are written before anybody sees them, and never again.
        let functions: rf_verbs
        let manager: rf_cm

        private static let shared = Result { () throws(FabricError) in
            VerbsLibrary(
                try verbs(LoadedLibrary("libibverbs.so.1", packages: "libibverbs1 ibverbs-providers")),
                manager: try manager(LoadedLibrary("librdmacm.so.1", packages: "librdmacm1")))
        }

        /// - Throws: `rdmaUnavailable` where a library is not installed or too old.
        static func get() throws(FabricError) -> VerbsLibrary { try shared.get() }

        /// Tables of other functions, as tests have them.
        init(_ functions: rf_verbs, manager: rf_cm) {
            self.functions = functions
            self.manager = manager
        }

        private static func verbs(_ library: LoadedLibrary) throws(FabricError) -> rf_verbs {
            var table = rf_verbs()
            unsafe table.get_device_list = try library.find("ibv_get_device_list", type(of: table.get_device_list))
            unsafe table.free_device_list = try library.find("ibv_free_device_list", type(of: table.free_device_list))
            unsafe table.get_device_name = try library.find("ibv_get_device_name", type(of: table.get_device_name))
            unsafe table.open_device = try library.find("ibv_open_device", type(of: table.open_device))
            unsafe table.close_device = try library.find("ibv_close_device", type(of: table.close_device))
            unsafe table.query_device = try library.find("ibv_query_device", type(of: table.query_device))
            unsafe table.query_port = try library.find("ibv_query_port", type(of: table.query_port))
            unsafe table.query_gid = try library.find("ibv_query_gid", type(of: table.query_gid))
            unsafe table.alloc_pd = try library.find("ibv_alloc_pd", type(of: table.alloc_pd))
            unsafe table.dealloc_pd = try library.find("ibv_dealloc_pd", type(of: table.dealloc_pd))
            unsafe table.reg_mr = try library.find("ibv_reg_mr", type(of: table.reg_mr))
            unsafe table.dereg_mr = try library.find("ibv_dereg_mr", type(of: table.dereg_mr))
            unsafe table.create_comp_channel = try library.find(
                "ibv_create_comp_channel", type(of: table.create_comp_channel))
            unsafe table.destroy_comp_channel = try library.find(
                "ibv_destroy_comp_channel", type(of: table.destroy_comp_channel))
            unsafe table.create_cq = try library.find("ibv_create_cq", type(of: table.create_cq))
            unsafe table.destroy_cq = try library.find("ibv_destroy_cq", type(of: table.destroy_cq))
            unsafe table.get_cq_event = try library.find("ibv_get_cq_event", type(of: table.get_cq_event))
            unsafe table.ack_cq_events = try library.find("ibv_ack_cq_events", type(of: table.ack_cq_events))
            unsafe table.create_qp = try library.find("ibv_create_qp", type(of: table.create_qp))
            unsafe table.modify_qp = try library.find("ibv_modify_qp", type(of: table.modify_qp))
            unsafe table.destroy_qp = try library.find("ibv_destroy_qp", type(of: table.destroy_qp))
            unsafe table.get_async_event = try library.find("ibv_get_async_event", type(of: table.get_async_event))
            unsafe table.ack_async_event = try library.find("ibv_ack_async_event", type(of: table.ack_async_event))
            return table
        }

        private static func manager(_ library: LoadedLibrary) throws(FabricError) -> rf_cm {
            var table = rf_cm()
            unsafe table.create_event_channel = try library.find(
                "rdma_create_event_channel", type(of: table.create_event_channel))
            unsafe table.destroy_event_channel = try library.find(
                "rdma_destroy_event_channel", type(of: table.destroy_event_channel))
            unsafe table.create_id = try library.find("rdma_create_id", type(of: table.create_id))
            unsafe table.destroy_id = try library.find("rdma_destroy_id", type(of: table.destroy_id))
            unsafe table.bind_addr = try library.find("rdma_bind_addr", type(of: table.bind_addr))
            unsafe table.listen = try library.find("rdma_listen", type(of: table.listen))
            unsafe table.get_src_port = try library.find("rdma_get_src_port", type(of: table.get_src_port))
            unsafe table.resolve_addr = try library.find("rdma_resolve_addr", type(of: table.resolve_addr))
            unsafe table.resolve_route = try library.find("rdma_resolve_route", type(of: table.resolve_route))
            unsafe table.connect = try library.find("rdma_connect", type(of: table.connect))
            unsafe table.accept = try library.find("rdma_accept", type(of: table.accept))
            unsafe table.reject = try library.find("rdma_reject", type(of: table.reject))
            unsafe table.establish = try library.find("rdma_establish", type(of: table.establish))
            unsafe table.init_qp_attr = try library.find("rdma_init_qp_attr", type(of: table.init_qp_attr))
            unsafe table.get_cm_event = try library.find("rdma_get_cm_event", type(of: table.get_cm_event))
            unsafe table.ack_cm_event = try library.find("rdma_ack_cm_event", type(of: table.ack_cm_event))
            unsafe table.get_devices = try library.find("rdma_get_devices", type(of: table.get_devices))
            unsafe table.free_devices = try library.find("rdma_free_devices", type(of: table.free_devices))
            return table
        }
    }

    /// A library that stays loaded.
    @safe
    private struct LoadedLibrary {
        let name: String
        private let handle: UnsafeMutableRawPointer

        init(_ name: String, packages: String) throws(FabricError) {
            guard let handle = unsafe dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
                throw FabricError(.rdmaUnavailable, "\(name) is not installed (apt-get install \(packages))")
            }
            self.name = name
            unsafe self.handle = handle
        }

        func find<Function>(_ symbol: String, _ type: Function.Type) throws(FabricError) -> Function {
            guard let address = unsafe dlsym(handle, symbol) else {
                throw FabricError(.rdmaUnavailable, "\(name) has no \(symbol)")
            }
            // SAFETY: `type` is the C type of the function of this name, as the header declares it.
            return unsafe unsafeBitCast(address, to: type)
        }
    }

    /// Where devices come from: this machine, or the script of a test.
    struct VerbsProvider: Sendable {
        let library: @Sendable () throws(FabricError) -> VerbsLibrary
        /// What is known may be as old as this.
        let ports: @Sendable (_ age: Duration) -> [RDMAPort]

        static let system = VerbsProvider(
            library: { () throws(FabricError) in try VerbsLibrary.get() }, ports: { RDMAPort.all(knownFor: $0) })

        /// Many connections at once do not read the tables of all ports each.
        func recentPorts() -> [RDMAPort] { ports(.seconds(1)) }
        /// For who has not found what it wants in the recent ones: they may have changed.
        func newestPorts() -> [RDMAPort] { ports(.milliseconds(50)) }
    }
#endif
