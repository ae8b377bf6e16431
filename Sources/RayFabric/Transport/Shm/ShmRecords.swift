// Short forms for the C structures that travel through ring and socket.

internal import CSharedLayout
internal import RayCore

extension rf_shm_operation {
    init(
        naming operation: UInt64 = 0, key: UInt64 = 0, offset: UInt64 = 0, remaining: UInt64 = 0,
        notification: UInt64? = nil, code: FabricError.Code? = nil
    ) {
        self.init(
            operation: operation, key: key, offset: offset, remaining: remaining, notification: notification ?? 0,
            flags: notification == nil ? 0 : UInt32(RF_SHM_FLAG_NOTIFY), status: UInt32(code?.rawValue ?? 0))
    }
}

extension rf_shm_packet {
    init(_ kind: Int32, key: RegionKey = RegionKey(rawValue: 0), code: FabricError.Code? = nil) {
        self.init(
            kind: UInt32(kind), status: UInt32(code?.rawValue ?? 0), key: key.rawValue, offset: 0, length: 0, access: 0,
            padding: 0)
    }
}

extension rf_shm_setup {
    /// A refusal, or the announcement of memory.
    init(code: FabricError.Code? = nil, ringBytes: Int = 0, window: Int = 0, maximumOperations: Int = 0) {
        self.init(
            magic: RF_SHM_MAGIC, version: UInt32(RF_SHM_VERSION), code: UInt32(code?.rawValue ?? 0),
            ring_bytes: UInt64(ringBytes), window: UInt64(window),
            maximum_operations: UInt32(clamping: maximumOperations), padding: 0)
    }
}
