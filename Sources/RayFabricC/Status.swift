// Statuses, their names, and the text of a thread's last failure.

public import CRayFabric
internal import RayCore

extension FabricError.Code {
    // What only this interface can say; rayfabric.h tells what they mean.
    static let handleInvalid = Self(rawValue: UInt16(RF_HANDLE_INVALID))
    static let forked = Self(rawValue: UInt16(RF_FORKED))
    static let structSize = Self(rawValue: UInt16(RF_STRUCT_SIZE))
    static let abiMismatch = Self(rawValue: UInt16(RF_ABI_MISMATCH))
    static let tooManyHandles = Self(rawValue: UInt16(RF_TOO_MANY_HANDLES))
    static let bufferTooSmall = Self(rawValue: UInt16(RF_BUFFER_TOO_SMALL))

    /// The same number: a test holds both lists together. What the header does not name can only have come from
    /// another process.
    var status: rf_status {
        let status = rf_status(rawValue)
        return rawValue == 0 || RayFabricC.name(of: status).description == "RF_UNKNOWN"
            ? rf_status(RF_PROTOCOL_VIOLATION) : status
    }
}

/// Runs a call of the C interface: its errors become a status and a text.
@inline(__always)
func answer(_ body: () throws(FabricError) -> Void) -> rf_status {
    do throws(FabricError) {
        guard rayfabric_has_forked() == 0 else {
            throw FabricError(.forked, "this is a child of the process that opened the fabric")
        }
        try body()
        return rf_status(RF_OK)
    } catch {
        return note(error)
    }
}

/// Keeps the text of a failure for `rf_last_error`.
@inline(never)
func note(_ error: FabricError) -> rf_status {
    var text = name(of: error.code.status).description
    let code = error.code.description
    // The library's own text begins with its own name of the code.
    text += error.code.status < RF_HANDLE_INVALID ? error.description.dropFirst(code.count) : ": \(error.context)"
    // SAFETY: the thread's own buffer of that many bytes; the last one stays zero.
    unsafe copy(text, to: rayfabric_error_text(), capacity: Int(RAYFABRIC_ERROR_BYTES))
    return error.code.status
}

/// Writes as much of a text as fits before a final zero.
func copy(_ text: String, to target: UnsafeMutablePointer<CChar>?, capacity: Int) {
    guard let target = unsafe target, capacity > 0 else { return }
    let bytes = text.utf8.prefix(capacity - 1)
    for (index, byte) in bytes.enumerated() { unsafe target[index] = CChar(bitPattern: byte) }
    unsafe target[bytes.count] = 0
}

@c @implementation
public func rf_last_error() -> UnsafePointer<CChar>? { unsafe UnsafePointer(rayfabric_error_text()) }

@c @implementation
public func rf_status_name(_ status: rf_status) -> UnsafePointer<CChar>? { unsafe cString(name(of: status)) }

/// A literal as C sees it: with a final zero, for ever there.
func cString(_ text: StaticString) -> UnsafePointer<CChar> {
    // SAFETY: literals end with a zero.
    unsafe UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

func name(of status: rf_status) -> StaticString {
    switch Int(status) {
    case RF_OK: "RF_OK"
    case RF_INVALID_ARGUMENT: "RF_INVALID_ARGUMENT"
    case RF_CLOSED: "RF_CLOSED"
    case RF_DEADLINE_EXCEEDED: "RF_DEADLINE_EXCEEDED"
    case RF_UNSUPPORTED: "RF_UNSUPPORTED"
    case RF_STORE_FULL: "RF_STORE_FULL"
    case RF_OBJECT_TOO_LARGE: "RF_OBJECT_TOO_LARGE"
    case RF_OBJECT_NOT_FOUND: "RF_OBJECT_NOT_FOUND"
    case RF_OBJECT_DELETED: "RF_OBJECT_DELETED"
    case RF_HOST_LOST: "RF_HOST_LOST"
    case RF_HOST_EXISTS: "RF_HOST_EXISTS"
    case RF_ATTACH_REFUSED: "RF_ATTACH_REFUSED"
    case RF_TOO_MANY_OBJECTS: "RF_TOO_MANY_OBJECTS"
    case RF_TOO_MANY_CLIENTS: "RF_TOO_MANY_CLIENTS"
    case RF_PROTOCOL_VIOLATION: "RF_PROTOCOL_VIOLATION"
    case RF_TOO_MANY_WAITS: "RF_TOO_MANY_WAITS"
    case RF_OUT_OF_MEMORY: "RF_OUT_OF_MEMORY"
    case RF_DESCRIPTOR_LIMIT: "RF_DESCRIPTOR_LIMIT"
    case RF_PERMISSION_DENIED: "RF_PERMISSION_DENIED"
    case RF_SYSTEM: "RF_SYSTEM"
    case RF_IO_URING_FORBIDDEN: "RF_IO_URING_FORBIDDEN"
    case RF_LOCKED_MEMORY_LIMIT: "RF_LOCKED_MEMORY_LIMIT"
    case RF_RDMA_UNAVAILABLE: "RF_RDMA_UNAVAILABLE"
    case RF_ADDRESS_INVALID: "RF_ADDRESS_INVALID"
    case RF_ADDRESS_IN_USE: "RF_ADDRESS_IN_USE"
    case RF_HOST_NOT_FOUND: "RF_HOST_NOT_FOUND"
    case RF_CONNECTION_REFUSED: "RF_CONNECTION_REFUSED"
    case RF_CONNECTION_LOST: "RF_CONNECTION_LOST"
    case RF_PEER_UNRESPONSIVE: "RF_PEER_UNRESPONSIVE"
    case RF_AUTHENTICATION_FAILED: "RF_AUTHENTICATION_FAILED"
    case RF_VERSION_MISMATCH: "RF_VERSION_MISMATCH"
    case RF_NOT_OUR_PROTOCOL: "RF_NOT_OUR_PROTOCOL"
    case RF_STALE_INCARNATION: "RF_STALE_INCARNATION"
    case RF_CONNECTION_LIMIT: "RF_CONNECTION_LIMIT"
    case RF_KEY_REQUIRED: "RF_KEY_REQUIRED"
    case RF_UNREACHABLE: "RF_UNREACHABLE"
    case RF_SOURCE_UNAVAILABLE: "RF_SOURCE_UNAVAILABLE"
    case RF_BUSY: "RF_BUSY"
    case RF_HANDLE_INVALID: "RF_HANDLE_INVALID"
    case RF_FORKED: "RF_FORKED"
    case RF_STRUCT_SIZE: "RF_STRUCT_SIZE"
    case RF_ABI_MISMATCH: "RF_ABI_MISMATCH"
    case RF_TOO_MANY_HANDLES: "RF_TOO_MANY_HANDLES"
    case RF_BUFFER_TOO_SMALL: "RF_BUFFER_TOO_SMALL"
    default: "RF_UNKNOWN"
    }
}
