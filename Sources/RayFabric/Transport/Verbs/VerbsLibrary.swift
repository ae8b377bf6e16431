// libibverbs, found at run time: programs start on machines that do not have it.

#if Verbs
    internal import CLinux
    internal import CVerbs
    internal import RayCore

    /// The functions of libibverbs. Loaded once, never unloaded.
    struct VerbsLibrary: @unchecked Sendable {
        // SAFETY: the table is written before anybody sees it, and never again.
        let functions: rf_verbs

        private static let shared = Result { () throws(FabricError) in try VerbsLibrary(loading: "libibverbs.so.1") }

        /// - Throws: `rdmaUnavailable` where the library is not installed or too old.
        static func get() throws(FabricError) -> VerbsLibrary { try shared.get() }

        /// A table of other functions, as tests have it.
        init(_ functions: rf_verbs) { self.functions = functions }

        private init(loading name: String) throws(FabricError) {
            guard let handle = unsafe dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
                throw FabricError(
                    .rdmaUnavailable, "\(name) is not installed (apt-get install libibverbs1 ibverbs-providers)")
            }
            func find<Function>(_ symbol: String, _ type: Function.Type) throws(FabricError) -> Function {
                guard let address = unsafe dlsym(handle, symbol) else {
                    throw FabricError(.rdmaUnavailable, "\(name) has no \(symbol)")
                }
                // SAFETY: `type` is the C type of the function of this name, as the header declares it.
                return unsafe unsafeBitCast(address, to: type)
            }
            var table = rf_verbs()
            unsafe table.get_device_list = try find("ibv_get_device_list", type(of: table.get_device_list))
            unsafe table.free_device_list = try find("ibv_free_device_list", type(of: table.free_device_list))
            unsafe table.get_device_name = try find("ibv_get_device_name", type(of: table.get_device_name))
            unsafe table.open_device = try find("ibv_open_device", type(of: table.open_device))
            unsafe table.close_device = try find("ibv_close_device", type(of: table.close_device))
            unsafe table.query_device = try find("ibv_query_device", type(of: table.query_device))
            unsafe table.query_port = try find("ibv_query_port", type(of: table.query_port))
            unsafe table.query_gid = try find("ibv_query_gid", type(of: table.query_gid))
            unsafe table.alloc_pd = try find("ibv_alloc_pd", type(of: table.alloc_pd))
            unsafe table.dealloc_pd = try find("ibv_dealloc_pd", type(of: table.dealloc_pd))
            unsafe table.reg_mr = try find("ibv_reg_mr", type(of: table.reg_mr))
            unsafe table.dereg_mr = try find("ibv_dereg_mr", type(of: table.dereg_mr))
            unsafe table.create_comp_channel = try find("ibv_create_comp_channel", type(of: table.create_comp_channel))
            unsafe table.destroy_comp_channel = try find(
                "ibv_destroy_comp_channel", type(of: table.destroy_comp_channel))
            unsafe table.create_cq = try find("ibv_create_cq", type(of: table.create_cq))
            unsafe table.destroy_cq = try find("ibv_destroy_cq", type(of: table.destroy_cq))
            unsafe table.get_cq_event = try find("ibv_get_cq_event", type(of: table.get_cq_event))
            unsafe table.ack_cq_events = try find("ibv_ack_cq_events", type(of: table.ack_cq_events))
            unsafe table.create_qp = try find("ibv_create_qp", type(of: table.create_qp))
            unsafe table.modify_qp = try find("ibv_modify_qp", type(of: table.modify_qp))
            unsafe table.destroy_qp = try find("ibv_destroy_qp", type(of: table.destroy_qp))
            unsafe table.get_async_event = try find("ibv_get_async_event", type(of: table.get_async_event))
            unsafe table.ack_async_event = try find("ibv_ack_async_event", type(of: table.ack_async_event))
            functions = table
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
