// Looking inside: how full the store is, what was transferred, what objects there are.

public import CRayFabric
internal import RayCore
internal import RayFabric

@c @implementation
public func rf_fabric_usage(_ fabric: OpaquePointer?, _ usage: UnsafeMutablePointer<rf_usage>?) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(usage, "usage")
        let now = try unsafe fabric.withFabric { fabric throws(FabricError) in try fabric.usage() }
        let answer = rf_usage(
            struct_size: 0, capacity: now.capacity, ready_bytes: now.readyBytes, primary_bytes: now.primaryBytes,
            secondary_bytes: now.secondaryBytes, objects: now.objects, evictions: now.evictions,
            refusals: now.refusals, duplicates: now.duplicates)
        try unsafe answer.write(to: target)
    }
}

@c @implementation
public func rf_fabric_transfers(
    _ fabric: OpaquePointer?, _ transfers: UnsafeMutablePointer<rf_transfers>?
) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(transfers, "transfers")
        let now = try unsafe fabric.withFabric { fabric throws(FabricError) in try fabric.transferStatistics() }
        guard let now else { throw FabricError(.unsupported, "this fabric has no network") }
        let answer = rf_transfers(
            struct_size: 0, peers: UInt64(now.peers), objects_pulled: now.objectsPulled,
            bytes_pulled: now.bytesPulled, requests_repeated: now.requestsRepeated,
            reads_repeated: now.readsRepeated, pins_for_peers: UInt64(now.pinsForPeers),
            bytes_sent: now.wire.bytesSent, bytes_received: now.wire.bytesReceived,
            rdma_operations: now.wire.railOperations)
        try unsafe answer.write(to: target)
    }
}

@c @implementation
public func rf_fabric_inspect(
    _ fabric: OpaquePointer?, _ visit: rf_inspect_function?, _ context: UnsafeMutableRawPointer?
) -> rf_status {
    answer { () throws(FabricError) in
        let visit = unsafe try present(visit, "visit")
        let objects = try unsafe fabric.withFabric { fabric throws(FabricError) in try fabric.inspect() }
        for object in objects where unsafe !object.show(to: visit, context) { return }
    }
}

extension ObjectDescription {
    /// Calls the caller's function.
    /// - Returns: whether it wants more.
    fileprivate func show(to visit: rf_inspect_function, _ context: UnsafeMutableRawPointer?) -> Bool {
        let pins = self.pins.map { rf_holder(client: UInt32($0.client), count: $0.count) }
        return unsafe pins.withUnsafeBufferPointer { pins in
            var identifier = rf_object_id()
            unsafe id.write(to: &identifier)
            var info = unsafe rf_object_info(
                struct_size: MemoryLayout<rf_object_info>.size, id: identifier, size: size,
                metadata_size: metadataSize, creator: UInt32(creator), is_secondary: isSecondary ? 1 : 0,
                is_deleted: isDeleted ? 1 : 0, age_ns: age.saturatedNanoseconds, holders: pins.baseAddress,
                holder_count: pins.count)
            return unsafe visit(context, &info) == 0
        }
    }
}
