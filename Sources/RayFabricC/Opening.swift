// Opening, attaching, connecting and closing.

public import CRayFabric
internal import RayCore
internal import RayFabric

@c @implementation
public func rf_fabric_open(
    _ options: UnsafePointer<rf_fabric_options>?, _ fabric: UnsafeMutablePointer<OpaquePointer?>?
) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(fabric, "fabric")
        let options = try unsafe rf_fabric_options.read(options, "options")
        let configuration = try unsafe FabricConfiguration(Settings(options), options)
        rayfabric_watch_forks()
        unsafe target.pointee = try open(try Fabric(configuration))
    }
}

@c @implementation
public func rf_fabric_attach(
    _ path: UnsafePointer<CChar>?, _ name: UnsafePointer<CChar>?, _ fabric: UnsafeMutablePointer<OpaquePointer?>?
) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(fabric, "fabric")
        let path = try unsafe presentString(path, "path")
        let name = try unsafe string(name, "name") ?? "client"
        rayfabric_watch_forks()
        unsafe target.pointee = try open(try Fabric(attachingTo: path, name: name))
    }
}

private func open(_ fabric: Fabric) throws(FabricError) -> OpaquePointer {
    guard let handle = unsafe Handles.fabrics.insert(FabricEntry(fabric: fabric)) else { throw Handles.tooMany() }
    return unsafe handle
}

@c @implementation
public func rf_fabric_close(_ fabric: OpaquePointer?) -> rf_status {
    answer { () throws(FabricError) in
        let ending = try unsafe fabric.withFabric { fabric in fabric }
        // From here on no call begins; those that wait end with the fabric.
        guard unsafe Handles.fabrics.closeAnnounced(fabric) else { throw Handles.invalid("fabric") }
        ending.close()
    }
}

@c @implementation
public func rf_fabric_connect(
    _ fabric: OpaquePointer?, _ address: UnsafePointer<CChar>?, _ limit_ns: Int64,
    _ node: UnsafeMutablePointer<rf_node_id>?
) -> rf_status {
    answer { () throws(FabricError) in
        let address = try unsafe presentString(address, "address")
        let limit = try duration(limit_ns)
        let peer = try unsafe fabric.withFabric { fabric throws(FabricError) in
            try fabric.connect(to: address, within: limit)
        }
        guard let node = unsafe node else { return }
        let bytes = UnsafeMutableRawPointer(node)
        unsafe bytes.storeBytes(of: peer.value.bigEndian, as: UInt64.self)
        unsafe bytes.storeBytes(of: peer.incarnation.bigEndian, toByteOffset: 8, as: UInt32.self)
    }
}

@c @implementation
public func rf_fabric_address(
    _ fabric: OpaquePointer?, _ text: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ length: UnsafeMutablePointer<Int>?
) -> rf_status {
    answer { () throws(FabricError) in
        guard let address = try unsafe fabric.withFabric({ fabric in fabric.address }) else {
            throw FabricError(.unsupported, "this fabric does not listen")
        }
        try unsafe deliver(address.description, text, capacity, length)
    }
}

extension FabricConfiguration {
    /// What C asks for, with what environment and file add.
    fileprivate init(_ settings: Settings, _ options: rf_fabric_options) throws(FabricError) {
        guard let capacity = settings.capacity else {
            throw FabricError(.invalidArgument, "no capacity, neither in options nor where else they come from")
        }
        guard let maximumObjects = unsafe Int(exactly: options.maximum_objects),
            let prefault = unsafe Int(exactly: options.prefault)
        else { throw FabricError(.invalidArgument, "maximum_objects or prefault has 64 bits") }
        self.init(capacity: capacity, path: settings.path)
        if maximumObjects > 0 { store.maximumObjects = maximumObjects }
        if prefault > 0 { store.prefault = .bytes(prefault) }
        if unsafe options.maximum_clients > 0 { store.maximumClients = unsafe Int(options.maximum_clients) }
        if let log = unsafe options.log {
            let function = unsafe LogFunction(function: log, context: options.log_context)
            store.log = { function.call($0) }
        }
        guard unsafe settings.listen != nil || options.flags & UInt32(RF_OPEN_NETWORK) != 0 else { return }
        let key = try settings.key.map { key throws(FabricError) in try ClusterKey(key) }
        var network = NetworkConfiguration(listen: settings.listen, clusterKey: key)
        network.transport = settings.transport ?? .uring
        self.network = network
    }
}

/// The caller's function for the log.
@safe
private struct LogFunction: @unchecked Sendable {
    // SAFETY: the header says that it is called on threads of the library; the context is the caller's business.
    let function: rf_log_function
    let context: UnsafeMutableRawPointer?

    func call(_ text: String) {
        unsafe text.withCString { unsafe function(context, $0) }
    }
}
