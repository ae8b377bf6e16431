// Making and getting objects.

public import CRayFabric
internal import RayCore
internal import RayFabric

// MARK: Making

@c @implementation
public func rf_put(
    _ fabric: OpaquePointer?, _ data: UnsafeRawPointer?, _ size: Int, _ metadata: UnsafeRawPointer?,
    _ metadata_size: Int, _ id: UnsafeMutablePointer<rf_object_id>?
) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(id, "id")
        let payload = unsafe try bytes(data, size, "data").bytes
        let metadata = unsafe try bytes(metadata, metadata_size, "metadata").bytes
        let made = try unsafe fabric.withFabric { fabric throws(FabricError) in
            try fabric.put(payload, metadata: metadata)
        }
        unsafe made.write(to: target)
    }
}

@c @implementation
public func rf_draft_create(
    _ fabric: OpaquePointer?, _ size: Int, _ metadata: UnsafeRawPointer?, _ metadata_size: Int,
    _ draft: UnsafeMutablePointer<OpaquePointer?>?, _ data: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> rf_status {
    answer { () throws(FabricError) in
        let (handleTarget, dataTarget) = unsafe (try present(draft, "draft"), try present(data, "data"))
        guard size >= 0 else { throw FabricError(.objectTooLarge, "\(UInt(bitPattern: size)) bytes") }
        let metadata = unsafe try bytes(metadata, metadata_size, "metadata").bytes
        let made = try unsafe fabric.withFabric { fabric throws(FabricError) in
            try fabric.client.create(size: size, metadata: metadata)
        }
        let address = unsafe made.address
        guard let handle = unsafe Handles.drafts.insert(made) else { throw Handles.tooMany() }
        unsafe handleTarget.pointee = handle
        unsafe dataTarget.pointee = address
    }
}

@c @implementation
public func rf_draft_seal(_ draft: OpaquePointer?, _ id: UnsafeMutablePointer<rf_object_id>?) -> rf_status {
    answer { () throws(FabricError) in
        guard let made = unsafe Handles.drafts.take(draft) else { throw Handles.invalid("draft") }
        let target = unsafe try present(id, "id")
        unsafe (try made.seal()).write(to: target)
    }
}

@c @implementation
public func rf_draft_abort(_ draft: OpaquePointer?) -> rf_status {
    answer { () throws(FabricError) in
        guard unsafe Handles.drafts.close(draft) else { throw Handles.invalid("draft") }
    }
}

// MARK: Getting

extension Object {
    /// Where it lies, for C.
    @inline(__always)
    var view: rf_view {
        let start = unsafe address
        return unsafe rf_view(
            struct_size: MemoryLayout<rf_view>.size, data: start, size: size, metadata: start + size,
            metadata_size: metadataSize)
    }
}

@c @implementation
public func rf_get(
    _ fabric: OpaquePointer?, _ id: UnsafePointer<rf_object_id>?, _ limit_ns: Int64,
    _ object: UnsafeMutablePointer<OpaquePointer?>?, _ view: UnsafeMutablePointer<rf_view>?
) -> rf_status {
    answer { () throws(FabricError) in
        let id = unsafe try ObjectID(id)
        let limit = try duration(limit_ns)
        let target = unsafe try present(object, "object")
        let viewSize = unsafe try view.map { view throws(FabricError) in unsafe try rf_view.callersSize(view) }
        let handle = unsafe try Handles.objects.insert { place throws(FabricError) in
            try unsafe fabric.withFabric { fabric throws(FabricError) in
                unsafe place.initialize(to: try fabric.get(id, within: limit))
            }
            if let view = unsafe view, let viewSize {
                unsafe place.pointee.view.write(to: view, callersSize: viewSize)
            }
        }
        guard let handle = unsafe handle else { throw Handles.tooMany() }
        unsafe target.pointee = handle
    }
}

@c @implementation
public func rf_get_many(
    _ fabric: OpaquePointer?, _ ids: UnsafePointer<rf_object_id>?, _ count: Int, _ wanted: Int, _ limit_ns: Int64,
    _ objects: UnsafeMutablePointer<OpaquePointer?>?
) -> rf_status {
    if let target = unsafe objects, (0...Int(RF_MAXIMUM_HANDLES)).contains(count) {
        for index in 0..<count { unsafe target[index] = nil }
    }
    return answer { () throws(FabricError) in
        let limit = try duration(limit_ns)
        let ids = unsafe try ObjectID.array(ids, count)
        guard count > 0 else {
            _ = try unsafe fabric.withFabric { fabric throws(FabricError) in
                try fabric.get([], count: wanted, within: limit).count
            }
            return
        }
        let target = unsafe try present(objects, "objects")
        var batch = try unsafe fabric.withFabric { fabric throws(FabricError) in
            try fabric.get(ids, count: wanted, within: limit)
        }
        do throws(FabricError) {
            for index in 0..<count {
                if let found = batch.take(at: index) { unsafe target[index] = try Handles.open(found) }
            }
        } catch {
            for index in 0..<count {
                _ = unsafe Handles.objects.close(target[index])
                unsafe target[index] = nil
            }
            throw error
        }
    }
}

@c @implementation
public func rf_object_view(_ object: OpaquePointer?, _ view: UnsafeMutablePointer<rf_view>?) -> rf_status {
    answer { () throws(FabricError) in
        let target = unsafe try present(view, "view")
        try unsafe Handles.objects.use(object, else: Handles.invalid("object")) { object throws(FabricError) in
            unsafe try object.view.write(to: target)
        }
    }
}

@c @implementation
public func rf_object_release(_ object: OpaquePointer?) -> rf_status {
    answer { () throws(FabricError) in
        guard unsafe Handles.objects.close(object) else { throw Handles.invalid("object") }
    }
}

// MARK: The rest

@c @implementation
public func rf_contains(
    _ fabric: OpaquePointer?, _ id: UnsafePointer<rf_object_id>?, _ found: UnsafeMutablePointer<Int32>?
) -> rf_status {
    answer { () throws(FabricError) in
        let id = unsafe try ObjectID(id)
        let target = unsafe try present(found, "found")
        let isThere = try unsafe fabric.withFabric { fabric throws(FabricError) in try fabric.contains(id) }
        unsafe target.pointee = isThere ? 1 : 0
    }
}

@c @implementation
public func rf_delete(_ fabric: OpaquePointer?, _ ids: UnsafePointer<rf_object_id>?, _ count: Int) -> rf_status {
    answer { () throws(FabricError) in
        let ids = unsafe try ObjectID.array(ids, count)
        try unsafe fabric.withFabric { fabric throws(FabricError) in try fabric.delete(ids) }
    }
}
